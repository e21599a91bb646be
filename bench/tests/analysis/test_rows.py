"""Rows of the tables: numbers by hand, and what is said where something is missing or failed."""

import math
import statistics
from typing import Any

import pytest
from bench_records import GRID, bench, oracle_records, record, seeded

from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.analysis.rows import MethodRow, method_rows

# The oracle has 1.0, 1.1, 1.2, ... by seed and the target 1.224.


def row(read: Bench, method: str, **options: Any) -> MethodRow:
    return next(row for row in method_rows(read, "t", **options) if row.method == method)


def test_regret_by_hand() -> None:
    got = row(bench(oracle_records(), seeded("t", "gen", [1.1, 1.21, 1.32])), "gen").regret
    assert got.by_seed == pytest.approx({0: 1.1, 1: 1.1, 2: 1.1})
    assert got.ratio is not None
    assert (got.ratio.mean, got.ratio.low, got.ratio.high, got.ratio.count) == pytest.approx((1.1, 1.1, 1.1, 3))
    assert (got.verdict, got.reason) == ("loss", "")


def test_the_mean_regret_is_over_paired_seeds_only() -> None:
    read = bench(oracle_records(seeds=2), seeded("t", "gen", [2.0, 1.1, 99.0]))
    got = row(read, "gen")
    assert got.regret.by_seed == pytest.approx({0: 2.0, 1: 1.0})
    assert got.regret.ratio is not None and got.regret.ratio.mean == pytest.approx(math.sqrt(2.0))
    assert got.regret.verdict == "tie"
    assert got.loss.mean == pytest.approx(statistics.fmean([2.0, 1.1, 99.0])), "the loss is over all seeds"


def test_the_rest_of_a_row_by_hand() -> None:
    plain = seeded("t", "constant", [1.9], seconds=4.0)
    mine = [
        record("t", "gen", loss, seed=seed, compute=compute, seconds=seconds, notes={"k": seed})
        for seed, (loss, compute, seconds) in enumerate([(1.0, 1.0, 4.0), (1.2, 1.02, 12.0), (1.4, 1.01, 5.0)])
    ]
    other = [record("t", "linear", 1.5, seconds=400.0, machine={"cpu_count": 64})]
    swept = [r | {"seconds": 4.0} for r in oracle_records()]
    got = row(bench(swept, plain, other, mine), "gen")
    assert (got.task, got.family, got.title, got.group, got.equal_compute) == ("t", "sgd", "GeN", "peer", True)
    assert (got.lr, got.seeds, got.losses) == (None, (0, 1, 2), {0: 1.0, 1: 1.2, 2: 1.4})
    assert got.loss.mean == pytest.approx(1.2)
    assert got.loss.high == pytest.approx(1.2 + 4.30265 * 0.2 / math.sqrt(3), rel=1e-5)
    assert (got.score.value, got.test_score.value) == pytest.approx((0.9, 0.8))
    assert got.test_loss.value == pytest.approx(1.2)
    assert got.compute == 1.01
    assert got.seconds.value == 1.25, "against plain runs of the same machine"
    # At three quarters of the budget the curve is at its final loss; 1.4 misses 1.224.
    assert got.times_to_target == {0: 0.75, 1: 0.75, 2: math.inf}
    assert (got.time_to_target.value, got.misses) == (0.75, 1)
    assert got.notes == {0: {"k": 0}, 1: {"k": 1}, 2: {"k": 2}}
    assert got.failures == ()


def test_gap_closed_by_hand() -> None:
    default = seeded("t", "nothing", [2.0, 2.1, 2.2])
    read = bench(oracle_records(), default, seeded("t", "gen", [1.25, 1.35, 1.45]))
    assert row(read, "gen").gap_closed.value == pytest.approx(0.25)
    assert row(read, "nothing").gap_closed.value == pytest.approx(1.0)
    assert row(read, "nothing").lr == 0.1


def test_a_default_as_good_as_the_oracle_leaves_no_gap() -> None:
    read = bench(oracle_records(), seeded("t", "nothing", [1.02, 1.08, 1.21]), seeded("t", "gen", [1.25, 1.35, 1.45]))
    got = row(read, "gen").gap_closed
    assert got.value is None and "noise" in got.reason


def test_failures_count_and_are_told() -> None:
    crashed = record("t", "gen", 5.0, seed=1, status="crashed", error="ValueError: no", compute=0.1, seconds=0.1)
    diverged = record("t", "gen", math.inf, seed=2, compute=0.2)
    read = bench(oracle_records(), [record("t", "gen", 0.9), crashed, diverged])
    got = row(read, "gen")
    assert [(f.seed, f.status, f.error) for f in got.failures] == [
        (1, "crashed", "ValueError: no"),
        (2, "diverged", None),
    ]
    assert got.regret.ratio is not None and got.regret.finished is not None
    assert got.regret.ratio.mean == got.loss.mean == math.inf
    assert (got.regret.finished.mean, got.regret.finished.count) == pytest.approx((0.9, 1))
    assert (got.misses, got.time_to_target.value) == (2, math.inf)
    assert got.test_loss.value == 0.9 and got.compute == 1.0, "of the seed that finished"
    assert got.seconds.value == 1.0


def test_a_run_that_reached_the_target_and_then_diverged_is_a_miss() -> None:
    curve = {"compute": [0.0, 150.0, 300.0], "val_loss": [10.0, 0.5, 20.0]}
    got = row(bench(oracle_records(), [record("t", "gen", 20.0, status="diverged", curve=curve)]), "gen")
    assert (got.misses, got.times_to_target) == (1, {0: math.inf})


def test_every_seed_failed() -> None:
    got = row(bench(oracle_records(), seeded("t", "gen", [math.inf] * 3)), "gen")
    assert got.regret.finished is None and got.regret.verdict == "loss"
    for measured in (got.score, got.test_loss, got.test_score, got.seconds):
        assert (measured.value, measured.reason) == (None, "no seed finished")
    assert got.gap_closed.value is None and got.compute == 1.0


def test_without_an_oracle_a_row_says_so() -> None:
    got = row(bench(seeded("t", "gen", [1.0, 1.1])), "gen")
    assert (got.regret.ratio, got.regret.verdict) == (None, None)
    assert got.regret.reason == got.gap_closed.reason == "no oracle: no sweep on record"
    assert got.misses is None and got.time_to_target.reason == "no oracle to set the target"
    assert got.seconds.reason == "no plain run on the same machine"
    assert got.loss.mean == pytest.approx(1.05)


def test_without_the_default_or_a_common_seed() -> None:
    read = bench(oracle_records(seeds=1), [record("t", "gen", 1.0, seed=7)])
    got = row(read, "gen")
    assert got.regret.reason == "no seed in common with the oracle"
    assert got.gap_closed.reason == "the framework default was not run"


def test_which_methods_have_a_row() -> None:
    read = bench(
        oracle_records(),
        seeded("t", "ours", [1.0]),
        seeded("t", "pick_ours", [9.0]),
        seeded("t", "tlf", [1.0], lr_factor=30.0),
        seeded("t", "gen", [1.0], horizon=4.0),
        seeded("t", "prodigy", [1.0]),
    )
    assert [each.method for each in method_rows(read, "t")] == ["prodigy", "ours"], "in the catalogue's order"
    assert method_rows(bench(seeded("u", "gen", [1.0])), "t") == ()


def test_the_oracles_own_point_ties_with_itself() -> None:
    own = [record("t", "cosine", 1.0, lr=0.1)]
    records = [r for r in oracle_records() if r["lr"] != GRID[4]]
    read = bench(records, own)  # 0.1 is off the grid: the best on it is now GRID[3] or GRID[5]
    assert row(read, "cosine").regret.verdict == "tie"
    assert row(read, "cosine").lr == 0.1


def test_rows_of_another_family() -> None:
    read = bench(seeded("t", "gen", [1.0]), seeded("t", "prodigy", [1.0], family="adamw"))
    assert [each.method for each in method_rows(read, "t", family="adamw")] == ["prodigy"]


def test_seconds_are_those_of_the_same_horizon() -> None:
    long = [record("t", "linear", 1.0, horizon=4.0, seconds=80.0)]
    read = bench(long, [record("t", "linear", 1.0, seconds=20.0), record("t", "gen", 1.0, seconds=30.0)])
    assert row(read, "gen").seconds.value == 1.5


def test_seconds_are_those_of_the_same_machine() -> None:
    fast = [record("t", "linear", 1.0, seed=seed, seconds=1.0, machine={"cpu_count": 64}) for seed in range(1, 5)]
    read = bench(fast, [record("t", "linear", 1.0, seconds=20.0), record("t", "gen", 1.0, seconds=30.0)])
    assert row(read, "gen").seconds.value == 1.5
