"""What LRTuner makes of each observation: state and observation in, state out."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lrpilot.core.actions import LineLosses, Trained
from lrpilot.maths.line_fit import fit_line, is_usable
from lrpilot.maths.trust_region import is_good_enough
from lrpilot.policies.guard import FIRST_ALARM, Health
from lrpilot.policies.lr_tuner.plan import FIRST_COST, can_afford, go_on, has_left, is_exploring
from lrpilot.policies.lr_tuner.reading import (
    MAX_ATTEMPTS,
    Direction,
    LineReading,
    allowed,
    full_rows,
    next_block,
    region,
    three_factors,
    weigh,
)
from lrpilot.policies.lr_tuner.recovery import diverged, no_number, undone
from lrpilot.policies.lr_tuner.rules import (
    BOUNDS,
    LossDrop,
    absolute_threshold,
    certain_rollback,
    is_saturated,
    published_rollback,
    published_step,
    recent_rate,
)
from lrpilot.policies.lr_tuner.state import DecisionCode, LRChange, LRTunerState, SuperbatchLevel

if TYPE_CHECKING:
    from lrpilot.policies.lr_tuner.default import LRTuner

# Less room than this below an lr that failed is not worth a Line.
ROOM = 1.05


def charged(state: LRTunerState, seen: LineLosses) -> LRTunerState:
    """Count what a Line has cost: a forward for each batch and factor."""
    forwards = len(seen.losses) * len(seen.factors)
    line, tally = state.line, state.tally
    if state.stage in ("line", "predict"):
        line = replace(line, forwards=line.forwards + forwards)
    return replace(state, line=line, tally=replace(tally, forwards=tally.forwards + forwards))


def trained(tuner: "LRTuner", state: LRTunerState, seen: Trained) -> LRTunerState:
    """After a Train: read the loss, or go on where nothing is to be read."""
    if seen.stop is not None:
        # The first loss after a Mark or a Rewind, and of the whole training, is that of weights no step has touched.
        first = len(seen.losses) == 1 and state.stage in ("open", "train")
        return no_number(state, blamed=not (first and (state.marked or state.step == 1)))
    if state.remaining == 0:
        return replace(state, stage="done")
    if state.stage == "open" and has_left(tuner, state, state.superbatch):
        return replace(state, stage="level")
    return replace(state, stage="check") if state.stage == "train" else go_on(tuner, state)


def levelled(tuner: "LRTuner", state: LRTunerState, seen: LineLosses) -> LRTunerState:
    """A window begins here."""
    index = 0 if state.level is None else state.level.index
    level = SuperbatchLevel(tuple(row[0] for row in seen.losses), state.step, index)
    if not level.is_usable:
        return _unusable_level(tuner, state, level)
    if _is_lost(tuner, state, level):
        return diverged(replace(state, level=level))
    health = Health.at_start(level.losses) if state.health is None else state.health.after(level.losses)
    return replace(state, stage="mark", level=level, health=health)


def _unusable_level(tuner: "LRTuner", state: LRTunerState, level: SuperbatchLevel) -> LRTunerState:
    """The loss of a superbatch is no number: whose fault is it?"""
    if state.level is not None and state.level.step == state.step:
        # Another superbatch was sound at these very weights: leave this one out.
        index = level.index + 1 if state.superbatches is None else (level.index + 1) % state.superbatches
        return no_number(replace(state, level=replace(level, index=index)), blamed=False)
    # The default's first steps are all but none: what is no number after them was none before.
    tiny = not tuner.published and state.health is None
    state = no_number(replace(state, level=level), blamed=not tiny)
    if tiny and state.remaining and state.lost >= FIRST_ALARM:
        return replace(state, stage="cruise", steps=state.remaining)  # nothing can be measured
    return state


def _is_lost(tuner: "LRTuner", state: LRTunerState, level: SuperbatchLevel) -> bool:
    """Whether the model is worth nothing any more. The published rules know no loss that is too high."""
    return not tuner.published and state.health is not None and state.health.is_wreck(level.mean)


# -------------------------------------------------------------- the check


def checked(tuner: "LRTuner", state: LRTunerState, seen: LineLosses) -> LRTunerState:
    """A window is over: judge the change that began it, then see whether the lr is up for another."""
    old = state.level
    assert old is not None  # a window begins with it
    new = replace(old, losses=tuple(row[0] for row in seen.losses), step=state.step)
    if not new.is_usable:
        return no_number(state, blamed=True)
    if _is_lost(tuner, state, new):
        return diverged(state)
    drop = LossDrop(max(1, new.step - old.step), old.mean - new.mean)
    if state.change is not None and _is_worse(tuner, state.change, drop, old, new):
        return undone(state)
    health = None if state.health is None else state.health.after(new.losses)
    state = replace(state, change=None, drops=(*state.drops, drop), health=health, lost=0)
    retune, state = _wants_line(tuner, state)
    if tuner.published:
        index = old.index + 1
        new = SuperbatchLevel((), new.step, index if state.superbatches is None else index % state.superbatches)
    state = replace(state, level=new)
    if retune:
        return replace(state, stage="line", line=LineReading())
    return replace(state, stage="level" if tuner.published else "mark")


def _is_worse(tuner: "LRTuner", change: LRChange, drop: LossDrop, old: SuperbatchLevel, new: SuperbatchLevel) -> bool:
    before = change.drops[-1]
    if tuner.published:
        return published_rollback(before, drop)
    return certain_rollback(before, drop, old.losses, new.losses, confidence=tuner.confidence)


def _wants_line(tuner: "LRTuner", state: LRTunerState) -> tuple[bool, LRTunerState]:
    """Whether the lr is to be decided on now; the absolute threshold is set on the way."""
    if is_exploring(tuner, state):
        has_room = tuner.published or state.ceiling > ROOM * state.lr
        return tuner.explore_lr == "tuned" and has_room and can_afford(tuner, state, FIRST_COST), state
    if tuner.exploit == "linear":
        return False, state
    now = recent_rate(state.drops, published=tuner.published)
    if not is_saturated(state.drops, now, threshold=tuner.saturation, absolute=state.absolute):
        return False, state
    if state.absolute is None:
        state = replace(state, absolute=absolute_threshold(now))
    return can_afford(tuner, state, FIRST_COST), state


# --------------------------------------------------------------- the line


def read_published(tuner: "LRTuner", state: LRTunerState, seen: LineLosses) -> LRTunerState:
    """Five factors on a whole superbatch, one decision. The losses at factor 1 begin the next window."""
    assert state.level is not None and tuner.clip is not None
    at_one = list(seen.factors).index(1.0)
    level = replace(state.level, losses=tuple(row[at_one] for row in seen.losses))
    state = replace(state, level=level)
    if not level.is_usable:
        return no_number(state, blamed=True)
    step = published_step(seen.factors, seen.losses, state.lr, tuner.clip, step_factor=tuner.step_factor)
    tally = state.tally
    tally = replace(tally, clipped=tally.clipped + step.clipped, bounded=tally.bounded + step.bounded)
    why: DecisionCode = "limited" if step.clipped or step.bounded else "minimiser"
    return _decided(tuner, replace(state, tally=tally), step.factor, why)


def read_block(tuner: "LRTuner", state: LRTunerState, seen: LineLosses) -> LRTunerState:
    """Three factors on a few batches more: hold, read more, or check the prediction where the lr would go."""
    assert state.level is not None
    reading = state.line
    block = next_block(len(reading.rows), state.superbatch)
    reading = replace(reading, rows=(*reading.rows, *full_rows(seen.losses, state.level.losses, block)))
    if not all(is_usable(loss) for row in reading.rows for loss in row):
        return _retry(tuner, state)
    verdict = weigh(
        reading,
        three_factors(state.trust.radius),
        region(state.trust.radius, state.ceiling / state.lr),
        direction_of(tuner, state),
        step_factor=tuner.step_factor,
        confidence=tuner.confidence,
    )
    if verdict.kind == "more" and _may_read_more(tuner, state, len(reading.rows)):
        return replace(state, line=reading)
    if verdict.factor == 1.0 or not can_afford(tuner, state, len(reading.rows)):
        return _decided(tuner, state, 1.0, "uncertain" if verdict.kind == "more" else "other_way")
    tally = state.tally
    if verdict.limited:
        bound = verdict.factor in BOUNDS
        tally = replace(tally, clipped=tally.clipped + (not bound), bounded=tally.bounded + bound)
    why: DecisionCode = "limited" if verdict.limited else "minimiser"
    return replace(state, stage="predict", line=replace(reading, target=verdict.factor), why=why, tally=tally)


def _may_read_more(tuner: "LRTuner", state: LRTunerState, read: int) -> bool:
    block = next_block(read, state.superbatch)
    cost = (2 if block.outer else 3) * block.size + read + block.size  # and the check of the prediction
    return block.first + block.size <= tuner.max_batches and can_afford(tuner, state, cost)


def predicted(tuner: "LRTuner", state: LRTunerState, seen: LineLosses) -> LRTunerState:
    """The loss at the factor wanted: go there if the parabola had foretold it, look closer if not."""
    target, rows = state.line.target, state.line.rows
    assert target is not None
    factors = three_factors(state.trust.radius)
    change = math.fsum(at[0] - row[1] for at, row in zip(seen.losses, rows, strict=True)) / len(rows)
    error = fit_line(factors, rows).prediction_error(target, change)
    if not is_good_enough(error):
        return _retry(tuner, state)
    assert state.why is not None  # the target came with it
    return _decided(tuner, replace(state, trust=state.trust.after(error, target)), target, state.why)


def _retry(tuner: "LRTuner", state: LRTunerState) -> LRTunerState:
    """The parabola does not hold this far from the factor 1: read a narrower Line, or hold the lr."""
    attempts = state.line.attempts + 1
    state = replace(state, trust=state.trust.shrunk())
    if attempts >= MAX_ATTEMPTS or not can_afford(tuner, state, FIRST_COST):
        return _decided(tuner, state, 1.0, "unforeseen")
    return replace(state, stage="line", line=LineReading(attempts=attempts, forwards=state.line.forwards))


def _decided(tuner: "LRTuner", state: LRTunerState, factor: float, why: DecisionCode) -> LRTunerState:
    """Take the step in the direction of the phase; a change is on trial until the next check."""
    factor = allowed(factor, direction_of(tuner, state))
    if factor == 1.0 and why in ("minimiser", "limited"):
        why = "other_way"
    tally = replace(state.tally, lines=state.tally.lines + 1, changes=state.tally.changes + (factor != 1.0))
    state = replace(state, stage="mark", line=LineReading(), why=why, tally=tally)
    if factor == 1.0:
        return state
    return replace(state, lr=state.lr * factor, change=LRChange(state.lr, state.drops), drops=())


def direction_of(tuner: "LRTuner", state: LRTunerState) -> Direction:
    """Explore raises the lr and never lowers it; exploit lowers it and never raises it."""
    return "up" if is_exploring(tuner, state) else "down"
