"""Arguments and options that several commands share, and how their text becomes numbers."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from lrpilot.flight.horizon import Budget

Factory = Annotated[
    str,
    typer.Argument(
        metavar="FACTORY", help="module_or_file.py:function; the function takes no arguments and returns a Training."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FOLDER", help="Folder for the results.", show_default="runs/COMMAND-TIMESTAMP"),
]
Force = Annotated[bool, typer.Option("--force", help="Write into a folder that is not empty.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead, and no progress.")]

ContinueTrials = Annotated[
    bool,
    typer.Option("--continue-trials", help="Go on from a search's best Trial where the policy can (autolrs)."),
]

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting of the policy (explore=0.5); repeatable."),
]

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def among(option: str, names: Sequence[str]) -> Callable[[str], str]:
    """The callback of an option that takes one of a few names; of another one the closest is offered.

    Args:
        option: as it is typed ("--data").
        names: that there are.
    """

    def check(name: str) -> str:
        if name not in names:
            raise unknown_name(option, name, names)
        return name

    return check


def parse_lr(text: str) -> float:
    """A learning rate in natural units.

    Raises:
        SettingError: not a number that is finite and > 0.
    """
    lr = _number(text)
    if not 0 < lr < math.inf:
        raise SettingError(f"--lr must be a finite number > 0 or the word 'find', got {text}. Write for example 0.1.")
    return lr


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Settings of a policy by name; a value is JSON (0.5, true, null, [0.5, 2]), a number (.5), or the word itself.

    Raises:
        SettingError: not NAME=VALUE, or a name that comes twice.
    """
    settings: dict[str, Any] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise SettingError(f"--set must be NAME=VALUE, got {text!r}. Write for example --set explore=0.5.")
        if name in settings:
            raise SettingError(f"--set must name each setting once, got {name!r} twice. Leave one away.")
        settings[name] = _value(value)
    return settings


def _value(text: str) -> Any:
    for read in (json.loads, float):  # JSON has no .5
        with suppress(ValueError):
            return read(text)
    return text


def parse_warmup(text: str) -> float | int:
    """Steps (an int) or a fraction (a float), as schedules tell them apart.

    Raises:
        SettingError: not a number.
    """
    warmup = _number(text)
    if math.isnan(warmup):
        raise SettingError(f"--warmup must be steps (500) or a fraction of the run (0.05), got {text}.")
    return int(warmup) if text.strip().isdecimal() else warmup


def parse_budget(text: str) -> "Budget":
    """Forward-equivalents (3000), a time (90s, 5m, 1h), or passes over the data (5epochs, 1epoch).

    Raises:
        SettingError: neither, or not > 0.
    """
    from lrpilot.flight.horizon import Budget

    passes = next((text.removesuffix(word) for word in ("epochs", "epoch") if text.endswith(word)), None)
    unit = None if passes is not None else _SECONDS.get(text[-1:])
    amount = _number(passes if passes is not None else text if unit is None else text[:-1])
    if not 0 < amount < math.inf:
        raise SettingError(
            "--budget must be forward-equivalents (3000) or a time (90s, 5m, 1h) or passes over the data (5epochs), "
            f"got {text!r}."
        )
    if passes is not None:
        return Budget(epochs=amount)
    return Budget(forward_equivalents=amount) if unit is None else Budget(seconds=amount * unit)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
