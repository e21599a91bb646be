"""The rules of LRTuner, each a function of numbers. Their order is in :mod:`lrpilot.policies.lr_tuner.default`.

A drop rate is the fall of a superbatch's loss per step over one window.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lrpilot.core.codec import record
from lrpilot.maths.line_fit import fit_line, t_quantile, usable_factors

# The papers give the number of factors (5) and no positions.
PAPER_FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5)
# No decision multiplies the lr by less or more: the published clip does not bind at lrs of 1e-3 and below.
BOUNDS = (0.1, 3.0)


@record
class LossDrop:
    """How the loss of the superbatch fell over one window.

    Attributes:
        steps: length of the window, >= 1.
        fall: loss before it minus loss after it.
    """

    steps: int
    fall: float

    @property
    def rate(self) -> float:
        """Fall per step."""
        return self.fall / self.steps


def rate_of(drops: Sequence[LossDrop]) -> float:
    """LossDrop rate over several windows, at least one."""
    return sum(drop.fall for drop in drops) / sum(drop.steps for drop in drops)


# ---------------------------------------------------------------- saturation


def recent_rate(drops: Sequence[LossDrop], *, published: bool) -> float:
    """The present drop rate: of the last window as published, else of the later half of the windows.

    The longer an lr is held, the smaller is the rate that must be told from noise, and the longer the half.
    """
    return rate_of(drops[-1:] if published else drops[len(drops) // 2 :])


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


# ----------------------------------------------------------------- the step


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


# ------------------------------------------------------------ what it may cost


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
