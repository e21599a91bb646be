"""How LRTuner goes back: from a change that was a bad call, and from a loss that is no number."""

import math
from dataclasses import replace

from lrpilot.policies.lr_tuner.state import LRTunerState

# Without a change to undo, an lr at which the loss is no number is divided by this; never below the seed lr ÷ 1e12.
HALVE = 2.0
LEAST = 1e-12


def undone(state: LRTunerState) -> LRTunerState:
    """Rewind, and take back the change that is on trial; what failed is not tried again at once."""
    change = state.change
    assert change is not None
    tally = replace(state.tally, undone=state.tally.undone + 1)
    state = replace(state, ceiling=_ceiling(state, change.lr), trust=state.trust.shrunk(), tally=tally)
    return _rewound(replace(state, lr=change.lr, drops=change.drops))


def diverged(state: LRTunerState) -> LRTunerState:
    """The model is lost: rewind, and undo the increase that led here, or halve the lr."""
    tally = replace(state.tally, diverged=state.tally.diverged + 1)
    state = replace(state, tally=tally)
    if state.change is not None and state.change.lr < state.lr:
        return undone(state)
    lr = max(state.lr / HALVE, LEAST * state.start_lr)
    return _rewound(replace(state, lr=lr, drops=(), ceiling=_ceiling(state, lr)))


def no_number(state: LRTunerState, *, blamed: bool) -> LRTunerState:
    """A loss is not finite: as :func:`diverged`, unless it would not be at any lr.

    Args:
        state: where it happened.
        blamed: whether the lr can be the cause. Not where the loss is that of weights known to be sound.
    """
    state = replace(state, lost=state.lost + 1)
    if not blamed or state.blame.blameless:
        return _without_blame(state)
    state = replace(state, blame=state.blame.after(state.lr))
    if state.blame.blameless:
        return _without_blame(replace(state, lr=state.blame.failed_lr, ceiling=math.inf))
    return diverged(state)


def _without_blame(state: LRTunerState) -> LRTunerState:
    """It is the data: rewind, and leave the lr."""
    return _rewound(replace(state, tally=replace(state.tally, diverged=state.tally.diverged + 1)))


def _ceiling(state: LRTunerState, lr: float) -> float:
    """Half way, in log lr, between an lr that failed and the smaller ``lr``; a failed decrease sets none."""
    return min(state.ceiling, math.sqrt(lr * state.lr)) if state.lr > lr else state.ceiling


def _rewound(state: LRTunerState) -> LRTunerState:
    return replace(state, stage="rewind" if state.marked else "open", steps=1, change=None)
