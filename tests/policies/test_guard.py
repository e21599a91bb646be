"""Health: what is a wreck, and what is only noise."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.policies.guard import Health, mean_and_spread

NAN, INF = math.nan, math.inf
losses = st.lists(st.floats(-100, 100), min_size=1, max_size=6)


def test_mean_and_spread_by_hand() -> None:
    assert mean_and_spread((1.0, 3.0)) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_and_spread((5.0,)) == (5.0, 0.0)
    assert mean_and_spread((1.0, INF)) == (INF, 0.0)
    assert mean_and_spread((1e308, 1.5e308))[1] == pytest.approx(0.5e308 / math.sqrt(2))


def test_before_anything_is_gained_the_limit_is_the_noise() -> None:
    # spread of 2.2 and 2.4: 0.1414; twice that above the mean of 2.3
    health = Health.at_start((2.2, 2.4))
    assert health.limit == pytest.approx(2.5828, abs=1e-4)
    assert not health.is_wreck(2.58) and health.is_wreck(2.59)


def test_later_a_quarter_of_the_gain_may_be_lost() -> None:
    health = Health.at_start((2.25, 2.35)).after((0.31, 0.29))
    assert (health.start, health.lowest) == (pytest.approx(2.3), pytest.approx(0.3))
    assert health.limit == pytest.approx(0.8)


def test_the_lowest_loss_is_kept() -> None:
    health = Health.at_start((2.0,)).after((1.0,)).after((1.5,))
    assert health == Health(start=2.0, lowest=1.0, noise=0.0)


@pytest.mark.parametrize("loss", [NAN, INF, -INF])
def test_a_loss_that_is_not_finite_is_a_wreck(loss: float) -> None:
    assert Health.at_start((2.0, 2.1)).is_wreck(loss)


@given(losses, losses, st.floats(-100, 100))
def test_what_it_judges_does_not_depend_on_the_unit_and_zero_of_the_loss(
    first: list[float], then: list[float], loss: float
) -> None:
    one = Health.at_start(first).after(then)
    other = Health.at_start([4 * v + 3 for v in first]).after([4 * v + 3 for v in then])
    assert other.limit == pytest.approx(4 * one.limit + 3, rel=1e-9, abs=1e-9)
    if abs(loss - one.limit) > 1e-6:
        assert other.is_wreck(4 * loss + 3) == one.is_wreck(loss)


def test_what_was_sound_for_the_sake_of_noise_stays_sound() -> None:
    # Almost nothing is gained, and the batches that differed by 0.015 happen to differ by 0.005 now.
    health = Health(start=2.2992, lowest=2.2981, noise=0.0152)
    assert not health.is_wreck(2.3241)
    after = health.after((2.3241 - 0.005, 2.3241, 2.3241 + 0.005))
    assert not after.is_wreck(2.3241 + 0.005)
    assert after.after((2.30, 2.31)).noise == pytest.approx(0.01 / math.sqrt(2)), "until a better place is found"


@given(st.lists(losses, min_size=2, max_size=8))
def test_where_a_rewind_may_go_back_to_is_sound(places: list[list[float]]) -> None:
    health = Health.at_start(places[0])
    for read in places[1:]:
        mean = mean_and_spread(read)[0]
        if not health.is_wreck(mean):
            health = health.after(read)
            assert not health.is_wreck(mean)


@given(losses, losses)
def test_the_place_just_read_is_sound_unless_it_lost_the_gain(first: list[float], then: list[float]) -> None:
    health = Health.at_start(first)
    assert not health.is_wreck(health.start)
    health = health.after(then)
    assert health.lowest <= health.limit and decode(encode(health)) == health
