"""The search on the lattice."""

import math
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from lrpilot.maths.bracket import next_position, winner


def search(value: Callable[[int], float], start: int, stride: int, low: int = -40, high: int = 40) -> dict[int, float]:
    """Everything that was tried until the search was content."""
    values = {start: value(start)}
    while True:
        at, stride = next_position(values, stride, low, high)
        if at is None:
            return values
        assert at not in values and low <= at <= high
        values[at] = value(at)


@given(st.integers(-40, 40), st.integers(-40, 40), st.sampled_from([1, 2, 4]), st.floats(0.1, 3.0))
def test_finds_the_bottom_of_a_valley_with_both_neighbours(bottom: int, start: int, stride: int, steep: float) -> None:
    tried = search(lambda at: abs(at - bottom) ** steep, start, stride)
    assert winner(tried) == bottom
    assert {bottom - 1, bottom + 1} & set(range(-40, 41)) <= set(tried)


@given(st.integers(-40, 40), st.integers(-40, 40))
def test_a_far_bottom_is_reached_by_walking_in_strides(bottom: int, start: int) -> None:
    assert len(search(lambda at: (at - bottom) ** 2, start, 4)) <= abs(bottom - start) / 4 + 8


def test_the_upper_neighbour_is_tried_first_and_may_save_the_lower() -> None:
    assert next_position({0: 1.0}, 4, -8, 8) == (4, 4)
    assert next_position({0: 1.0, 4: 0.5}, 4, -8, 8) == (8, 4)
    assert next_position({0: 1.0, 4: 0.5, 8: 2.0}, 4, -8, 8) == (6, 2)
    assert next_position({0: 1.0, 4: 0.5, 8: 2.0, 6: 3.0, 2: 3.0, 5: 3.0, 3: 3.0}, 2, -8, 8) == (None, 1)


def test_where_all_diverged_it_goes_down_only() -> None:
    assert next_position({0: math.inf}, 2, -8, 8) == (-2, 2)
    assert next_position({0: math.inf, -2: math.inf}, 2, -8, 8) == (-4, 2)
    assert min(search(lambda at: math.inf, 0, 4, low=-6)) == -6


def test_it_stays_in_the_range() -> None:
    assert search(lambda at: -at, 0, 4, low=-2, high=3).keys() <= set(range(-2, 4))
    assert search(lambda at: 0.0, 0, 4, low=0, high=0) == {0: 0.0}
