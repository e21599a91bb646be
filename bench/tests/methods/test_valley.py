"""fastai's valley against hand-computed and brute-force cases, and its range test on a session."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.methods import valley as module
from lrpilot_bench.methods.valley import (
    fastai_diverged,
    pick_fastai_valley,
    smoothed,
    valley,
    valley_of_range_test,
)
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.digits import TASKS

# ------------------------------------------------------------------ the valley


def index_of_valley(losses: list[float]) -> int:
    return [float(i) for i in range(len(losses))].index(valley([float(i) for i in range(len(losses))], losses))


@pytest.mark.parametrize(
    ("losses", "index"),
    [
        # one fall of L = 6 that ends at 5: starts at 5 - 6 = -1, then 6/3 = 2 and 6/6 = 1 further
        ([6, 5, 4, 3, 2, 1], 2),
        # the same behind a plateau and before an explosion: L = 6 ends at 8, 8 - 6 + 2 + 1
        ([6, 6, 6, 6, 5, 4, 3, 2, 1, 50, 60], 5),
        # bumps on the way are stepped over: 5 4 3 2 (or 6 4 3 2), L = 4 ends at 6, 6 - 4 + 1 + 0
        ([5, 6, 4, 7, 3, 8, 2], 3),
        # two valleys of three: the earlier one ends at 2, 2 - 3 + 1 + 0
        ([3, 2, 1, 9, 8, 7], 0),
        # the second valley is longer: L = 4 (9 8 7 6) ends at 6, 6 - 4 + 1 + 0
        ([3, 2, 1, 9, 8, 7, 6], 3),
        # nothing falls
        ([1, 1, 1, 2, 3], 0),
        ([1], 0),
        # a valley of two at the very beginning would suggest a point before the first
        ([2, 1, 5], 0),
    ],
)
def test_valley_by_hand(losses: list[float], index: int) -> None:
    assert index_of_valley(losses) == index


def slow_valley_index(losses: list[float]) -> int:
    """Try every subsequence, longest first, those that end earliest first."""
    count = len(losses)
    for length in range(count, 1, -1):
        falls = [
            picks
            for picks in itertools.combinations(range(count), length)
            if all(losses[b] < losses[a] for a, b in itertools.pairwise(picks))
        ]
        if falls:
            end = min(picks[-1] for picks in falls)
            return max(0, end - length + math.floor(length / 3) + math.floor(length / 6))
    return 0


@given(st.lists(st.integers(0, 6).map(float), min_size=1, max_size=9))
def test_valley_agrees_with_trying_everything(losses: list[float]) -> None:
    assert index_of_valley(losses) == slow_valley_index(losses)


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=30), st.floats(0.1, 100), st.floats(-5, 5))
def test_valley_does_not_depend_on_the_units_of_the_loss(losses: list[float], scale: float, shift: float) -> None:
    rounded = [round(loss, 2) for loss in losses]  # so that scaling cannot merge two losses

    assert index_of_valley([scale * loss + shift for loss in rounded]) == index_of_valley(rounded)


def test_running_mean_by_hand() -> None:
    # second value: (0.98 * 0.02 * 1 + 0.02 * 2) / (1 - 0.98^2) = 0.0596 / 0.0396
    assert smoothed([1.0, 2.0]) == pytest.approx([1.0, 1.5050505050505])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.floats(0.1, 0.99))
def test_running_mean_is_a_weighted_mean(losses: list[float], beta: float) -> None:
    weights = [beta ** (len(losses) - 1 - i) for i in range(len(losses))]
    expected = sum(w * x for w, x in zip(weights, losses, strict=True)) / sum(weights)

    assert smoothed(losses, beta)[-1] == pytest.approx(expected, abs=1e-9)


def test_divergence_is_four_times_the_best_running_mean() -> None:
    # means after two losses, (0.0196 + 0.02 x) / 0.0396: 5.55 for x = 10, 3.02 for x = 5
    assert fastai_diverged([1.0, 10.0])
    assert not fastai_diverged([1.0, 5.0])
    assert not fastai_diverged([1.0, math.nan])


def test_range_test_drops_ten_points_in_front_and_five_behind() -> None:
    lrs = [float(i) for i in range(100)]
    # falls of L = 85 (points 10..94): 84 - 85 + 28 + 14 = 41, and 10 in front of it
    assert valley_of_range_test(lrs, [float(100 - i) for i in range(100)]) == 51.0


def test_range_test_is_cut_at_the_first_nan() -> None:
    lrs = [float(i) for i in range(100)]
    losses = [float(100 - i) if i < 40 else math.nan for i in range(100)]
    # points 10..39: L = 30, 29 - 30 + 10 + 5 = 14, and 10 in front of it
    assert valley_of_range_test(lrs, losses) == 24.0


@pytest.mark.parametrize("losses", [[1.0] * 15, [1.0] * 3, [1.0] * 8 + [math.nan] * 92])
def test_range_test_without_points_suggests_nothing(losses: list[float]) -> None:
    assert valley_of_range_test([0.1] * len(losses), losses) is None


# ------------------------------------------------------------------ the range test


def session() -> Session:
    return Session(TASKS[0], TASKS[0].family(), seed=0, steps=200)


def test_the_test_is_paid_for_and_the_weights_are_put_back() -> None:
    tested, fresh = session(), session()

    pick = pick_fastai_valley(tested)

    assert pick.lr is not None and 1e-7 < pick.lr < 10
    assert pick.cost == tested.compute == 3 * pick.extra["range_test_steps"] > 0
    assert pick.extra["not_restored"] == ["generators"], "dropout has drawn from them, and fastai leaves them"
    for a, b in zip(tested.model.parameters(), fresh.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_test_that_explodes_at_once_gives_no_pick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fastai_diverged", lambda losses: len(losses) == 9)

    pick = pick_fastai_valley(session())

    assert pick.lr is None and pick.reason is not None and "got 9" in pick.reason
    assert pick.cost == 27
