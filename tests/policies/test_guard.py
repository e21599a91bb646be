"""The guard: what is a wreck and what is only noise, who is to blame, and what is said of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import Progress, Trained
from lrpilot.core.codec import decode, encode
from lrpilot.core.policy import Reason
from lrpilot.core.stop import StopReason
from lrpilot.policies.guard import (
    BLOCK,
    MOST_FALLS,
    MOST_SPOILED,
    MOST_UNPROVEN,
    Blame,
    Guard,
    Health,
    Levels,
    LossWatch,
    Verdict,
    half_way,
    is_alarming,
    leap_reason,
    losses_of,
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


# ------------------------------------------------------- between two measurements

UNTRAINED = (2.31, 2.29, 2.32, 2.28)  # mean 2.3, spread 0.0183
FINE, BAD, SPOILED, DYING, CLEARED = Verdict


def scattered(level: float, *, by: float = 0.02, count: int = BLOCK) -> tuple[float, ...]:
    """As many losses, by turns above and below a level."""
    return tuple(level + by * (-1) ** i for i in range(count))


def sound(lr: float = 0.1) -> LossWatch:
    """Opened, gained 1.8 in two blocks, and marked."""
    watch = LossWatch().opened(UNTRAINED).after(scattered(2.3), lr).after(scattered(0.5), lr)
    assert watch.verdict is FINE and watch.may_mark
    return watch.marked()


def test_the_limit_by_hand() -> None:
    assert Levels(2.3, 0.5, 0.02).limit() == pytest.approx(0.5 + 1.8 / 4)
    assert Levels(2.3, 2.29, 0.02).limit() == pytest.approx(2.29 + 3 * 0.02), "little was gained: what losses scatter"
    assert Levels(2.3, 2.29, 0.02).limit(0.02) == pytest.approx(2.29 + 3 * 0.02 * math.sqrt(2))
    wild = Levels(2.3, 2.29, 0.02).limit(5.0)
    assert wild == pytest.approx(2.29 + 3 * 0.02 * math.sqrt(10)), "of its own scatter three times the sound one counts"
    assert Levels(2.3, 0.5, 0.02, begun=1.5).limit() == pytest.approx(1.5 + 3 * 0.02)


def test_a_training_that_dies_before_it_has_gained_anything_is_seen_within_a_block() -> None:
    watch = LossWatch().opened(UNTRAINED)
    dies = (2.3, 2.29, 1.7, 2.2, 3.6, 3.4, 3.1, 3.3)
    assert watch.after(dies[:7], 0.3).verdict is FINE
    assert watch.after(dies, 0.3).verdict is DYING
    assert not watch.after(dies, 0.3).has_gained


def test_one_that_falls_back_to_where_it_began_is_dead() -> None:
    watch = LossWatch().opened(UNTRAINED).after(scattered(2.3), 0.3).after(scattered(1.7, by=0.2), 0.3)
    assert watch.after(scattered(2.3), 0.3).verdict is DYING


def test_one_that_recovers_within_the_block_is_not() -> None:
    watch = LossWatch().opened(UNTRAINED)
    assert watch.after((2.3, 3.0, 3.6, 3.0, 2.6, 2.3, 2.2, 2.1), 0.3).verdict is FINE


def test_without_untrained_losses_the_first_block_opens_the_watch() -> None:
    watch = LossWatch().after(scattered(2.3), 0.1)
    assert watch.levels == Levels(pytest.approx(2.32), pytest.approx(2.3), pytest.approx(0.0419, abs=1e-4))
    assert watch.after(scattered(3.6), 0.1).verdict is DYING


@pytest.mark.parametrize("losses", [scattered(230.0), scattered(-5.0), scattered(0.02)])
def test_losses_on_a_scale_of_the_loops_own_are_not_held_against_measured_ones(losses: tuple[float, ...]) -> None:
    assert LossWatch().opened(UNTRAINED).after(losses, 0.1).verdict is FINE
    assert LossWatch().after(losses[:1], 0.1).opened(UNTRAINED).after(losses[1:], 0.1).verdict is FINE
    assert LossWatch().opened((2.3,)) == LossWatch().opened((2.3, NAN)) == LossWatch()


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_one_bad_batch_whose_step_was_left_out_is_nothing(bad: float) -> None:
    watch = sound().after((0.5, 0.49, bad), 0.1)
    assert watch.verdict is BAD and not watch.may_mark and watch.wary
    again = watch.after(scattered(0.5), 0.1)
    assert again.verdict is FINE and again.may_mark and again.spoiled == 0


def test_weights_that_went_with_it_are_told_by_the_next_loss() -> None:
    watch = sound().after((0.5, 0.49, NAN), 0.1).after((NAN,), 0.1)
    assert watch.verdict is SPOILED and "sound" in watch.excuse
    assert watch.rewound().after(scattered(0.5), 0.1).verdict is FINE


def spoiled_times(watch: LossWatch, lr: float) -> list[Verdict]:
    """Verdicts on weights that are lost again and again, after two sound losses each time."""
    verdicts = []
    for _ in range(6):
        watch = watch.after((0.5, 0.5, NAN), lr).after((NAN,), lr)
        verdicts.append(watch.verdict)
        watch = watch.rewound()
    return verdicts


def test_lost_again_and_again_is_the_lrs_fault_and_sooner_at_one_that_is_new() -> None:
    assert spoiled_times(sound(), 0.1) == [SPOILED] * (MOST_SPOILED - 1) + [DYING] * (7 - MOST_SPOILED)
    assert spoiled_times(sound(), 0.2) == spoiled_times(sound(), 0.1), "twice as much is as well known"
    assert spoiled_times(sound(), 1.0) == [SPOILED] * (MOST_UNPROVEN - 1) + [DYING] * (7 - MOST_UNPROVEN)


def test_a_sound_block_and_a_mark_begin_the_count_anew() -> None:
    watch = sound()
    for _ in range(3 * MOST_SPOILED):
        watch = watch.after((0.5, 0.5, NAN), 0.1).after((NAN,), 0.1)
        assert watch.verdict is SPOILED
        watch = watch.rewound().after(scattered(0.5), 0.1).marked()


def test_a_loss_of_sound_weights_is_nobodys_fault() -> None:
    watch = sound()
    for _ in range(3 * MOST_SPOILED):
        watch = watch.after((NAN,), 7.0)
        assert watch.verdict is BAD and watch.excuse == "and would not be at any lr"
        watch = watch.after((NAN,), 7.0)
        assert watch.verdict is SPOILED
        watch = watch.rewound()


def test_an_lr_that_drives_the_loss_up_first_is_to_blame() -> None:
    assert sound().after((0.5, 0.9, 3.0, 40.0, 9e4, INF), 0.1).verdict is DYING
    assert sound().lost(0.1).verdict is SPOILED
    assert sound().after((0.5, 0.9, 3.0, 40.0, 9e4), 0.1).lost(0.1).verdict is DYING, "no loss has told of it"


def test_a_huge_loss_of_a_single_batch_is_no_more_than_that() -> None:
    watch = sound().after((0.5, 5e3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5), 0.1)
    assert watch.verdict is FINE
    assert watch.after(scattered(0.5), 0.1).may_mark


@pytest.mark.parametrize("before", range(BLOCK))
def test_where_it_took_the_weights_with_it_the_lr_stays(before: int) -> None:
    losses = (0.5,) * (before + 1) + (5e3,) + (60.0,) * (3 * BLOCK)
    assert sound().after(losses, 0.1).verdict is SPOILED
    creeps = (0.5,) * (before + 1) + (5.0,) + (60.0,) * (3 * BLOCK)
    assert sound().after(creeps, 0.1).verdict is DYING, "an lr takes steps to get there"


def test_where_a_measurement_tells_of_it_first_the_verdict_is_the_same() -> None:
    assert sound().after((0.5, 0.5, 5e3, 60.0), 0.1).wrecked(0.1).verdict is SPOILED
    assert sound().after((0.5, 0.5, 5.0, 60.0), 0.1).wrecked(0.1).verdict is DYING


def test_a_loss_that_has_risen_by_itself_clears_the_lr() -> None:
    watch, lr, verdicts = sound(), 0.1, []
    while len(verdicts) < 12 and CLEARED not in verdicts:
        watch = watch.after(scattered(1.8), lr)
        verdicts.append(watch.verdict)
        lr, watch = lr / 4, watch if watch.verdict is CLEARED else watch.rewound()
    assert verdicts == [DYING] * MOST_FALLS + [CLEARED] and watch.fallen_lr == 0.1
    assert watch.after(scattered(1.8), 0.1).after(scattered(1.8), 0.1).verdict is FINE


def test_a_fall_at_a_higher_lr_than_the_last_does_not_count() -> None:
    """As on the way up to a lower peak: nothing has been learned of what a lower lr does."""
    watch = sound().after(scattered(1.8), 0.1).rewound()
    for _ in range(3 * MOST_FALLS):
        watch = watch.after(scattered(1.8), 0.11)
        assert watch.verdict is DYING and watch.falls == 1
        watch = watch.rewound()
    assert watch.after(scattered(1.8), 0.1).falls == 2, "one that is no higher does"


def test_each_step_may_have_an_lr_of_its_own() -> None:
    rising = tuple(0.01 * (i + 1) for i in range(BLOCK))
    each = LossWatch().opened(UNTRAINED).after(scattered(2.3), rising)
    assert each.proven_lr == pytest.approx(0.03), "0.03 to 0.06 were four in a row that did not double"
    assert LossWatch().opened(UNTRAINED).after(scattered(2.3), 0.08).proven_lr == 0.08
    assert each.after(scattered(9.0), tuple(reversed(rising))).fallen_lr == pytest.approx(0.01), "the last of the block"


def test_known_by_a_level_it_is_opened_too_unless_the_loop_has_a_scale_of_its_own() -> None:
    watch = LossWatch().opened_at(2.4, 0.2)
    dies = (2.3, 2.35, 3.0, 3.6, 3.4, 3.7, 3.5, 3.6)
    assert watch.after(dies, 0.3).verdict is DYING
    assert LossWatch().after(dies, 0.3).verdict is FINE, "it opens at the loss of a dead network"
    assert watch.after(tuple(2 * loss for loss in scattered(2.3)), 0.3).verdict is FINE
    assert watch.after((4.0, *scattered(4.0)), 0.3).verdict is FINE, "above the limit before any step"


def test_an_lr_that_makes_it_better_is_not_cleared() -> None:
    watch, excess = sound(), 50.0
    for _ in range(2 * MOST_FALLS):
        watch = watch.after(scattered(0.95 + excess), 0.1)
        assert watch.verdict is DYING
        excess, watch = 0.45 * excess, watch.rewound()


def test_from_a_poor_mark_the_training_may_go_on_where_that_was() -> None:
    """0.9 is sound beside 0.5, and a lower lr begins there again; further down it must not climb back."""
    watch = sound().after(scattered(0.9, by=0.01), 0.1).marked().after(scattered(1.5), 0.1)
    assert watch.verdict is DYING
    watch = watch.rewound().after(scattered(0.92, by=0.1), 0.05)
    assert watch.verdict is FINE
    assert watch.after(scattered(1.5), 0.05).verdict is DYING


series = st.lists(st.one_of(st.floats(-50, 50), st.sampled_from([NAN, INF, 5e4])), max_size=60)


def verdicts_of(losses: list[float], *, opened: bool) -> list[Verdict]:
    watch, verdicts = LossWatch().opened(losses[:3]) if opened else LossWatch(), []
    for i in range(0, len(losses), 5):
        watch = decode(encode(watch.after(losses[i : i + 5], 0.1)))
        verdicts.append(watch.verdict)
        watch = watch.rewound() if watch.verdict in (SPOILED, DYING) else watch
        watch = watch.marked() if watch.may_mark and i % 3 == 0 else watch
    return verdicts


@given(series, st.sampled_from([2.0**-20, 0.25, 1024.0]), st.booleans())
def test_the_watch_does_not_know_the_unit_of_the_loss(losses: list[float], scale: float, opened: bool) -> None:
    assert verdicts_of(losses, opened=opened) == verdicts_of([scale * v for v in losses], opened=opened)


@given(st.integers(0, 10**6), st.sampled_from([0.0, -7.0, 300.0]))
def test_a_sound_training_is_left_alone_whatever_the_zero_of_its_loss(seed: int, shift: float) -> None:
    rng = np.random.default_rng(seed)
    curve = 2.0 * np.exp(-np.arange(600) / rng.uniform(20, 400)) + rng.normal(0, rng.uniform(0.01, 0.3), 600) + shift
    watch = LossWatch().opened(tuple(2.0 + shift + rng.normal(0, 0.3, 4)))
    for i in range(0, 600, 20):
        watch = watch.after(tuple(map(float, curve[i : i + 20])), 0.1)
        assert watch.verdict is FINE


def test_the_loss_that_ended_a_train_is_no_number_even_where_it_is_not_told() -> None:
    def seen(losses: tuple[float, ...], stop: StopReason | None) -> Trained:
        return Trained(Progress(3, None), 3, losses, None, True, stop)

    assert losses_of(seen((1.0, 2.0), None)) == (1.0, 2.0)
    assert losses_of(seen((1.0, INF), StopReason.NON_FINITE)) == (1.0, INF)
    untold = losses_of(seen((1.0, 2.0), StopReason.NON_FINITE))
    assert untold[0] == 1.0 and math.isnan(untold[1])


# ------------------------------------------------------------------ what is said


def test_what_is_said_of_a_loss_that_is_no_number() -> None:
    assert no_number_reason(0.4, 0.1, 1) == Reason("no_number", "lr 0.4 to 0.1: a loss was no finite number")
    said = no_number_reason(0.4, 0.4, 3, loss="the loss", excuse="for a reason", back="; back")
    look = "3 times in a row: look for such values in the data and the model"
    assert said == Reason(
        "bad_data", f"lr stays 0.4: the loss was no finite number, for a reason, {look}; back", alarms=True
    )
    assert leap_reason(0.4, 0.4, 1) == Reason("bad_data", "lr stays 0.4: a loss leapt out of sound ones")
    assert leap_reason(0.4, 0.4, 3, back="; back").alarms
    unseen = wreck_reason(0.4, 0.2, back="", gained=False)
    assert unseen.sentence == "lr 0.4 to 0.2: the loss rose above that of the untrained weights"
    lost = Reason("wrecked", "lr 0.4 to 0.2: most of what had been gained was lost; back")
    assert wreck_reason(0.4, 0.2, back="; back") == lost


def test_alarms_by_hand() -> None:
    assert [times for times in range(50) if is_alarming(times)] == [3, 6, 12, 24, 48]
