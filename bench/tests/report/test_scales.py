import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.report.scales import Scale, padded

POSITIVE = st.floats(1e-9, 1e6)


def test_a_linear_scale_by_hand() -> None:
    scale = Scale(0.0, 2.0, 10.0, 110.0)
    assert (scale(0.0), scale(0.5), scale(2.0), scale(3.0)) == (10.0, 35.0, 110.0, 160.0)
    assert scale.clipped(3.0) == 110.0


def test_a_logarithmic_scale_gives_every_factor_the_same_length() -> None:
    scale = Scale(1e-4, 1.0, 0.0, 100.0, log=True)
    assert scale(1e-2) == pytest.approx(50.0)
    assert scale(2e-3) - scale(1e-3) == pytest.approx(scale(2e-1) - scale(1e-1))


def test_an_axis_may_point_down() -> None:
    assert Scale(0.0, 1.0, 200.0, 0.0)(0.25) == 150.0


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0.0, 1.0, False, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1e-5, 1e-1, True, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]),
        (0.95, 5.2, True, [1.0, 1.5, 2.0, 3.0, 5.0]),
        (0.401, 0.409, True, [0.402, 0.404, 0.406, 0.408]),
    ],
)
def test_ticks_are_the_values_one_would_choose(low: float, high: float, log: bool, expected: list[float]) -> None:
    assert Scale(low, high, 0.0, 1.0, log).ticks(6) == pytest.approx(expected)


@given(POSITIVE, st.floats(1.001, 1e12), st.booleans(), st.integers(3, 9))
def test_ticks_ascend_lie_on_the_axis_and_are_not_too_many(low: float, ratio: float, log: bool, at_most: int) -> None:
    scale = Scale(low, low * ratio, 0.0, 1.0, log)
    ticks = scale.ticks(at_most)
    assert 1 <= len(ticks) <= at_most + 1
    assert ticks == sorted(set(ticks))
    hair = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - hair <= tick <= scale.high + hair for tick in ticks)


@given(st.lists(POSITIVE, min_size=1), st.booleans())
def test_padding_leaves_room_on_both_sides(values: list[float], log: bool) -> None:
    low, high = padded(values, log=log)
    assert low < min(values) <= max(values) < high
    assert not log or low > 0
    assert math.isfinite(high)
