"""Seeds needed: known table values, a simulation, and the symmetries."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot_bench.stats.intervals import paired_interval, verdict
from lrpilot_bench.stats.power import power_at, seeds_needed

LOGS = st.lists(st.integers(-100, 100), min_size=2, max_size=6, unique=True)


def test_values_of_the_tables() -> None:
    # Cohen's d of 0.5 and 1 at power 0.8, two-sided 5 %: 34 and 10 pairs in every table of the paired t test.
    unit = [-1.0, 0.0, 1.0]  # standard deviation 1
    assert seeds_needed(unit, difference=0.5) == 34
    assert seeds_needed(unit, difference=1.0) == 10
    assert seeds_needed(unit, difference=-1.0) == 10


def test_the_protocols_rule_of_thumb() -> None:
    # Differences between seeds that scatter by 6 %: more than five seeds for 10 %, more than ten for less.
    noise = [-0.06, 0.0, 0.06]
    assert seeds_needed(noise, difference=math.log(1.1)) == 6
    assert seeds_needed(noise, difference=math.log(1.05)) == 14


@given(st.floats(0.3, 3), st.sampled_from([0.5, 0.8, 0.95]))
def test_bisection_finds_what_counting_finds(effect: float, power: float) -> None:
    counted = next(n for n in range(2, 500) if power_at(n, effect) >= power)
    assert seeds_needed([-1.0, 0.0, 1.0], difference=effect, power=power) == counted


@given(LOGS, st.integers(1, 60), st.integers(1, 5))
def test_scale_sign_and_order_do_not_matter(values: list[int], hundredths: int, scale: int) -> None:
    logs, difference = [value / 100 for value in values], hundredths / 10
    needed = seeds_needed(logs, difference=difference)
    assert seeds_needed([-value for value in reversed(logs)], difference=difference) == needed
    shifted = seeds_needed([value + 0.5 for value in logs], difference=difference)
    grown = seeds_needed([value * 2.0**scale for value in logs], difference=difference * 2.0**scale)
    assert needed is not None and shifted is not None
    assert grown == needed
    assert abs(shifted - needed) <= 1 + 1e-9 * needed  # a rounding of the deviation


@given(st.floats(0.05, 2), st.floats(0.05, 2))
def test_a_larger_difference_takes_no_more_seeds(one: float, other: float) -> None:
    small, large = sorted((one, other))
    few, many = (seeds_needed([-1.0, 0.0, 1.0], difference=d) for d in (large, small))
    assert few is not None and many is not None and few <= many


def test_more_power_and_confidence_take_more_seeds() -> None:
    counts = [seeds_needed([-1.0, 0.0, 1.0], difference=0.5, power=p) for p in (0.5, 0.8, 0.95)]
    assert counts == sorted(counts) and len(set(counts)) == 3
    sure = seeds_needed([-1.0, 0.0, 1.0], difference=0.5, confidence=0.99)
    assert sure is not None and sure > 34


def test_that_many_seeds_do_find_it() -> None:
    draw = random.Random(3)
    found = sum(verdict(paired_interval([draw.gauss(1.0, 1.0) for _ in range(10)])) == "loss" for _ in range(2000))
    assert found / 2000 == pytest.approx(power_at(10, 1.0), abs=0.04)
    assert power_at(10, 1.0) == pytest.approx(0.803, abs=0.002)


def test_the_measured_difference_is_the_default() -> None:
    assert seeds_needed([0.0, 1.0, 2.0]) == seeds_needed([-1.0, 0.0, 1.0], difference=1.0) == 10


@pytest.mark.parametrize("logs", [[], [0.1], [0.1, math.inf], [-1.0, 1.0], [1e-9, 1.0, -1.0]])
def test_where_there_is_no_telling(logs: list[float]) -> None:
    assert seeds_needed(logs) is None


def test_no_spread_takes_the_least() -> None:
    assert seeds_needed([0.1, 0.1, 0.1]) == 2
    assert seeds_needed([0.1, 0.1000001]) == 2


@pytest.mark.parametrize("options", [{"power": 1.0}, {"power": 0.0}, {"confidence": 1.0}, {"confidence": 95.0}])
def test_shares_are_shares(options: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=r"in \(0, 1\)"):
        seeds_needed([0.1, 0.2], **options)
