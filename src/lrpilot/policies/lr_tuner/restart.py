"""A fresh start: what an lr that was far too large has done to the weights need not be trained off them.

In explore the place where the training began stays marked. Where the lr turns out to be too large, a much lower one has
a window to catch up from there with all that was reached before. If it does not, the training goes on from its last
mark, and the beginning is forgotten. A transformer that was started at 30 times a good lr ended at ten times the loss
of a good start from its last mark, whatever the lr was then (digits, AdamW).
"""

from dataclasses import replace

from lrpilot.policies.guard import half_way
from lrpilot.policies.lr_tuner.state import LRTunerState, Origin, PresentLR, Restart, RewindingWindow


def with_origin(state: LRTunerState) -> LRTunerState:
    """The training begins here, and the place has been marked."""
    assert state.guard.health is not None  # it is known from the same superbatch
    return replace(state, origin=Origin(state.guard.health, state.watch))


def is_possible(state: LRTunerState, room: float) -> bool:
    """Whether there is a beginning to go back to, another place that is held meanwhile, and a window to catch up in.

    Args:
        state: where the lr has turned out to be too large.
        room: steps left of explore, less those of a window.
    """
    change = state.present.change
    increased = change is not None and change.lr < state.present.lr  # and is undone
    return state.origin is not None and state.placed and state.restart is None and not increased and room > 0


def begun(state: LRTunerState, lr: float, otherwise: PresentLR) -> LRTunerState:
    """Back to the beginning.

    Args:
        state: where the lr has turned out to be too large.
        lr: to begin anew with, natural units.
        otherwise: the lr to go on with from the last mark if that comes to nothing.
    """
    health = state.guard.health
    assert health is not None
    held = Restart(otherwise, state.present.lr, health, state.watch.rewound())
    return replace(state, phase=RewindingWindow(to_start=True), present=PresentLR(lr), restart=held)


def at_start(state: LRTunerState) -> LRTunerState:
    """At the beginning again, where what was known then is known."""
    origin = state.origin
    assert origin is not None
    watch = replace(origin.watch.rewound(), proven_lr=state.watch.proven_lr, wary=state.watch.wary)
    return replace(state, guard=replace(state.guard, health=origin.health), watch=watch)


def has_caught_up(state: LRTunerState, loss: float) -> bool:
    """Whether the loss of the superbatch would be sound beside all that was reached before."""
    return state.restart is not None and not state.restart.health.is_wreck(loss)


def adopted(state: LRTunerState) -> LRTunerState:
    """The fresh start has caught up; what failed is not reached again, only half way in log lr."""
    assert state.restart is not None
    ceiling = half_way(state.present.lr, state.restart.failed_lr)
    return replace(state, restart=None, placed=False, guard=state.guard.capped(ceiling))


def failed(state: LRTunerState) -> LRTunerState:
    """It has not: back to the last mark."""
    held = state.restart
    assert held is not None
    guard = replace(state.guard, health=held.health)
    state = replace(state, present=held.otherwise, guard=guard, watch=held.watch, restart=None, origin=None)
    return replace(state, phase=RewindingWindow())
