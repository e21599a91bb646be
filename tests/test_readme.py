"""The README, the pages of docs/ and the example of lrpilot.policy are executed, each as one script."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from lrpilot import simulate
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.testing import CHECKS

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"  # not in a source distribution of the library
PAGES = ["README.md", "docs/autopilot.md", "docs/own-policy.md", "docs/line-methods.md", "docs/trial-methods.md"]


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_code_blocks_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = python_blocks(ROOT / page)
    assert blocks, "a page without code would pass for nothing"
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, page, "exec"), namespace)


def test_the_readme_shows_what_its_first_block_prints(capsys: pytest.CaptureFixture[str]) -> None:
    block = python_blocks(ROOT / "README.md")[0]
    exec(compile(block, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    lr, low, high = (float(number) for number in re.findall(r"\d\.\d+", printed)[:3])
    shown = re.search(r"# ([\d.]+) and where the best peak plausibly lies: \(([\d.]+), ([\d.]+)\)", block)
    cost = re.search(r'"(.*)" for the price of (\d+) training steps', block)
    assert shown is not None and cost is not None
    assert (lr, low, high) == pytest.approx([float(number) for number in shown.groups()], rel=0.03)
    _, searched, flown = printed.splitlines()
    assert searched.startswith(cost[1]) and float(searched.split()[-1]) == pytest.approx(float(cost[2]), rel=0.03)
    kept = re.search(r"# held-out loss ([\d.]+) after (\d+) steps", block)
    assert kept is not None
    assert [float(word) for word in flown.split()] == pytest.approx([float(word) for word in kept.groups()], rel=0.03)


def test_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text and "make test" in text


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_between_pages_exist(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    places = [(ROOT / page).parent.joinpath(link).resolve() for link in links if "://" not in link]
    beyond = [] if BENCH.is_dir() else [place for place in places if place.is_relative_to(BENCH)]
    assert [place for place in places if not place.exists() and place not in beyond] == []


def test_readme_commands_exist() -> None:
    from typer.main import get_command

    from lrpilot.cli.app import app

    text = "".join((ROOT / page).read_text() for page in PAGES)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    used = set(re.findall(r"^\$ lrpilot (\w+)", text, flags=re.MULTILINE))
    assert used and used - {"bench"} <= set(commands), "bench is a command of another distribution, and tested there"


def test_the_example_of_lrpilot_policy_passes_the_battery() -> None:
    import lrpilot.policy

    assert lrpilot.policy.__doc__ is not None
    (block,) = re.findall(r"::\n\n((?:    .*\n|\n)+)", lrpilot.policy.__doc__)
    namespace: dict[str, Any] = {}
    exec(compile(textwrap.dedent(block), "lrpilot.policy", "exec"), namespace)
    halving = namespace["Halving"]()
    for check in CHECKS:
        check(halving)
    flown = simulate(halving, NoisyQuadratic.log_spaced(4, condition=30.0), lr=0.1, total_steps=250)
    assert flown.history.lrs == [0.1] * 100 + [0.05] * 100 + [0.025] * 50
