"""The rules of LRTuner in the papers' order: the step along the line, explore and exploit, saturation, rollback.

Each is a function of numbers or of a state. What only the published setting does, or only the default, says so. A drop
rate is the fall of a superbatch's loss per step over one window.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from lrpilot.core.actions import Trained
from lrpilot.maths.line_fit import fit_line, t_quantile, usable_factors
from lrpilot.policies.guard import half_way
from lrpilot.policies.lr_tuner.state import (
    DecisionCode,
    Direction,
    LossDrop,
    LRTunerState,
    MarkingWindow,
    OpeningWindow,
    PresentLR,
    RewindingWindow,
    TrainingWindow,
)

# The papers give the number of factors (5) and no positions.
PAPER_FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5)
# No decision multiplies the lr by less or more: the published clip does not bind at lrs of 1e-3 and below.
BOUNDS = (0.1, 3.0)
# Without a change to undo, an lr at which the loss is no number is divided by this; never below the seed lr ÷ 1e12.
HALVE = 2.0
LEAST = 1e-12
# No decision may eat up more than this part of what all measurements may cost, but for the least it needs.
DECISION_SHARE = 1 / 4
# Before its first Line a live training proves that its step is linear in lr, in four scratch steps of 3 forwards.
RESERVED = 12


# ----------------------------------------------------- the step along the line


class Step(NamedTuple):
    """The factor of a published decision, and whether the clip and the bound moved it."""

    factor: float
    clipped: bool
    bounded: bool


def published_step(
    factors: Sequence[float], losses: Sequence[Sequence[float]], lr: float, clip: float, *, step_factor: float = 1.0
) -> Step:
    """The published decision, before explore or exploit has its say.

    ε* is the minimum of the parabola through the losses; |ε| stays below the cube root of ``clip`` · L(θ); and
    1 + ε/lr stays within :data:`BOUNDS`. Where the parabola does not open upwards the best sampled factor
    stands for its minimum. Factors at which a loss is not finite are left out, and nothing beyond the first such
    factor above 1 is believed.

    Args:
        factors: of the Line, 1 among them.
        losses: batches x factors.
        lr: η, natural units.
        clip: r of the published table.
        step_factor: σ; the lr aims at σ times the line's minimiser. Published: 1.

    Returns:
        Factor 1 where there is nothing to go by.
    """
    usable = usable_factors(factors, losses)
    if 1.0 not in usable:
        return Step(1.0, False, False)
    columns = [list(factors).index(s) for s in usable]
    rows = [[row[i] for i in columns] for row in losses]
    means = [math.fsum(row[i] for row in rows) / len(rows) for i in range(len(usable))]
    if len(usable) >= 3 and fit_line(usable, rows).flat:
        return Step(1.0, False, False)
    wanted = step_factor * _line_minimum(usable, rows, means)
    if any(s > 1 for s in factors if s not in usable):
        wanted = min(wanted, max(usable))
    return _limited(wanted, lr, clip, means[usable.index(1.0)])


def _line_minimum(factors: Sequence[float], rows: Sequence[Sequence[float]], means: Sequence[float]) -> float:
    if len(factors) >= 3:
        minimiser = fit_line(factors, rows).minimiser
        if minimiser is not None:
            return minimiser
    return min(zip(means, factors, strict=True), key=lambda at: (at[0], abs(at[1] - 1.0)))[1]


def _limited(wanted: float, lr: float, clip: float, loss: float) -> Step:
    reach = (clip * abs(loss)) ** (1 / 3) / lr
    near = min(max(wanted, 1.0 - reach), 1.0 + reach)
    factor = min(max(near, BOUNDS[0]), BOUNDS[1])
    return Step(factor, clipped=near != wanted, bounded=factor != near)


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


# ---------------------------------------------------------------- saturation


def _rate_of(drops: Sequence[LossDrop]) -> float:
    """Drop rate over several windows, at least one."""
    return sum(drop.fall for drop in drops) / sum(drop.steps for drop in drops)


def last_rate(drops: Sequence[LossDrop]) -> float:
    """The present drop rate as published: that of the last window."""
    return _rate_of(drops[-1:])


def later_rate(drops: Sequence[LossDrop]) -> float:
    """The present drop rate of the default: that of the later half of the windows.

    The longer an lr is held, the smaller is the rate that must be told from noise, and the longer the half.
    """
    return _rate_of(drops[len(drops) // 2 :])


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


# ------------------------------------------------------------------ rollback


def published_rollback(before: LossDrop, after: LossDrop) -> bool:
    """The drop rate fell after a decision."""
    return after.rate < before.rate


def certain_rollback(
    before: LossDrop, after: LossDrop, old: Sequence[float], new: Sequence[float], *, confidence: float
) -> bool:
    """The loss certainly rose after a decision, and by more per step than it had moved before.

    A rate that merely falls is the course of every training, and a rise is part of the noise of a large lr.

    Args:
        before: the window before the decision.
        after: the window after it.
        old: losses of the superbatch at the decision, n >= 2 batches.
        new: losses of the same batches after the window.
        confidence: two-sided, in (0, 1).
    """
    if after.rate >= -abs(before.rate):
        return False
    rises = [b - a for a, b in zip(old, new, strict=True)]
    n, mean = len(rises), sum(rises) / len(rises)
    error = math.sqrt(sum((rise - mean) ** 2 for rise in rises) / (n - 1) / n)
    return mean > t_quantile(0.5 + confidence / 2, n - 1) * error


def undone(state: LRTunerState) -> LRTunerState:
    """Rewind, and take back the change that is on trial; what failed is not tried again at once."""
    change = state.present.change
    assert change is not None
    state = _below(state, change.lr)
    state = replace(state, trust=state.trust.shrunk(), tally=state.tally.plus(undone=1))
    return _rewound(state, PresentLR(change.lr, change.drops))


def diverged(state: LRTunerState) -> LRTunerState:
    """The model is lost: rewind, and undo the increase that led here, or halve the lr."""
    state = replace(state, tally=state.tally.plus(diverged=1))
    change, lr = state.present.change, state.present.lr
    if change is not None and change.lr < lr:
        return undone(state)
    lower = max(lr / HALVE, LEAST * state.layout.seed_lr)
    return _rewound(_below(state, lower), PresentLR(lower))


def no_number(state: LRTunerState, *, suspect: bool) -> LRTunerState:
    """A loss is not finite: as :func:`diverged`, unless it would not be at any lr.

    Args:
        state: where it happened.
        suspect: whether the lr can be the cause. Not where the loss is that of weights known to be sound.
    """
    present = state.present
    guard, verdict = state.guard.no_number(present.lr, suspect=suspect)
    state = replace(state, guard=guard)
    if verdict == "lower":
        return diverged(state)
    lr = guard.blame.failed_lr if verdict == "give_back" else present.lr
    return _rewound(replace(state, tally=state.tally.plus(diverged=1)), PresentLR(lr, present.drops))


def is_of_sound_weights(state: LRTunerState, seen: Trained) -> bool:
    """Whether the last loss of a Train is that of weights which no step has touched since they were sound.

    So is the first loss after a mark or a rewind, and of the whole training.
    """
    first = len(seen.losses) == 1 and isinstance(state.phase, OpeningWindow | TrainingWindow)
    return first and (state.marked or state.progress.step == 1)


def _below(state: LRTunerState, lr: float) -> LRTunerState:
    """With a ceiling half way to an lr that failed; a failed decrease sets none."""
    failed = state.present.lr
    return replace(state, guard=state.guard.capped(half_way(lr, failed))) if failed > lr else state


def _rewound(state: LRTunerState, present: PresentLR) -> LRTunerState:
    return replace(state, phase=RewindingWindow() if state.marked else OpeningWindow(), present=present)


# ------------------------------------------------------------ what it may cost (default)


def overhead_left(overhead: float, total: int | None) -> float:
    """The share of the compute that is left for Lines."""
    return overhead if total is None else max(0.0, overhead - RESERVED / (3.0 * total))


def allowance(overhead: float | None, total: int | None) -> float:
    """Forwards that a training of so many steps may spend in all; inf where there is no limit."""
    if overhead is None or total is None:
        return math.inf
    return 3.0 * overhead_left(overhead, total) * total


def can_afford(whole: float, spent: int, decision: int, *, least: int) -> bool:
    """Whether measurements fit into what the training may spend in all, and on one decision.

    Args:
        whole: forwards that it may spend in all.
        spent: forwards in all, these included.
        decision: forwards of this decision, these included.
        least: forwards that a decision may cost in any training.
    """
    return spent <= whole and decision <= max(DECISION_SHARE * whole, least)


def affordable_step(spent: float, *, overhead: float, total: int | None, explore_end: float) -> float:
    """The step by which measurements that cost ``spent`` forwards in all are within their share of the compute.

    A step costs 3 forwards. Half of the whole belongs to explore, where every window may bring a decision.

    Args:
        spent: forwards.
        overhead: share of the training's own compute, >= 0.
        total: steps of the training; None for an open horizon.
        explore_end: step at which explore ends, 0 for no explore.

    Returns:
        The step, inf where the whole training does not earn that much.
    """
    if overhead == 0:
        return math.inf
    if total is None:
        return spent / (3.0 * overhead)
    share = spent / (3.0 * overhead * total)
    if share > 1:
        return math.inf
    if not 0 < explore_end < total:
        return share * total
    if share <= 0.5:
        return 2.0 * share * explore_end
    return explore_end + (2.0 * share - 1.0) * (total - explore_end)
