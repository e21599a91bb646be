"""A decay fitted to a noisy series of losses, and how far it reaches: the default forecast.

Notation:
    u: place of a reading, 0 at the first and 1 at the last; h >= 1 is the horizon in the same unit.
    w(u) = exp(-r·u), or (1 + r·u/p)^(-p): a decay of initial rate r, whose tail is the slower the smaller p is.
    g(u) = (w(u) - w(1)) / (w(0) - w(1)): the same, scaled to fall from 1 to 0 over the readings.
    y(u) = end + fall·g(u): the model. y(h) = end - fall·reach, where reach = -g(h) is what is still to fall, as a
        share of what has fallen.

Why not the exponential alone: at a constant lr losses fall slower and slower, over more decades than a window has.
An exponential through the first tenth of a Trial takes the bend for the bottom.

Why an average over r and p, and not the best of them: a tenth of the way says little about either, and of two
decays that fit alike one may reach ten times as far. Each is weighed by how well it fits (its marginal likelihood:
end, fall and noise are integrated out) and by its reach: a long one counts for less beforehand. The forecast is the
median of what they say, the interval its quantiles with the errors of each. Noiseless readings leave a single decay,
which is continued to the last digits.

What scatters is not Gaussian: a reading counts by its distance from the fit, not by its square, one far off is
dropped, and early ones count less. "Far" is measured by the scatter of the later half, so that an overshoot at the
start is dropped, and not fitted.

The settings were chosen by the error at ten times the window, among others on the Trials of
studies/forecast_error. There it hardly moved with NEAR, EFFICIENCY and FAR, and grew with early readings of full
weight and without the slower tails. These comparisons are not on record.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lrpilot.core.codec import record

# The decays
TAILS = (0.1, 0.5, 2.0, math.inf)  # p
RATES = 40  # in a grid of rates, evenly spaced in their logarithm
SLOWEST = 1e-3  # rate that is a straight line for any purpose
# Prior density of log r: (SHORT_REACH + reach)^-POWER.
SHORT_REACH, POWER = 0.3, 2.0
MISFIT = 0.05  # error of the model itself, as a share of the fall: no training follows it exactly

# What counts, how much
EARLY = 0.05  # weight of the first reading, where that of the last is 1
NEAR = 0.5  # scatters within which a reading counts in full
FAR = 4.0  # scatters beyond which it is dropped
ROUNDS = 8  # of reweighting, at most
SETTLED = 1e-3  # change of the weights
EFFICIENCY = 0.3  # independent readings that one of full weight is worth, besides their correlation
MOST_CORRELATED = 0.8  # neighbouring errors
LEAST_READINGS = 4.0  # effective ones: with fewer there is no scatter to speak of

# The answer
LIKELY = 14.0  # decays whose log density is lower by so much are of no account
STEEP = 1.0  # difference of the log density between neighbours above which there are decays put in between
REFINEMENTS = 40  # at most
LOWER, UPPER = 0.05, 0.95  # quantiles of the interval
LEVELS = 39  # at which the error of each decay is looked at

# Rounding
EXACT = 1e-9  # scatter, as a share of the range of the losses, that is none
NO_SQUARES = 1e-28  # a sum of squares, beside that of the losses
NO_SPREAD = 1e-20  # variance of a decay over the readings
FINEST = 1e-13  # difference of log r


@record
class DecayFit:
    """A decay through a series, and its forecast; x counts from the first reading.

    Attributes:
        a: of the likeliest decay a·w(x) + c; < 0 where it rises.
        b: its initial rate per unit of x, < 0.
        c: the level that it goes to.
        tail: its p; inf is the exponential.
        value: median forecast; a rise is not continued beyond the last reading.
        lower: 5 % quantile of the mean loss at the horizon.
        upper: 95 % quantile; a rise is continued.
        dropped: positions of the readings that did not count, ascending.
    """

    a: float
    b: float
    c: float
    tail: float
    value: float
    lower: float
    upper: float
    dropped: tuple[int, ...]


def fit_decay(x: Any, y: Any, horizon: float) -> DecayFit:
    """Fit a decay.

    Args:
        x: n >= 30 places, ascending; only their differences matter.
        y: n finite losses, not all equal.
        horizon: place to forecast at, not before the last.
    """
    # Centred and scaled: the forecast moves with shift and scale of the losses, and with those of x.
    width, low, height = float(x[-1] - x[0]), float(np.min(y)), float(np.ptp(y))
    series = _Series((x - x[0]) / width, (y - low) / height, max(1.0, float(horizon - x[0]) / width))
    weights, readings = _weigh(series)
    decays = _fitted(series, weights, readings)
    masses = _masses(decays, readings)
    value = _median(decays, masses)
    lower, upper = _interval(decays, masses, readings)
    best, k = _likeliest(decays, readings)
    a, rate, c = best.parameters(k)
    return DecayFit(
        a=height * a,
        b=-rate / width,
        c=low + height * c,
        tail=best.tail,
        value=low + height * value,
        lower=low + height * min(lower, value),
        upper=low + height * max(upper, value),
        dropped=tuple(int(i) for i in np.flatnonzero(weights == 0)),
    )


# ------------------------------------------------------------------------ the decays


@dataclass(frozen=True)
class _Series:
    """Scaled readings: places u and losses v, n numbers each, and the horizon h."""

    u: Any
    v: Any
    h: float

    def shapes(self, tail: float, rates: Any) -> "_Shapes":
        """Of one tail, at m rates; from differences of logarithms, for the digits."""
        there = _log_decay(self.u[None, :], tail, rates[:, None])
        last, at_h = _log_decay(1.0, tail, rates), _log_decay(self.h, tail, rates)
        whole = np.expm1(last)
        g = np.exp(there) * np.expm1(last[:, None] - there) / whole[:, None]
        return _Shapes(tail, rates, g, np.exp(last) * np.expm1(at_h - last) / whole)

    @cached_property
    def coarse(self) -> "tuple[_Shapes, ...]":
        """Of every tail, at rates from one e-fold to the horizon to one from reading to reading."""
        rates = np.geomspace(max(SLOWEST, 1.0 / self.h), len(self.u), RATES)
        return tuple(self.shapes(tail, rates) for tail in TAILS)


@dataclass(frozen=True)
class _Shapes:
    """Decays before they are fitted: rates r, g at the readings (m x n), and the reach -g(h) of each."""

    tail: float
    rates: Any
    g: Any
    reach: Any


def _log_decay(u: Any, tail: float, rate: Any) -> Any:
    """The logarithm of w(u)."""
    return -rate * u if math.isinf(tail) else -tail * np.log1p(rate * u / tail)


class _Decays:
    """Decays of one tail at m rates, each fitted by weighted least squares.

    Attributes:
        end: fitted loss at the last reading, m numbers; so are the others.
        fall: from the first reading to the last.
        squares: weighted mean square of the residuals.
        mean: weighted mean of g.
        spread: weighted variance of g.
    """

    def __init__(self, shapes: _Shapes, v: Any, weights: Any) -> None:
        self.tail, self.rates, self.reach, self._g, self._v = shapes.tail, shapes.rates, shapes.reach, shapes.g, v
        w = weights / np.sum(weights)
        self.mean, level = self._g @ w, float(v @ w)
        centred, off = self._g - self.mean[:, None], v - level
        self.spread = centred**2 @ w
        # A decay that is over before the first reading that counts is a constant.
        flat = self.spread < NO_SPREAD
        self.fall = np.where(flat, 0.0, centred @ (w * off) / np.where(flat, 1.0, self.spread))
        self.end = level - self.fall * self.mean
        squares = (off - self.fall[:, None] * centred) ** 2 @ w
        self.squares = np.maximum(squares, NO_SQUARES * max(float(off**2 @ w), 1e-30))

    def log_density(self, readings: float) -> Any:
        """The marginal likelihood times the prior density of log r, of so many independent readings: m numbers."""
        return (
            -(readings - 2) / 2 * np.log(self.squares)
            - 0.5 * np.log1p(readings * self.spread)
            - POWER * np.log(SHORT_REACH + self.reach)
        )

    def residuals(self, k: int) -> Any:
        """Of decay k: n numbers."""
        return self._v - self.end[k] - self.fall[k] * self._g[k]

    def parameters(self, k: int) -> tuple[float, float, float]:
        """(a, r, c) of decay k."""
        last = float(_log_decay(1.0, self.tail, self.rates[k]))
        a = float(self.fall[k]) / -math.expm1(last)
        return a, float(self.rates[k]), float(self.end[k]) - a * math.exp(last)


def _fitted(series: _Series, weights: Any, readings: float) -> list[_Decays]:
    """The likely decays of every tail."""
    return [_refined(series, shapes, weights, readings) for shapes in series.coarse]


def _refined(series: _Series, shapes: _Shapes, weights: Any, readings: float) -> _Decays:
    """Of one tail: the grid of rates is made finer where decays are likely and neighbours are not alike."""
    for _ in range(REFINEMENTS):
        decays = _Decays(shapes, series.v, weights)
        density, logs = decays.log_density(readings), np.log(decays.rates)
        top, jump = int(np.argmax(density)), np.abs(np.diff(density))
        split = (np.maximum(density[1:], density[:-1]) > density[top] - LIKELY) & (jump > STEEP)
        # A sharp peak between two places that happen to be equally high is seen by what lies beside them.
        split[max(0, top - 1) : top + 1] |= np.max(jump[max(0, top - 2) : top + 2]) > STEEP / 2
        split &= np.diff(logs) > FINEST
        if not np.any(split):
            break
        between = (logs[:-1] + np.outer((0.25, 0.5, 0.75), np.diff(logs)))[:, split].ravel()
        shapes = series.shapes(shapes.tail, np.exp(np.sort(np.concatenate([logs, between]))))
    return decays


def _likeliest(decays: list[_Decays], readings: float) -> tuple[_Decays, int]:
    """The likeliest of all decays: its tail's, and its place among them."""
    best = max(decays, key=lambda some: float(np.max(some.log_density(readings))))
    return best, int(np.argmax(best.log_density(readings)))


# ----------------------------------------------------------------- what counts, how much


def _weigh(series: _Series) -> tuple[Any, float]:
    """Weights of the readings, n numbers of which those of dropped ones are 0, and how many they are worth."""
    position = EARLY + (1 - EARLY) * series.u
    weights, many = position, len(position)
    for _ in range(ROUNDS):
        best, k = _likeliest(_fitted(series, weights, many), many)
        residuals = best.residuals(k)
        scatter = 1.4826 * float(np.median(np.abs(residuals[many // 2 :]))) + EXACT
        off = np.abs(residuals) / scatter
        before, weights = weights, position * np.where(off > FAR, 0.0, NEAR / np.maximum(off, NEAR))
        if np.max(np.abs(weights - before)) < SETTLED:
            break
    worth = EFFICIENCY * float(np.sum(weights) ** 2 / np.sum(weights**2))
    correlation = _correlation(residuals, weights > 0)
    return weights, max(LEAST_READINGS, worth * (1 - correlation) / (1 + correlation))


def _correlation(residuals: Any, kept: Any) -> float:
    """Of neighbouring residuals that both count; none is less than 0."""
    pairs = kept[1:] & kept[:-1]
    left, right = residuals[:-1][pairs], residuals[1:][pairs]
    correlation = float(left @ right / max(float(left @ left + right @ right) / 2, 1e-300))
    return min(max(correlation, 0.0), MOST_CORRELATED)


# --------------------------------------------------------------------------- the answer


def _masses(decays: list[_Decays], readings: float) -> Any:
    """Of all decays, relative to each other."""
    densities = [some.log_density(readings) for some in decays]
    top = max(float(np.max(density)) for density in densities)
    # Each place stands for the log rates up to half way to its neighbours.
    widths = [np.gradient(np.log(some.rates)) for some in decays]
    return np.concatenate([np.exp(density - top) * width for density, width in zip(densities, widths, strict=True)])


def _median(decays: list[_Decays], masses: Any) -> float:
    """Median forecast over all decays; one that rises stays where it is at the last reading."""
    values = [some.end - np.maximum(some.fall, 0.0) * some.reach for some in decays]
    return _quantile(np.concatenate(values), masses, 0.5)


def _interval(decays: list[_Decays], masses: Any, readings: float) -> tuple[float, float]:
    """Quantiles of the mean loss at the horizon, over all decays and the errors of each."""
    from scipy.special import stdtrit

    freedom, values = readings - 2, []
    steps = stdtrit(freedom, (np.arange(LEVELS) + 0.5) / LEVELS)  # quantiles of Student's t
    for some in decays:
        leverage = np.where(some.fall == 0, 0.0, (some.reach + some.mean) ** 2 / np.maximum(some.spread, NO_SPREAD))
        error = np.sqrt(some.squares / freedom * (1.0 + leverage) + (MISFIT * some.fall) ** 2)
        values.append((some.end - some.fall * some.reach)[:, None] + error[:, None] * steps)
    places, masses = np.concatenate(values).ravel(), np.repeat(masses, LEVELS)
    return _quantile(places, masses, LOWER), _quantile(places, masses, UPPER)


def _quantile(values: Any, masses: Any, share: float) -> float:
    """The value up to which so much of the mass lies; half of each mass lies on either side of its value."""
    order = np.argsort(values, kind="stable")
    values, masses = values[order], masses[order]
    return float(np.interp(share * np.sum(masses), np.cumsum(masses) - masses / 2, values))
