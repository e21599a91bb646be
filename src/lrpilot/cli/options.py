"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Factory = Annotated[
    str,
    typer.Argument(
        metavar="FACTORY", help="module_or_file.py:function; the function takes no arguments and returns a Training."
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for the results.", show_default="runs/COMMAND-TIMESTAMP")
]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead, and no progress.")]
