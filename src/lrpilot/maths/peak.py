"""From the losses of annealed Trials to a peak lr: a parabola per length, the trend, a margin below a cliff."""

import math
from collections.abc import Sequence

import numpy as np

from lrpilot.core.codec import record
from lrpilot.core.found import LengthPick
from lrpilot.core.trials import Tried, best_of
from lrpilot.maths.parabola import fit_parabola

# Distance between neighbouring lrs at the end of the search, decades.
SPACING = 0.25
# The parabola is fitted to losses within half a decade that keep three quarters of the reduction: beyond,
# the curve is a cliff on one side and a plateau on the other, and neither is a parabola.
REACH = 0.5
NEAR = 0.25
# Peaks whose fitted loss is within this share of the reduction count as equally good.
SHARE = 0.02
# An lr that loses more than this share of the reduction is a cliff ...
CLIFF = 0.5
# ... and one that loses this share, or diverges, kills the model: stay this many decades below it. Chosen after
# seeing one net (convolutional, no normalisation, two seeds): a quarter decade below the lr that kills 100 steps,
# one run of two still died within 1,400. Thin evidence, on the safe side.
KILLED = 0.9
KILL_MARGIN = 0.5
# The trend may lower the suggestion by at most this much, in decades.
MAX_SHIFT = 0.25
# Half of the quarter decade between neighbouring lrs: no pick is known better than that.
PICK_ERROR = 0.125


@record
class Trend:
    """log10 lr = level + slope · log10(num_steps / centre).

    Attributes:
        slope: decades of lr per decade of steps.
        slope_error: standard error of the slope; inf for a single length.
        level: log10 lr at the centre.
        centre: steps where slope and level are uncorrelated.
    """

    slope: float
    slope_error: float
    level: float
    centre: float

    def lr(self, num_steps: float) -> float:
        """The lr on the line, natural units."""
        return float(10.0 ** (self.level + self.slope * math.log10(num_steps / self.centre)))

    def certain_slope(self, errors: float = 1.0) -> float:
        """The slope, moved towards zero by so many standard errors and not beyond."""
        return math.copysign(max(0.0, abs(self.slope) - errors * self.slope_error), self.slope)


def length_trend(lengths: Sequence[LengthPick]) -> Trend:
    """Weighted straight line through the picks of several trial lengths.

    Each pick counts with the half-width of its interval as its error, at least :data:`PICK_ERROR`.

    Args:
        lengths: n >= 1 picks of different lengths.
    """
    x = np.log10([pick.num_steps for pick in lengths])
    y = np.log10([pick.lr for pick in lengths])
    error = np.array([max(PICK_ERROR, math.log10(p.interval[1] / p.interval[0]) / 2) for p in lengths])
    weight = error**-2
    centre, level = float(np.average(x, weights=weight)), float(np.average(y, weights=weight))
    spread = float(np.sum(weight * (x - centre) ** 2))
    if spread == 0:
        return Trend(0.0, math.inf, level, 10.0**centre)
    slope = float(np.sum(weight * (x - centre) * (y - level))) / spread
    return Trend(slope, spread**-0.5, level, 10.0**centre)


def pick_peak(num_steps: int, tried: Sequence[Tried], start_loss: float) -> LengthPick | None:
    """Best peak of one length of annealed Trial.

    The minimum of a parabola in log lr through the losses near the winner, at most one spacing away from
    it. The interval holds the lrs whose fitted loss is within :data:`SHARE` of the reduction, or within
    twice the scatter about the fit where that is more. Where the losses are no parabola the pick is the
    winner, and the interval ends one spacing beyond the losses near it.

    Args:
        num_steps: length of the Trials.
        tried: the Trials, any order.
        start_loss: held-out loss of the state they start from.

    Returns:
        The pick, None where every Trial diverged.
    """
    best = best_of(tried)
    if best is None:
        return None
    ordered = sorted(tried, key=lambda one: one.lr)
    at = math.log10(best.lr)
    reduction = max(0.0, start_loss - best.loss)
    near = [
        (math.log10(one.lr), one.loss)
        for one in ordered
        if abs(math.log10(one.lr) - at) <= REACH + 1e-6 and one.loss <= best.loss + NEAR * reduction
    ]
    fit = fit_parabola([x for x, _ in near], [y for _, y in near]) if len(near) >= 3 else None
    if fit is None:
        vertex, low, high = at, near[0][0] - SPACING, near[-1][0] + SPACING
    else:
        vertex = min(max(fit.vertex, at - SPACING), at + SPACING)
        width = fit.half_width(max(2 * fit.noise, SHARE * reduction))
        low, high = vertex - width, vertex + width
    # Nothing is claimed outside the lrs tried.
    lowest, highest = math.log10(ordered[0].lr), math.log10(ordered[-1].lr)
    vertex = min(max(vertex, lowest), highest)
    interval = (10.0 ** max(low, lowest), 10.0 ** min(high, highest))
    return LengthPick(
        num_steps,
        10.0**vertex,
        interval,
        tuple(one.lr for one in ordered),
        tuple(one.loss for one in ordered),
    )


def wrecked_above(best_loss: float, start_loss: float, share: float = CLIFF) -> float:
    """Loss above which a Trial has lost this share of the reduction that another one reached."""
    return best_loss + share * max(0.0, start_loss - best_loss)


def safe_lr(picks: Sequence[LengthPick], start_loss: float) -> float:
    """Largest lr that keeps its distance from every cliff above the best lr of each length; inf without one.

    The distance is :data:`SPACING` from an lr that lost most of the reduction, and :data:`KILL_MARGIN` from one
    that diverged or lost nearly all of it. Where a longer Trial at that lr or a larger one kept all but
    :data:`NEAR` of its length's reduction there is no cliff: the short one only lacked the steps to recover. One
    that kept 70 % is not enough: without normalisation the peak of 0.18 which that allowed, instead of 0.1, ended
    with a loss 39 % higher.

    Args:
        picks: one per length, shortest first.
        start_loss: held-out loss of the state the Trials start from.
    """
    safe, survived = [math.inf], 0.0
    for pick in reversed(picks):
        best_loss, best_lr = min(zip(pick.losses, pick.lrs, strict=True))
        harmed, steep, deadly = (wrecked_above(best_loss, start_loss, share) for share in (NEAR, CLIFF, KILLED))
        for lr, loss in zip(pick.lrs, pick.losses, strict=True):
            # The same lr may differ by rounding between lengths.
            if lr > max(best_lr, survived * (1 + 1e-9)) and loss > steep:
                safe.append(lr * math.pow(10.0, -(KILL_MARGIN if loss > deadly else SPACING)))
        unharmed = (lr for lr, loss in zip(pick.lrs, pick.losses, strict=True) if loss <= harmed)
        survived = max([survived, *unharmed])
    return min(safe)


def suggest_peak(
    picks: Sequence[LengthPick], start_loss: float, *, min_lr: float = 0.0
) -> tuple[float, tuple[float, float]]:
    """The peak to train with: the longest length's pick, adjusted downwards only.

    * Where the picks certainly fall with the length (slope beyond two standard errors), the certain part
      of the slope is followed as far again as it was measured, by at most :data:`MAX_SHIFT`. A rise is
      never followed: the measured picks change direction more often than not, and too large an lr costs
      the run where too small a one costs a few per cent.
    * At a distance below a cliff of any length (:func:`safe_lr`): a longer run meets it sooner or later.

    Args:
        picks: one per length, shortest first, at least one.
        start_loss: held-out loss of the state the Trials start from.
        min_lr: never suggest less, also where a cliff leaves no room above it.

    Returns:
        The peak, and the interval in which the best one plausibly lies; both natural units.
    """
    longest = picks[-1]
    measured = math.log10(longest.num_steps / picks[0].num_steps)
    fall = -length_trend(picks).certain_slope(errors=2.0) * measured if len(picks) >= 3 else 0.0
    safe = safe_lr(picks, start_loss)
    lr = max(min(longest.lr * math.pow(10.0, -min(max(0.0, fall), MAX_SHIFT)), safe), min_lr)
    low, high = longest.interval
    low = min(low, lr)
    if safe >= high:
        return lr, (low, max(high, lr))
    return lr, _a_spacing_wide(low, max(safe, lr), [lr for pick in picks for lr in pick.lrs])


def _a_spacing_wide(low: float, high: float, tried: Sequence[float]) -> tuple[float, float]:
    """The interval, extended to :data:`SPACING` inside the lrs tried: downwards, upwards where there is no room."""
    step = math.pow(10.0, SPACING)
    if high < low * step:
        low = min(low, max(high / step, min(tried)))
    if high < low * step * (1 - 1e-9):
        high = max(high, min(low * step, max(tried)))
    return low, high
