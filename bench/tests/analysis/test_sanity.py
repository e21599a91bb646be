"""The sanity panel must fail where something is wrong, and the list of what is missing must be complete."""

from typing import Any

import pytest
from bench_records import CATALOGUE, GRID, bench, oracle_records, record, seeded, swept

from lrpilot_bench.analysis.sanity import not_run, sanity

REPEATED = [record("t", "linear", 1.5), record("t", "linear", 1.5, repeat=1)]


def test_all_is_well() -> None:
    found = sanity(bench(oracle_records(), REPEATED))
    assert found.holds
    assert [(check.kind, check.inside) for check in found.inside] == [("linear", True), ("cosine", True), ("wsd", True)]
    assert found.inside[1].best_lr == GRID[4]
    assert (found.inside[1].lowest, found.inside[1].highest) == (GRID[0], GRID[-1])
    assert [(check.method, check.repeats, check.equal) for check in found.repeats] == [("linear", 2, True)]
    assert {check.method: check.mismatches for check in found.costs} == {"linear": 0, "cosine": 0, "wsd": 0}
    assert found.costs[0].runs == 13 and found.costs[0].tasks == ("t",)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param([record("t", "linear", 1.5, repeat=2, weights="bb")], id="a repeat differs"),
        pytest.param(swept("t", "wsd", best_lr=GRID[10]), id="the best lr is at an end"),
        pytest.param([record("t", "gen", 1.0, counted={"forwards": 801, "backwards": 800})], id="a pass undeclared"),
        pytest.param([record("u", "gen", 1.0)], id="a task without a sweep"),
        pytest.param([record("t", "gen", 1.0, compute=1.0101)], id="more than its budget and a step"),
    ],
)
def test_what_is_wrong_is_seen(wrong: list[dict[str, Any]]) -> None:
    assert not sanity(bench(oracle_records(), REPEATED, wrong)).holds


def test_what_was_not_checked_does_not_hold() -> None:
    assert not sanity(bench([])).holds
    assert not sanity(bench(oracle_records())).holds, "nothing repeated"
    assert not sanity(bench(oracle_records()[1:], REPEATED)).holds, "a point of a sweep is missing"


def test_a_task_without_a_sweep_says_so() -> None:
    checks = sanity(bench([record("u", "gen", 1.0)])).inside
    assert [(check.task, check.inside, check.best_lr) for check in checks] == [("u", None, None)] * 3
    assert checks[0].reason == "11 of 11 lrs have no record"


def test_repeats_are_of_one_run() -> None:
    others = [
        record("t", "linear", 1.5, seed=1, weights="bb"),
        record("t", "linear", 1.5, horizon=4.0, weights="cc", repeat=1),
        record("t", "gen", 1.5, weights="dd", repeat=1),
        record("u", "linear", 1.5, weights="ee", repeat=1),
    ]
    found = sanity(bench(REPEATED, others))
    assert [(check.method, check.seed, check.equal) for check in found.repeats] == [("linear", 0, True)]


def test_one_step_above_the_budget_is_allowed_and_free_probes_are_not_at_equal_compute() -> None:
    allowed = [record("t", "gen", 1.0, compute=1.01), record("t", "ours_free", 1.0, compute=1.5)]
    budget = sanity(bench(allowed)).budget
    assert (budget.runs, budget.over, budget.untrained, budget.examples) == (1, 0, 0, ())


def test_runs_above_the_budget_are_told_the_worst_first() -> None:
    over = [record("t", "gen", 1.0, seed=seed, compute=1.0 + 0.02 * seed) for seed in range(6)]
    budget = sanity(bench(over)).budget
    assert (budget.runs, budget.over, len(budget.examples)) == (6, 5, 3)
    assert budget.examples[0] == "gen on t, seed 5: 1.1000"


def test_what_is_spent_before_training_is_counted_apart() -> None:
    """A failure already: no table compares it at equal compute."""
    budget = sanity(bench([record("t", "ours", 10.0, kept_steps=0, compute=1.042)])).budget
    assert (budget.runs, budget.over, budget.untrained) == (0, 0, 1)


def test_mismatched_costs_are_told() -> None:
    wrong = [
        record("t", "gen", 1.0, seed=seed, counted={"forwards": 800 + seed, "backwards": 800}) for seed in range(6)
    ]
    (check,) = sanity(bench(wrong)).costs
    assert (check.runs, check.mismatches, len(check.examples)) == (6, 5, 3)
    assert check.examples[0] == "t, seed 1: declared 800 forwards, counted 801"


def test_a_crash_in_the_middle_of_a_pass_is_no_mismatch() -> None:
    crashed = record("t", "gen", 1.0, status="crashed", counted={"forwards": 808, "backwards": 800})
    assert sanity(bench([crashed])).costs == ()
    diverged = record("t", "gen", 1.0, status="diverged", counted={"forwards": 808, "backwards": 800})
    assert sanity(bench([diverged])).costs[0].mismatches == 1


def test_what_was_not_run() -> None:
    done, missing = seeded("t", "gen", [1.0, 1.1])
    found = not_run({done["run"]: done, missing["run"]: missing}, bench([done]))
    assert [(job.run, job.task, job.method, job.seed) for job in found] == [(missing["run"], "t", "gen", 1)]
    assert (found[0].lr, found[0].lr_factor, found[0].horizon, found[0].repeat) == (None, 1.0, 1.0, 0)
    assert not_run({done["run"]: done}, bench([done])) == ()


def test_the_part_of_the_protocol_that_was_not_run() -> None:
    jobs = {
        "plain runs": record("t", "gen", 1.0),
        "start lrs": record("t", "tlf", 1.0, lr_factor=30.0),
        "other budgets": record("t", "gen", 1.0, horizon=4.0),
        "repeats": record("t", "gen", 1.0, repeat=1),
        "sweeps": record("t", "linear", 1.0, lr=GRID[0]),
    }
    found = not_run({job["run"]: job for job in jobs.values()}, bench([]))
    assert [job.part(CATALOGUE) for job in found] == list(jobs)
