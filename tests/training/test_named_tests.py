"""The tests that comments name as those that hold a line are there."""

import re
from pathlib import Path

import pytest

import lrpilot

TESTS = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"(test_\w+\.py)::(test_\w+)")
FILES = sorted(Path(lrpilot.__file__).parent.rglob("*.py"))


def missing(text: str, tests: Path = TESTS) -> list[str]:
    """What is wrong with the tests that a text names, a sentence each."""
    wrong = []
    for file, test in NAMED.findall(text):
        homes = sorted(tests.rglob(file))
        if len(homes) != 1:
            wrong.append(f"{file}::{test} must name one file, there are {len(homes)} of that name.")
        elif not re.search(rf"\bdef {test}\(", homes[0].read_text(encoding="utf-8")):
            wrong.append(f"{file}::{test} must be a test, there is none in {homes[0].relative_to(tests)}.")
    return wrong


def test_they_are_there() -> None:
    wrong = [f"{path}: {one}" for path in FILES for one in missing(path.read_text(encoding="utf-8"))]
    assert not wrong, "\n".join(wrong)


def test_a_good_many_are_named() -> None:
    assert sum(len(NAMED.findall(path.read_text(encoding="utf-8"))) for path in FILES) > 50


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("test_nowhere.py::test_it", "must name one file, there are 0"),
        ("test_two.py::test_it", "must name one file, there are 2"),
        ("test_one.py::test_i", r"must be a test, there is none in a.test_one\.py"),
        ("test_one.py::test_it", None),
    ],
)
def test_one_that_is_not_there_is_told_of_in_a_sentence(tmp_path: Path, named: str, words: str | None) -> None:
    for file in ("a/test_one.py", "a/test_two.py", "b/test_two.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text("def test_it():\n    pass\n", encoding="utf-8")
    wrong = missing(f"# see {named}", tmp_path)
    assert not wrong if words is None else len(wrong) == 1 and re.search(words, wrong[0])
