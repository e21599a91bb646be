"""Each rule of LRTuner by a number computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.policies.lr_tuner.price import affordable_step
from lrpilot.policies.lr_tuner.published import PAPER_FACTORS, last_rate, published_rollback, published_step
from lrpilot.policies.lr_tuner.reading import (
    certain_rollback,
    full_rows,
    later_rate,
    next_block,
    region,
    three_factors,
    weigh,
)
from lrpilot.policies.lr_tuner.rules import BOUNDS, absolute_threshold, is_saturated
from lrpilot.policies.lr_tuner.state import LossDrop

NAN, INF = math.nan, math.inf
Rows = list[list[float]]
ThreeLosses = tuple[tuple[float, ...], ...]


def parabola(minimiser: float, *, level: float = 1.0, curvature: float = 1.0, batches: int = 2) -> Rows:
    """Losses at the papers' factors with this minimiser, ``level`` at factor 1."""
    bottom = level - curvature * (1.0 - minimiser) ** 2
    return [[bottom + curvature * (s - minimiser) ** 2 for s in PAPER_FACTORS]] * batches


def drops(*falls: float, steps: int = 10) -> tuple[LossDrop, ...]:
    return tuple(LossDrop(steps, fall) for fall in falls)


# ------------------------------------------------------- the published step


@pytest.mark.parametrize(
    ("minimiser", "lr", "clip", "factor", "clipped", "bounded"),
    [
        # |ε|³ < r·L with L = 1: r = 1e-3 allows 0.1, r = 1e-6 allows 0.01
        (1.5, 0.1, 1e-3, 1.5, False, False),
        (4.0, 0.1, 1e-3, 2.0, True, False),
        (4.0, 0.1, 1e-6, 1.1, True, False),
        (0.4, 0.1, 1e-6, 0.9, True, False),
        # an lr stays positive: ε = -0.15 becomes -0.1, which would leave nothing of 0.1
        (-0.5, 0.1, 1e-3, 0.1, True, True),
        # at an lr of 1e-3 the clip allows ε up to 0.1, a hundred times the lr: the bound decides
        (9.0, 1e-3, 1e-3, 3.0, False, True),
        (0.02, 1e-3, 1e-3, 0.1, False, True),
    ],
)
def test_the_clip_and_the_bound(
    minimiser: float, lr: float, clip: float, factor: float, clipped: bool, bounded: bool
) -> None:
    step = published_step(PAPER_FACTORS, parabola(minimiser), lr, clip)
    assert step.factor == pytest.approx(factor)
    assert (step.clipped, step.bounded) == (clipped, bounded)


def test_the_clip_follows_the_loss() -> None:
    # (1e-3 · 8)^(1/3) = 0.2; a negative loss allows what its size allows
    for level in (8.0, -8.0):
        assert published_step(PAPER_FACTORS, parabola(9.0, level=level), 0.1, 1e-3).factor == pytest.approx(3.0)
        assert published_step(PAPER_FACTORS, parabola(9.0, level=level), 0.4, 1e-3).factor == pytest.approx(1.5)
    assert published_step(PAPER_FACTORS, parabola(1.2, level=0.0), 0.1, 1e-3).factor == 1.0


def test_sigma_aims_beyond_the_minimiser() -> None:
    assert published_step(PAPER_FACTORS, parabola(0.75), 0.1, 1.0, step_factor=2.0).factor == pytest.approx(1.5)


def test_without_a_minimum_the_best_sampled_factor_stands_for_it() -> None:
    downwards = [[1.0, 1.2, 1.3, 1.2, 0.9]]
    assert published_step(PAPER_FACTORS, downwards, 0.1, 1.0).factor == pytest.approx(1.5)
    straight = [[1.4, 1.2, 1.0, 0.8, 0.6]]
    assert published_step(PAPER_FACTORS, straight, 0.1, 1.0).factor == pytest.approx(1.5)


def test_a_step_of_length_zero_moves_nothing() -> None:
    assert published_step(PAPER_FACTORS, [[2.3] * 5] * 3, 0.1, 1.0) == (1.0, False, False)


def test_nothing_is_believed_beyond_a_factor_that_is_no_number() -> None:
    row = parabola(2.0)[0]
    assert published_step(PAPER_FACTORS, [row], 0.1, 1.0).factor == pytest.approx(2.0)
    for bad in (INF, NAN, 1e200):
        assert published_step(PAPER_FACTORS, [row, [*row[:4], bad]], 0.1, 1.0).factor == pytest.approx(1.25)
    assert published_step(PAPER_FACTORS, [[NAN, *row[1:]]], 0.1, 1.0).factor == pytest.approx(2.0), "below 1 it may be"
    assert published_step(PAPER_FACTORS, [[NAN, NAN, row[2], row[3], INF]], 0.1, 1.0).factor == pytest.approx(1.25)
    assert published_step(PAPER_FACTORS, [[*row[:2], NAN, *row[3:]]], 0.1, 1.0).factor == 1.0


# -------------------------------------------------------------- saturation


def test_saturation_is_relative_until_the_first_crossing() -> None:
    # rates 1.0, 0.5, 0.02 per step: ratios 2 and 50 to the first
    windows = drops(10.0, 5.0, 0.2)
    assert not is_saturated(windows[:1], 1.0, threshold=10, absolute=None)
    assert not is_saturated(windows[:2], 0.5, threshold=10, absolute=None)
    assert is_saturated(windows, 0.02, threshold=10, absolute=None)
    assert not is_saturated(windows, 0.02, threshold=100, absolute=None)


def test_then_it_is_absolute() -> None:
    assert absolute_threshold(0.02) == 0.02
    assert is_saturated(drops(1.0), 0.02, threshold=100, absolute=0.02)
    assert not is_saturated(drops(10.0, 0.3), 0.03, threshold=2, absolute=0.02), "the ratio of 33 is not looked at"
    assert absolute_threshold(-0.5) == 0.0


def test_rates_that_cannot_be_compared() -> None:
    assert is_saturated(drops(10.0, -1.0), -0.1, threshold=100, absolute=None), "the loss rises"
    assert not is_saturated(drops(-1.0), -0.1, threshold=100, absolute=None), "one window proves nothing"
    assert is_saturated(drops(-1.0, -2.0), -0.2, threshold=100, absolute=None)
    assert not is_saturated(drops(-1.0, 2.0, 1.0), 0.1, threshold=10, absolute=None), "the first that fell is 0.2"


def test_the_present_rate() -> None:
    windows = (*drops(8.0, 4.0, 2.0), LossDrop(30, 3.0))
    assert last_rate(windows) == pytest.approx(0.1)
    assert later_rate(windows) == pytest.approx((2.0 + 3.0) / (10 + 30))
    assert later_rate(windows[:1]) == last_rate(windows[:1]) == 0.8


# ---------------------------------------------------------------- rollback


def test_the_published_rollback_looks_at_the_drop_rate() -> None:
    before = LossDrop(10, 1.0)
    assert published_rollback(before, LossDrop(10, 0.9))
    assert not published_rollback(before, LossDrop(10, 1.0))
    assert published_rollback(before, LossDrop(30, 2.0)), "per step"


def test_the_default_rolls_back_what_certainly_did_harm() -> None:
    before, old = LossDrop(10, 0.1), (1.0, 2.0, 3.0, 4.0)
    risen = tuple(loss + 0.5 for loss in old)

    def rolls_back(new: tuple[float, ...], *, steps: int = 10) -> bool:
        after = LossDrop(steps, (sum(old) - sum(new)) / 4)
        return certain_rollback(before, after, old, new, confidence=0.9)

    assert rolls_back(risen), "0.5 in every batch, after a fall of 0.1"
    assert not rolls_back(tuple(loss - 0.05 for loss in old)), "slower, but falling"
    assert not rolls_back(tuple(loss + 0.05 for loss in old)), "less than the loss moved before"
    assert not rolls_back(risen, steps=100), "slower than it had fallen"
    # rises 0, 0, 0, 2: mean 0.5, error 0.5, t = 1 < 2.35
    assert not rolls_back((1.0, 2.0, 3.0, 6.0)), "one batch of four"


# -------------------------------------------------------------------- cost


def test_half_of_what_may_be_spent_belongs_to_explore() -> None:
    # 1,000 steps at 3 %: 90 forwards, 45 of them in the first 250 steps
    def due(spent: float) -> float:
        return affordable_step(spent, overhead=0.03, total=1000, explore_end=250)

    assert [due(spent) for spent in (0, 9, 45, 67.5, 90)] == pytest.approx([0, 50, 250, 625, 1000])
    assert due(91) == INF
    assert affordable_step(9, overhead=0.03, total=1000, explore_end=0) == pytest.approx(100)
    assert affordable_step(9, overhead=0.03, total=1000, explore_end=1000) == pytest.approx(100)
    assert affordable_step(9, overhead=0.03, total=None, explore_end=0) == pytest.approx(100)


@given(st.floats(0, 300), st.floats(0, 300), st.integers(1, 10_000), st.floats(0, 1), st.floats(0.001, 2))
def test_more_spent_is_later(one: float, other: float, total: int, explore: float, overhead: float) -> None:
    low, high = sorted((one, other))
    at = [affordable_step(x, overhead=overhead, total=total, explore_end=explore * total) for x in (low, high)]
    assert 0 <= at[0] <= at[1]
    assert at[0] <= total * (1 + 1e-9) or at[0] == INF


# ---------------------------------------------------- the default's reading


def test_blocks_double_and_use_what_is_known() -> None:
    asked, read = [], 0
    while read < 16:
        block = next_block(read, known=4)
        asked.append(tuple(block))
        read += block.size
    assert asked == [(0, 2, True), (2, 2, True), (4, 4, False), (8, 8, False)]
    assert next_block(2, known=3) == (2, 1, True)
    assert full_rows([(1.0, 3.0)], (9.0, 9.0, 2.0), next_block(2, known=3)) == ((1.0, 2.0, 3.0),)
    assert full_rows([(1.0, 2.0, 3.0)], (9.0,), next_block(4, known=4)) == ((1.0, 2.0, 3.0),)


def test_the_region() -> None:
    assert region(1.0, INF) == (0.1, 2.0) and region(2.0, INF) == BOUNDS and region(0.5, 1.2) == (0.5, 1.2)
    assert three_factors(1.0) == (0.5, 1.0, 1.5)


def rows_of(*coefficients: tuple[float, float]) -> ThreeLosses:
    """A batch for each (k1, k2), read at half the distance to a region of radius 1."""
    return tuple(tuple(2.0 + k1 * x + k2 * x * x for x in (-0.5, 0.0, 0.5)) for k1, k2 in coefficients)


def verdict(
    rows: tuple[tuple[float, ...], ...], direction: str = "up", *, sigma: float = 1.0
) -> tuple[str, float, bool]:
    said = weigh(
        rows,
        three_factors(1.0),
        region(1.0, INF),
        direction,  # type: ignore[arg-type]
        step_factor=sigma,
        confidence=0.9,
    )
    return said.kind, pytest.approx(said.factor), said.limited


def test_without_noise_two_batches_are_enough() -> None:
    # k1 = -1, k2 = 1: s* = 1.5
    assert verdict(rows_of((-1.0, 1.0), (-1.0, 1.0))) == ("go", 1.5, False)
    assert verdict(rows_of((-1.0, 1.0), (-1.0, 1.0)), sigma=1.2) == ("go", 1.8, False)
    assert verdict(rows_of((-1.0, 1.0), (-1.0, 1.0)), sigma=2.0) == ("go", 2.0, True)
    assert verdict(rows_of((-1.0, 0.1), (-1.0, 0.1))) == ("go", 2.0, True)
    assert verdict(rows_of((1.0, 1.0), (1.0, 1.0)), "down") == ("go", 0.5, False)


def test_the_other_direction_is_none_of_its_business() -> None:
    assert verdict(rows_of((-1.0, 1.0), (-1.0, 1.0)), "down")[0] == "hold"
    assert verdict(rows_of((1.0, 1.0), (1.0, 1.0)))[0] == "hold"


def test_sigma_turns_a_decrease_into_an_increase() -> None:
    smaller = rows_of((0.5, 1.0), (0.5, 1.0))  # s* = 0.75
    assert verdict(smaller)[0] == "hold" and verdict(smaller, sigma=2.0) == ("go", 1.5, False)


def test_an_uncertain_sign_asks_for_more_and_holds_without() -> None:
    assert verdict(rows_of((-1.0, 1.0), (1.0, 1.0))) == ("more", 1.0, False)


def test_a_decrease_that_is_asked_for_follows_the_estimate() -> None:
    # Slopes 0.2 and 1.4: mean 0.8 with an error of 0.6 is no certain sign; its minimiser is at 1 - 0.8 / 2.
    uncertain = rows_of((0.2, 1.0), (1.4, 1.0))
    assert verdict(uncertain, "down") == ("more", 0.6, False)
    assert verdict(rows_of((-0.2, 1.0), (-1.4, 1.0))) == ("more", 1.0, False), "an increase does not"
    assert verdict(rows_of((0.2, -1.0), (1.4, -1.0)), "down")[:2] == ("more", 1.0), "and without a minimum none does"


def test_an_uncertain_size_asks_for_more_and_goes_without() -> None:
    kind, factor, _ = verdict(rows_of((-1.0, 1.0), (-1.4, 1.0), (-0.45, 1.0)))
    assert (kind, factor) == ("more", 1 + 0.95 / 2), "somewhere between 1.07 and 1.88"


def test_a_certain_fall_does_not_wait_for_the_curvature() -> None:
    assert verdict(rows_of((-1.0, 0.05), (-1.0, -0.06), (-1.0, 0.02))) == ("go", 2.0, True)


def test_flat_lines_hold_at_once() -> None:
    assert verdict(rows_of((0.0, 0.0), (0.0, 0.0)))[0] == "hold"
