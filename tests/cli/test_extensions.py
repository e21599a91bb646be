"""Commands that other distributions install, sound and broken."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoints
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from lrpilot.cli.app import OWN, OneLineErrors, add_extensions, options
from strangers import install

HELLO = """
import typer
app = typer.Typer()

@app.command()
def hello():
    typer.echo("hello")

@app.command()
def other():
    pass

unclear = typer.Typer()

@unclear.command()
def unclear_command(what: "NoSuchType"):
    pass

number = 3
"""


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(tmp_path)
    names = {
        "well": "hello_lr:app",
        "number": "hello_lr:number",
        "unclear": "hello_lr:unclear",
        "gone": "not_there:app",
    }
    install(tmp_path, "hello-lr", {"hello_lr": HELLO}, {"lrpilot.commands": {**names, "quits": "quits:app"}})
    (tmp_path / "quits.py").write_text("raise SystemExit(3)")
    yield
    sys.modules.pop("hello_lr", None)


def call(*arguments: str) -> Result:
    """The command line with these commands, and one of its own."""
    app = typer.Typer(cls=OneLineErrors)
    app.callback()(options)
    app.command("env")(lambda: typer.echo("own"))
    add_extensions(app, OWN)
    return CliRunner().invoke(app, list(arguments))


def test_a_sound_one_is_a_command_like_ours() -> None:
    assert call("well", "hello").stdout == "hello\n"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "ModuleNotFoundError: No module named 'not_there'"),
        ("number", "TypeError: hello_lr:number must be a typer.Typer, got int"),
        ("unclear", "NameError: name 'NoSuchType' is not defined"),
        ("quits", "SystemExit: 3"),
    ],
)
@pytest.mark.parametrize("more", [[], ["run", "--processes", "3"], ["--help"]])
def test_a_broken_one_says_why_when_it_is_asked_for(name: str, says: str, more: list[str]) -> None:
    result = call(name, *more)
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith(f"error: The command '{name}' of hello-lr must load cleanly, but it raised {says}")
    assert result.stderr.count("\n") == 1


def test_broken_ones_spoil_no_other_command() -> None:
    assert call("env").stdout == "own\n"
    shown = call("--help").stdout
    assert shown.count("Cannot be loaded") == 4 and "well" in shown


def test_a_name_of_ours_stays_ours_and_the_clash_is_told(tmp_path: Path) -> None:
    install(tmp_path, "other-lr", {}, {"lrpilot.commands": {"env": "hello_lr:app"}})
    with pytest.warns(UserWarning, match="'env' is lrpilot's own: the one that other-lr installs is left alone"):
        assert call("env").stdout == "own\n"


@pytest.mark.parametrize("more", [[], ["list"], ["--smoke"]])
def test_a_benchmark_that_is_not_installed_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    monkeypatch.setattr("lrpilot.cli.app.entry_points", lambda group: EntryPoints())
    result = call("bench", *more)
    assert result.exit_code == 2 and "lrpilot-bench" in result.stderr and "pip install ./bench" in result.stderr
    assert "bench" not in call("--help").stdout
