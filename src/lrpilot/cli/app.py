"""``lrpilot``: the command line. One file a command; a user's mistake is one red line and exit status 2.

Other distributions install further commands: entry points of the group ``lrpilot.commands``, a Typer app each.
"""

import warnings
from collections.abc import Callable, Container
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lrpilot.cli import demo, env, find, simulate, train
from lrpilot.cli.loading import guarded
from lrpilot.cli.report import note
from lrpilot.errors import LRPilotError, MissingDependencyError

GROUP = "lrpilot.commands"
# Whatever is asked of a command that cannot be loaded, --help too, is answered with why.
ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def add_extensions(app: typer.Typer, own: Container[str]) -> None:
    """Add them to the command line; one that cannot be loaded says so when it is asked for, and spoils no other.

    Args:
        app: the command line.
        own: names of lrpilot's own commands.

    Warns:
        UserWarning: one has the name of a command of ours, which stays ours.
    """
    entries = entry_points(group=GROUP)
    if "bench" not in entries.names:
        missing = MissingDependencyError(
            "The benchmark is a distribution of its own, lrpilot-bench, and is not installed. "
            "Run 'pip install ./bench' in a clone of lrpilot."
        )
        app.command("bench", hidden=True, context_settings=ANYTHING)(_refusal(missing))
    for entry in entries:
        owner = "another distribution" if entry.dist is None else entry.dist.name
        if entry.name in own:
            warnings.warn(
                f"The command {entry.name!r} is lrpilot's own: the one that {owner} installs is left alone.",
                stacklevel=2,
            )
            continue
        try:
            command = guarded(partial(_load, entry), f"The command {entry.name!r} of {owner} must load cleanly")
            app.add_typer(command, name=entry.name)
        except LRPilotError as error:
            app.command(entry.name, help="Cannot be loaded; ask for it to see why.", context_settings=ANYTHING)(
                _refusal(error)
            )


def _load(entry: EntryPoint) -> typer.Typer:
    loaded: object = entry.load()
    if not isinstance(loaded, typer.Typer):
        raise TypeError(f"{entry.value} must be a typer.Typer, got {type(loaded).__name__}")
    typer.main.get_command(loaded)  # raises now what would spoil every command once they are put together
    return loaded


def _refusal(error: LRPilotError) -> Callable[[], None]:
    def refuse() -> None:
        raise error

    return refuse


class OneLineErrors(TyperGroup):
    """Prints what a user can mend as one line; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except LRPilotError as error:
            if ctx.params.get("debug"):
                raise
            note(f"error: {error}", style="red")
            raise typer.Exit(2) from error


app = typer.Typer(
    name="lrpilot", cls=OneLineErrors, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


OWN = {command.__name__: command for command in (demo.demo, find.find, train.train, simulate.simulate, env.env)}
for _name, _command in OWN.items():
    app.command(_name)(_command)
add_extensions(app, OWN)


def _version(asked: bool) -> None:
    if asked:
        from lrpilot import __version__

        typer.echo(f"lrpilot {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Choose learning rates for PyTorch training, before it starts and while it runs."""


def main() -> None:
    """Entry point of the installed command."""
    app()
