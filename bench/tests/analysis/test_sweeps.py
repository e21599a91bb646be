"""Start-lr and horizon sweeps."""

import math

import pytest
from bench_records import GRID, bench, oracle_records, record, seeded, swept

from lrpilot_bench.analysis.sweeps import horizon_rows, robustness, start_lr_rows


def test_start_lrs_by_hand() -> None:
    read = bench(
        oracle_records(),
        seeded("t", "tlf", [1.0, 1.1], lr_factor=1.0),
        seeded("t", "tlf", [2.0, 2.2], lr_factor=1 / 30),
        seeded("t", "tlf", [1.5, math.inf], lr_factor=30.0),
        seeded("t", "gen", [1.0]),
    )
    rows = start_lr_rows(read, "t")
    assert [(row.method, row.lr_factor) for row in rows] == [("tlf", 1 / 30), ("tlf", 1.0), ("tlf", 30.0)]
    low, own, high = rows
    assert (low.lr, own.lr, high.lr) == pytest.approx((0.1 / 30, 0.1, 3.0))
    assert low.regret.ratio is not None and high.regret.ratio is not None
    assert (low.regret.ratio.mean, high.regret.ratio.mean) == pytest.approx((2.0, math.inf))
    assert low.regret.by_seed == pytest.approx({0: 2.0, 1: 2.0})
    assert [failure.seed for failure in high.failures] == [1]
    assert low.seeds == (0, 1) and low.title == "range test"


def test_robustness_by_hand() -> None:
    """Geometric means over the tasks on which every start lr was run; the smaller worst case first."""
    read = bench(
        oracle_records(),
        oracle_records("u"),
        *(seeded(task, "tlf", [loss], lr_factor=f) for task, loss, f in (("t", 2.0, 1.0), ("t", 4.0, 30.0))),
        *(seeded(task, "tlf", [loss], lr_factor=f) for task, loss, f in (("u", 8.0, 1.0), ("u", math.inf, 30.0))),
        *(seeded("t", "nothing", [loss], lr_factor=f) for loss, f in ((3.0, 1.0), (9.0, 30.0))),
        seeded("u", "nothing", [1.0], lr_factor=1.0),
        seeded("u", "nothing", [1.0], lr_factor=1 / 30),
    )
    rows = [row for task in ("t", "u") for row in start_lr_rows(read, task)]
    first, last = robustness(rows)
    assert (first.method, last.method) == ("tlf", "nothing"), "what has no mean comes last, whatever failed"
    assert first.means == pytest.approx({1.0: 4.0, 30.0: math.inf}) and first.tasks == ("t", "u")
    assert (first.worst, first.finite_mean) == pytest.approx((math.inf, 4.0))
    assert first.failures == {1.0: (0, 2), 30.0: (1, 2)} and (first.failed, first.runs) == (1, 4)
    assert last.means == {} and math.isinf(last.worst) and last.failed == 0
    assert robustness([]) == ()


def test_a_sweep_is_not_a_start_lr_sweep() -> None:
    assert start_lr_rows(bench(oracle_records()), "t") == ()


def test_a_start_lr_that_a_sweep_came_by_counts() -> None:
    """The runner records a run once, under whichever suite came first."""
    swept_first = [record("t", "linear", 5.0, lr=3.0)]
    later = [record("t", "linear", 6.0, seed=1, lr_factor=30.0)]
    (row,) = start_lr_rows(bench(swept_first, later), "t")
    assert row.losses == {0: 5.0, 1: 6.0}
    assert row.regret.ratio is None and "no oracle" in row.regret.reason


def test_other_factors_may_be_asked_for() -> None:
    read = bench(seeded("t", "tlf", [1.0]), seeded("t", "tlf", [2.0], lr_factor=3.0))
    assert [row.lr_factor for row in start_lr_rows(read, "t", factors=(1.0, 3.0))] == [1.0, 3.0]


def test_horizons_by_hand() -> None:
    read = bench(
        swept("t", "linear", best=1.0),
        swept("t", "linear", best=0.5, horizon=4.0),
        seeded("t", "linear", [2.0, 2.0]),
        seeded("t", "gen", [2.2, 2.2]),
        seeded("t", "linear", [0.8, 0.9], horizon=4.0),
        seeded("t", "gen", [0.6, 0.6], horizon=4.0),
        seeded("t", "gen", [3.0], horizon=0.25),
        seeded("t", "prodigy", [1.0]),
    )
    rows = {(row.method, row.horizon): row for row in horizon_rows(read, "t")}
    assert list(rows) == [("linear", 1.0), ("linear", 4.0), ("gen", 0.25), ("gen", 1.0), ("gen", 4.0)]
    plain, long, short = rows["gen", 1.0], rows["gen", 4.0], rows["gen", 0.25]
    assert (plain.steps, long.steps, short.steps) == (100, 400, 25)
    assert plain.against is not None and long.against is not None
    assert (plain.against.mean, plain.verdict) == (pytest.approx(1.1), "loss")
    assert (long.against.mean, long.verdict) == (pytest.approx((0.75 * 2 / 3) ** 0.5), "tie")
    assert long.regret.by_seed == pytest.approx({0: 1.2}), "against the sweep of the same horizon"
    assert (short.against, short.verdict) == (None, None)
    assert short.regret.reason == "no oracle: no sweep on record"
    assert rows["linear", 4.0].against is not None and rows["linear", 4.0].verdict == "tie"
    assert plain.loss.mean == pytest.approx(2.2)


def test_no_horizon_but_one_no_rows() -> None:
    assert horizon_rows(bench(oracle_records(), seeded("t", "gen", [1.0])), "t") == ()


def test_a_sweep_alone_at_another_horizon() -> None:
    (row,) = horizon_rows(bench(swept("t", "linear", horizon=4.0), seeded("t", "linear", [1.0])), "t")
    assert (row.method, row.horizon) == ("linear", 1.0), "no run at its default lr with the longer one"
    assert GRID[0] == 0.01
