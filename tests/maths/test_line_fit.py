"""Parabolas along a Line: against numbers by hand, a slow fit, the analytic minimiser, and their own error bars."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot.maths.line_fit import LARGEST, LineFit, fit_line, is_usable, t_quantile, usable_factors

THREE = (0.5, 1.0, 1.5)
FIVE = (0.5, 0.75, 1.0, 1.25, 1.5)
Rows = list[list[float]]


def parabolas(factors: Sequence[float], coefficients: Sequence[tuple[float, float, float]]) -> Rows:
    """One row per batch, from its (k0, k1, k2)."""
    return [[k0 + k1 * (s - 1) + k2 * (s - 1) ** 2 for s in factors] for k0, k1, k2 in coefficients]


def noisy(seed: int, *, batches: int, factors: Sequence[float] = THREE, noise: float = 0.3) -> Rows:
    """Batches scattered about k0 = 2, k1 = -1, k2 = 0.5, whose minimiser is 2."""
    rng = np.random.default_rng(seed)
    scatter = noise * rng.standard_normal((batches, 3)) * (3.0, 1.0, 0.5)
    return parabolas(factors, [(2 + a, -1 + b, 0.5 + c) for a, b, c in scatter.tolist()])


# ------------------------------------------------------------ the slow twin


def slow_fit(factors: Sequence[float], losses: Rows) -> dict[str, float]:
    """polyfit batch by batch, and a jackknife that leaves out one batch after the other and fits again."""
    x = np.array(factors) - 1.0

    def estimates(rows: Rows) -> np.ndarray:
        k2, k1, _ = np.mean([np.polyfit(x, row, 2) for row in rows], axis=0)
        return np.array([k1, k2, 1 - k1 / (2 * k2)])

    n, whole = len(losses), estimates(losses)
    without = np.array([estimates(losses[:i] + losses[i + 1 :]) for i in range(n)])
    errors = np.sqrt((n - 1) / n * np.sum((without - without.mean(axis=0)) ** 2, axis=0))
    names = ("slope", "curvature", "minimiser")
    return dict(zip(names, whole, strict=True)) | {
        f"{name}_error": error for name, error in zip(names, errors, strict=True)
    }


@pytest.mark.parametrize("factors", [THREE, FIVE, (0.0, 1.0, 3.0), (1.5, 0.25, 1.0, 0.5)])
@pytest.mark.parametrize("batches", [2, 3, 7, 40])
def test_it_is_the_slow_fit(factors: tuple[float, ...], batches: int) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = (np.array(noisy(seed, batches=batches, factors=factors, noise=0.05))).tolist()
        rows = [[loss + 0.01 * e for loss, e in zip(row, rng.standard_normal(len(row)), strict=True)] for row in rows]
        fit, slow = fit_line(factors, rows), slow_fit(factors, rows)
        assert fit.batches == batches
        for name, value in slow.items():
            assert getattr(fit, name) == pytest.approx(value, rel=1e-7), name


# ----------------------------------------------------------- numbers by hand


def test_one_batch_by_hand() -> None:
    # 3 + 2x + 4x² at x = -1/2, 0, 1/2 is 3, 3, 5; the minimum is at x = -1/4
    fit = fit_line(THREE, [[3.0, 3.0, 5.0]])
    assert (fit.level, fit.slope, fit.curvature) == pytest.approx((3.0, 2.0, 4.0))
    assert fit.minimiser == pytest.approx(0.75)
    assert fit.change(0.75) == pytest.approx(-0.25) and fit.change(1.0) == 0.0
    assert fit.slope_error == fit.curvature_error == fit.minimiser_error == math.inf, "one batch says nothing of noise"
    assert fit.interval(0.1, 3.0, 0.95) == (0.1, 3.0)


def test_two_batches_by_hand() -> None:
    # k1 = -1 and -3 with k2 = 1: mean -2, minimiser 1 + 1 = 2. Left alone they say 2.5 and 1.5.
    fit = fit_line(THREE, parabolas(THREE, [(7.0, -1.0, 1.0), (0.0, -3.0, 1.0)]))
    assert (fit.slope, fit.curvature, fit.minimiser) == pytest.approx((-2.0, 1.0, 2.0))
    assert fit.slope_error == pytest.approx(1.0)  # √2 / √2
    assert fit.curvature_error == pytest.approx(0.0, abs=1e-12)
    assert fit.minimiser_error == pytest.approx(0.5)  # √(1/2 · (1/4 + 1/4))
    # The slope at s is -2 + 2 (s - 1) ± t; with one degree of freedom the 50 % quantile pair is ±1.
    assert t_quantile(0.75, 1) == pytest.approx(1.0)
    assert fit.interval(-5.0, 5.0, 0.5) == pytest.approx((1.5, 2.5))


def test_least_squares_by_hand() -> None:
    # The fourth difference (1, -4, 6, -4, 1) is orthogonal to every parabola on five even places.
    rows = [[k + 0.01 * e for k, e in zip(parabolas(FIVE, [(1.0, -1.0, 2.0)])[0], (1, -4, 6, -4, 1), strict=True)]]
    fit = fit_line(FIVE, rows)
    assert (fit.level, fit.slope, fit.curvature) == pytest.approx((1.0, -1.0, 2.0))


def test_a_prediction_error_by_hand() -> None:
    fit = fit_line(THREE, parabolas(THREE, [(0.0, -2.0, 1.0)]))  # minimiser 2, gain 1, terms 2 and 1
    assert fit.prediction_error(2.0, -1.0) == pytest.approx(0.0, abs=1e-12)
    assert fit.prediction_error(2.0, -0.4) == pytest.approx(0.2)
    assert fit.prediction_error(3.0, 0.8) == pytest.approx(0.1), "at 3 the change is 0, its terms are 4 and 4"
    assert fit.prediction_error(2.0, math.inf) == fit.prediction_error(2.0, math.nan) == math.inf
    still = fit_line(THREE, [[1.0, 1.0, 1.0]])
    assert still.prediction_error(2.0, 0.0) == 0.0 and still.prediction_error(2.0, 0.1) == math.inf


# -------------------------------------------------------------------- exact


def directions(rng: np.random.Generator, hessian: np.ndarray, weights: np.ndarray, kind: str) -> np.ndarray:
    """What the optimizer would step along after a few gradients, per unit lr."""
    gradients = [hessian * (weights + 0.1 * rng.standard_normal(len(weights))) for _ in range(5)]
    gradients.append(hessian * weights)
    if kind == "sgd":
        return gradients[-1]
    if kind == "momentum":
        return np.sum([0.9 ** (5 - i) * g for i, g in enumerate(gradients)], axis=0)
    mean = np.sum([0.1 * 0.9 ** (5 - i) * g for i, g in enumerate(gradients)], axis=0) / (1 - 0.9**6)
    square = np.sum([0.001 * 0.999 ** (5 - i) * g * g for i, g in enumerate(gradients)], axis=0) / (1 - 0.999**6)
    return mean / (np.sqrt(square) + 1e-8) + (0.01 * weights if kind == "adamw" else 0.0)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adam", "adamw"])
@pytest.mark.parametrize("factors", [THREE, FIVE])
def test_on_a_convex_quadratic_it_is_the_analytic_minimiser(kind: str, factors: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(250):
        size, condition = int(rng.integers(2, 40)), 10 ** rng.uniform(0, 6)
        hessian = condition ** -rng.uniform(0, 1, size)
        hessian[0], hessian[-1] = 1.0, 1 / condition
        weights = rng.standard_normal(size)
        along = directions(rng, hessian, weights, kind)
        best_lr = float(weights @ (hessian * along) / (along @ (hessian * along)))
        lr = abs(best_lr) * 10 ** rng.uniform(-2, 2)
        losses = [0.5 * float(np.sum(hessian * (weights - s * lr * along) ** 2)) for s in factors]
        assert fit_line(factors, [losses]).minimiser == pytest.approx(best_lr / lr, rel=1e-6)


def coverage(trials: int, batches: int, noise: float, *, factors: tuple[float, ...] = THREE) -> tuple[float, float]:
    """Share of Lines in float32 whose minimiser 2 lies within its 95 % error bar, and within the interval."""
    margin, inside, between = t_quantile(0.975, batches - 1), 0, 0
    for seed in range(trials):
        rows = np.array(noisy(seed, batches=batches, noise=noise, factors=factors), dtype=np.float32)
        fit = fit_line(factors, rows.tolist())
        low, high = fit.interval(-1e3, 1e3, 0.95)
        inside += fit.minimiser is not None and abs(fit.minimiser - 2.0) <= margin * fit.minimiser_error
        between += low <= 2.0 <= high
    return inside / trials, between / trials


@pytest.mark.parametrize(("batches", "noise"), [(4, 0.1), (4, 0.5), (8, 0.3), (16, 0.5), (8, 1e-6)])
def test_errors_cover_in_float32(batches: int, noise: float) -> None:
    by_error, by_interval = coverage(1000, batches, noise)
    # 95 % of 1,000: the standard error of the share is 0.7 %
    assert by_error >= 0.93
    assert by_interval >= 0.93
    assert by_interval <= 0.995, "not by being useless"


def test_errors_are_the_scatter() -> None:
    fits = [fit_line(THREE, noisy(seed, batches=12, noise=0.1)) for seed in range(600)]
    for name in ("slope", "curvature", "minimiser"):
        scatter = np.std([getattr(fit, name) for fit in fits])
        assert np.mean([getattr(fit, f"{name}_error") for fit in fits]) == pytest.approx(scatter, rel=0.12), name


# --------------------------------------------------------------- symmetries


@given(st.integers(0, 10_000), st.floats(-6, 6), st.floats(-100, 100), st.permutations(range(5)))
def test_scale_and_shift_of_the_loss_and_order_mean_nothing(
    seed: int, log_scale: float, shift: float, order: list[int]
) -> None:
    rows = noisy(seed, batches=6, factors=FIVE, noise=0.1)
    before = fit_line(FIVE, rows)
    scale = 10**log_scale
    # Every batch may be shifted by an amount of its own: that is what pairing means.
    moved = [[scale * (row[i] + shift * b) for i in order] for b, row in enumerate(rows)]
    after = fit_line([FIVE[i] for i in order], moved[::-1])
    assert before.minimiser is not None and after.minimiser is not None
    assert after.minimiser == pytest.approx(before.minimiser, rel=1e-5)
    assert after.slope == pytest.approx(scale * before.slope, rel=1e-5)
    assert after.interval(-9, 9, 0.9) == pytest.approx(before.interval(-9, 9, 0.9), rel=1e-5, abs=1e-5)


@given(st.integers(0, 10_000), st.floats(0.2, 5.0))
def test_the_lr_that_is_wanted_does_not_depend_on_the_lr_of_the_step(seed: int, ratio: float) -> None:
    # The same losses along the same direction, read from a step `ratio` times as long: s* · η stays.
    rng = np.random.default_rng(seed)
    k1, k2 = -1 + 0.1 * rng.standard_normal(5), 1 + 0.1 * rng.standard_normal(5)

    def rows(step: float) -> Rows:
        return [[a * s * step + b * (s * step) ** 2 for s in FIVE] for a, b in zip(k1, k2, strict=True)]

    one, other = fit_line(FIVE, rows(1.0)), fit_line(FIVE, rows(ratio))
    assert one.minimiser is not None and other.minimiser is not None
    assert other.minimiser * ratio == pytest.approx(one.minimiser, rel=1e-6)
    assert other.minimiser_error * ratio == pytest.approx(one.minimiser_error, rel=1e-5)


@given(st.integers(0, 10_000), st.integers(2, 9), st.floats(0.5, 0.99))
def test_an_interval_is_where_the_slope_may_be_zero(seed: int, batches: int, confidence: float) -> None:
    rows = noisy(seed, batches=batches, noise=0.5)
    fit = fit_line(THREE, rows)
    low, high = fit.interval(-4.0, 4.0, confidence)
    assert -4.0 <= low <= high <= 4.0
    margin = t_quantile(0.5 + confidence / 2, batches - 1)
    k2, k1, _ = np.polyfit(np.array(THREE) - 1, np.array(rows).T, 2)
    for s in np.linspace(-4.0, 4.0, 33):
        slopes = k1 + 2 * k2 * (s - 1)
        certain = abs(slopes.mean()) - margin * slopes.std(ddof=1) / math.sqrt(batches)
        # Inside, a parabola that opens downwards may be certain in the middle, and has no minimum there.
        if s < low - 1e-6:
            assert certain > 0 and slopes.mean() < 0
        if s > high + 1e-6:
            assert certain > 0 and slopes.mean() > 0
    for end in {low, high} - {-4.0, 4.0}:
        slopes = k1 + 2 * k2 * (end - 1)
        assert abs(slopes.mean()) == pytest.approx(margin * slopes.std(ddof=1) / math.sqrt(batches), rel=1e-6)


# ---------------------------------------------------------------- bad lines


def test_far_from_the_minimum_only_the_direction_is_certain() -> None:
    # k2 is pure noise: s* has any sign, but the loss falls all the way to 3.
    rows = parabolas(THREE, [(1.0, -1.0, c) for c in (0.05, -0.06, 0.03, -0.04)])
    fit = fit_line(THREE, rows)
    assert fit.interval(0.1, 3.0, 0.95) == (3.0, 3.0)
    mirrored = fit_line(THREE, parabolas(THREE, [(1.0, 1.0, c) for c in (0.05, -0.06, 0.03, -0.04)]))
    assert mirrored.interval(0.1, 3.0, 0.95) == (0.1, 0.1)


def test_a_parabola_that_opens_downwards_has_no_minimum() -> None:
    fit = fit_line(THREE, parabolas(THREE, [(1.0, 0.0, -1.0), (1.0, 0.0, -1.1)]))
    assert fit.minimiser is None and fit.minimiser_error == math.inf
    assert fit.interval(0.1, 3.0, 0.9) == (0.1, 3.0)


def test_a_minimum_that_hangs_on_one_batch_has_no_error() -> None:
    fit = fit_line(THREE, parabolas(THREE, [(1.0, -1.0, 3.0), (1.0, -1.0, -0.5), (1.0, -1.0, -0.5)]))
    assert fit.minimiser is not None and fit.minimiser_error == math.inf


@pytest.mark.parametrize("loss", [0.0, 1.0, -3.7, 1e90])
def test_a_step_of_length_zero_is_flat(loss: float) -> None:
    fit = fit_line(FIVE, [[loss] * 5, [2 * loss] * 5])
    assert fit.flat and fit.minimiser is None
    assert not fit_line(FIVE, [[loss] * 5, [0.0, 1.0, 0.0, 0.0, 1e90]]).flat


def test_rounding_is_no_curvature() -> None:
    rows = [[0.1 + 0.3 * (s - 1) for s in FIVE]] * 3
    assert fit_line(FIVE, rows).minimiser is None


def test_factors_with_a_loss_that_is_no_number_are_named() -> None:
    rows = [[1.0, 2.0, math.inf], [1.0, math.nan, 3.0]]
    assert usable_factors(THREE, rows) == (0.5,)
    assert usable_factors(THREE, [[1.0, 2.0, 2 * LARGEST]]) == (0.5, 1.0)
    assert is_usable(-LARGEST) and not is_usable(math.nan)


def test_large_losses_do_not_overflow() -> None:
    fit = fit_line(THREE, parabolas(THREE, [(9e98, -1e98, 1e98), (9e98, -2e98, 1e98)]))
    assert isinstance(fit, LineFit) and fit.minimiser == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("factors", "losses", "message"),
    [
        ((0.5, 1.0, 1.0), [[1.0, 2.0, 2.0]], "three different factors"),
        (THREE, [], "a loss for each of 3 factors"),
        (THREE, [[1.0, 2.0]], "a loss for each of 3 factors"),
        (THREE, [[1.0, math.nan, 2.0]], "Leave their factors out"),
        (THREE, [[1.0, 1e101, 2.0]], "up to 1e\\+100"),
    ],
)
def test_what_cannot_be_fitted_is_refused(factors: tuple[float, ...], losses: Rows, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        fit_line(factors, losses)
