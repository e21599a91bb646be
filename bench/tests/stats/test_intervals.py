"""Intervals over seeds: a number by hand, the symmetries, coverage, and what failures do."""

import math
import random
import statistics

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot_bench.stats.intervals import (
    Interval,
    Verdict,
    paired_interval,
    ratio_interval,
    standing,
    t_interval,
    verdict,
)

LOGS = st.lists(st.floats(-3, 3), min_size=2, max_size=8)


def near(a: Interval, b: Interval, tolerance: float = 1e-9) -> bool:
    ends = ((a.mean, b.mean), (a.low, b.low), (a.high, b.high))
    return a.count == b.count and all(x == y or math.isclose(x, y, abs_tol=tolerance, rel_tol=1e-9) for x, y in ends)


def test_by_hand() -> None:
    # 1, 2, 3: mean 2, standard deviation 1, t(0.975, 2) = 4.30265.
    got = t_interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / math.sqrt(3)
    assert near(got, Interval(2.0, 2.0 - half, 2.0 + half, 3))


def test_two_seeds_at_half_confidence_by_hand() -> None:
    # t(0.75, 1) = tan(pi / 4) = 1, standard deviation sqrt(2), so the half width is 1: the values themselves.
    assert near(t_interval([0.0, 2.0], confidence=0.5), Interval(1.0, 0.0, 2.0, 2))


def test_one_seed_says_nothing() -> None:
    assert t_interval([0.3]) == Interval(0.3, -math.inf, math.inf, 1)
    assert verdict(t_interval([-5.0])) == "tie"


@given(LOGS, st.randoms())
def test_order_does_not_matter(logs: list[float], random: random.Random) -> None:
    shuffled = random.sample(logs, len(logs))
    assert near(paired_interval(logs), paired_interval(shuffled))


@given(LOGS, st.floats(-2, 2))
def test_a_common_factor_of_the_losses_shifts_it(logs: list[float], shift: float) -> None:
    here, there = paired_interval(logs), paired_interval([value + shift for value in logs])
    assert near(there, Interval(here.mean + shift, here.low + shift, here.high + shift, here.count))


@given(LOGS, st.floats(0.01, 10))
def test_scaled_values_scale_it(logs: list[float], factor: float) -> None:
    here, there = paired_interval(logs), paired_interval([value * factor for value in logs])
    assert near(there, Interval(here.mean * factor, here.low * factor, here.high * factor, here.count), 1e-8)


@given(st.lists(st.one_of(st.floats(-3, 3), st.sampled_from([math.inf, -math.inf])), min_size=1, max_size=8))
def test_turning_the_pair_round_turns_the_verdict_round(logs: list[float]) -> None:
    here, there = paired_interval(logs), paired_interval([-value for value in logs])
    assert near(there, Interval(-here.mean, -here.high, -here.low, here.count))
    assert (verdict(here), verdict(there)) in {("win", "loss"), ("loss", "win"), ("tie", "tie")}


@given(LOGS)
def test_more_confidence_is_wider(logs: list[float]) -> None:
    assume(statistics.stdev(logs) > 1e-6)
    narrow, wide = paired_interval(logs, confidence=0.8), paired_interval(logs, confidence=0.99)
    assert wide.low < narrow.low <= narrow.mean <= narrow.high < wide.high


@given(LOGS)
def test_ratios_are_the_exponentials(logs: list[float]) -> None:
    logged, ratios = paired_interval(logs), ratio_interval(logs)
    assert ratios.mean == pytest.approx(math.prod(math.exp(value) for value in logs) ** (1 / len(logs)))
    assert ratios.low == pytest.approx(math.exp(logged.low))
    assert (ratios.low > 1.0) <= (logged.low > 0.0)
    assert (ratios.high < 1.0) <= (logged.high < 0.0)


def test_an_interval_too_wide_for_a_float_is_infinite() -> None:
    assert ratio_interval([-300.0, 300.0]) == Interval(1.0, 0.0, math.inf, 2)
    assert ratio_interval([0.5]) == Interval(math.exp(0.5), 0.0, math.inf, 1)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(7)
    trials, truth = 3000, 0.1
    covered = 0
    for _ in range(trials):
        got = paired_interval([draw.gauss(truth, 0.2) for _ in range(4)])
        covered += got.low <= truth <= got.high
    # 95 % of 3000 has a standard deviation of 12: four of them to each side.
    assert abs(covered - 0.95 * trials) < 48


def test_equal_methods_are_told_apart_no_more_often_than_said() -> None:
    draw = random.Random(8)
    verdicts = [verdict(paired_interval([draw.gauss(0.0, 1.0) for _ in range(3)])) for _ in range(3000)]
    assert abs(verdicts.count("tie") - 2850) < 48
    assert abs(verdicts.count("win") - verdicts.count("loss")) < 50


@pytest.mark.parametrize("failed", range(1, 7))
@pytest.mark.parametrize("finished", range(6))
def test_failures_are_the_limit_of_ever_larger_losses(failed: int, finished: int) -> None:
    logs = [-0.2 + 0.1 * i for i in range(finished)]
    limit, large = paired_interval([*logs, *[math.inf] * failed]), paired_interval([*logs, *[1e9] * failed])
    assert limit.mean == math.inf
    assert verdict(limit) == verdict(large)
    assert verdict(limit) != "win"


def test_how_many_failures_make_a_loss() -> None:
    assert verdict(paired_interval([math.inf] * 2)) == "loss"
    assert verdict(paired_interval([math.inf] * 2 + [0.0])) == "tie"
    assert verdict(paired_interval([math.inf] * 4 + [0.0])) == "loss"
    assert verdict(paired_interval([math.inf])) == "tie"


def test_failures_on_both_sides_cancel() -> None:
    assert paired_interval([math.inf, -math.inf, 0.3]) == Interval(pytest.approx(0.1), -math.inf, math.inf, 3)


def test_verdicts() -> None:
    assert verdict(Interval(-1.0, -2.0, -0.1, 3)) == "win"
    assert verdict(Interval(1.0, 0.1, 2.0, 3)) == "loss"
    assert verdict(Interval(-1.0, -2.0, 0.0, 3)) == "tie"
    assert verdict(paired_interval([0.0, 0.0, 0.0])) == "tie"


@pytest.mark.parametrize(
    ("seeds", "ratio", "said"),
    [
        (1, 2.0, "unknown"),
        (2, 2.0, "maybe-loss"),
        (4, 2.0, "maybe-loss"),
        (5, 2.0, "loss"),
        (5, 1.1, "loss"),
        (5, 1.09, "maybe-loss"),
        (9, 1.09, "maybe-loss"),
        (10, 1.09, "loss"),
        (5, math.inf, "loss"),
    ],
)
def test_how_many_seeds_make_a_claim(seeds: int, ratio: float, said: str) -> None:
    assert standing(Interval(ratio, 1.01, math.inf, seeds), "loss") == said


@given(st.integers(2, 12), st.floats(0.5, 2.0), st.sampled_from(["win", "tie", "loss"]))
def test_a_standing_is_its_verdict_provisional_or_not(seeds: int, ratio: float, said: Verdict) -> None:
    here, more = (standing(Interval(ratio, 0.0, 3.0, count), said) for count in (seeds, seeds + 1))
    assert {here, more} <= {said, f"maybe-{said}"}
    assert here != said or more == said, "more seeds take no claim away"


@pytest.mark.parametrize("values", [[], [math.nan], [0.1, math.nan]])
def test_nothing_and_nan_are_refused(values: list[float]) -> None:
    with pytest.raises(SettingError, match="at least one value"):
        paired_interval(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, -0.1])
def test_a_confidence_is_a_share(confidence: float) -> None:
    with pytest.raises(SettingError, match=r"in \(0, 1\)"):
        paired_interval([0.1, 0.2], confidence=confidence)
