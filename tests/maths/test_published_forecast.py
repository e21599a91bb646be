"""The published forecast: against plain loops, a number by hand, and what is odd about it."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.interpolate import UnivariateSpline

from lrpilot.maths import published_forecast as module
from lrpilot.maths.published_forecast import fit_published


def decay(seed: int, *, n: int = 100, noise: float = 0.05, scale: float = 1.0) -> Any:
    """2·exp(-3x/n) + 1 and noise, with a few outliers."""
    rng = np.random.default_rng(seed)
    y = 2 * np.exp(-3 * np.arange(n) / n) + 1 + noise * rng.standard_normal(n)
    y[rng.integers(n, size=3)] += 1.0
    return scale * y


# ------------------------------------------------------------ the slow twin


def slow_outliers(y: Any, *, training: bool) -> set[int]:
    """Positions dropped: lists, sorting and scipy's own spline class."""
    left = list(range(len(y)))
    half = (len(y) - 1) // 2
    for _ in range(10 if training else 1):
        spline = UnivariateSpline(left, [y[i] for i in left], k=2)
        ranked = sorted(range(len(left)), key=lambda place: abs(y[left[place]] - float(spline(left[place]))))
        many = round(0.03 * len(left)) if training else 1
        out = {place for place in (ranked[-many:] if many else []) if place < half}
        left = [i for place, i in enumerate(left) if place not in out]
    return set(range(len(y))) - set(left)


def slow_value(y: Any, horizon: float, dropped: set[int]) -> float:
    """The best exponential through the smoothed series, from a fine grid of rates."""
    left = [i for i in range(len(y)) if i not in dropped]
    x = np.arange(len(y))
    smooth = UnivariateSpline(left, [y[i] for i in left], k=2)(x)
    best = (math.inf, math.nan)
    for rate in np.geomspace(1e-3, 1.0, 4000):
        design = np.stack([np.exp(-rate * x), np.ones(len(y))], axis=1)
        (a, c), (squares,), *_ = np.linalg.lstsq(design, smooth, rcond=None)
        best = min(best, (squares, a * math.exp(-rate * horizon) + c))
    return best[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("seed", "n", "scale"), [(4, 150, 1.0), (6, 150, 1.0), (1, 64, 10.0), (2, 100, 1000.0), (3, 100, 0.01)]
)
def test_it_is_the_slow_one(seed: int, n: int, scale: float, training: bool) -> None:
    y = decay(seed, n=n, scale=scale)
    fit = fit_published(y, 10.0 * len(y), training=training)
    assert fit is not None
    assert set(fit.dropped) == slow_outliers(y, training=training)
    assert fit.value == pytest.approx(slow_value(y, 10.0 * len(y), set(fit.dropped)), rel=2e-3)


# ----------------------------------------------------------- numbers by hand


def test_a_decay_by_hand() -> None:
    # Half lives of 5 readings: 6 of them until reading 30, where 2·2^-6 = 1/32 is left. In units so small that the
    # smoothing, a mean square residual of 1, does nothing.
    y = 1e6 * (3 + 2 * 0.5 ** (np.arange(25) / 5))
    fit = fit_published(y, 30, training=False)
    assert fit is not None
    assert fit.value == pytest.approx(1e6 * (3 + 1 / 32), rel=1e-4)
    assert fit.b == pytest.approx(-math.log(2) / 5, rel=1e-3)
    assert (fit.a, fit.c) == pytest.approx((2e6, 3e6), rel=1e-3)


def test_outliers_are_dropped_in_the_first_half_alone() -> None:
    y = decay(0, noise=0.01, scale=1e3)
    spiked = y.copy()
    spiked[[10, 30, 80]] += 1e4
    fit = fit_published(spiked, 1000, training=True)
    assert fit is not None
    assert {10, 30} <= set(fit.dropped) and max(fit.dropped) < 60 and 80 not in fit.dropped
    # 3 % of 100 readings, ten times over, and fewer where some of the farthest lie in the second half
    assert len(fit.dropped) <= 30
    y = 1 + np.exp(-np.arange(100) / 30)
    y[30] += 10
    single = fit_published(y, 1000, training=False)
    assert single is not None and single.dropped == (30,)


# ------------------------------------------------------------ what is odd about it


def test_it_depends_on_the_unit_of_the_loss() -> None:
    small, large = (fit_published(decay(1, scale=scale), 1000, training=True) for scale in (1.0, 100.0))
    assert small is not None and large is not None
    assert abs(large.value / 100 / small.value - 1) > 0.01


def test_a_straight_fall_goes_on() -> None:
    y = 10 - 0.01 * np.arange(100)
    fit = fit_published(y, 1000, training=False)
    assert fit is not None and fit.b < 0
    assert fit.value == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("many", range(1, 17))
def test_short_series_are_taken_as_long_as_a_spline_goes_through(many: int) -> None:
    y = decay(2, n=16)[:many]
    assert (fit_published(y, 160, training=True) is None) == (many < 3)


@pytest.mark.parametrize("scale", [1e9, 1e11, 1e13, 1e38, 1e90])
def test_huge_losses_are_no_trouble_to_scipy(scale: float) -> None:
    # With the published smoothing the step at 2.7e38 ended the process.
    step = scale * np.where(np.arange(30) < 15, 2.730318939524379, 0.5460637879048758)
    fit = fit_published(step, 300, training=False)
    assert fit is not None and abs(fit.value / scale) < 100, "a straight line"


def test_interpolation_is_what_the_smoothing_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.arange(100.0), decay(2, scale=1e9)
    smoothed = module._spline(x, y)(x)
    monkeypatch.setattr(module, "HUGE", 1.0)
    assert module._spline(x, y)(x) == pytest.approx(smoothed, rel=1e-8)
