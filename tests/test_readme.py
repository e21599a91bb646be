"""The README and the pages of docs/ are executed: their Python blocks run, in order, as one script each."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "docs/how-it-works.md"]


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


def test_readme_names_the_two_commands_and_links_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text and "make test" in text
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links and all((ROOT / link).exists() for link in links), links


def test_readme_commands_exist() -> None:
    from typer.main import get_command

    from lrpilot.cli.app import app

    text = (ROOT / "README.md").read_text()
    used = set(re.findall(r"^\$ lrpilot (\w+)", text, flags=re.MULTILINE))
    assert used and used <= set(get_command(app).commands)  # type: ignore[attr-defined]
