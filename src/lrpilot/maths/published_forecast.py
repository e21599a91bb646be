"""The forecast of AutoLRS as published: an exponential through a smoothed series of losses.

Notation: x = 0, 1, ... counts readings, n of them; y is the loss. The model is y(x) = a·exp(b·x) + c with b < 0,
and β = log(−b) is what is searched.

Steps, each as the authors' public code takes it:

1. A quadratic smoothing spline with scipy's default smoothing: the sum of the squared residuals may reach n. That is
   in units of the loss, so the forecast is not free of scale.
2. The readings farthest from the spline are dropped, but only among the first half: of training losses 3 %, ten times
   over; of validation losses one, once. Positions are counted among the readings that are left, while the half stays
   where it was.
3. A spline through the rest, read at every x, and the exponential fitted to that by least squares: Nelder-Mead over β
   from 0 with the tolerances 1e-5, a and c linear.

Where b comes to lie so near zero that the exponential cannot be told from a constant, that trial of β counts as worse
than all others, as it does in the authors' code under the versions that its requirements name (under a recent numpy
it raises there). The fit is then a straight line, and so is the forecast.

Source: "AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly", and its authors' public code.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lrpilot.core.codec import record

LEAST = 3  # readings that a quadratic spline, and an exponential after it, can be put through
DEGREE = 2
ROUNDS = 10  # in which outliers of a training series are dropped
SHARE = 0.03  # of the readings, dropped in each
TOLERANCE = 1e-5  # of β, and of the sum of squares
HUGE = 1e10  # a residual of 1 is nothing beside such a loss


@record
class PublishedFit:
    """The exponential as published.

    Attributes:
        a: amplitude at x = 0, in units of the loss.
        b: rate per reading, < 0.
        c: level that is decayed to.
        value: of the exponential at the horizon; it may be far outside the losses, and may be inf or NaN.
        dropped: positions of the readings that did not count, ascending.
    """

    a: float
    b: float
    c: float
    value: float
    dropped: tuple[int, ...]


def fit_published(y: Any, horizon: float, *, training: bool) -> PublishedFit | None:
    """The published forecast of a series.

    Args:
        y: n >= 3 finite losses of moderate size (their squares must not overflow). The caller lets numpy ignore that
            far tails underflow.
        horizon: x to forecast at.
        training: whether these are training losses; validation losses have fewer outliers.

    Returns:
        None where fewer than three readings are left; a value of NaN where no least squares could be solved.
    """
    x = np.arange(len(y), dtype=np.float64)
    kept = _without_outliers(x, y, rounds=ROUNDS if training else 1, share=SHARE if training else None)
    if len(kept) < LEAST:
        return None
    dropped = tuple(int(i) for i in np.setdiff1d(np.arange(len(y)), kept))
    smooth = _spline(x[kept], y[kept])(x)
    try:
        b = -math.exp(_search(x, smooth))
        a, c = map(float, np.linalg.lstsq(_design(b, x), smooth, rcond=None)[0])
    except (np.linalg.LinAlgError, OverflowError):
        return PublishedFit(math.nan, math.nan, math.nan, math.nan, dropped)
    return PublishedFit(a, b, c, a * math.exp(b * horizon) + c, dropped)


def _without_outliers(x: Any, y: Any, *, rounds: int, share: float | None) -> Any:
    """Positions of the readings that count; ``share`` None drops a single one a round."""
    kept = np.arange(len(y))
    half = (len(y) - 1) // 2
    for _ in range(rounds):
        if len(kept) < LEAST:
            break
        many = 1 if share is None else round(share * len(kept))
        off = np.abs(y[kept] - _spline(x[kept], y[kept])(x[kept]))
        farthest = np.argsort(off, kind="stable")[len(kept) - many :]
        kept = np.delete(kept, farthest[farthest < half])
    return kept


def _spline(x: Any, y: Any) -> Callable[[Any], Any]:
    """The smoothing spline; it says nothing where its smoothing was not reached to the last digit."""
    from scipy.interpolate import splev, splrep

    # Of huge losses rounding alone leaves more than the smoothing allows. scipy would add knots for ever, and read
    # beyond its arrays: it ended the process. The spline through all readings is what it should have come to.
    smoothing = len(x) if np.max(np.abs(y)) < HUGE else 0
    knots, *_ = splrep(x, y, k=DEGREE, s=smoothing, full_output=1, quiet=1)
    return lambda at: splev(at, knots)


def _search(x: Any, y: Any) -> float:
    """The β of the smallest sum of squares that Nelder-Mead comes to."""
    from scipy.optimize import fmin

    found = fmin(_sum_of_squares, 0.0, args=(x, y), xtol=TOLERANCE, ftol=TOLERANCE, disp=False)
    return float(found[0])


def _sum_of_squares(beta: Any, x: Any, y: Any) -> float:
    """With the best a and c; inf where they cannot be told apart."""
    design = _design(-np.exp(beta), x)
    if not np.all(np.isfinite(design)):
        return math.inf
    _, squares, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    return float(squares[0]) if rank == 2 and len(squares) else math.inf


def _design(b: Any, x: Any) -> Any:
    return np.stack([np.exp(b * x), np.ones_like(x)], axis=1)
