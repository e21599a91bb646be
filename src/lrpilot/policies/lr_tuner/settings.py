"""The settings of LRTuner: the published ones, what they must be, and the first state that follows from them."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lrpilot.core.policy import Context
from lrpilot.core.settings import (
    Rule,
    among,
    is_between,
    is_positive,
    is_real,
    is_whole,
    is_window,
    or_none,
    refuse_open_horizon,
    steps_of,
)
from lrpilot.errors import unknown_name
from lrpilot.policies.lr_tuner.state import LRTunerState, OpeningWindow, PresentLR, WindowLayout, WindowsDone


class PaperRow(NamedTuple):
    """One row of the published hyperparameters, with the seed lrs that the text gives for it.

    Attributes:
        explore: epochs of explore.
        epochs: epochs in all.
        saturation: relative threshold.
        clip: r of |ε|³ < r·L.
        seeds: seed lr by optimizer, the row's own first.
        window: steps between two decisions (an int), or epochs (a float).
    """

    explore: float
    epochs: float
    saturation: float
    clip: float
    seeds: dict[str, float]
    window: int | float = 0.5


_DIGITS = PaperRow(10, 50, 100, 1e-3, {"momentum": 0.1, "sgd": 0.1, "adam": 1e-3})
PAPER_ROWS: dict[str, PaperRow] = {
    "mnist": _DIGITS,
    "fashion-mnist": _DIGITS,
    "cifar10": PaperRow(100, 200, 100, 5e-3, {"momentum": 0.1, "sgd": 0.1, "adam": 1e-3}, window=1000),
    "imagenet": PaperRow(25, 90, 500, 1e-3, {"momentum": 0.1}),
    "iwslt": PaperRow(8, 50, 5, 1e-9, {"adam": 5e-5}),
    # "more frequent" than twice an epoch is all that is said of this window: a tenth of an epoch is our choice.
    "squad": PaperRow(0.45, 2, 2, 1e-12, {"adam": 2e-5}, window=0.1),
}


def paper_row(name: str) -> PaperRow:
    """A row of the published table.

    Raises:
        SettingError: no such row.
    """
    if name not in PAPER_ROWS:
        raise unknown_name("A row of the papers", name, PAPER_ROWS)
    return PAPER_ROWS[name]


def seed_lr(name: str, optimizer: str | None) -> float:
    """The published seed lr of a row and an optimizer; None for the row's own.

    Raises:
        SettingError: the papers do not train that row with it.
    """
    seeds = paper_row(name).seeds
    if optimizer is not None and optimizer not in seeds:
        raise unknown_name(f"The optimizer of the papers' row {name!r}", optimizer, seeds)
    return seeds[optimizer or next(iter(seeds))]


# A window is a Train and the step of a Line.
SHORTEST_WINDOW = 2
# The marks that are held: where the last window began; in explore also where the training began (default).
PLACE = "window"
START = "start"

# Of the settings that the published setting and the default share; "the default" is that of ``LRTuner()``.
SHARED: Mapping[str, Rule] = {
    "explore": Rule("in [0, 1]", lambda value: is_real(value) and 0 <= value <= 1, "The papers use 0.2 to 0.3."),
    "lr": Rule("finite and > 0", or_none(is_positive), "Leave it None for the optimizer's own."),
    "window": Rule(
        "an int >= 2 (steps) or a float in (0, 1) (a part)",
        lambda value: is_window(value, SHORTEST_WINDOW),
        "The default is 0.02.",
    ),
    "superbatch": Rule("an int >= 2", lambda value: is_whole(value, 2), "The default is 4; the papers' is 100."),
    "saturation": Rule("finite and > 1", lambda value: is_between(value, 1, math.inf), "The default is 10."),
    "step_factor": Rule("finite and > 0", is_positive, "1 is the minimiser."),
    "explore_lr": Rule("'tuned' or 'held'", among("tuned", "held"), "The default is 'tuned'."),
}


def refuse_without_end(context: Context, *, explore: float, window: int | float, linear: bool) -> None:
    """Raise where the horizon is open and a setting needs its end.

    Args:
        context: of the flight.
        explore: part of the training.
        window: in steps (an int), or as a part of the training.
        linear: whether the lr goes to zero over all that remains.

    Raises:
        SettingError: it does.
    """
    if context.progress.remaining is None:
        needs = {"explore": explore > 0, "window": isinstance(window, float), "exploit": linear}
        refuse_open_horizon("LRTuner", needs, "explore=0, a window in steps and exploit='saturation'")


def first_state(
    context: Context, *, lr: float | None, window: int | float, superbatch: int, superbatches: int | None
) -> LRTunerState:
    """A step at the seed lr comes first.

    Args:
        context: of the flight; its horizon is known where the window is a part of it.
        lr: seed lr, natural units; None for the optimizer's own.
        window: in steps (an int), or as a part of the training.
        superbatch: batches of it.
        superbatches: how many take turns; None for no end of them.
    """
    total = context.progress.remaining
    seed = context.lr if lr is None else lr
    steps = steps_of(window, total, at_least=SHORTEST_WINDOW)
    return LRTunerState(
        phase=WindowsDone() if total == 0 else OpeningWindow(),
        layout=WindowLayout(seed, steps, superbatch, superbatches),
        progress=context.progress,
        present=PresentLR(seed),
    )
