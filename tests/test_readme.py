"""The README and the pages of docs/ are executed: their Python blocks run, in order, as one script each."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/how-it-works.md", "docs/line-methods.md", "docs/trial-methods.md", "docs/benchmarking.md"]


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


def test_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text and "make test" in text


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_links_between_pages_exist(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    missing = [link for link in links if "://" not in link and not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []


def test_the_method_that_the_guide_adds_can_be_flown() -> None:
    from lrpilot_bench.methods.method import Method
    from lrpilot_bench.session import Session
    from lrpilot_bench.tasks.registry import get_task

    namespace: dict[str, object] = {}
    for block in python_blocks(ROOT / "docs/benchmarking.md"):
        exec(block, namespace)
    (method,) = namespace["METHODS"]  # type: ignore[misc]
    assert isinstance(method, Method)
    task = get_task("digits")
    session = Session(task, task.family(), seed=0, steps=20, lr=method.lr_for("adamw"))
    method.train(session)
    session.finish()
    assert session.kept_steps == 20 and session.curve.lr[1] == pytest.approx(0.0005, rel=0.01)


def test_readme_commands_exist() -> None:
    from typer.main import get_command

    from lrpilot.cli.app import app

    text = "".join((ROOT / page).read_text() for page in PAGES)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    used = set(re.findall(r"^\$ lrpilot (\w+)", text, flags=re.MULTILINE))
    assert used and used <= set(commands)
    bench = set(re.findall(r"^\$ lrpilot bench ([a-z]\w*)", text, flags=re.MULTILINE))
    assert bench and bench <= set(commands["bench"].commands)
