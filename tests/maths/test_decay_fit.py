"""The default forecast: against plain loops, its symmetries, what it must not be moved by, and its interval."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrpilot.maths import decay_fit as module
from lrpilot.maths.decay_fit import DecayFit, fit_decay

SEEDS = st.integers(0, 10_000)


def scatter(kind: str, rng: np.random.Generator, n: int) -> Any:
    if kind == "heavy":
        return rng.standard_t(3, size=n)
    e = rng.standard_normal(n)
    for i in range(1, n if kind == "correlated" else 1):
        e[i] += 0.5 * e[i - 1]
    return e


def series(seed: int, *, n: int = 100, noise: float = 0.1, rate: float = 3.0, kind: str = "independent") -> Any:
    """exp(-rate·x/n) + 1 and noise."""
    return 1 + np.exp(-rate * np.arange(n) / n) + noise * scatter(kind, np.random.default_rng(seed), n)


def fitted(y: Any, times: float = 10.0) -> DecayFit:
    return fit_decay(np.arange(len(y), dtype=float), np.asarray(y), times * len(y))


# ------------------------------------------------------------ the slow twin

GRID = 160  # rates of each tail


def w(u: float, rate: float, tail: float) -> float:
    return math.exp(-rate * u) if tail == math.inf else (1 + rate * u / tail) ** -tail


def slow_fits(y: Any, weights: Any, horizon: float) -> list[dict[str, Any]]:
    """Every decay of a fine grid, fitted one by one."""
    n = len(y)
    h, share, fits = horizon / (n - 1), weights / weights.sum(), []
    for tail in module.TAILS:
        for rate in np.geomspace(1 / h, n, GRID):
            first, last = w(0, rate, tail), w(1, rate, tail)
            g = np.array([(w(i / (n - 1), rate, tail) - last) / (first - last) for i in range(n)])
            reach = -(w(h, rate, tail) - last) / (first - last)
            design = np.stack([np.ones(n), g], axis=1)
            root = np.sqrt(share)
            end, fall = np.linalg.lstsq(design * root[:, None], y * root, rcond=None)[0]
            residuals = y - end - fall * g
            mean = share @ g
            fits.append({"end": end, "fall": fall, "reach": reach, "residuals": residuals, "mean": mean,
                         "squares": share @ residuals**2, "spread": share @ (g - mean) ** 2})  # fmt: skip
    return fits


def log_density(fit: dict[str, Any], readings: float) -> float:
    likelihood = -(readings - 2) / 2 * math.log(fit["squares"]) - 0.5 * math.log1p(readings * fit["spread"])
    return likelihood - module.POWER * math.log(module.SHORT_REACH + fit["reach"])


def slow_weights(y: Any, horizon: float) -> tuple[Any, float]:
    """The reweighting, reading by reading."""
    n = len(y)
    position = [module.EARLY + (1 - module.EARLY) * i / (n - 1) for i in range(n)]
    weights = np.array(position)
    for _ in range(module.ROUNDS):
        residuals = max(slow_fits(y, weights, horizon), key=lambda fit: log_density(fit, n))["residuals"]
        scatter = 1.4826 * float(np.median(np.abs(residuals[n // 2 :])))
        off = [abs(r) / scatter for r in residuals]
        weights = np.array([p if o < module.NEAR else 0.0 if o > module.FAR else p * module.NEAR / o
                            for p, o in zip(position, off, strict=True)])  # fmt: skip
    both = [(a, b) for a, b, v, z in zip(residuals, residuals[1:], weights, weights[1:], strict=False) if v and z]
    correlation = sum(a * b for a, b in both) / (sum(a * a + b * b for a, b in both) / 2)
    correlation = min(max(correlation, 0.0), module.MOST_CORRELATED)
    worth = module.EFFICIENCY * weights.sum() ** 2 / (weights**2).sum()
    return weights, max(module.LEAST_READINGS, worth * (1 - correlation) / (1 + correlation))


def slow_fit(y: Any, horizon: float) -> tuple[float, float, float]:
    """Median and interval; the quantiles of the mixture by drawing from it."""
    weights, readings = slow_weights(y, horizon)
    fits = slow_fits(y, weights, horizon)
    logs = np.array([log_density(fit, readings) for fit in fits])
    chances, rng = np.exp(logs - logs.max()), np.random.default_rng(0)
    drawn = [fits[k] for k in rng.choice(len(fits), size=20_000, p=chances / chances.sum())]
    value = float(np.median([f["end"] - max(f["fall"], 0.0) * f["reach"] for f in drawn]))
    errors = rng.standard_t(readings - 2, size=20_000)
    doubts = [
        f["end"] - f["fall"] * f["reach"]
        + error * math.sqrt(f["squares"] / (readings - 2) * (1 + (f["reach"] + f["mean"]) ** 2 / f["spread"])
                            + (module.MISFIT * f["fall"]) ** 2)
        for f, error in zip(drawn, errors, strict=True)
    ]  # fmt: skip
    return value, float(np.quantile(doubts, 0.05)), float(np.quantile(doubts, 0.95))


@pytest.mark.parametrize(
    ("seed", "n", "rate", "noise", "kind"),
    [(0, 60, 3.0, 0.1, "independent"), (1, 60, 2.0, 0.1, "correlated"), (2, 50, 10.0, 0.003, "independent")],
)
def test_it_is_the_slow_one(seed: int, n: int, rate: float, noise: float, kind: str) -> None:
    y = series(seed, n=n, rate=rate, noise=noise, kind=kind)
    y[5] += 3.0
    fit, (value, lower, upper) = fitted(y), slow_fit(y, 10.0 * n)
    width = upper - lower
    assert fit.value == pytest.approx(value, abs=0.03 * width)
    assert (fit.lower, fit.upper) == pytest.approx((lower, upper), abs=0.1 * width)
    assert 5 in fit.dropped


# ------------------------------------------------------------------- exact


def test_a_decay_by_hand() -> None:
    # Half lives of 10 readings: 4 of them until reading 40, where 2·2^-4 = 1/8 is left.
    fit = fit_decay(np.arange(31.0), 3 + 2 * 0.5 ** (np.arange(31) / 10), 40.0)
    assert fit.value == pytest.approx(3.125, rel=1e-9)
    assert (fit.a, fit.b, fit.c, fit.tail) == pytest.approx((2, -math.log(2) / 10, 3, math.inf), rel=1e-6)


def test_a_slow_tail_by_hand() -> None:
    # 1 + 1/√(1 + x): at 99 a tenth is left of what decays.
    x = np.arange(50.0)
    fit = fit_decay(x, 1 + 1 / np.sqrt(1 + x), 99.0)
    assert fit.value == pytest.approx(1.1, rel=1e-9)
    assert (fit.a, fit.b, fit.c, fit.tail) == pytest.approx((1, -0.5, 1, 0.5), rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(30, 150),
    constant=st.floats(0.02, 9.0),
    a=st.floats(1e-6, 1e6),
    level=st.floats(-3.0, 3.0),
)
def test_noiseless_exponentials_are_continued(n: int, constant: float, a: float, level: float) -> None:
    x = np.arange(n, dtype=float)
    fit = fit_decay(x, a * (level + np.exp(-x / (constant * n))), 10.0 * n)
    end = level + math.exp(-10 / constant)
    assert fit.value / a == pytest.approx(end, rel=1e-6, abs=1e-6)
    assert fit.lower <= fit.value <= fit.upper


# -------------------------------------------------------------- symmetries


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.floats(-12, 12), st.floats(-100, 100), st.floats(-6, 6))
def test_it_moves_with_loss_and_time(seed: int, decades: float, shift: float, time: float) -> None:
    y, scale, unit = series(seed), 10.0**decades, 10.0**time
    x = np.arange(len(y), dtype=float)
    fit = fit_decay(x, y, 1000.0)
    moved = fit_decay(unit * (x + 7), scale * (y + shift), unit * 1007)
    for name in ("value", "lower", "upper"):
        assert getattr(moved, name) / scale - shift == pytest.approx(getattr(fit, name), abs=1e-6)
    assert moved.dropped == fit.dropped
    assert (moved.a / scale, moved.b * unit) == pytest.approx((fit.a, fit.b), rel=1e-5)


@settings(max_examples=12, deadline=None)
@given(SEEDS)
def test_places_need_not_be_even(seed: int) -> None:
    y = series(seed, n=200, noise=0.02)
    kept = np.sort(np.random.default_rng(seed).choice(200, size=150, replace=False))
    some, whole = fit_decay(kept.astype(float), y[kept], 2000.0), fitted(y)
    assert some.value == pytest.approx(whole.value, abs=0.15)


# ------------------------------------------------------------------ robust


@settings(max_examples=12, deadline=None)
@given(SEEDS, st.floats(3, 1e9), st.integers(0, 69))
def test_outliers_hardly_move_it(seed: int, size: float, first: int) -> None:
    y = series(seed, noise=0.05)
    spiked = y.copy()
    spiked[[first, first + 13, first + 30]] += size
    fit, with_spikes = fitted(y), fitted(spiked)
    assert {first, first + 13, first + 30} <= set(with_spikes.dropped)
    # They take what three good readings said with them: that moves it, well inside of its interval.
    assert with_spikes.value == pytest.approx(fit.value, abs=0.5 * (fit.upper - fit.lower))


def test_an_overshoot_at_the_start_is_not_the_decay() -> None:
    y = series(0, noise=0.02)
    plain = fitted(y)
    y[:8] = 1e4 * 0.3 ** np.arange(8)
    fit = fitted(y)
    assert fit.dropped == tuple(range(8))
    assert fit.value == pytest.approx(plain.value, abs=0.1)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(-1e3, 1e3))
def test_noise_is_no_fall(seed: int, level: float) -> None:
    y = level + np.random.default_rng(seed).standard_normal(100)
    assert fitted(y).value == pytest.approx(level, abs=1.5)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.floats(0.5, 5.0))
def test_a_rise_is_not_extrapolated_by_the_value_but_by_the_interval(seed: int, slope: float) -> None:
    y = slope * np.arange(100) / 100 + 0.1 * np.random.default_rng(seed).standard_normal(100)
    fit = fitted(y)
    assume(fit.a < 0)
    assert fit.value == pytest.approx(slope, abs=0.3) and fit.upper > slope + 0.3


# ---------------------------------------------------------------- interval


@pytest.mark.parametrize("kind", ["independent", "heavy", "correlated"])
def test_the_interval_covers_nine_of_ten_decays(kind: str) -> None:
    """Time constants from a tenth of the window to two windows, noise from a hundredth to half of the fall."""
    rng, inside, many = np.random.default_rng(1), 0, 120
    for _ in range(many):
        constant, spread = 100 * 10 ** rng.uniform(-1, 0.3), 10 ** rng.uniform(-2, -0.3)
        fit = fitted(np.exp(-np.arange(100) / constant) + spread * scatter(kind, rng, 100))
        inside += fit.lower <= math.exp(-1000 / constant) <= fit.upper
    assert inside >= 0.9 * many


def test_the_interval_knows_how_much_was_seen() -> None:
    widths = [np.median([fitted(series(s, noise=sd)).upper - fitted(series(s, noise=sd)).lower for s in range(5)])
              for sd in (0.01, 0.1, 0.4)]  # fmt: skip
    assert widths[0] < widths[1] < widths[2]
