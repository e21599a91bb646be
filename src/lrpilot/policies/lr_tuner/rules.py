"""The rules that both settings of LRTuner share: explore and exploit, saturation, and the way back.

Each is a function of numbers or of a state. A drop rate is the fall of a superbatch's loss per step over one window.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from lrpilot.core.actions import Trained
from lrpilot.policies.guard import half_way, is_of_untouched_weights
from lrpilot.policies.lr_tuner.state import (
    DecisionCode,
    Direction,
    LossDrop,
    LRChange,
    LRTunerState,
    MarkingWindow,
    OpeningWindow,
    PresentLR,
    RewindingWindow,
    TrainingWindow,
)

# No decision multiplies the lr by less or more: the published clip does not bind at lrs of 1e-3 and below.
BOUNDS = (0.1, 3.0)
# Without a change to undo, an lr at which the loss is no number is divided by this; never below the seed lr ÷ 1e12.
HALVE = 2.0
LEAST = 1e-12
# An lr at which the first windows gain nothing is divided by this, on trial.
LOWER = 4.0


# ------------------------------------------------------------ explore and exploit


def explore_end(explore: float, total: int | None) -> int:
    """Step at which explore ends.

    Args:
        explore: part of the training.
        total: its steps; None for an open horizon, which has no explore.
    """
    return 0 if total is None else math.ceil(explore * total)


def is_exploring(explore: float, state: LRTunerState) -> bool:
    """Whether only increases are accepted now."""
    return state.progress.step < explore_end(explore, state.total)


def direction_of(explore: float, state: LRTunerState) -> Direction:
    """The only one in which the lr may move now."""
    return "up" if is_exploring(explore, state) else "down"


def allowed(factor: float, direction: Direction) -> float:
    """The factor, or 1 where the phase does not accept it."""
    return max(1.0, factor) if direction == "up" else min(1.0, factor)


def decided(state: LRTunerState, factor: float, code: DecisionCode, direction: Direction) -> LRTunerState:
    """Take the step in the direction of the phase; a change is on trial until the next check."""
    factor = allowed(factor, direction)
    if factor == 1.0 and code in ("minimiser", "limited"):
        code = "other_way"
    state = replace(state, phase=MarkingWindow(code), tally=state.tally.plus(lines=1, changes=int(factor != 1.0)))
    return state if factor == 1.0 else replace(state, present=state.present.times(factor))


def is_lowered(explore: float, state: LRTunerState) -> bool:
    """Whether the present lr is a lower one that is on trial in explore."""
    change = state.present.change
    return change is not None and change.lr > state.present.lr and is_exploring(explore, state)


def lowered(present: PresentLR) -> PresentLR:
    """A much lower lr, on trial."""
    return PresentLR(present.lr / LOWER, (), LRChange(present.lr, present.drops))


# ---------------------------------------------------------------- saturation


def rate_over(drops: Sequence[LossDrop]) -> float:
    """Drop rate over several windows, at least one."""
    return sum(drop.fall for drop in drops) / sum(drop.steps for drop in drops)


def is_saturated(drops: Sequence[LossDrop], now: float, *, threshold: float, absolute: float | None) -> bool:
    """Whether an lr has served its purpose.

    Relative until the first crossing: the rate when this lr began ÷ the present one > ``threshold``. Then absolute.

    Args:
        drops: the windows since this lr began, at least one.
        now: the present drop rate.
        threshold: of the ratio, > 1.
        absolute: drop rate at the first crossing; None before it.
    """
    if absolute is not None:
        return now <= absolute
    # A first window in which the loss did not fall is no yardstick: the first that fell is.
    first = next((drop.rate for drop in drops if drop.fall > 0), None)
    if first is None:
        return len(drops) > 1
    return now <= 0 or first / now > threshold


def absolute_threshold(now: float) -> float:
    """The threshold after the first crossing: the drop rate there, at least 0."""
    return max(0.0, now)


def saturation(state: LRTunerState, now: float, *, threshold: float) -> tuple[bool, LRTunerState]:
    """Whether the present lr is saturated; at the first crossing the state learns the absolute threshold.

    Args:
        state: at the end of a window.
        now: the present drop rate.
        threshold: of the ratio, > 1.
    """
    if not is_saturated(state.present.drops, now, threshold=threshold, absolute=state.absolute):
        return False, state
    return True, state if state.absolute is not None else replace(state, absolute=absolute_threshold(now))


# -------------------------------------------------------------- the way back


def undone(state: LRTunerState) -> LRTunerState:
    """Rewind, and take back the change that is on trial; what failed is not tried again at once."""
    change = state.present.change
    assert change is not None
    state = _below(state, change.lr)
    state = replace(state, trust=state.trust.shrunk(), tally=state.tally.plus(undone=1))
    return rewound(state, PresentLR(change.lr, change.drops))


def diverged(state: LRTunerState, divisor: float = HALVE) -> LRTunerState:
    """The model is lost: rewind, and undo the increase that led here, or divide the lr."""
    state = replace(state, tally=state.tally.plus(diverged=1))
    change, lr = state.present.change, state.present.lr
    if change is not None and change.lr < lr:
        return undone(state)
    lower = max(lr / divisor, LEAST * state.layout.seed_lr)
    return rewound(_below(state, lower), PresentLR(lower))


def no_number(state: LRTunerState, *, suspect: bool) -> LRTunerState:
    """A loss is not finite: as :func:`diverged`, unless it would not be at any lr.

    Args:
        state: where it happened.
        suspect: whether the lr can be the cause. Not where the loss is that of weights known to be sound.
    """
    present = state.present
    guard, lr = state.guard.no_number(present.lr, suspect=suspect)
    state = replace(state, guard=guard)
    if lr is None:
        return diverged(state)
    return rewound(replace(state, tally=state.tally.plus(diverged=1)), PresentLR(lr, present.drops))


def is_of_sound_weights(state: LRTunerState, seen: Trained) -> bool:
    """Whether the last loss of a Train is that of weights which no step has touched since they were sound.

    So is the first loss after a mark or a rewind, and of the whole training.
    """
    first = isinstance(state.phase, OpeningWindow | TrainingWindow) and is_of_untouched_weights(seen)
    return first and (state.marked or state.progress.step == 1)


def _below(state: LRTunerState, lr: float) -> LRTunerState:
    """With a ceiling half way to an lr that failed; a failed decrease sets none."""
    failed = state.present.lr
    return replace(state, guard=state.guard.capped(half_way(lr, failed))) if failed > lr else state


def rewound(state: LRTunerState, present: PresentLR) -> LRTunerState:
    """Back to the last mark, where there is one, to go on at this lr."""
    return replace(state, phase=RewindingWindow() if state.marked else OpeningWindow(), present=present)
