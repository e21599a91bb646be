"""LRCurve: losses against log10 lr, and the points on the curve from which an lr is chosen.

Notation:
    x: log10 of an lr.
    f(x): the curve scaled to [0, 1]: 1 is the loss at lr → 0, 0 the smallest loss. It interpolates the
        points up to the minimum without overshoot (PCHIP), is 1 left of them and 0 right of them.
    h: half a decade, the resolution of the coarse grid.
    D f(x) = (f(x + h/2) - f(x - h/2)) / h: the chord, used for the slope; D D f for the second derivative.

Why chords and not the interpolant's own derivatives: its second derivative jumps at every knot, so the
knee would move with the sampling grid. At a fixed resolution it depends on the curve alone: knots added
in between change f little, and noise on a knot enters once, divided by h², not by the squared spacing.

Nothing right of the minimum enters f, so that no diverged lr can move a suggestion. The minimum itself is
fitted to the points around the lowest one that lie near the bottom: over data seeds the lowest trial of a flat
bottom wandered by 0.6 decade on Fashion-MNIST, and the log-midpoint with it by 0.3.

Source: "Learning Rate Optimization Through Step Sampling", sections 3.1 and 3.2, footnote 1.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np

from lrpilot.core.codec import record
from lrpilot.core.found import FindCode
from lrpilot.errors import SettingError
from lrpilot.maths.parabola import fit_parabola

RESOLUTION = 0.5  # h, decades
SEARCH_STEP = 1e-3  # decades between the places where slope and curvature are looked at
# A reduction below this many times the scatter of the losses is no reduction. Pure noise on 9 to 40 points
# stays below it in 99 of 100 draws, a real curve with noise of a tenth of its reduction passes.
SIGNIFICANT = 5.0
FLOAT32 = 2.0**-23  # relative resolution of the losses that a training hands out
# The minimum is fitted to points this near the lowest one, in decades and as a share of the reduction: far enough
# to average the noise of a flat bottom, near enough to leave out the cliff.
BOTTOM_WIDTH = RESOLUTION
BOTTOM_RISE = 0.25


@record
class CurvePoints:
    """Points of interest, as log10 lr.

    Attributes:
        knee: most negative curvature left of ``half_drop``: the lower end of the window worth considering.
        half_drop: where half of the largest reduction is first reached.
        steepest: where the loss falls fastest.
        minimum: where the loss is smallest: the upper end of the window.
    """

    knee: float
    half_drop: float
    steepest: float
    minimum: float

    @property
    def log_midpoint(self) -> float:
        """Middle of the window."""
        return 0.5 * (self.knee + self.minimum)

    def shifted_into(self, low: float, high: float) -> "CurvePoints":
        """The same points, none outside [low, high]."""
        return CurvePoints(*(min(max(x, low), high) for x in astuple(self)))


@record
class LRCurve:
    """Losses against log10 lr.

    Attributes:
        log_lrs: log10 of the lrs tried, ascending, each once.
        losses: loss of each; inf where the trial diverged.
        start_loss: loss at lr → 0, that is of the untrained state, by the same measure.
    """

    log_lrs: tuple[float, ...]
    losses: tuple[float, ...]
    start_loss: float

    @classmethod
    def from_trials(cls, lrs: Sequence[float], losses: Sequence[float], start_loss: float) -> "LRCurve":
        """Sort trials into a curve.

        Args:
            lrs: lrs in natural units, any order, repeats allowed (their finite losses are averaged).
            losses: loss of each; non-finite where it diverged.
            start_loss: loss of the untrained state.

        Raises:
            SettingError: lengths differ, or an lr is not finite and positive.
        """
        if len(lrs) != len(losses):
            raise SettingError(f"A curve needs one loss for each lr, got {len(lrs)} lrs and {len(losses)} losses.")
        if not all(math.isfinite(lr) and lr > 0 for lr in lrs):
            raise SettingError(f"Every lr of a curve must be finite and > 0, got {sorted(lrs)}. Leave the others out.")
        by_lr: dict[float, list[float]] = {}
        for lr, loss in zip(lrs, losses, strict=True):
            by_lr.setdefault(float(lr), []).append(float(loss))
        ordered = sorted(by_lr)
        return cls(
            tuple(math.log10(lr) for lr in ordered), tuple(_mean_finite(by_lr[lr]) for lr in ordered), float(start_loss)
        )

    @property
    def reduction(self) -> float:
        """Loss at lr → 0 minus the smallest loss; -inf where nothing is finite."""
        return self.start_loss - min(self.losses, default=math.inf)

    @property
    def noise(self) -> float:
        """Scatter of the losses about a smooth curve, in units of the loss (one standard deviation).

        The median distance of a point from the straight line between its neighbours: on the plateau of
        tiny lrs, where most points of a wide search lie, that is noise alone, and a median does not look
        at the few points where the curve bends. Never below the resolution of a float32.
        """
        floor = FLOAT32 * abs(self.start_loss)
        x, y = self._finite()
        if len(x) < 3:
            return floor
        best = int(np.argmin(y))
        # How far a loss beyond the minimum has exploded says nothing of the scatter.
        y[best:] = np.minimum(y[best:], self.start_loss + abs(self.reduction))
        share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
        residual = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
        spread = np.sqrt(1 + (1 - share) ** 2 + share**2)
        return max(floor, 1.4826 * float(np.median(np.abs(residual) / spread)))

    @property
    def code(self) -> FindCode:
        """Whether the curve carries a suggestion, and if not, why not."""
        if not math.isfinite(self.start_loss) or not any(map(math.isfinite, self.losses)):
            return FindCode.ALL_DIVERGED
        threshold = SIGNIFICANT * self.noise
        if self.reduction <= threshold:
            worse = any(loss > self.start_loss + threshold for loss in self.losses)
            return FindCode.RISING if worse else FindCode.FLAT
        best = self.losses.index(min(self.losses))
        if best == len(self.losses) - 1:
            return FindCode.AT_UPPER_EDGE
        return FindCode.AT_LOWER_EDGE if best == 0 else FindCode.OK

    def points(self, *, fitted: bool = True) -> CurvePoints | None:
        """The points of interest, of doubtful curves too; None where no loss is below the start loss.

        Args:
            fitted: the minimum is that of a parabola through the bottom of the curve; False takes the
                lowest trial, as published, which on a flat bottom is a draw of the noise.
        """
        if not (math.isfinite(self.reduction) and self.reduction > FLOAT32 * abs(self.start_loss)):
            return None
        x, y = self._finite()
        best = int(np.argmin(y))
        minimum = _bottom(x, y, BOTTOM_RISE * self.reduction) if fitted else float(x[best])
        x, scaled = x[: best + 1], (y[: best + 1] - y[best]) / (self.start_loss - y[best])
        # Worse than no training counts as no training: a bump on the plateau is not a place to learn at.
        f = _interpolant(x, np.minimum(scaled, 1.0))
        low, high = float(x[0]), float(x[-1])
        half = _first_crossing(f, low, high)
        knee = _lowest(lambda at: _curvature(f, at), low, half)
        steepest = _lowest(lambda at: _chord(f, at), low, high)
        points = CurvePoints(knee, half, steepest, minimum)
        return points.shifted_into(low, max(high, minimum))

    def suggestions(self, *, fitted: bool = True) -> dict[str, float | None]:
        """Suggested lrs in natural units by name; every one None where the curve carries no suggestion."""
        points = self.points(fitted=fitted) if self.code.has_lr else None
        names = ("log_midpoint", "half_drop", "steepest", "minimum")
        return {name: None if points is None else 10.0 ** getattr(points, name) for name in names}

    def window(self, *, fitted: bool = True) -> tuple[float, float] | None:
        """(min_lr, max_lr) worth considering, natural units."""
        points = self.points(fitted=fitted) if self.code.has_lr else None
        return None if points is None else (10.0**points.knee, 10.0**points.minimum)

    def _finite(self) -> tuple[Any, Any]:
        """Points that have a loss: x and y, n numbers each."""
        kept = [(x, y) for x, y in zip(self.log_lrs, self.losses, strict=True) if math.isfinite(y)]
        return np.array([x for x, _ in kept]), np.array([y for _, y in kept])


def _bottom(x: Any, y: Any, rise: float) -> float:
    """Where the curve is lowest: the vertex of a parabola through its bottom, kept inside the bottom."""
    best = int(np.argmin(y))
    near = (np.abs(x - x[best]) <= BOTTOM_WIDTH + 1e-9) & (y <= y[best] + rise)
    parabola = fit_parabola(x[near], y[near]) if np.count_nonzero(near) >= 3 else None
    if parabola is None or best in (0, len(x) - 1):
        return float(x[best])
    return float(np.clip(parabola.vertex, x[near][0], x[near][-1]))


def _mean_finite(losses: Iterable[float]) -> float:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return math.fsum(finite) / len(finite) if finite else math.inf


def _interpolant(x: Any, y: Any) -> Callable[[Any], Any]:
    """The f of the module's notation, from the scaled points up to the minimum."""
    from scipy.interpolate import PchipInterpolator

    # Two knots at each end hold the curve level there: it leaves 1 and arrives at 0 without a corner.
    ends = np.array([RESOLUTION, 2 * RESOLUTION])
    knots = np.concatenate([x[0] - ends[::-1], x, x[-1] + ends])
    pchip = PchipInterpolator(knots, np.concatenate([[1.0, 1.0], y, [0.0, 0.0]]))
    return lambda at: pchip(np.clip(at, knots[0], knots[-1]))


def _chord(f: Callable[[Any], Any], x: Any) -> Any:
    return (f(x + RESOLUTION / 2) - f(x - RESOLUTION / 2)) / RESOLUTION


def _curvature(f: Callable[[Any], Any], x: Any) -> Any:
    bend = (f(x + RESOLUTION) - 2 * f(x) + f(x - RESOLUTION)) / RESOLUTION**2
    return bend / (1 + _chord(f, x) ** 2) ** 1.5


def _first_crossing(f: Callable[[Any], Any], low: float, high: float) -> float:
    """Smallest x from ``low`` up where f falls to 1/2; ``low`` where it is smaller from the start.

    The first and not the last: beyond the largest stable lr a single lucky Trial may lie lowest, and the last
    crossing would then be next to it.
    """
    from scipy.optimize import brentq

    grid = _grid(low, high)
    below = np.flatnonzero(f(grid) < 0.5)
    first = int(below[0]) if len(below) else len(grid) - 1
    if first == 0:
        return low
    start, end = grid[first - 1], min(grid[first - 1] + SEARCH_STEP, high)
    if float(f(end)) >= 0.5:
        return float(end)
    return float(brentq(lambda at: float(f(at)) - 0.5, start, end, xtol=1e-13))


def _lowest(value: Callable[[Any], Any], low: float, high: float) -> float:
    """Where ``value`` is smallest in [low, high]: on a grid, then a parabola through the three best."""
    grid = _grid(low, high)
    y = value(grid)
    # The first of equals: where the curve is straight, rounding alone would decide.
    i = int(np.flatnonzero(y <= y.min() + 1e-9)[0])
    if i in (0, len(grid) - 1):
        return float(grid[i])
    bend = y[i - 1] - 2 * y[i] + y[i + 1]
    shift = 0.5 * (y[i - 1] - y[i + 1]) / bend if bend > 0 else 0.0
    return float(grid[i] + SEARCH_STEP * np.clip(shift, -1.0, 1.0))


def _grid(low: float, high: float) -> Any:
    """Places from ``low`` up, counted from there so that they move with the curve."""
    return low + SEARCH_STEP * np.arange(math.floor((high - low) / SEARCH_STEP + 1e-6) + 1)
