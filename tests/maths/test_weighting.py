"""From candidate losses to one factor: numbers by hand, a slow reference, and the symmetries of the problem."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.maths.weighting import (
    Candidates,
    combine_factors,
    exponential_scores,
    normalise,
    powers_of_two,
    weighted_geometric_mean,
)

NAN, INF = math.nan, math.inf
FIVE = powers_of_two(5)

# Losses of five candidates that differ by more than rounding.
spread_losses = st.lists(st.floats(-100, 100), min_size=5, max_size=5).filter(lambda v: max(v) - min(v) > 1e-3)


def reference(factors: tuple[float, ...], losses: list[float]) -> float:
    """Algorithm 1, written out in NumPy."""
    x = np.array(losses)
    x = (x - x.mean()) / x.std()
    w = np.exp(-x)
    return float(np.prod(np.array(factors) ** (w / w.sum())))


# ---------------------------------------------------------------- by hand


def test_factors_of_the_paper() -> None:
    assert powers_of_two(7) == (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    assert FIVE == (0.25, 0.5, 1.0, 2.0, 4.0)


@given(st.integers(0, 20))
def test_one_is_in_the_middle_of_every_odd_number_of_factors(half: int) -> None:
    factors = powers_of_two(2 * half + 1)
    assert len(factors) == 2 * half + 1 and factors[half] == 1.0


def test_normalised_losses_by_hand() -> None:
    # mean 2, squares of the distances 1, 0, 1: spread sqrt(2/3) = 0.8165
    assert normalise((1.0, 2.0, 3.0)) == pytest.approx((-1.22474, 0.0, 1.22474), abs=1e-5)
    assert normalise((5.0, 7.0)) == (-1.0, 1.0)


def test_scores_by_hand() -> None:
    assert exponential_scores((-1.0, 0.0, 1.0, INF)) == pytest.approx((2.71828, 1.0, 0.36788, 0.0), abs=1e-5)


def test_weighted_geometric_mean_by_hand() -> None:
    assert weighted_geometric_mean((1.0, 8.0), (2.0, 1.0)) == pytest.approx(2.0)
    assert weighted_geometric_mean((0.25, 4.0), (3.0, 3.0)) == 1.0


def test_the_whole_of_algorithm_1_by_hand() -> None:
    # scores 3.4033, 1, 0.29383; exponent (−3.4033 + 0.29383) / 4.69713 = −0.66200; 2^−0.66200 = 0.63201
    assert combine_factors((0.5, 1.0, 2.0), (1.0, 2.0, 3.0)) == pytest.approx(0.63201, abs=1e-5)
    # Losses that fall evenly: scores 0.24312, 0.49307, 1, 2.02811, 4.11325; exponent 9.27531 / 7.87755 = 1.17744
    assert combine_factors(FIVE, (5.0, 4.0, 3.0, 2.0, 1.0)) == pytest.approx(2.26174, abs=1e-5)


def test_how_fast_the_lr_can_move() -> None:
    """Evenly falling losses, and one candidate far better than all others: the most that a decision can do."""
    seven = powers_of_two(7)
    assert combine_factors(seven, (7, 6, 5, 4, 3, 2, 1)) == pytest.approx(3.1964, abs=1e-4)
    assert combine_factors(seven, (1, 1, 1, 1, 1, 1, 0)) == pytest.approx(4.2972, abs=1e-4)
    assert combine_factors(FIVE, (1, 1, 1, 1, 0)) == pytest.approx(2.6064, abs=1e-4)


# ------------------------------------------------------------- properties


@given(spread_losses)
def test_it_is_the_reference(losses: list[float]) -> None:
    assert combine_factors(FIVE, losses) == pytest.approx(reference(FIVE, losses), rel=1e-9)


@given(spread_losses, st.floats(1e-3, 1e3), st.floats(-100, 100))
def test_neither_the_unit_nor_the_zero_of_the_loss_matters(losses: list[float], scale: float, shift: float) -> None:
    other = [scale * loss + shift for loss in losses]
    assert combine_factors(FIVE, other) == pytest.approx(combine_factors(FIVE, losses), rel=1e-6)


@given(spread_losses)
def test_normalised_losses_have_mean_zero_and_mean_square_one(losses: list[float]) -> None:
    x = normalise(losses)
    assert math.fsum(x) == pytest.approx(0, abs=1e-9)
    assert math.fsum(v * v for v in x) / 5 == pytest.approx(1.0)


@given(spread_losses, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(losses: list[float], shuffler: random.Random) -> None:
    pairs = list(zip(FIVE, losses, strict=True))
    shuffler.shuffle(pairs)
    shuffled = combine_factors([f for f, _ in pairs], [loss for _, loss in pairs])
    assert shuffled == pytest.approx(combine_factors(FIVE, losses))


@given(spread_losses)
def test_the_mirrored_line_asks_for_the_reciprocal(losses: list[float]) -> None:
    there, back = combine_factors(FIVE, losses), combine_factors(FIVE, losses[::-1])
    assert there is not None and back is not None
    assert there * back == pytest.approx(1.0)


@given(st.lists(st.one_of(st.floats(), st.just(NAN), st.just(INF)), min_size=5, max_size=5))
def test_whatever_the_losses_the_factor_is_in_range(losses: list[float]) -> None:
    factor = combine_factors(FIVE, losses)
    finite = [f for f, loss in zip(FIVE, losses, strict=True) if math.isfinite(loss)]
    if not finite:
        assert factor is None
    else:
        assert factor is not None
        assert min(finite) * (1 - 1e-12) <= factor <= max(finite) * (1 + 1e-12)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([3, 5, 7, 9]))
def test_equal_losses_leave_the_lr_exactly_as_it_was(loss: float, num: int) -> None:
    assert combine_factors(powers_of_two(num), [loss] * num) == 1.0


# ------------------------------------------------------------- non-finite


def test_a_candidate_that_is_not_finite_counts_nothing() -> None:
    kept = combine_factors((0.25, 0.5, 1.0), (3.0, 2.0, 1.0))
    for bad in (NAN, INF, -INF):
        assert combine_factors(FIVE, (3.0, 2.0, 1.0, bad, bad)) == pytest.approx(kept)
    assert normalise((1.0, NAN, 3.0)) == (-1.0, INF, 1.0)
    assert normalise((2.0, NAN, 2.0)) == (0.0, INF, 0.0)


def test_a_single_finite_candidate_decides_alone() -> None:
    assert combine_factors(FIVE, (NAN, 7.0, INF, INF, INF)) == 0.5


def test_losses_near_the_end_of_the_range_of_floats() -> None:
    huge = combine_factors(FIVE, (1e308, -1e308, 1e308, 1e308, 1e308))
    assert huge == pytest.approx(combine_factors(FIVE, (1.0, -1.0, 1.0, 1.0, 1.0)))


# ------------------------------------------------------------- candidates


def test_factors_above_no_step_score_nothing() -> None:
    candidates = Candidates(2.0, FIVE, (1.9, 1.8, 1.7, 2.1, 900.0))
    assert candidates.combine() == combine_factors((0.25, 0.5, 1.0), (1.9, 1.8, 1.7))
    assert candidates.any_helps and not candidates.smallest_is_best


def test_where_no_factor_helps_all_of_them_count() -> None:
    losses = (2.1, 2.2, 2.3, 2.4, 2.5)
    candidates = Candidates(2.0, FIVE, losses)
    assert candidates.combine() == combine_factors(FIVE, losses)
    assert not candidates.any_helps and candidates.smallest_is_best


@pytest.mark.parametrize("broken", [-math.inf, math.inf, math.nan])
def test_a_loss_that_is_not_finite_helps_nobody(broken: float) -> None:
    candidates = Candidates(1.0, (0.5, 1.0, 2.0), (broken, broken, broken))
    assert not candidates.any_helps and candidates.smallest_is_best and candidates.combine() == 1.0


def test_a_line_without_slope_leaves_the_lr() -> None:
    assert Candidates(2.0, FIVE, (2.0,) * 5).combine() == 1.0
    within_rounding = (2.0 - 1e-6, 2.0, 2.0, 2.0 + 1e-6, 2.0)
    assert Candidates(2.0, FIVE, within_rounding).combine() == 1.0
    assert combine_factors(FIVE, within_rounding) != 1.0, "as published it is followed"


def test_nothing_finite_leaves_the_lr() -> None:
    candidates = Candidates(2.0, FIVE, (NAN,) * 5)
    assert candidates.combine() == 1.0 and candidates.smallest_is_best and not candidates.any_helps


def test_further_factors_of_the_same_step() -> None:
    first = Candidates(2.0, (0.5, 1.0), (3.0, 9.0))
    both = first.extended(Candidates(2.0, (0.125, 0.25), (1.9, 1.8)))
    assert first.smallest_is_best and not both.smallest_is_best
    assert both.loss_at(0.25) == 1.8 and both.loss_at(1.0) == 9.0
    assert both.combine() == combine_factors((0.125, 0.25), (1.9, 1.8))


@given(spread_losses, st.floats(-100, 100), st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_candidates_do_not_depend_on_the_unit_of_the_loss(losses: list[float], no_step: float, scale: float) -> None:
    one = Candidates(no_step, FIVE, tuple(losses))
    other = Candidates(scale * no_step, FIVE, tuple(scale * loss for loss in losses))
    assert other.combine() == pytest.approx(one.combine())
    assert (other.any_helps, other.smallest_is_best) == (one.any_helps, one.smallest_is_best)
