"""Between two measurements of the default: what the losses of the loop say, and what is done about it.

A :class:`~lrpilot.policies.guard.LossWatch` is told of the losses of every Train, which is observed for its sake. Where
no loop gives any, nothing is observed.
"""

import math
from dataclasses import replace

from lrpilot.core.actions import Trained
from lrpilot.policies.guard import BLOCK, losses_of
from lrpilot.policies.lr_tuner.state import (
    Annealing,
    CheckingWindow,
    Cruising,
    LRTunerState,
    MarkingWindow,
    OpeningWindow,
    Phase,
    PresentLR,
    TrainingWindow,
    WindowsDone,
)

# Steps from one look at the losses of a Train to the next: two blocks; one after a bad batch.
LOOK = 2 * BLOCK
# Marks of a training, at least: a wreck takes back a tenth of it at most.
MARKS = 10

TrainPhase = OpeningWindow | TrainingWindow | Cruising | Annealing


def observe_every(state: LRTunerState, steps: int) -> int | None:
    """Steps between two looks at a Train of so many; None where its end is soon enough, or there is nothing to see."""
    every = BLOCK if state.watch.wary else LOOK
    return every if steps > every and not state.blind else None


def watched(state: LRTunerState, seen: Trained) -> LRTunerState:
    """With what was seen of a Train. Its lr is that at which the way to zero begins: who bears that bears less."""
    losses = losses_of(seen)
    if not losses and seen.held_out is not None:
        return replace(state, blind=True)
    state = replace(state, watch=state.watch.after(losses, state.present.lr))
    calms = state.watch.served and isinstance(state.phase, Annealing)  # else a superbatch says that all is well again
    return replace(state, guard=state.guard.calmed()) if calms else state


def rest_of(phase: TrainPhase, steps: int) -> TrainingWindow | Cruising | Annealing | CheckingWindow | None:
    """What is left of a Train after so many steps of it; None where that is nothing, or it was the opening."""
    match phase:
        case TrainingWindow(whole):
            return TrainingWindow(whole - steps) if steps < whole else CheckingWindow()
        case Cruising(whole) if steps < whole:
            return Cruising(whole - steps)
        case Annealing(line):
            rest = line.after(steps)
            return None if rest is None else Annealing(rest)
    return None


def _train_of(state: LRTunerState) -> Phase | None:
    """The phase whose Train is flown, or goes on after a mark."""
    return state.phase.then if isinstance(state.phase, MarkingWindow) else state.phase


def is_last(state: LRTunerState) -> bool:
    """Whether no measurement follows any more, as things were planned."""
    return isinstance(_train_of(state), Cruising | Annealing | WindowsDone)


def window_end(state: LRTunerState) -> int:
    """Kept steps taken when the present window is over, at most."""
    train = _train_of(state)
    return state.progress.step + (train.steps + 1 if isinstance(train, TrainingWindow) else 0)


def ends_lost(state: LRTunerState) -> bool:
    """Whether the last losses of the training say that its weights may be lost."""
    return state.at_end and state.marked and not state.blind and not state.watch.may_mark


def mark_due(state: LRTunerState) -> bool:
    """Whether the place is sound, and the last mark so old that another is worth its while."""
    age = state.progress.step - state.marked_at
    due = LOOK * MARKS if state.total is None else max(LOOK, state.total // MARKS)
    return (
        state.marked and state.restart is None and age >= (BLOCK if state.watch.wary else due) and state.watch.may_mark
    )


def looked_at(state: LRTunerState, seen: Trained, phase: TrainPhase) -> LRTunerState:
    """After a look in the middle of a Train that is sound: it goes on, after a mark where one is due."""
    rest = rest_of(phase, seen.steps)
    if state.blind:
        assert rest is not None
        return replace(state, phase=rest)  # unobserved
    if mark_due(state) and isinstance(rest, TrainingWindow | Cruising | Annealing):
        return replace(state, phase=MarkingWindow(then=rest))
    return state


def cleared(state: LRTunerState) -> LRTunerState:
    """The lr was lowered in vain: it is as before, and so is what it may rise to."""
    lr = max(state.present.lr, state.watch.fallen_lr)
    return replace(state, present=PresentLR(lr), guard=replace(state.guard, ceiling=math.inf, health=None))
