"""The tests that comments in ``training/`` name as those that hold a line are there."""

import re
from pathlib import Path

import pytest

import lrpilot

TESTS = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"(test_\w+\.py)::(test_\w+)")
FILES = sorted(path for path in (Path(lrpilot.__file__).parent / "training").rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_they_are_there(path: Path) -> None:
    for file, test in NAMED.findall(path.read_text(encoding="utf-8")):
        (home,) = TESTS.rglob(file)
        assert f"def {test}(" in home.read_text(encoding="utf-8"), f"{path.name} names {file}::{test}"


def test_a_good_many_are_named() -> None:
    assert sum(len(NAMED.findall(path.read_text(encoding="utf-8"))) for path in FILES) > 50
