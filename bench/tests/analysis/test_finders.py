"""The finder table: picks joined with the sweep of the schedule they are meant for."""

import math
from typing import Any

import pytest
from bench_records import GRID, bench, record, swept

from lrpilot_bench.analysis.finders import finder_rows, over_tasks

SWEPT = swept("t", "linear", best=1.0)  # best at GRID[5]; a doubling or halving costs a factor sqrt(2)


def pick(
    lr: float | None, *, seed: int = 0, b: float | None = None, cost: float = 30.0, **notes: Any
) -> dict[str, Any]:
    """A finder's record: it costs a tenth of the 300 forward-equivalents of a plain run."""
    found = {"picked_lr": lr, "search_cost": cost, "suggestions": {"a": lr, "b": b}, **notes}
    return record("t", "pick_ours", 10.0, seed=seed, notes=found)


def test_by_hand() -> None:
    read = bench(SWEPT, [pick(GRID[5], b=GRID[6]), pick(GRID[4], seed=1, b=GRID[7], cost=60.0), pick(GRID[3], seed=2)])
    own, other = finder_rows(read, "t")
    assert (own.method, own.title, own.suggestion, own.schedule) == ("pick_ours", "our pick", "a", "linear")
    assert own.own and other.own
    assert own.lrs == {0: GRID[5], 1: GRID[4], 2: GRID[3]} and own.reasons == {}
    assert own.lr == pytest.approx(GRID[4]) and own.spread == pytest.approx(4.0)
    assert {seed: regret.value for seed, regret in own.regrets.items()} == pytest.approx({0: 1.0, 1: 2**0.5, 2: 2.0})
    assert (own.regret.value, own.worst.value) == pytest.approx((2**0.5, 2.0))
    assert own.best_lr == GRID[5] and own.compute.value == pytest.approx(0.1)
    assert other.suggestion == "b" and other.lrs[2] is None
    assert other.reasons == {2: "no lr suggested"}
    assert other.lr == pytest.approx(math.sqrt(GRID[6] * GRID[7]))
    assert other.worst.value == math.inf, "no pick is a failure"


def test_between_grid_points() -> None:
    read = bench(SWEPT, [pick(GRID[6] * math.sqrt(2.0))])
    assert finder_rows(read, "t")[0].regret.value == pytest.approx(2**0.75)


def test_a_run_at_the_very_pick_goes_before_interpolation_also_outside_of_the_grid() -> None:
    far, between = 1e-7, GRID[6] * math.sqrt(2.0)
    flown = [record("t", "linear", 3.0 * SWEPT[5]["final"]["val_loss"], lr=lr) for lr in (far, between)]
    read = bench(SWEPT, flown, [pick(far), pick(between, seed=1)])
    assert [regret.value for regret in finder_rows(read, "t")[0].regrets.values()] == pytest.approx([3.0, 3.0])


def test_what_the_record_says_goes_before_what_is_registered() -> None:
    read = bench(swept("t", "constant", best=3.0), [pick(GRID[5], schedule="constant", rows=["a"])])
    (row,) = finder_rows(read, "t")
    assert (row.schedule, row.suggestion, row.regret.value) == ("constant", "", pytest.approx(1.0))


@pytest.mark.parametrize(
    ("sweep", "lr", "words"),
    [
        ([], 0.1, "no sweep of linear"),
        (SWEPT[1:], 0.1, "incomplete"),
        (SWEPT, 1e-7, "beyond the grid; its edge: regret 5.66"),
        ([record("t", "linear", math.inf, lr=lr) for lr in GRID], 0.1, "no sweep of linear that finished"),
        ([record("t", "linear", 1.0 if lr < 0.1 else math.inf, lr=lr) for lr in GRID], 0.1, "finished and one that"),
    ],
)
def test_where_the_sweep_does_not_say(sweep: list[dict[str, Any]], lr: float, words: str) -> None:
    row = finder_rows(bench(sweep, [pick(lr)]), "t")[0]
    assert row.regret.value is None and row.worst.value is None and words in row.regret.reason
    assert row.lr == pytest.approx(lr)


def test_a_pick_where_everything_diverges() -> None:
    records = [record("t", "linear", 1.0 if lr < 0.1 else math.inf, lr=lr) for lr in GRID]
    assert finder_rows(bench(records, [pick(5.0)]), "t")[0].regret.value == math.inf


def test_a_finder_that_crashed_or_gave_none() -> None:
    crashed = record("t", "pick_ours", 10.0, status="crashed", error="ValueError: no", seed=1)
    read = bench(SWEPT, [pick(None, reason="flat", b=0.1), crashed])
    own, other = finder_rows(read, "t")
    assert own.reasons == {0: "flat", 1: "ValueError: no"}
    assert (own.lr, own.spread, own.regret.value) == (None, None, math.inf)
    assert other.lr == pytest.approx(0.1) and other.spread is None
    assert own.compute.value == pytest.approx(0.1), "of the seed that tells"
    (alone, _) = finder_rows(bench(SWEPT, [crashed]), "t")
    assert alone.compute.reason == "no cost on record" and alone.schedule == "linear"


@pytest.mark.parametrize("lr", [0.0, -1.0, math.inf])
def test_what_is_no_lr_is_no_pick(lr: float) -> None:
    assert finder_rows(bench(SWEPT, [pick(lr)]), "t")[0].lrs == {0: None}


def test_no_finder_no_rows() -> None:
    assert finder_rows(bench(SWEPT), "t") == ()
    assert finder_rows(bench([record("t", "gen", 1.0, notes={"picked_lr": 0.1})]), "t") == ()


def test_over_tasks_by_hand() -> None:
    """Off by 2, 4 and 1/8: the median distance is 4, whichever way a pick is off."""
    picks = [pick(GRID[6]), pick(GRID[7], b=GRID[5]), pick(GRID[2])]
    rows = [row for each in picks for row in finder_rows(bench(SWEPT, [each]), "t")]
    b, a = over_tasks(rows)
    assert (a.name, b.name) == ("our pick: a", "our pick: b"), "the closest first"
    assert a.ratios == pytest.approx((2.0, 4.0, 0.125)) and a.distance == pytest.approx(4.0)
    assert b.ratios == pytest.approx((1.0,)) and b.distance == pytest.approx(1.0)
    assert (a.unpicked, a.seeds, b.unpicked, b.seeds) == (0, 3, 2, 3)
    assert a.costs == pytest.approx((0.1, 0.1, 0.1)) and a.own and a.schedule == "linear"


def test_a_finder_without_a_pick_comes_last() -> None:
    (own, _) = over_tasks(finder_rows(bench(SWEPT, [pick(None, reason="flat")]), "t"))
    assert own.ratios == () and math.isinf(own.distance) and over_tasks([]) == ()
