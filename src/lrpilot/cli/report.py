"""What every command says, and how: results on stdout, everything else on stderr."""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from lrpilot.core.cost import Cost
    from lrpilot.found import FoundLR


def say(*things: "RenderableType") -> None:
    """Print results to stdout."""
    console = _console()
    for thing in things:
        console.print(thing, highlight=False, soft_wrap=isinstance(thing, str))


def note(message: str, style: str = "dim") -> None:
    """Print one line that is no result to stderr."""
    from rich.text import Text

    _console(stderr=True).print(Text(" ".join(message.split()), style=style), soft_wrap=True)


def say_json(document: Mapping[str, Any]) -> None:
    """Print the one JSON document of a command to stdout."""
    sys.stdout.write(to_json(document) + "\n")


def to_json(document: Any, *, indent: int | None = 2) -> str:
    """JSON that every parser reads: what is not finite becomes null."""
    return json.dumps(plain(document), indent=indent, allow_nan=False)


def plain(value: Any) -> Any:
    """Nested data with only what JSON knows, and without the codec's class names."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items() if k != "$record"}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(
    columns: Iterable[str], rows: Iterable[Iterable[str]], *, numbers: bool = True, whole_names: bool = False
) -> "Table":
    """A plain table: words to the left, and everything after the first column to the right if it is numbers.

    With ``whole_names`` the first column is never broken over lines: what is in it is to be copied.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(columns):
        made.add_column(
            column, justify="right" if numbers and i > 0 else "left", overflow="fold", no_wrap=whole_names and i == 0
        )
    for row in rows:
        made.add_row(*row)
    return made


def lr_text(lr: float | None) -> str:
    """A learning rate to three digits, in natural units."""
    return "-" if lr is None else f"{lr:.3g}"


def cost_text(cost: "Cost") -> str:
    """Cost in every unit a user may think in."""
    return (
        f"{cost.steps:.0f} training steps' worth ({cost.forward_equivalents:.0f} forward-equivalents), "
        f"{cost.seconds:.1f} s"
    )


def bill_text(parts: Mapping[str, tuple[float, float]]) -> str:
    """One bill: (training steps' worth, seconds) by name, "total" among them, as sums."""
    names = [name for name in parts if name != "total"]
    work = " + ".join(f"{name} {parts[name][0]:.0f}" for name in names)
    seconds = " + ".join(f"{parts[name][1]:.1f}" for name in names)
    steps_total, seconds_total = parts["total"]
    return f"{work} = {steps_total:.0f} training steps' worth; {seconds} = {seconds_total:.1f} s"


def cost_plain(cost: "Cost") -> dict[str, float]:
    """Cost as plain numbers."""
    from dataclasses import asdict

    return {**asdict(cost), "forward_equivalents": cost.forward_equivalents, "steps": cost.steps}


def found_plain(found: "FoundLR") -> dict[str, Any]:
    """The result of a search as plain data."""
    return found.to_dict() | {"code": found.code.name, "status": found.status, "cost": cost_plain(found.cost)}


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr)
