"""Parabolas through noisy losses, the trend over trial lengths, the bracket, and the peak."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot.maths.parabola import fit_parabola

PLACES = st.lists(st.floats(-5, 5), min_size=3, max_size=9, unique_by=lambda x: round(x, 1))


def test_by_hand() -> None:
    # y = 3 + 2 (x - 1)²
    fit = fit_parabola([0.0, 1.0, 2.0, 4.0], [5.0, 3.0, 5.0, 21.0])
    assert fit is not None
    assert (fit.vertex, fit.minimum, fit.curvature) == pytest.approx((1.0, 3.0, 2.0))
    assert fit.noise == pytest.approx(0.0, abs=1e-9)
    assert fit.half_width(8.0) == pytest.approx(2.0)
    assert fit(4.0) == pytest.approx(21.0)


def test_least_squares_by_hand() -> None:
    # Residuals of x² on -1, 0, 0, 1 with y = 1, +e, -e, 1 are 0, e, -e, 0; one degree of freedom is left.
    fit = fit_parabola([-1.0, 0.0, 0.0, 1.0], [1.0, 0.1, -0.1, 1.0])
    assert fit is not None
    assert (fit.vertex, fit.minimum, fit.curvature) == pytest.approx((0.0, 0.0, 1.0), abs=1e-12)
    assert fit.noise == pytest.approx(0.1 * math.sqrt(2))


@given(PLACES, st.floats(-5, 5), st.floats(-100, 100), st.floats(0.01, 100))
def test_a_parabola_is_recovered(x: list[float], vertex: float, minimum: float, curvature: float) -> None:
    fit = fit_parabola(x, [minimum + curvature * (at - vertex) ** 2 for at in x])
    assert fit is not None
    assert fit.vertex == pytest.approx(vertex, abs=1e-4)
    assert fit.curvature == pytest.approx(curvature, rel=1e-4)


@given(PLACES, st.integers(0, 1000), st.floats(-3, 3), st.floats(-100, 100), st.floats(-100, 100))
def test_the_minimiser_ignores_scale_and_shift_of_y_and_follows_shifts_of_x(
    x: list[float], seed: int, log_scale: float, shift: float, move: float
) -> None:
    y = [at * at + 0.1 * float(e) for at, e in zip(x, np.random.default_rng(seed).standard_normal(len(x)), strict=True)]
    before = fit_parabola(x, y)
    after = fit_parabola([at + move for at in x], [10**log_scale * (v + shift) for v in y])
    assert (before is None) == (after is None)
    if before is not None and after is not None and abs(before.vertex) < 100:
        assert after.vertex == pytest.approx(before.vertex + move, abs=1e-5)


@pytest.mark.parametrize("y", [[1.0, 1.0, 1.0], [0.0, 1.0, 2.0], [0.0, 1.0, 0.0]])
def test_what_does_not_curve_upwards_has_no_minimum(y: list[float]) -> None:
    assert fit_parabola([0.0, 1.0, 2.0], y) is None


@pytest.mark.parametrize(
    ("x", "y"), [([0.0, 1.0], [1.0, 0.0]), ([0.0, 1.0, 1.0], [1.0, 0.0, 0.0]), ([0.0, 1.0, 2.0], [1.0, math.inf, 0.0])]
)
def test_too_little_to_fit_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(SettingError):
        fit_parabola(x, y)
