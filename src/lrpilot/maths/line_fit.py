"""Parabolas along a Line, one per batch, how certain the batches are of its minimum, and how far it is believed.

Notation: s is the factor of a Line and x = s − 1, so that a change of the lr η by ε is x = ε/η. Batch b has the
losses L_b(x) ≈ k0 + k1·x + k2·x²; k1 and k2 are in units of the loss, and the minimiser is s* = 1 − k1 / (2·k2).

The batches are read at the same factors, so that each gives coefficients of its own: their scatter is the
uncertainty of the mean (jackknife), and what is common to a batch at all factors drops out.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lrpilot.core.codec import record
from lrpilot.errors import SettingError

Table = NDArray[np.float64]

# A loss beyond it counts as not finite: its squares would soon overflow, and nothing can be learned from it.
LARGEST = 1e100
# Halvings of an interval: as far as floats go.
BISECTIONS = 60


@record
class LineFit:
    """The parabola through the mean losses of a Line, with jackknife errors over its batches.

    Errors are standard errors; with a single batch they are not known, and infinite.

    Attributes:
        batches: n, the number of batches.
        level: mean fitted loss at the factor 1, where the training stands.
        slope: mean k1, the loss per unit of x there.
        curvature: mean k2, half of the second derivative.
        slope_error: of ``slope``.
        curvature_error: of ``curvature``.
        covariance: of ``slope`` and ``curvature``.
        minimiser: s*, a factor of any sign, unclamped; None where the parabola does not open upwards (beyond
            rounding).
        minimiser_error: of ``minimiser``; inf where leaving out one batch leaves no minimum.
        flat: whether the losses are the same at every factor, as along a step of length zero.
    """

    batches: int
    level: float
    slope: float
    curvature: float
    slope_error: float
    curvature_error: float
    covariance: float
    minimiser: float | None
    minimiser_error: float
    flat: bool

    def change(self, factor: float) -> float:
        """Predicted loss at ``factor`` minus that at 1."""
        x = factor - 1.0
        return self.slope * x + self.curvature * x * x

    def prediction_error(self, factor: float, change: float) -> float:
        """How wrong the predicted change was, beside the size of its two terms.

        The terms and not their sum, which is zero on the far side of the minimum.

        Args:
            factor: where the loss was read.
            change: the mean loss there minus that at 1; inf or NaN where it diverged.

        Returns:
            0 for an exact prediction, inf where nothing was predicted or the loss was not finite.
        """
        x = factor - 1.0
        off, size = abs(change - self.change(factor)), abs(self.slope * x) + abs(self.curvature * x * x)
        if off == 0:
            return 0.0
        return off / size if size > 0 and math.isfinite(off) else math.inf

    def interval(self, low: float, high: float, confidence: float) -> tuple[float, float]:
        """Where in [low, high] the minimum may lie: the factors at which the slope may be zero.

        Up to its first end the loss certainly falls with the factor, from its second end on it certainly rises.
        Both ends are ``high`` where it falls all the way, as at an lr far too small, where the curvature is lost
        in noise and a minimiser ± its error would say nothing.

        Args:
            low: smallest factor of interest.
            high: largest factor of interest, > ``low``.
            confidence: of the interval, in (0, 1).

        Returns:
            Its two ends; [low, high] where there is a single batch.
        """
        if self.batches < 2:
            return low, high
        margin = t_quantile(0.5 + confidence / 2, self.batches - 1)
        falls_until = _last_below(lambda s: self._slope_at(s) + margin * self._slope_error_at(s), low, high)
        rises_from = _last_below(lambda s: margin * self._slope_error_at(s) - self._slope_at(s), high, low)
        return falls_until, max(falls_until, rises_from)

    def _slope_at(self, factor: float) -> float:
        return self.slope + 2.0 * self.curvature * (factor - 1.0)

    def _slope_error_at(self, factor: float) -> float:
        # A sum of squares, which rounding cannot make negative: the slope at x is that at 1 plus 2·x·k2.
        twice = 2.0 * (factor - 1.0)
        along = self.covariance / self.slope_error if self.slope_error > 0 else 0.0
        across = max(0.0, self.curvature_error**2 - along**2)
        return math.hypot(self.slope_error + twice * along, twice * math.sqrt(across))


def fit_line(factors: Sequence[float], losses: Sequence[Sequence[float]]) -> LineFit:
    """Fit a parabola to every batch of a Line.

    Args:
        factors: m >= 3 different factors, any order.
        losses: n >= 1 rows of m losses, batches x factors, finite and none beyond :data:`LARGEST`.

    Raises:
        SettingError: fewer than three different factors, no batch, a row of another length, or a loss that is
            not usable.
    """
    table = _table(factors, losses)
    x = np.asarray(factors, dtype=np.float64) - 1.0
    width = float(np.max(np.abs(x)))
    u = x / width  # scaled: the fit is then as good for a narrow Line as for a wide one
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    reference = table[:, int(np.argmin(np.abs(x)))][:, None]  # differences first: they are what carries the digits
    scaled = (table - reference) @ np.linalg.pinv(design).T
    k0, k1, k2 = scaled[:, 0] + reference[:, 0], scaled[:, 1] / width, scaled[:, 2] / width**2
    rounding = 4.0 * np.finfo(np.float64).eps * float(np.max(np.abs(table)))
    slope_error, curvature_error, covariance = _errors_of_means(k1, k2)
    minimiser, minimiser_error = _jackknifed_minimiser(k1, k2, smallest=rounding / width**2)
    return LineFit(
        batches=len(table),
        level=float(np.mean(k0)),
        slope=float(np.mean(k1)),
        curvature=float(np.mean(k2)),
        slope_error=slope_error,
        curvature_error=curvature_error,
        covariance=covariance,
        minimiser=minimiser,
        minimiser_error=minimiser_error,
        flat=bool(np.all(np.ptp(table, axis=1) <= rounding)),
    )


def is_usable(loss: float) -> bool:
    """Whether a loss is a number that can be reckoned with."""
    return abs(loss) <= LARGEST


def usable_factors(factors: Sequence[float], losses: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """The factors at which every batch has a usable loss, in their order."""
    return tuple(s for i, s in enumerate(factors) if all(is_usable(row[i]) for row in losses))


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t.

    Args:
        probability: in (0, 1).
        freedom: degrees of freedom, >= 1.
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _table(factors: Sequence[float], losses: Sequence[Sequence[float]]) -> Table:
    if len(set(factors)) < 3:
        raise SettingError(f"A line fit needs three different factors, got {list(factors)}. Read more of them.")
    if not losses or any(len(row) != len(factors) for row in losses):
        raise SettingError(
            f"A line fit needs rows of a loss for each of {len(factors)} factors, got {[len(row) for row in losses]}."
        )
    table = np.asarray(losses, dtype=np.float64)
    if not np.all(np.abs(table) <= LARGEST):
        raise SettingError(
            f"A line fit needs finite losses up to {LARGEST:g}, got some that are not. Leave their factors out."
        )
    return table


def _errors_of_means(k1: Table, k2: Table) -> tuple[float, float, float]:
    """Standard errors of two means over batches, and their covariance: for a mean the jackknife is just that."""
    n = len(k1)
    if n < 2:
        return math.inf, math.inf, 0.0
    covariance = np.cov(k1, k2) / n
    return math.sqrt(covariance[0, 0]), math.sqrt(covariance[1, 1]), float(covariance[0, 1])


def _jackknifed_minimiser(k1: Table, k2: Table, *, smallest: float) -> tuple[float | None, float]:
    """s* and its jackknife error; (None, inf) where the mean curvature is not above ``smallest``."""
    n, slope, curvature = len(k1), float(np.mean(k1)), float(np.mean(k2))
    if not curvature > smallest:
        return None, math.inf
    minimiser = 1.0 - slope / (2.0 * curvature)
    if n < 2:
        return minimiser, math.inf
    # From differences: the means without one batch, at no loss of digits.
    slopes, curvatures = slope - (k1 - slope) / (n - 1), curvature - (k2 - curvature) / (n - 1)
    if not np.all(curvatures > smallest):
        return minimiser, math.inf
    without_one = -slopes / (2.0 * curvatures)
    spread = float(np.sum((without_one - np.mean(without_one)) ** 2))
    return minimiser, math.sqrt((n - 1) / n * spread)


def _last_below(value: Callable[[float], float], start: float, end: float) -> float:
    """Going from ``start`` towards ``end``, how far a convex function stays below zero."""
    if not value(start) < 0:
        return start
    if value(end) < 0:
        return end
    inside, outside = start, end
    for _ in range(BISECTIONS):
        middle = 0.5 * (inside + outside)
        inside, outside = (middle, outside) if value(middle) < 0 else (inside, middle)
    return inside


# Prediction errors (see LineFit.prediction_error). At the minimum of a parabola the two terms of the predicted
# change add up to three times the change itself, so that these are 60 % and 15 % of the predicted gain.
FAILED = 0.2
GOOD = 0.05


def is_good_enough(error: float) -> bool:
    """Whether a prediction with this error is one to act on."""
    return error <= FAILED


@record
class TrustRegion:
    """The factors within ``radius`` of 1.

    Attributes:
        radius: largest |s − 1| believed.
        smallest: the radius never falls below it.
        largest: the radius never grows beyond it.
    """

    radius: float = 1.0
    smallest: float = 1.0 / 64
    largest: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.radius <= self.largest:
            raise SettingError(f"A trust region needs 0 < smallest <= radius <= largest, got {self}.")

    def clip(self, factor: float) -> float:
        """The factor inside the region that is nearest to ``factor``."""
        return min(max(factor, 1.0 - self.radius), 1.0 + self.radius)

    def after(self, error: float, factor: float) -> "TrustRegion":
        """The region after a prediction was checked.

        Args:
            error: of the prediction, >= 0; inf where the loss was not finite.
            factor: where it was checked. Only a check in the outer half says that more could be believed.
        """
        if not is_good_enough(error):
            return self.shrunk()
        if error <= GOOD and abs(factor - 1.0) >= 0.5 * self.radius:
            return replace(self, radius=min(self.largest, 2.0 * self.radius))
        return self

    def shrunk(self) -> "TrustRegion":
        """Half as wide."""
        return replace(self, radius=max(self.smallest, 0.5 * self.radius))
