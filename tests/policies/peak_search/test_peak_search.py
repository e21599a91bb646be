"""The search for a peak: where it walks, what it reads off its Trials, and the symmetries of both."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lrpilot.core.actions import Progress, Trial, TrialLosses
from lrpilot.core.policy import Facts
from lrpilot.core.stop import StopReason
from lrpilot.policies.peak_search.outcome import interval_of
from lrpilot.policies.peak_search.pick import INTERVAL, TrialError, pick, trial_error
from lrpilot.policies.peak_search.prior import Prior, expected
from lrpilot.policies.peak_search.search import PeakSearch
from lrpilot.policies.peak_search.trials import READ, Probed, Way, best_of, difference, read
from lrpilot.policies.peak_search.walk import SPACING, beats_smaller, bracketed, learned, next_position

HERE = Progress(0, None)
PRIOR, ERROR = Prior(0.01, 1.0), TrialError(0.0, 0.3)
FIRST = 3.0
Landscape = Callable[[float], float]  # log10 lr -> loss at the end of a Trial, inf where it diverges


def search(prior: Prior = PRIOR, *, steps: int = 20, allowance: float = 400.0, **settings: float) -> PeakSearch:
    return PeakSearch(Way(), prior, ERROR, steps, allowance, **settings)


def seen(trial: Trial, loss: float) -> TrialLosses:
    if not math.isfinite(loss):
        return TrialLosses(HERE, (FIRST, math.nan), None, StopReason.NON_FINITE, cost=2.0)
    losses = tuple(np.linspace(FIRST, loss, trial.steps - 5)) + (loss,) * 5
    return TrialLosses(HERE, losses, None, None, cost=float(trial.steps))


def flown(one: PeakSearch, landscape: Landscape) -> PeakSearch:
    for _ in range(200):
        trial = one.next_trial()
        if trial is None:
            return one
        one = one.told(seen(trial, landscape(math.log10(trial.shape(max(1, round(trial.steps / 6)) - 1)))))
    raise AssertionError("the walk does not end")


def probed(position: int, tail: Sequence[float], *, first: float = FIRST, prior: Prior = PRIOR) -> Probed:
    lr = prior.lr * 10.0 ** (SPACING * position)
    return Probed(position, lr, first, tuple(tail), min([*tail, first]), max([*tail, first]))


def bowl(centre: float) -> Landscape:
    return lambda x: 1.0 + 0.3 * (x - centre) ** 2


def anything(heights: Sequence[float]) -> Landscape:
    """A landscape without any sense: heights in turn, by position."""
    return lambda x: heights[round((x + 10) / SPACING) % len(heights)]


# ------------------------------------------------------------------- the walk

HEIGHTS = st.lists(st.one_of(st.floats(0.0, 6.0), st.just(math.inf)), min_size=1, max_size=12)


@given(HEIGHTS, st.integers(8, 40), st.floats(0, 500))
@example([math.inf], 8, 400.0)
@example([3.0], 8, 400.0)
def test_the_walk_ends_within_its_allowance_and_never_tries_a_position_twice(
    heights: list[float], steps: int, allowance: float
) -> None:
    ended = flown(search(steps=steps, allowance=allowance, min_lr=1e-5, max_lr=10.0), anything(heights))
    positions = [one.position for one in ended.probed]
    assert len(positions) == len(set(positions))
    assert ended.spent <= allowance * (1 + 1e-9)
    assert all(1e-5 * (1 - 1e-6) <= one.lr <= 10 * (1 + 1e-6) for one in ended.probed)


@given(st.floats(-4.5, 0.5))
def test_a_curve_of_one_valley_is_bracketed_around_its_bottom(centre: float) -> None:
    ended = flown(search(), bowl(centre))
    assert ended.bracketed and ended.best is not None
    assert abs(math.log10(ended.best.lr) - centre) <= 0.5 * SPACING + 1e-9
    assert len(ended.probed) <= 3 + math.ceil(abs(centre + 2) / SPACING)


@given(st.floats(-4.5, 0.5))
def test_a_cliff_right_of_the_bottom_is_no_obstacle(centre: float) -> None:
    ended = flown(search(), lambda x: bowl(centre)(x) if x < centre + 0.4 else math.inf)
    assert ended.bracketed and ended.best is not None
    assert ended.best.lr < 10.0 ** (centre + 0.4)


def test_where_nothing_moves_the_way_is_up_and_on_through_the_plateau() -> None:
    """Word vectors at 1e-3: three losses alike are no minimum, they are too small an lr."""
    ended = flown(search(Prior(1e-5, 1.0)), lambda x: FIRST if x < -3 else bowl(-1.5)(x))
    assert ended.best is not None and abs(math.log10(ended.best.lr) + 1.5) <= 0.25
    positions = [one.position for one in ended.probed]
    assert positions[:3] == [0, 1, 3]


def test_where_everything_diverges_the_way_is_down() -> None:
    ended = flown(search(), lambda x: math.inf if x > -6 else bowl(-7)(x))
    assert ended.best is not None and ended.best.lr <= 1e-6
    first = [one.position for one in ended.probed][:3]
    assert first == sorted(first, reverse=True)


def test_a_gain_that_only_pairs_can_see_is_followed_upwards() -> None:
    """A smaller lr that did worse has done no harm: it has gained less."""
    batches = np.array([0.0, 0.9, -0.7, 0.5, -0.3])
    small, large = probed(0, FIRST + batches - 0.02), probed(1, FIRST + batches - 0.05)
    assert beats_smaller(large, [small, large]) and not beats_smaller(small, [small, large])
    assert next_position([small, large], -10, 10, from_scratch=True) == 2
    harmful = probed(1, FIRST + batches + 0.05)
    assert next_position([small, harmful], -10, 10, from_scratch=True) == -2


@given(HEIGHTS, st.floats(-3, 3))
def test_the_walk_moves_with_the_prior(heights: list[float], shift: float) -> None:
    """All lrs × c, prior and ends included: the same positions, and a pick × c."""
    scale = 10.0**shift
    low, high = 1e-5, 10.0

    def walk(factor: float) -> PeakSearch:
        moved = Prior(PRIOR.lr * factor, PRIOR.spread)
        landscape = anything(heights)
        return flown(
            search(moved, min_lr=low * factor, max_lr=high * factor), lambda x: landscape(x - math.log10(factor))
        )

    plain, moved = walk(1.0), walk(scale)
    assert [one.position for one in moved.probed] == [one.position for one in plain.probed]
    assert (plain.pick is None) == (moved.pick is None)
    if plain.pick is not None and moved.pick is not None:
        assert moved.pick.lr == pytest.approx(scale * plain.pick.lr, rel=1e-6)
        assert moved.pick.spread == pytest.approx(plain.pick.spread, rel=1e-6)


# ------------------------------------------------------------------- the pick

NEIGHBOURS = st.tuples(*[st.lists(st.floats(0.1, 5.0), min_size=5, max_size=5)] * 3)


def triple(tails: Sequence[Sequence[float]]) -> list[Probed]:
    return [probed(at, tail) for at, tail in zip((-1, 0, 1), tails, strict=True)]


@given(NEIGHBOURS, st.permutations(range(3)))
def test_the_order_of_the_trials_is_nothing_to_the_pick(tails: tuple[list[float], ...], order: list[int]) -> None:
    trials = triple(tails)
    assert len({one.score for one in trials}) == 3 or best_of(trials) == best_of([trials[i] for i in order])
    assert pick(trials, PRIOR, ERROR) == pick([trials[i] for i in order], PRIOR, ERROR)


@given(NEIGHBOURS, st.sampled_from([1e-4, 3.0, 1e5]), st.sampled_from([-20.0, 0.0, 7.0]))
def test_the_pick_has_no_unit_of_loss(tails: tuple[list[float], ...], scale: float, shift: float) -> None:
    def moved(one: Probed) -> Probed:
        a, b, c = (scale * x + shift for x in (one.first, one.low, one.high))
        return replace(one, first=a, low=b, high=c, tail=tuple(scale * x + shift for x in one.tail))

    trials = triple(tails)
    scores = sorted(one.score for one in trials)
    assume(scores[1] - scores[0] > 1e-3)  # what is equal but for rounding may be either's
    plain, other = pick(trials, PRIOR, ERROR), pick([moved(one) for one in trials], PRIOR, ERROR)
    assert plain is not None and other is not None
    assert other.lr == pytest.approx(plain.lr, rel=1e-3) and other.spread == pytest.approx(plain.spread, rel=1e-3)


@given(NEIGHBOURS)
def test_the_best_of_the_trials_lies_within_half_a_spacing_of_the_best_trial(tails: tuple[list[float], ...]) -> None:
    trials = triple(tails)
    best, picked = best_of(trials), pick(trials, PRIOR, ERROR)
    assume(best is not None and learned(best, trials))
    assert best is not None and picked is not None
    assert abs(math.log10(picked.trial_lr / best.lr)) <= 0.5 * SPACING + 1e-9


def survived(trials: Sequence[Probed]) -> float:
    best = best_of(trials)
    assert best is not None
    return max(one.lr for one in trials if one.tail and (one.score <= one.first or one.score <= best.score))


@given(NEIGHBOURS, st.floats(-4, 1), st.floats(0.1, 3), st.floats(-0.5, 0.5))
def test_no_lr_is_picked_that_no_trial_has_survived(
    tails: tuple[list[float], ...], log_prior: float, spread: float, bias: float
) -> None:
    trials = triple(tails)
    picked = pick(trials, Prior(10.0**log_prior, spread), TrialError(bias, 0.3), from_scratch=False)
    assert picked is not None and picked.lr <= survived(trials) * (1 + 1e-9)


@given(NEIGHBOURS, st.floats(-4, 1), st.floats(0.1, 3), st.floats(-0.5, 0.5))
def test_the_pick_lies_between_prior_and_corrected_trials_and_knows_more_than_either(
    tails: tuple[list[float], ...], log_prior: float, spread: float, bias: float
) -> None:
    trials, prior = triple(tails), Prior(10.0**log_prior, spread)
    picked = pick(trials, prior, TrialError(bias, 0.3))
    assert picked is not None
    ends = sorted((prior.log_lr, math.log10(picked.trial_lr) - bias))
    if not math.isclose(picked.lr, survived(trials)):  # nothing beyond is flown, whatever the two say
        assert ends[0] - 1e-9 <= math.log10(picked.lr) <= ends[1] + 1e-9
    assert picked.spread <= prior.spread + 1e-12
    low, high = picked.interval
    assert math.log10(high / low) == pytest.approx(2 * INTERVAL * picked.spread)


@given(st.floats(-0.249, 0.249), st.floats(0.01, 2.0))
def test_the_minimum_of_a_parabola_without_noise_is_found(offset: float, bend: float) -> None:
    trials = [probed(at, [0.2 + bend * (SPACING * at - offset) ** 2] * 5) for at in (-1, 0, 1)]
    picked = pick(trials, PRIOR, ERROR)
    assert picked is not None
    assert math.log10(picked.trial_lr / PRIOR.lr) == pytest.approx(offset, abs=1e-6)


def test_one_pick_by_hand() -> None:
    """Losses 1.3, 1.0, 1.1 half a decade apart: the bottom at 0.25 · (0.3 − 0.1) / 0.4 = 0.125 decades above."""
    trials = [probed(at, [loss] * 5) for at, loss in ((-1, 1.3), (0, 1.0), (1, 1.1))]
    picked = pick(trials, Prior(0.1, 0.4), TrialError(0.025, 0.3))
    assert picked is not None
    assert math.log10(picked.trial_lr) == pytest.approx(-2 + 0.125)
    # Trials say -1.9 ± 0.3, the prior -1.0 ± 0.4: weights 16 to 9.
    assert math.log10(picked.lr) == pytest.approx((16 * -1.9 + 9 * -1.0) / 25)
    assert picked.spread == pytest.approx(0.3 * 0.4 / 0.5)


def test_without_a_trial_that_stands_there_is_no_pick() -> None:
    assert pick([probed(0, [])], PRIOR, ERROR) is None and pick([], PRIOR, ERROR) is None


def test_an_end_that_was_not_seen_widens_the_interval_on_its_side_only() -> None:
    closed = flown(search(), bowl(-2.0))
    open_above = replace(closed, probed=tuple(one for one in closed.probed if one.position < 1))
    assert closed.pick is not None and open_above.pick is not None
    assert interval_of(closed, closed.pick) == pytest.approx(closed.pick.interval)
    low, high = interval_of(open_above, open_above.pick)
    assert low == pytest.approx(open_above.pick.interval[0])
    assert math.log10(high / open_above.pick.lr) > 1.5 * math.log10(open_above.pick.lr / low)
    assert math.log10(high / low) > 1.3 * math.log10(closed.pick.interval[1] / closed.pick.interval[0])


# -------------------------------------------------------------- reading a Trial


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=40))
def test_the_last_part_is_read_and_the_first_loss_kept(after: list[float]) -> None:
    losses = [6.0, *after]
    one = read(0, 0.1, TrialLosses(HERE, tuple(losses), None, None))
    assert one.first == losses[0] and (one.low, one.high) == (min(losses), max(losses))
    assert one.tail == tuple(losses[-len(one.tail) :]) and abs(len(one.tail) - READ * len(losses)) <= 1
    assert one.score == pytest.approx(fmean(one.tail))


def test_a_trial_that_climbed_far_above_what_it_gained_has_wrecked_the_weights() -> None:
    climbed = (2.0, 9.0, 8.0, 5.0, 3.0, 2.0, 1.9, 1.8, 1.9)
    wrecked = read(0, 0.1, TrialLosses(HERE, climbed, None, None))
    assert wrecked.tail == () and wrecked.score == math.inf and wrecked.high == 9.0
    assert read(0, 0.1, TrialLosses(HERE, (2.0, 2.1, *climbed[5:]), None, None)).tail


@given(NEIGHBOURS)
def test_paired_differences_are_those_of_the_losses_one_by_one(tails: tuple[list[float], ...]) -> None:
    a, b, _ = triple(tails)
    mean, error = difference(a, b)
    apart = np.array(a.tail) - np.array(b.tail)
    assert mean == pytest.approx(apart.mean()) and error == pytest.approx(apart.std(ddof=1) / math.sqrt(5))
    assert difference(b, a)[0] == pytest.approx(-mean)


def test_bracketed_is_having_been_on_both_sides() -> None:
    trials = triple([[2.0] * 5, [1.0] * 5, [2.0] * 5])
    assert bracketed(trials) and not bracketed(trials[:2]) and not bracketed([]) and not bracketed([probed(0, [])])


# ---------------------------------------------------------------- expectations


def test_momentum_takes_sgd_as_far_at_a_smaller_lr_and_leaves_adam_alone() -> None:
    plain, heavy = (expected(Facts(optimizer="sgd"), momentum) for momentum in (None, 0.9))
    assert heavy.lr == pytest.approx(0.1 * plain.lr) and heavy.spread == plain.spread
    assert expected(Facts(optimizer="adam"), 0.9) == expected(Facts(optimizer="adam"), None)


def test_pretrained_weights_ask_for_less() -> None:
    for optimizer in ("sgd", "adam"):
        fresh, tuned = (expected(Facts(optimizer=optimizer, pretrained=p), 0.9) for p in (False, True))  # type: ignore[arg-type]
        assert tuned.lr < fresh.lr


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "other"])
def test_every_trial_has_an_error_of_its_own_kind(optimizer: str, averaged: bool) -> None:
    facts = Facts(optimizer=optimizer)  # type: ignore[arg-type]
    for steps in (9, 15, 22, 50):
        error = trial_error(facts, steps, averaged=averaged)
        assert 0 < error.scatter < 1 and abs(error.bias) < 1


def test_the_shorter_a_trial_the_more_it_errs_and_beyond_what_was_measured_nothing_is_claimed() -> None:
    for averaged in (False, True):
        errors = [trial_error(Facts(optimizer="adam"), steps, averaged=averaged) for steps in (9, 10, 15, 22, 50)]
        assert errors[0] == errors[1] and errors[3] == errors[4]
        assert errors[1].scatter > errors[2].scatter > errors[3].scatter
        assert errors[1].bias < errors[2].bias < errors[3].bias


# ------------------------------------------------------------------- a long way


def scored(losses: dict[int, float]) -> list[Probed]:
    """Trials at positions, each with its loss at every step."""
    return [Probed(at, 10.0 ** (at / 2), 9.0, (loss,) * 3, loss, 9.0) for at, loss in losses.items()]


@given(st.floats(2.6, 12.0), st.floats(0.01, 3.0))
def test_where_the_losses_are_a_parabola_the_walk_takes_the_step_that_comes_nearer(minimum: float, bend: float) -> None:
    trials = scored({at: 1.0 + bend * (at - minimum) ** 2 / 100 for at in (0, 1, 2)})
    step = 2 if minimum >= 3.5 + 1e-6 else 1
    if abs(minimum - 3.5) > 1e-3:
        assert next_position(trials, -9, 99, from_scratch=False) == 2 + step


def test_a_leap_that_went_too_far_is_made_good() -> None:
    fell = {0: 3.0, 1: 2.5, 2: 2.0}
    assert next_position(scored(fell), -9, 9, from_scratch=False) == 4
    assert next_position([*scored(fell), probed(4, [])], -9, 9, from_scratch=False) == 3
    assert next_position(scored(fell | {4: 1.9}), -9, 9, from_scratch=False) == 5
    assert next_position(scored(fell | {4: 1.9, 5: 2.2}), -9, 9, from_scratch=False) == 3
    assert next_position(scored(fell | {3: 1.8, 4: 1.9}), -9, 9, from_scratch=False) is None


@given(st.integers(1, 3), st.integers(1, 3), st.floats(-0.9, 0.9), st.floats(0.1, 10.0))
def test_the_minimum_of_a_parabola_is_found_whatever_lies_between(
    down: int, up: int, minimum: float, bend: float
) -> None:
    positions = (-down, 0, up)
    trials = scored({at: 1.0 + bend * (at - minimum / 2) ** 2 for at in positions})
    found = pick([replace(one, first=1e9) for one in trials], Prior(1.0, 1e6), TrialError(0.0, 1e-6))
    assert found is not None and math.log10(found.trial_lr) == pytest.approx(SPACING * minimum / 2, abs=1e-6)


def test_beyond_the_largest_lr_tried_nothing_is_flown_however_high_the_best_may_lie() -> None:
    rising, falling = scored({0: 3.0, 1: 2.0}), scored({0: 2.0, 1: 3.0})
    for trials, lr in ((rising, 10**0.5), (falling, 10**0.35)):
        found = pick(trials, Prior(1e3, 9.0), TrialError(-0.35, 0.01))
        assert found is not None and found.lr == pytest.approx(lr, rel=0.01)


def test_the_loss_at_any_lr_lies_on_a_line_between_the_trials_flown() -> None:
    flown = [Probed(at, 10.0**at, 9.0, (loss,), loss, 9.0) for at, loss in ((-2, 4.0), (-1, 2.0))]
    wrecked = Probed(0, 1.0, 9.0, (), 9.0, 99.0)
    search = PeakSearch(Way(), Prior(1.0, 1.0), TrialError(0.0, 0.3), 10, 100.0, probed=(*flown, wrecked))
    assert search.loss_at(10.0**-1.5) == pytest.approx(3.0)
    assert search.loss_at(10.0**-1) == pytest.approx(2.0) and search.loss_at(0.3) == math.inf
    assert search.loss_at(1e-3) is None and search.loss_at(3.0) is None
