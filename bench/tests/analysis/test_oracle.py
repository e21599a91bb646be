"""The oracle: which point wins, on which seeds it is judged, and what an unfinished sweep says."""

import math
from functools import cache

import pytest
from bench_records import GRID, bench, oracle_records, record, swept
from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.oracle import oracle, sweep
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.protocol.wanted import oracle_sweep
from lrpilot_bench.protocol.winners import best_of
from lrpilot_bench.store.schema import ORACLE_KINDS, by_run
from lrpilot_bench.tasks.registry import get_task


def test_by_hand() -> None:
    found = oracle(bench(oracle_records()), "t")
    assert (found.kind, found.lr, found.complete, found.reason) == ("cosine", GRID[4], True, "")
    assert found.losses == pytest.approx({0: 1.0, 1: 1.1, 2: 1.2, 3: 1.3, 4: 1.4})
    assert found.mean_loss == pytest.approx(1.2)
    assert found.target == pytest.approx(1.2 * 1.02)
    assert {kind: s.inside for kind, s in found.sweeps.items()} == {"linear": True, "cosine": True, "wsd": True}
    assert found.sweeps["wsd"].lrs == GRID
    assert found.sweeps["wsd"].best == (GRID[5], pytest.approx(1.2))


def test_one_bad_seed_does_not_move_the_target() -> None:
    records = [r | {"final": r["final"] | {"val_loss": 50.0}} if r["seed"] == 4 else r for r in oracle_records()]
    found = oracle(bench(records), "t")
    assert found.target == pytest.approx(1.2 * 1.02)
    assert found.mean_loss == pytest.approx((1.0 + 1.1 + 1.2 + 1.3 + 50.0) / 5)


def test_more_seeds_of_another_point_do_not_move_it() -> None:
    lucky = [record("t", "linear", 0.01, seed=seed, lr=GRID[5]) for seed in (1, 2, 3)]
    found = oracle(bench(oracle_records(), lucky), "t")
    assert (found.kind, found.lr) == ("cosine", GRID[4])


def test_a_run_off_the_grid_is_no_part_of_it() -> None:
    found = oracle(bench(oracle_records(), [record("t", "linear", 0.01, lr=0.1)]), "t")
    assert found.kind == "cosine"


def test_the_order_of_records_does_not_matter() -> None:
    assert oracle(bench(oracle_records()), "t") == oracle(bench(oracle_records()[::-1]), "t")


def test_of_equals_the_first_schedule_and_the_lower_lr() -> None:
    flat = [record("t", kind, 1.0, lr=lr) for kind in ("wsd", "cosine", "linear") for lr in GRID]
    found = oracle(bench(flat), "t")
    assert (found.kind, found.lr) == ("linear", GRID[0])
    assert found.sweeps["linear"].inside is False, "an end that equals the best may hide a better one"


@pytest.mark.parametrize("end", [0, 10])
def test_a_best_lr_at_an_end_is_not_inside(end: int) -> None:
    swept_once = sweep(bench(swept("t", "linear", best_lr=GRID[end])), "t", "linear")
    assert swept_once.inside is False and swept_once.best == (GRID[end], 1.0)


def test_diverged_ends_are_worse_than_any_loss() -> None:
    records = [record("t", "linear", math.inf if lr > 0.1 else 2.0 - lr, lr=lr) for lr in GRID]
    found = sweep(bench(records), "t", "linear")
    assert found.inside is True and found.best == (GRID[3], pytest.approx(2.0 - GRID[3]))
    assert found.losses[-1] == math.inf


def test_an_unfinished_sweep_is_provisional() -> None:
    records = [r for r in oracle_records() if r["method"] != "wsd" and r["lr"] != GRID[2]]
    found = oracle(bench(records), "t")
    assert (found.kind, found.complete) == ("cosine", False)
    assert found.reason == "provisional: 1 linear, 1 cosine, 11 wsd runs of the sweep have no record"
    assert found.sweeps["linear"].missing == (GRID[2],)
    assert found.sweeps["linear"].inside is None
    assert found.sweeps["wsd"].best is None


def test_no_oracle() -> None:
    nothing = oracle(bench([record("t", "gen", 0.5)]), "t")
    assert (nothing.kind, nothing.losses, nothing.target, nothing.reason) == (None, {}, None, "no sweep on record")
    failed = oracle(
        bench([record("t", kind, math.inf, lr=lr) for kind in ("linear", "cosine", "wsd") for lr in GRID]), "t"
    )
    assert (failed.kind, failed.reason, failed.complete) == (None, "no point of the sweep finished", True)
    assert failed.sweeps["linear"].reason == "no lr finished"


def test_a_winner_that_fails_on_most_seeds_sets_no_target() -> None:
    more = [record("t", "cosine", math.inf, seed=seed, lr=GRID[4]) for seed in (1, 2)]
    found = oracle(bench(oracle_records(seeds=1), more), "t")
    assert found.target is None and found.mean_loss == math.inf


KNOWN = registered()
LRS = KNOWN.task("digits").family().oracle_lrs
POINTS = [(kind, lr) for kind in ORACLE_KINDS for lr in LRS]
ENDS = st.tuples(st.sampled_from([1.0, 1.5, 2.0, None]), st.sampled_from(["finished", "diverged", "crashed"]))


@cache
def plan_run(kind: str, lr: float) -> str:
    return plan(Job("digits", kind, lr=lr)).run


@given(st.lists(ENDS, min_size=len(POINTS), max_size=len(POINTS)), st.lists(st.tuples(st.sampled_from(POINTS), ENDS)))
def test_the_runner_and_the_analysis_pick_the_same_winner(
    ends: list[tuple[float | None, str]], again: list[tuple[tuple[str, float], tuple[float | None, str]]]
) -> None:
    """What is run on further seeds is what is reported: with ties, failures, and points recorded again."""
    made = []
    for (kind, lr), (loss, status) in [*zip(POINTS, ends, strict=True), *again]:
        plain = record("digits", kind, 1.0, lr=float(f"{lr:.6g}"), status=status, run=plan_run(kind, lr))
        made.append(
            plain | {"family": KNOWN.task("digits").family().kind, "final": plain["final"] | {"val_loss": loss}}
        )
    on_record = by_run(made)
    job = best_of(oracle_sweep(get_task("digits")), lambda job: on_record.get(plan_run(job.method, job.lr or 0.0)))
    found = oracle(load(made, KNOWN), "digits")
    assert (found.kind, found.lr) == ((None, None) if job is None else (job.method, job.lr))


def test_another_family_and_horizon_have_their_own() -> None:
    read = bench(
        oracle_records(),
        swept("t", "linear", best=0.5, best_lr=GRID[2], family="adamw"),
        swept("t", "linear", best=0.25, best_lr=GRID[7], horizon=4.0),
    )
    assert oracle(read, "t").kind == "cosine"
    assert oracle(read, "t", family="adamw").lr == GRID[2]
    long = oracle(read, "t", horizon=4.0, kinds=("linear",))
    assert (long.lr, long.losses, long.complete) == (GRID[7], {0: 0.25}, True)
