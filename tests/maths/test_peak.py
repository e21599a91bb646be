"""What finders keep of their Trials, the trend over trial lengths, and the peak that follows."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import Progress, TrialLosses
from lrpilot.core.found import LengthPick
from lrpilot.core.stop import Stop, StopReason
from lrpilot.core.trials import Tried, best_of, gained_nothing, give_up, read_trial, standard_error
from lrpilot.maths.peak import length_trend, pick_peak, safe_lr, suggest_peak

START = 2.3
QUARTERS = [10.0 ** (k / 4) for k in range(-12, 5)]


def tried(loss: Callable[[float], float], lrs: list[float] = QUARTERS) -> list[Tried]:
    return [Tried(lr, loss(lr), 1.0, 2.0) for lr in lrs]


def valley(log_lr: float, *, bend: float = 0.3) -> Callable[[float], float]:
    return lambda lr: min(START, 0.6 + bend * (math.log10(lr) - log_lr) ** 2)


def pick(num_steps: int, lr: float, *, width: float = 0.2, losses: dict[float, float] | None = None) -> LengthPick:
    losses = losses or {lr: 0.5}
    interval = (lr / 10**width, lr * 10**width)
    return LengthPick(num_steps, lr, interval, tuple(sorted(losses)), tuple(losses[x] for x in sorted(losses)))


# ------------------------------------------------------------------- trials


def test_the_error_of_a_trial_by_hand() -> None:
    # differences 1, 1, 3: their median 1, x 1.4826 / sqrt(2) the scatter of one loss, / sqrt(4) that of the mean
    assert standard_error((1.0, 2.0, 1.0, 4.0)) == pytest.approx(1.4826 / math.sqrt(2) / 2)
    assert standard_error((3.0, 1.0)) == 0.0


@pytest.mark.parametrize("slope", [0.0, -0.02])
def test_the_error_is_that_of_noise_about_a_slow_fall(slope: float) -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.3, size=400)
    losses = [2.0 + slope * i + e for i, e in enumerate(noise)]
    assert standard_error(losses) == pytest.approx(0.3 / 20, rel=0.15)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.floats(0.0, 2.0))
def test_whether_something_was_gained_does_not_depend_on_units(scale: float, shift: float, gain: float) -> None:
    losses = (2.0, 1.5, 2.2, 1.8, 2.1)
    here = Progress(0, None)

    def nothing(scale: float, shift: float) -> bool:
        seen = TrialLosses(here, tuple(scale * (y + shift) for y in losses), scale * (2.0 - gain + shift), None)
        return gained_nothing([read_trial(0.1, seen)], scale * (2.0 + shift))

    error = standard_error(losses)
    if abs(gain - 2 * error) > 1e-6:
        assert nothing(scale, shift) == nothing(1.0, 0.0) == (gain < 2 * error)


def test_a_trial_that_was_stopped_or_is_not_finite_has_diverged() -> None:
    here = Progress(0, None)
    assert read_trial(0.1, TrialLosses(here, (2.0, 1.0, 1.5), 1.2, None)) == Tried(
        0.1, 1.2, 1.0, 2.0, standard_error((2.0, 1.0, 1.5))
    )
    for seen in (
        TrialLosses(here, (2.0, math.nan), None, StopReason.NON_FINITE),
        TrialLosses(here, (2.0, 90.0), None, StopReason.ABORTED),
        TrialLosses(here, (2.0, 1.0), math.nan, None),
    ):
        assert read_trial(0.1, seen) == Tried(0.1, math.inf, math.inf, math.inf)


def test_the_best_trial() -> None:
    assert best_of([Tried(0.1, 1.0, 0, 0), Tried(0.01, 1.0, 0, 0), Tried(1.0, math.inf, 0, 0)]) == Tried(
        0.01, 1.0, 0, 0
    )
    assert best_of([Tried(0.1, math.inf, 0, 0)]) is None


def test_the_limit_is_ten_ranges_above_the_best_trial() -> None:
    flown = [Tried(1e-3, 2.2, 2.0, 2.4), Tried(1e-2, 1.0, 0.9, 2.4), Tried(1.0, math.inf, math.inf, math.inf)]
    assert give_up(flown).abort_above == pytest.approx(2.4 + 10 * 1.5)
    assert give_up([]) == give_up([Tried(1.0, math.inf, math.inf, math.inf)]) == Stop()


@given(st.floats(-3, 3), st.floats(-100, 100))
def test_the_limit_follows_scale_and_shift(log_scale: float, shift: float) -> None:
    def moved(y: float) -> float:
        return 10.0**log_scale * (y + shift)

    before = give_up([Tried(0.1, 1.0, 0.9, 2.4)]).abort_above
    after = give_up([Tried(0.1, moved(1.0), moved(0.9), moved(2.4))]).abort_above
    assert before is not None
    assert after == pytest.approx(moved(before), abs=1e-6)


# --------------------------------------------------------------------- pick


@given(st.floats(-2.4, 0.4))
def test_the_pick_lies_between_the_lrs_tried(log_lr: float) -> None:
    found = pick_peak(20, tried(valley(log_lr)), START)
    assert found is not None
    assert math.log10(found.lr) == pytest.approx(log_lr, abs=1e-6)
    # 2 % of the reduction is 0.3 · width².
    width = math.sqrt(0.02 * (START - min(found.losses)) / 0.3)
    assert math.log10(found.interval[1] / found.interval[0]) == pytest.approx(2 * width, abs=1e-6)
    assert found.lrs == tuple(QUARTERS)


@given(st.floats(-2.4, 0.4), st.floats(-3, 3), st.floats(-100, 100), st.randoms(use_true_random=False))
def test_the_pick_ignores_scale_shift_and_order(log_lr: float, log_scale: float, shift: float, random: object) -> None:
    flown = tried(valley(log_lr))
    random.shuffle(flown)  # type: ignore[attr-defined]
    scale = 10.0**log_scale
    moved = [Tried(one.lr, scale * (one.loss + shift), 0, 0) for one in flown]
    before, after = pick_peak(20, flown, START), pick_peak(20, moved, scale * (START + shift))
    assert before is not None and after is not None
    assert math.log10(after.lr) == pytest.approx(math.log10(before.lr), abs=1e-6)
    assert after.interval == pytest.approx(before.interval, rel=1e-5)


def test_noise_moves_the_parabola_less_than_the_argmin() -> None:
    rng = np.random.default_rng(0)
    parabola, argmin = [], []
    for _ in range(200):
        flown = tried(lambda lr: valley(-1.0)(lr) + 0.01 * rng.standard_normal())
        found = pick_peak(20, flown, START)
        best = best_of(flown)
        assert found is not None and best is not None
        parabola.append(math.log10(found.lr))
        argmin.append(math.log10(best.lr))
    assert np.std(parabola) < 0.8 * np.std(argmin)
    assert abs(np.mean(parabola) + 1.0) < 0.05


def test_scatter_about_the_parabola_widens_the_interval() -> None:
    # Five losses around lr 0.1: a parabola, and on it e · (1, -4, 6, -4, 1), the pattern that no parabola sees.
    # Its squares sum to 70 e², over two degrees of freedom.
    scatter = dict(zip(range(-2, 3), (1, -4, 6, -4, 1), strict=True))
    e = -0.01

    def rough(lr: float) -> float:
        return valley(-1.0)(lr) + e * scatter.get(round(4 * (math.log10(lr) + 1)), 0)

    found = pick_peak(20, tried(rough), START)
    assert found is not None
    assert math.log10(found.lr) == pytest.approx(-1)
    noise = abs(e) * math.sqrt(70 / 2)
    assert 2 * noise > 0.02 * 1.76, "more than the share of the reduction"
    assert math.log10(found.interval[1]) == pytest.approx(-1 + math.sqrt(2 * noise / 0.3))


def test_where_the_losses_are_no_parabola_the_interval_spans_the_losses_near_the_winner() -> None:
    def zigzag(lr: float) -> float:
        return valley(-1.0)(lr) + 0.2 * (round(4 * math.log10(lr)) % 2)

    found = pick_peak(20, tried(zigzag), START)
    assert found is not None
    assert math.log10(found.lr) == pytest.approx(-1)
    assert np.log10(found.interval) == pytest.approx([-1.75, -0.25])


def test_beside_a_cliff_the_winner_is_the_pick_and_nothing_is_claimed_beyond_the_neighbours() -> None:
    found = pick_peak(20, tried(lambda lr: 2.0 - lr if lr <= 0.3 else math.inf), START)
    assert found is not None
    assert 0.1 < found.lr <= 0.3163
    assert found.interval[1] <= 0.57


def test_no_pick_where_all_diverged() -> None:
    assert pick_peak(20, tried(lambda lr: math.inf), START) is None


# -------------------------------------------------------------------- trend


def test_the_trend_by_hand() -> None:
    # lr falls by a factor of 10 from 10 to 1000 steps: half a decade per decade.
    trend = length_trend([pick(10, 1.0), pick(100, 10**-0.5), pick(1000, 0.1)])
    assert (trend.slope, trend.centre) == pytest.approx((-0.5, 100.0))
    assert trend.slope_error == pytest.approx(0.2 / math.sqrt(2))
    assert trend.lr(10_000) == pytest.approx(10**-1.5)
    assert trend.certain_slope(1.0) == pytest.approx(-0.5 + 0.2 / math.sqrt(2))
    assert trend.certain_slope(4.0) == 0.0


def test_one_length_says_nothing_of_a_trend() -> None:
    trend = length_trend([pick(20, 0.1)])
    assert trend.slope == 0.0 and trend.slope_error == math.inf and trend.certain_slope() == 0.0
    assert trend.lr(1000) == pytest.approx(0.1)


def test_a_pick_with_a_narrow_interval_weighs_more() -> None:
    sure, unsure = pick(100, 0.1, width=0.15), pick(100, 1.0, width=1.0)
    lr = length_trend([sure, unsure]).lr(100)
    assert 0.1 < lr < 0.12


# --------------------------------------------------------------- suggestion


def test_the_longest_length_decides() -> None:
    assert suggest_peak([pick(20, 0.2), pick(50, 0.1), pick(100, 0.15)], START)[0] == pytest.approx(0.15)


def test_a_rise_with_length_is_not_followed_and_a_certain_fall_is_a_little() -> None:
    rising = [pick(20, 0.01, width=0.1), pick(50, 0.1, width=0.1), pick(100, 1.0, width=0.1)]
    assert suggest_peak(rising, START)[0] == pytest.approx(1.0)
    falling = [pick(20, 1.0, width=0.1), pick(50, 0.1, width=0.1), pick(100, 0.01, width=0.1)]
    assert suggest_peak(falling, START)[0] == pytest.approx(0.01 * 10**-0.25)
    unsure = [pick(20, 0.2, width=0.4), pick(50, 0.15, width=0.4), pick(100, 0.1, width=0.4)]
    assert suggest_peak(unsure, START)[0] == pytest.approx(0.1)


def test_stays_below_a_cliff() -> None:
    def suggested(loss: float) -> tuple[float, tuple[float, float]]:
        return suggest_peak([pick(100, 0.3, losses={0.1: 0.6, 0.3: 0.5, 0.4: loss})], START)

    # Of the reduction of 1.8, this loses less than half, more than half, nearly all, and everything.
    assert suggested(1.3)[0] == pytest.approx(0.3)
    assert suggested(1.5)[0] == pytest.approx(0.4 * 10**-0.25)
    assert suggested(2.2)[0] == pytest.approx(0.4 * 10**-0.5)
    lr, interval = suggested(math.inf)
    assert lr == pytest.approx(0.4 * 10**-0.5)
    assert interval[0] <= lr < interval[1]


def test_the_margin_below_a_cliff_leaves_an_interval_one_spacing_wide() -> None:
    # Safe is 0.4 / √10 = 0.126, below the pick's own interval of 0.19 to 0.48: down from there ...
    lr, (low, high) = suggest_peak([pick(100, 0.3, losses={0.01: 1.0, 0.3: 0.5, 0.4: math.inf})], START)
    assert lr == high == pytest.approx(0.4 * 10**-0.5)
    assert low == pytest.approx(high * 10**-0.25)
    # ... and up from the smallest lr tried where there is no room below.
    lr, (low, high) = suggest_peak([pick(100, 0.3, losses={0.12: 1.0, 0.3: 0.5, 0.4: math.inf})], START)
    assert low == 0.12 < lr < high == pytest.approx(0.12 * 10**0.25)
    lr, (low, high) = suggest_peak([pick(100, 0.3, width=0.1, losses={0.3: 0.5, 0.4: math.inf})], START, min_lr=0.2)
    assert lr == low == 0.2 and high == pytest.approx(0.2 * 10**0.25)


@given(
    st.lists(st.tuples(st.floats(0.1, 2.5), st.floats(0.1, 2.5), st.floats(0.1, 2.5)), min_size=5, max_size=8),
    st.integers(0, 7),
)
def test_the_interval_holds_the_suggestion_and_is_never_a_point(
    rows: list[tuple[float, float, float]], dead: int
) -> None:
    lrs = QUARTERS[: len(rows)]
    picks = []
    for i, steps in enumerate((20, 50, 100)):
        losses = [row[i] if k < max(dead, 1) else math.inf for k, row in enumerate(rows)]
        flown = [Tried(lr, loss, 1.0, 2.0) for lr, loss in zip(lrs, losses, strict=True)]
        found = pick_peak(steps, flown, START)
        assert found is not None
        picks.append(found)
    lr, (low, high) = suggest_peak(picks, START)
    assert low <= lr <= high
    if safe_lr(picks, START) < picks[-1].interval[1]:
        assert math.log10(high / low) >= 0.25 - 1e-6


def test_a_cliff_seen_at_a_shorter_length_counts() -> None:
    short = pick(20, 0.1, losses={0.05: 1.9, 0.1: 0.6, 0.3: math.inf})
    longer = pick(100, 0.2, losses={0.1: 0.9, 0.2: 0.5})
    assert safe_lr([short, longer], START) == pytest.approx(0.3 * 10**-0.5)
    assert suggest_peak([short, longer], START)[0] == pytest.approx(0.3 * 10**-0.5)


@pytest.mark.parametrize(("loss", "counts"), [(0.9, False), (1.04, True), (2.2, True), (math.inf, True)])
def test_a_cliff_that_a_longer_trial_flew_over_without_harm_does_not_count(loss: float, counts: bool) -> None:
    short = pick(20, 0.1, losses={0.05: 1.9, 0.1: 0.6, 0.3: math.inf})
    longer = pick(100, 0.2, losses={0.1: 0.6, 0.2: 0.5, 0.3: loss})
    # Of the reduction of 1.8 a quarter is 0.45: what kept more than that flew over, what lost 30 % did not.
    assert math.isfinite(safe_lr([short, longer], START)) == counts
    # The longest length's own cliffs count whatever the shorter ones survived.
    assert math.isfinite(safe_lr([longer, short], START))


def test_a_short_trials_cliff_does_not_hide_the_optimum_measured_at_the_longest_length() -> None:
    picks = [
        pick(20, 0.01, losses={0.0056: 3.0, 0.01: 2.9, 0.0178: 3.0, 0.0316: math.inf}),
        pick(50, 0.0178, losses={0.01: 2.8, 0.0178: 2.7, 0.0316: 2.8}),
        pick(100, 0.0316, losses={0.0178: 2.80, 0.0316: 2.18, 0.056: 2.63, 0.1: math.inf}),
    ]
    lr, (low, high) = suggest_peak(picks, 4.6)
    assert lr == pytest.approx(0.0316, rel=0.01)
    assert low < lr <= high and high >= 1.7 * low


def test_too_small_an_lr_for_a_short_trial_is_no_cliff() -> None:
    short = pick(20, 1.0, losses={0.1: 2.2, 0.3: 1.9, 1.0: 0.6})
    longer = pick(100, 0.1, losses={0.03: 0.6, 0.1: 0.5, 0.3: 0.6})
    assert suggest_peak([short, longer], START)[0] == pytest.approx(0.1)
