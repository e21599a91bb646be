"""What the settings of LRTuner must be, and the first state that follows from them."""

import math
from collections.abc import Mapping

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
from lrpilot.policies.lr_tuner.state import LRTunerState, OpeningWindow, PresentLR, WindowLayout, WindowsDone

# A window is a Train and the step of a Line.
SHORTEST_WINDOW = 2
# The one mark that is held.
PLACE = "window"

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
