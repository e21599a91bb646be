"""The protocol's quantities: numbers by hand, the symmetries, and every way to be undefined."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot_bench.stats.measures import (
    Measured,
    gap_closed,
    interpolated_loss,
    log_regrets,
    time_to_target,
)

LOSSES = st.dictionaries(st.integers(0, 4), st.floats(0.01, 10), min_size=1)
ORACLE = {0: 0.10, 1: 0.11, 2: 0.09}
DEFAULT = {0: 0.20, 1: 0.21, 2: 0.19}


def test_log_regrets_by_hand() -> None:
    got = log_regrets({0: 0.2, 1: 0.3, 5: 1.0}, {1: 0.2, 0: 0.4, 2: 0.1})
    assert got == pytest.approx({0: math.log(0.5), 1: math.log(1.5)})


@given(LOSSES, LOSSES, st.floats(0.1, 10))
def test_a_regret_does_not_depend_on_the_unit(losses: dict[int, float], bar: dict[int, float], unit: float) -> None:
    scaled = log_regrets({k: v * unit for k, v in losses.items()}, {k: v * unit for k, v in bar.items()})
    assert scaled == pytest.approx(log_regrets(losses, bar), abs=1e-9)


@given(LOSSES, LOSSES)
def test_log_regrets_change_their_sign_with_the_sides(a: dict[int, float], b: dict[int, float]) -> None:
    assert log_regrets(a, b) == pytest.approx({seed: -value for seed, value in log_regrets(b, a).items()})
    assert list(log_regrets(a, b)) == sorted(a.keys() & b.keys())


def test_failures_in_regrets() -> None:
    got = log_regrets({0: math.inf, 1: 0.1, 2: math.inf}, {0: 0.1, 1: math.inf, 2: math.inf})
    assert got == {0: math.inf, 1: -math.inf}, "where both failed nothing is compared"


@pytest.mark.parametrize("loss", [0.0, -0.1, math.nan])
def test_a_ratio_needs_positive_losses(loss: float) -> None:
    with pytest.raises(SettingError, match="above 0"):
        log_regrets({0: loss}, {0: 0.1})


def test_gap_by_hand() -> None:
    assert gap_closed({0: 0.15, 1: 0.15, 2: 0.15}, ORACLE, DEFAULT).value == pytest.approx(0.5)
    assert gap_closed(ORACLE, ORACLE, DEFAULT).value == pytest.approx(0.0)
    assert gap_closed(DEFAULT, ORACLE, DEFAULT).value == pytest.approx(1.0)
    assert gap_closed({1: 0.31}, ORACLE, DEFAULT).value == pytest.approx(2.0), "on the one seed in common"


def test_the_gaps_interval_by_hand() -> None:
    # a = 0.05, 0.03, 0.01 and b = 0.1 each: g = 0.3, a - g b = 0.02, 0, -0.02 with standard deviation 0.02, so the
    # half width is 4.30265 x 0.02 / sqrt(3) / 0.1.
    got = gap_closed({0: 0.15, 1: 0.14, 2: 0.10}, ORACLE, DEFAULT)
    half = 4.302652729911275 * 0.02 / math.sqrt(3) / 0.1
    assert got.value == pytest.approx(0.3) and got.interval is not None
    assert (got.interval.low, got.interval.high) == pytest.approx((0.3 - half, 0.3 + half))
    assert got.interval.count == 3


def test_a_gap_without_spread_and_one_of_a_single_seed() -> None:
    half_way = {seed: (ORACLE[seed] + DEFAULT[seed]) / 2 for seed in ORACLE}
    sure = gap_closed(half_way, ORACLE, DEFAULT).interval
    assert sure is not None and (sure.low, sure.high) == pytest.approx((0.5, 0.5))
    alone = gap_closed({1: 0.16}, ORACLE, DEFAULT).interval
    assert alone is not None and (alone.low, alone.high, alone.count) == (-math.inf, math.inf, 1)
    assert gap_closed({0: math.inf, 1: 0.1}, ORACLE, DEFAULT).interval is None, "a failure has no spread"


def test_the_gaps_interval_covers_the_truth_as_often_as_it_says() -> None:
    draw, trials, covered = random.Random(9), 2000, 0
    for _ in range(trials):
        seeds = range(6)
        level = [draw.gauss(1.0, 0.1) for _ in seeds]  # common to a seed: pairing takes it out
        bar = {seed: level[seed] + draw.gauss(0.0, 0.02) for seed in seeds}
        default = {seed: level[seed] + draw.gauss(0.4, 0.05) for seed in seeds}
        own = {seed: level[seed] + draw.gauss(0.1, 0.05) for seed in seeds}
        interval = gap_closed(own, bar, default).interval
        assert interval is not None
        covered += interval.low <= 0.25 <= interval.high
    assert covered / trials == pytest.approx(0.95, abs=0.02)


@given(st.lists(st.floats(0.05, 0.5), min_size=3, max_size=3), st.floats(-0.02, 5), st.floats(0.1, 10))
def test_neither_a_constant_nor_a_unit_moves_the_gaps_interval(own: list[float], added: float, unit: float) -> None:
    method = dict(enumerate(own))
    there = [{seed: (loss + added) * unit for seed, loss in each.items()} for each in (method, ORACLE, DEFAULT)]
    one, other = (gap_closed(*losses, confidence=0.5).interval for losses in ((method, ORACLE, DEFAULT), there))
    assert one is not None and other is not None
    assert (other.low, other.high) == pytest.approx((one.low, one.high), abs=1e-6)


@given(st.floats(0.05, 0.5), st.floats(-0.02, 5))
def test_irreducible_loss_leaves_the_gap_alone(level: float, added: float) -> None:
    method = {seed: level for seed in ORACLE}
    moved = [{seed: loss + added for seed, loss in each.items()} for each in (method, ORACLE, DEFAULT)]
    tight = gap_closed(*moved, confidence=0.5)  # the noise test is on ratios, which a constant does change
    assert tight.value == pytest.approx(gap_closed(method, ORACLE, DEFAULT, confidence=0.5).value)


def test_a_failed_method_has_an_infinite_gap() -> None:
    assert gap_closed({0: math.inf, 1: 0.1}, ORACLE, DEFAULT).value == math.inf


@pytest.mark.parametrize(
    ("losses", "bar", "default", "words"),
    [
        (ORACLE, ORACLE, {7: 0.2}, "share no seed"),
        (ORACLE, ORACLE, {0: 0.2, 1: math.inf}, "failed"),
        (ORACLE, ORACLE, {0: 0.2}, "noise"),
        (ORACLE, ORACLE, {0: 0.101, 1: 0.109, 2: 0.0905}, "noise"),
        (ORACLE, DEFAULT, ORACLE, "noise"),
        ({7: 0.1}, ORACLE, DEFAULT, "no seed in common"),
    ],
)
def test_where_the_gap_is_undefined(
    losses: dict[int, float], bar: dict[int, float], default: dict[int, float], words: str
) -> None:
    got = gap_closed(losses, bar, default)
    assert got.value is None and words in got.reason


def test_a_default_that_is_worse_on_other_seeds_only_has_no_gap() -> None:
    bar = dict.fromkeys(range(8), 1.0)
    default = {seed: 2.0 + 0.01 * seed for seed in range(7)} | {7: 0.99}
    got = gap_closed({7: 1.5}, bar, default)
    assert got.value is None and "on these seeds" in got.reason


def test_time_to_target_by_hand() -> None:
    compute, loss = [0.0, 1.0, 2.0, 3.0], [2.0, None, 0.5, 0.4]
    assert time_to_target(compute, loss, 0.5) == 2.0
    assert time_to_target(compute, loss, 0.49) == 3.0
    assert time_to_target(compute, loss, 0.3) == math.inf
    assert time_to_target(compute, loss, 9.0) == 0.0


@given(st.lists(st.floats(0.1, 5), min_size=1, max_size=9), st.floats(0.1, 5), st.floats(0.1, 5))
def test_an_easier_target_is_reached_no_later(losses: list[float], one: float, other: float) -> None:
    compute = [float(i) for i in range(len(losses))]
    easy, hard = max(one, other), min(one, other)
    assert time_to_target(compute, losses, easy) <= time_to_target(compute, losses, hard)


def test_interpolation_by_hand() -> None:
    # Half-way in log lr between 0.1 and 1: the geometric mean of the losses.
    assert interpolated_loss([0.1, 1.0], [0.4, 0.9], math.sqrt(0.1)).value == pytest.approx(0.6)
    assert interpolated_loss([0.1, 1.0], [0.4, 0.9], 0.1) == Measured(0.4)
    assert interpolated_loss([0.1, 1.0], [0.4, 0.9], 1.0) == Measured(0.9)


@pytest.mark.parametrize("lr", [0.0999, 1.01, 1e-9, math.inf])
def test_nothing_is_known_outside_of_the_grid(lr: float) -> None:
    got = interpolated_loss([0.1, 1.0], [0.4, 0.9], lr)
    assert got.value is None and "outside" in got.reason


def test_interpolation_next_to_failures() -> None:
    lrs, losses = [0.1, 0.2, 0.4, 0.8], [0.4, 0.5, math.inf, math.inf]
    assert interpolated_loss(lrs, losses, 0.3).value is None
    assert interpolated_loss(lrs, losses, 0.5).value == math.inf
    assert interpolated_loss(lrs, losses, 0.4).value == math.inf
    assert interpolated_loss(lrs, losses, 0.2).value == 0.5
    assert interpolated_loss([], [], 0.2).value is None


@given(
    st.lists(st.floats(0.1, 10), min_size=2, max_size=11),
    st.floats(0, 1),
    st.floats(0.01, 100),
    st.floats(0.01, 100),
)
def test_interpolation_is_of_no_unit_and_stays_between_neighbours(
    losses: list[float], where: float, lr_unit: float, loss_unit: float
) -> None:
    lrs = [2.0**k for k in range(len(losses))]
    lr = min(2.0 ** (where * (len(losses) - 1)), lrs[-1])
    got = interpolated_loss(lrs, losses, lr).value
    assert got is not None
    left = min(int(where * (len(losses) - 1)), len(losses) - 2)
    near = losses[max(left - 1, 0) : left + 3]  # rounding may put a grid point into the next interval
    assert min(near) * (1 - 1e-9) <= got <= max(near) * (1 + 1e-9)
    if 1e-6 < where < 1 - 1e-6:
        scaled = interpolated_loss([x * lr_unit for x in lrs], [x * loss_unit for x in losses], lr * lr_unit).value
        assert scaled == pytest.approx(got * loss_unit, rel=1e-6)


@pytest.mark.parametrize(("lrs", "losses"), [([0.2, 0.1], [1.0, 1.0]), ([0.1, 0.1], [1.0, 1.0]), ([0.1], [1.0, 2.0])])
def test_a_sweep_ascends(lrs: list[float], losses: list[float]) -> None:
    with pytest.raises(SettingError, match="ascending"):
        interpolated_loss(lrs, losses, 0.1)
