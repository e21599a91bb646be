"""When LRTuner measures: windows, superbatches and phases in steps, and the Train up to the next check."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

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
    require_each,
    steps_of,
)
from lrpilot.errors import SettingError
from lrpilot.policies.lr_tuner.reading import FIRST_BATCHES
from lrpilot.policies.lr_tuner.rules import affordable_step
from lrpilot.policies.lr_tuner.state import LRTunerState

if TYPE_CHECKING:
    from lrpilot.policies.lr_tuner.default import LRTuner

# A window is a Train and the step of a Line.
SHORTEST_WINDOW = 2
# No decision may eat up more than this part of what all measurements may cost, but for the least it needs.
DECISION_SHARE = 1 / 4
FIRST_COST = 3 * FIRST_BATCHES
# Before its first Line a live training proves that its step is linear in lr, in four scratch steps of 3 forwards.
RESERVED = 12


def check_settings(tuner: "LRTuner") -> None:
    """Raise where a setting is out of range.

    Raises:
        SettingError: it is.
    """
    require_each(tuner, _RULES)
    if tuner.max_batches < tuner.superbatch and not tuner.published:
        raise SettingError(
            f"max_batches must be at least the superbatch, got {tuner.max_batches} and {tuner.superbatch}. Raise it."
        )


_POSITIVE = or_none(is_positive)
_RULES = {
    "explore": Rule("in [0, 1]", lambda value: is_real(value) and 0 <= value <= 1, "The papers use 0.2 to 0.3."),
    "lr": Rule("finite and > 0", _POSITIVE, "Leave it None for the optimizer's own."),
    "window": Rule(
        "an int >= 2 (steps) or a float in (0, 1) (a part)",
        lambda value: is_window(value, SHORTEST_WINDOW),
        "The default is 0.02.",
    ),
    "superbatch": Rule("an int >= 2", lambda value: is_whole(value, 2), "The default is 4; the papers' is 100."),
    "max_batches": Rule("an int >= 2", lambda value: is_whole(value, 2), "The default is 16."),
    "saturation": Rule("finite and > 1", lambda value: is_between(value, 1, math.inf), "The default is 10."),
    "clip": Rule("finite and > 0", _POSITIVE, "Leave it None for the trust region."),
    "step_factor": Rule("finite and > 0", is_positive, "1 is the minimiser."),
    "overhead": Rule("finite and > 0", _POSITIVE, "Leave it None for no limit."),
    "confidence": Rule("in (0, 1)", lambda value: is_between(value, 0, 1), "The default is 0.9."),
    "explore_lr": Rule("'tuned' or 'held'", among("tuned", "held"), "The default is 'tuned'."),
    "exploit": Rule("'linear' or 'saturation'", among("linear", "saturation"), "The default is 'linear'."),
    "epochs": Rule("finite and > 0", _POSITIVE, "Leave it None where it is not known."),
}


def open_flight(tuner: "LRTuner", context: Context) -> LRTunerState:
    """The first state.

    Raises:
        SettingError: the horizon is open, and a setting is a part of it.
    """
    total = context.progress.remaining
    if total is None:
        refuse_open_horizon("LRTuner", _needs_horizon(tuner), "explore=0, a window in steps and exploit='saturation'")
    lr = context.lr if tuner.lr is None else tuner.lr
    superbatch, superbatches = _superbatches(tuner, total)
    return LRTunerState(
        stage="open" if total != 0 else "done",
        lr=lr,
        start_lr=lr,
        step=context.progress.step,
        remaining=total,
        window=steps_of(tuner.window, total, at_least=SHORTEST_WINDOW),
        superbatch=superbatch,
        superbatches=superbatches,
    )


def _needs_horizon(tuner: "LRTuner") -> dict[str, bool]:
    return {
        "explore": tuner.explore > 0,
        "window": isinstance(tuner.window, float),
        "exploit": tuner.exploit == "linear",
    }


def _superbatches(tuner: "LRTuner", total: int | None) -> tuple[int, int | None]:
    """Batches of a superbatch, and how many of them take turns (None: there is no end of them)."""
    if not tuner.published:
        return tuner.superbatch, 1
    if tuner.epochs is None or total is None:
        return tuner.superbatch, None
    epoch = max(1, round(total / tuner.epochs))
    size = min(tuner.superbatch, epoch)
    return size, epoch // size


def explore_end(tuner: "LRTuner", state: LRTunerState) -> int:
    """Step at which explore ends."""
    return 0 if state.total is None else math.ceil(tuner.explore * state.total)


def is_exploring(tuner: "LRTuner", state: LRTunerState) -> bool:
    """Whether only increases are accepted now."""
    return state.step < explore_end(tuner, state)


def can_afford(tuner: "LRTuner", state: LRTunerState, forwards: int) -> bool:
    """Whether so many forwards more fit into what the training may spend in all, and on one decision."""
    decision = state.line.forwards + forwards
    return has_left(tuner, state, forwards) and decision <= max(DECISION_SHARE * _whole(tuner, state), FIRST_COST)


def has_left(tuner: "LRTuner", state: LRTunerState, forwards: int) -> bool:
    """Whether so many forwards more fit into what the training may spend in all."""
    return state.tally.forwards + forwards <= _whole(tuner, state)


def _whole(tuner: "LRTuner", state: LRTunerState) -> float:
    """Forwards that the training may spend in all."""
    if tuner.overhead is None or state.total is None:
        return math.inf
    return 3.0 * _overhead(tuner.overhead, state.total) * state.total


def _overhead(overhead: float, total: int | None) -> float:
    """The share of the compute that is left for Lines."""
    return overhead if total is None else max(0.0, overhead - RESERVED / (3.0 * total))


def go_on(tuner: "LRTuner", state: LRTunerState) -> LRTunerState:
    """The Train that comes next: a window, steps that no check follows, the way to zero, or nothing."""
    if state.remaining == 0:
        return replace(state, stage="done")
    end, window = explore_end(tuner, state), _steps_to_check(tuner, state)
    if tuner.exploit == "linear":
        if state.step >= end:
            return replace(state, stage="anneal")
        if window >= end - state.step:
            return replace(state, stage="cruise", steps=end - state.step)
    # A check after the last step would tell nobody anything.
    if state.remaining is not None and window >= state.remaining:
        return replace(state, stage="cruise", steps=state.remaining)
    return replace(state, stage="train", steps=int(window) - 1)


def _steps_to_check(tuner: "LRTuner", state: LRTunerState) -> float:
    """Steps to the next check: a window, or more until its cost is earned."""
    if tuner.overhead is None:
        return state.window
    overhead, total, end = _overhead(tuner.overhead, state.total), state.total, explore_end(tuner, state)
    if tuner.exploit == "linear" and total is not None and end > 0:
        overhead, total, end = overhead * total / end, end, 0  # nothing is measured after explore
    spent = state.tally.forwards + state.superbatch
    due = affordable_step(spent, overhead=overhead, total=total, explore_end=end)
    return max(state.window, math.ceil(due - state.step) if due < math.inf else math.inf)
