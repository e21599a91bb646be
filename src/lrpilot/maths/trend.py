"""How the best peak lr moves with the length of the trial: a straight line in log-log."""

import math
from collections.abc import Sequence

import numpy as np

from lrpilot.core.codec import record
from lrpilot.core.found import LengthPick

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
