"""The default's watch over a stage: what a look at its losses says, and how a stage is taken back.

Four times a stage its losses are looked at. Where they say that the training is lost, it goes back to the mark at the
stage's beginning, and the rest of the stage is trained at a lower lr. Who is to blame for a loss that is no number, and
which lrs are left afterwards, is :mod:`lrpilot.policies.guard`.
"""

import math
from dataclasses import replace
from statistics import median

from lrpilot.core.actions import Trained
from lrpilot.core.codec import record
from lrpilot.core.trials import ERRORS, gained_nothing, standard_error
from lrpilot.maths.peak import KILL_MARGIN, KILLED, wrecked_above
from lrpilot.policies.autolrs.stage import LRStage
from lrpilot.policies.autolrs.state import AutoLRSState, MarkingStage, RewindingStage, TrainingStage, Watch
from lrpilot.policies.guard import ROUNDING, SHARE, mean_and_spread

# Looks at a stage's losses, the last at its end, and the fewest steps between two.
LOOKS, LEAST_LOOK = 4, 10
# A stage that was taken back so often is not the lr's fault.
MOST_REWINDS = 5
# So many times in a row a loss that is no number after sound ones is taken for the data's fault.
MOST_SOUND = 6
# Losses before one that is no number by which the training is judged.
TAIL = 5
# Scatters of single losses by which the first loss of the loop may differ from that of a Trial: both are of one batch.
# Nothing is lost where two of a kind are told apart: the loop's are judged by themselves then.
SAME_KIND = 5.0


def part_steps(watch: Watch, steps: int) -> int:
    """Steps from one look to the next in a Train of so many; the last part is no shorter than a look needs."""
    parts = max(1, min(LOOKS, steps // LEAST_LOOK))
    return watch.part or -(-steps // parts)


@record
class Look:
    """A part of a stage, as its losses tell of it.

    Attributes:
        losses: finite; training losses, or the one held-out loss where the loop gives none.
        held_out: whether they are the latter.
        no_number: whether a loss that was not finite ended the part.
        finished: whether it is the last part of the stage.
    """

    losses: tuple[float, ...]
    held_out: bool
    no_number: bool
    finished: bool

    @classmethod
    def of(cls, seen: Trained) -> "Look":
        """What was seen of it."""
        held_out = not seen.losses and seen.held_out is not None
        losses = (seen.held_out,) if held_out and seen.held_out is not None else seen.losses
        finite = tuple(loss for loss in losses if math.isfinite(loss))
        return cls(finite, held_out, seen.stop is not None or len(finite) < len(losses), seen.finished)

    @property
    def mean(self) -> float:
        """Of the losses, at least one."""
        return mean_and_spread(self.losses)[0]

    @property
    def error(self) -> float:
        """Standard error of the mean; 0 of a held-out loss, which is read on the same batches each time."""
        return standard_error(self.losses)

    @property
    def tells(self) -> bool:
        """Whether there is enough of it to judge by: a held-out loss is a mean already."""
        return self.held_out or len(self.losses) >= LEAST_LOOK


# -------------------------------------------------------------------- is it lost?


def looked_at(state: AutoLRSState, training: TrainingStage, seen: Trained) -> AutoLRSState:
    """After a look at a part of the stage: it goes on, or back to its mark; after bad batches it is marked anew.

    Args:
        state: where the part has ended.
        training: the stage, to the end of which the phase stays this where all is sound.
        seen: of the part.
    """
    look = Look.of(seen)
    if look.held_out:  # read because the loop gives no losses
        bill = replace(state.bill, spent=state.bill.spent + state.bill.evaluation)
        state = replace(state, bill=bill)
    state = _met(state, look)
    if look.no_number:
        return _after_no_number(state, training, look)
    if _is_wreck(state, look):
        return _taken_back(state)
    state = _sound(state, look)
    return state if look.finished else _marked_again(state, training)


def _met(state: AutoLRSState, look: Look) -> AutoLRSState:
    """With what the first loss of the loop tells of their kind: it is of the weights where Trials began.

    Not where the stage goes on from a Trial, whose steps have moved them.
    """
    stage, watch = state.stages[-1], state.watch
    if len(state.stages) > 1 or stage.continued or look.held_out or not look.losses or watch.own_start is not None:
        return state
    first = look.losses[0]
    return replace(state, watch=replace(watch, own_start=first, own_kind=not _is_of_trials(state, stage, first)))


def _is_of_trials(state: AutoLRSState, stage: LRStage, loss: float) -> bool:
    """Whether a loss of the untrained weights may be one that a Trial would have read there; True if none did."""
    sound = [] if stage.search is None else [one.tried for one in stage.search.candidates if not one.tried.diverged]
    if state.first_train is None or stage.search is None or not sound:
        return True
    quietest = min(sound, key=lambda tried: tried.lr)
    scatter = quietest.error * math.sqrt(stage.search.steps)
    return abs(loss - state.first_train) <= SAME_KIND * scatter + ROUNDING * abs(loss)


def _is_wreck(state: AutoLRSState, look: Look) -> bool:
    """Whether a part of a stage says that the training is lost.

    It does where the mean has lost a quarter of all that was gained so far, and more than it scatters by; in the
    beginning where it is above anything that was seen in the best Trial; and at the end of the first stage where
    nothing has been gained.
    """
    if not look.tells or state.stages[-1].rewinds >= MOST_REWINDS:
        return False
    if look.finished and len(state.stages) == 1 and not _has_gained(state, look):
        return True
    health = state.watch.guard.health
    if health is None:
        return _has_risen(state, look)
    # Single losses scatter widely, their mean does not: a training that dies slowly must not hide in its own noise.
    return replace(health, noise=max(look.error, health.noise)).is_wreck(look.mean)


def _sound(state: AutoLRSState, look: Look) -> AutoLRSState:
    """After a part of a stage that is no wreck."""
    guard = state.watch.guard.calmed()
    if look.losses and (guard.health is not None or _has_gained(state, look)):
        guard = guard.after_sound_mean(look.mean, look.error, start=_start(state, look))
    return replace(state, watch=replace(state.watch, guard=guard))


def _has_gained(state: AutoLRSState, look: Look) -> bool:
    """Whether the first stage has gained a tenth of what the best of its Trials did; True where that is not known.

    Nor is it known where the best of them gained no more than noise, or the loop's losses are of their own kind.
    """
    if state.watch.own_kind and not look.held_out:
        return True
    stage, start = state.stages[-1], _start(state, look)
    trials = () if stage.search is None else tuple(one.tried for one in stage.search.candidates)
    if state.first_loss is not None and gained_nothing(trials, state.first_loss):
        return True
    reached = stage.scores if look.held_out else stage.train_losses
    best = min((loss for loss in reached if math.isfinite(loss)), default=math.inf)
    if start is None or best >= start:
        return True
    # The median of the later half: a ramp comes first, and losses may leap.
    return median(look.losses[len(look.losses) // 2 :]) <= wrecked_above(best, start, KILLED)


def _start(state: AutoLRSState, look: Look) -> float | None:
    """The loss where the training began, of the kind that is looked at: held-out and training losses may lie apart."""
    if look.held_out:
        return state.first_loss
    return state.watch.own_start if state.watch.own_kind else state.first_train


def _has_risen(state: AutoLRSState, look: Look) -> bool:
    """Whether a part of the training, before anything was gained, lies above its start; a ramp does not do that."""
    start, first_high = _start(state, look), state.watch.first_high
    if start is None:
        return False
    if look.held_out:
        best = min(state.stages[-1].scores, default=math.inf)
        return best < start and look.mean > start + SHARE * (start - best)
    if first_high is None or state.watch.own_kind:  # no Trial has come to its end, or none of this kind has
        return min(look.losses) > start
    limit = max(start, first_high)
    return look.mean - ERRORS * look.error > limit + ROUNDING * abs(limit)


# ------------------------------------------------------------------- the way back


def _taken_back(state: AutoLRSState) -> AutoLRSState:
    """The present lr has wrecked the training: back to where it was sound, half a decade below."""
    state = _back(state, 10.0**-KILL_MARGIN)
    return replace(state, watch=replace(state.watch, guard=state.watch.guard.capped(state.lr)))


def _after_no_number(state: AutoLRSState, training: TrainingStage, look: Look) -> AutoLRSState:
    """A loss is no number: back to the mark, with a lower lr unless it is the data's fault.

    It is that where the losses before it were sound: a training that an lr drives apart rises first. And it is where
    such losses came at next to no lr too. The parts after it are shorter, each begins with a mark, and so bad batches
    between good ones cost little more than the part that they are in.
    """
    suspect = state.watch.guard.lost + 1 > MOST_SOUND or not _was_sound(state, look)
    guard, lr = state.watch.guard.no_number(state.lr, suspect=suspect)
    part = max(LEAST_LOOK, part_steps(state.watch, training.steps) // 2)
    state = replace(state, watch=replace(state.watch, guard=guard, part=part))
    return _taken_back(state) if lr is None else _back(state, lr / state.lr)


def _was_sound(state: AutoLRSState, look: Look) -> bool:
    """Whether the last losses before one that is no number are those of a sound training."""
    tail, health = look.losses[-TAIL:], state.watch.guard.health
    if not tail:
        return True  # the weights were those of the last look, or of the mark
    if health is not None:
        return not health.is_wreck(median(tail))
    start = _start(state, look)
    return start is None or median(tail) <= start + ERRORS * look.error


def _back(state: AutoLRSState, factor: float) -> AutoLRSState:
    """Back to the mark, to train on at ``factor`` times the lr."""
    stage = state.stages[-1]
    stages = (*state.stages[:-1], replace(stage, rewinds=stage.rewinds + 1, lr=stage.lr * factor))
    watch = replace(state.watch, guard=state.watch.guard.went_back(state.watch.safe))
    return replace(state, phase=RewindingStage(), lr=state.lr * factor, stages=stages, watch=watch)


def _marked_again(state: AutoLRSState, training: TrainingStage) -> AutoLRSState:
    """After a sound part of a stage with bad batches: what was trained is marked, and the rest goes on from there."""
    if state.watch.part is None:
        return state
    left, lr = steps_left(state), state.lr
    if state.stages[-1].decays:
        lr *= left / training.steps  # on the way to zero
    watch = replace(state.watch, safe=state.watch.guard.health)
    return replace(state, phase=MarkingStage(left), lr=lr, watch=watch)


def steps_left(state: AutoLRSState) -> int:
    """Steps left of the present stage, >= 1."""
    stage: LRStage = state.stages[-1]
    left = max(1, stage.begin + stage.steps - state.step)
    if state.remaining is None:
        return left
    return state.remaining if stage.decays else min(left, state.remaining)
