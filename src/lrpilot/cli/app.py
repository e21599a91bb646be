"""``lrpilot``: the command line. One file a command; a user's mistake is one red line and exit status 2."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lrpilot.cli import demo, env, find, simulate, train
from lrpilot.cli.extensions import add_extensions
from lrpilot.cli.report import note
from lrpilot.errors import LRPilotError


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
