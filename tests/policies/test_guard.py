"""The guard: what is a wreck and what is only noise, who is to blame, and what is said of it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.core.policy import Reason
from lrpilot.policies.guard import (
    Blame,
    Guard,
    Health,
    half_way,
    is_alarming,
    mean_and_spread,
    no_number_reason,
    wreck_reason,
)

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


# ----------------------------------------------------------------- who is to blame


def test_a_guard_knows_no_wreck_before_a_sound_place() -> None:
    guard = Guard()
    assert not guard.is_wreck(INF) and guard.after_sound((2.0, 2.1)) == guard
    opened = guard.opened((2.2, 2.4))
    assert opened.health == Health.at_start((2.2, 2.4)) and opened.opened((1.0, 1.0)) == opened
    assert not opened.is_wreck(2.58) and opened.is_wreck(2.59)
    assert opened.after_sound((0.3, 0.3)).health == Health.at_start((2.2, 2.4)).after((0.3, 0.3))
    assert opened.went_back(None) == guard


def test_sound_places_that_are_known_by_their_mean() -> None:
    guard = Guard().after_sound_mean(2.0, 0.1, start=2.5)
    assert guard.health == Health(start=2.5, lowest=2.0, noise=0.1)
    assert guard.after_sound_mean(1.5, 0.2, start=9.0).health == Health(start=2.5, lowest=1.5, noise=0.2)
    for start in (None, 1.0):
        assert Guard().after_sound_mean(2.0, 0.1, start=start).health == Health(2.0, 2.0, 0.1), "never below the mean"


def test_the_lr_is_lowered_until_it_moves_nothing_and_given_back_then() -> None:
    guard, lrs = Guard(ceiling=0.5), []
    for lr in (1.0, 1e-2, 1e-4, 1e-6):
        guard, go_on_at = guard.no_number(lr, suspect=True, top=10.0)
        lrs.append(go_on_at)
    assert lrs == [None, None, None, 1.0], "given back at a millionth of the lr that failed first"
    assert guard == Guard(None, 10.0, 4, Blame(1.0, blameless=True))
    assert guard.no_number(0.3, suspect=True) == (guard.lost_again(), 0.3)


def test_where_the_lr_cannot_be_the_cause_it_is_left_and_nothing_is_learned_of_it() -> None:
    guard = Guard(ceiling=0.5)
    assert guard.no_number(0.3, suspect=False) == (Guard(ceiling=0.5, lost=1), 0.3)
    assert guard.lost_again().lost_again().calmed() == guard
    assert guard.exonerated().no_number(0.3, suspect=True)[1] == 0.3


def test_the_ceiling_by_hand() -> None:
    assert half_way(0.1, 0.4) == pytest.approx(0.2)
    guard = Guard().capped(0.2)
    assert guard.ceiling == 0.2 and guard.capped(0.3) == guard
    assert [guard.lifted(2.0, top=0.5).ceiling, guard.lifted(4.0, top=0.5).ceiling] == [0.4, 0.5]


# ------------------------------------------------------------------ what is said


def test_what_is_said_of_a_loss_that_is_no_number() -> None:
    assert no_number_reason(0.4, 0.1, 1) == Reason("no_number", "lr 0.4 to 0.1: a loss was no finite number")
    said = no_number_reason(0.4, 0.4, 3, loss="the loss", excuse="for a reason", back="; back")
    look = "3 times in a row: look for such values in the data and the model"
    assert said == Reason(
        "bad_data", f"lr stays 0.4: the loss was no finite number, for a reason, {look}; back", alarms=True
    )
    lost = Reason("wrecked", "lr 0.4 to 0.2: most of what had been gained was lost; back")
    assert wreck_reason(0.4, 0.2, back="; back") == lost


def test_alarms_by_hand() -> None:
    assert [times for times in range(50) if is_alarming(times)] == [3, 6, 12, 24, 48]
