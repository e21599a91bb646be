"""The guide to the benchmark is executed, and the commands of the benchmark that the pages show exist."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from lrpilot.cli.app import app
from lrpilot_bench.methods.method import Method
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.registry import get_task

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "benchmarking.md"


def run_the_guide() -> dict[str, object]:
    """What its Python blocks define, run in order as one script."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    assert blocks, "a page without code would pass for nothing"
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, GUIDE.name, "exec"), namespace)
    return namespace


def test_the_method_that_the_guide_adds_can_be_flown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (method,) = run_the_guide()["METHODS"]  # type: ignore[misc]
    assert isinstance(method, Method)
    task = get_task("digits")
    session = Session(task, task.family(), seed=0, steps=20, lr=method.lr_for("adamw"))
    method.train(session)
    session.finish()
    assert session.kept_steps == 20 and session.curve.lr[1] == pytest.approx(0.0005, rel=0.01)


def test_the_commands_that_the_pages_show_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = "".join(page.read_text() for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    shown = set(re.findall(r"^\$ lrpilot bench ([a-z]\w*)", text, flags=re.MULTILINE))
    assert shown and shown <= set(commands["bench"].commands)
