"""Autopilot's suites: development tasks first, everything about the winner of a sweep once that is known."""

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import pytest

from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.protocol.autopilot import (
    ABLATIONS,
    AT_WINNER,
    COMPARED,
    narrow_sweep,
    side_of,
)
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.protocol.wanted import oracle_sweep, scope, suites, wanted
from lrpilot_bench.store.schema import AUTOPILOT
from lrpilot_bench.tasks.registry import get_task

SUITES = ("autopilot", "autopilot_ablations", "autopilot_robust")
TASK = "diamonds"
LRS = get_task(TASK).families[0].oracle_lrs


def record(loss: float | None) -> dict[str, Any]:
    return {"final": {"val_loss": loss}, "status": "finished"}


def nothing(job: Job) -> None:
    return None


def best_at(lr: float, *, kind: str = "cosine", moved: float = 1.0) -> Any:
    """Records of losses that grow with the distance from an lr, which the other budgets move; of one schedule best."""

    def found(job: Job) -> Mapping[str, Any]:
        if job.lr is None:
            return record(1.0)
        distance = abs(math.log(job.lr / (lr if job.horizon == 1.0 else lr * moved)))
        return record(1.0 + distance + (job.method != kind))

    return found


def jobs_of(name: str, lookup: Any = nothing, **within: Any) -> list[Job]:
    return wanted(suites([name]), scope(**within), lookup)


@pytest.mark.parametrize("name", SUITES)
def test_every_job_can_be_run_and_none_is_wanted_twice_but_a_winner_of_its_sweep(name: str) -> None:
    jobs = jobs_of(name, best_at(1e-2))
    assert len(jobs) > 50 and len({plan(job).run for job in jobs}) >= 0.8 * len(set(jobs))
    assert not any(get_task(job.task).experiment or get_task(job.task).large for job in jobs)


def test_development_tasks_come_first_and_a_seed_of_all_of_them_before_the_next() -> None:
    jobs = jobs_of("autopilot")
    sides = [side for side, _ in groupby(jobs, lambda job: side_of(get_task(job.task)))]
    assert sides == ["development", "judging"]
    seeds = [seed for seed, _ in groupby(jobs, lambda job: job.seed)]
    assert seeds == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]
    assert {job.method for job in jobs} == set(COMPARED)
    assert jobs[0].method == AUTOPILOT


def test_the_oracles_winner_joins_once_its_sweep_is_whole() -> None:
    task = get_task(TASK)
    jobs = jobs_of("autopilot", best_at(LRS[4]), task_names=[TASK])
    swept = [job for job in jobs if job.lr is not None]
    assert swept == [Job(TASK, "cosine", lr=LRS[4], seed=seed) for seed in range(5)]
    missing = oracle_sweep(task)[7]
    found = best_at(LRS[4])
    jobs = jobs_of("autopilot", lambda job: None if job == missing else found(job), task_names=[TASK])
    assert not [job for job in jobs if job.lr is not None]


def test_ablations_are_of_development_tasks_unless_others_are_named() -> None:
    jobs = jobs_of("autopilot_ablations")
    assert {side_of(get_task(job.task)) for job in jobs} == {"development"}
    assert {job.method for job in jobs} == set(ABLATIONS)
    judging = next(task.name for task in scope().tasks if side_of(task) == "judging")
    assert {job.task for job in jobs_of("autopilot_ablations", task_names=[judging])} == {judging}


def test_its_flights_at_the_winners_lr_are_flown_at_that_lr() -> None:
    jobs = jobs_of("autopilot_ablations", best_at(LRS[4]), task_names=[TASK], seeds=[2])
    assert {(job.method, job.lr, job.seed) for job in jobs if job.lr is not None} == {
        (method, LRS[4], 2) for method in AT_WINNER
    }


def test_other_starts_and_budgets_are_of_autopilot_and_of_the_schedule_that_won() -> None:
    jobs = jobs_of("autopilot_robust", best_at(LRS[4]), task_names=[TASK], seeds=[0, 1])
    starts = [job for job in jobs if job.lr_factor != 1.0]
    assert {job.lr_factor for job in starts} == {1 / 30, 30.0} and {job.method for job in starts} == {AUTOPILOT}
    assert jobs[: len(starts)] == starts
    for horizon in (0.25, 4.0):
        of_horizon = [job for job in jobs if job.horizon == horizon]
        assert [job.seed for job in of_horizon if job.method == AUTOPILOT] == [0, 1]
        swept = [job for job in of_horizon if job.method != AUTOPILOT]
        assert {job.method for job in swept} == {"cosine"}
        assert [job.lr for job in swept if job.seed == 0][:5] == list(LRS[2:7])
        assert [job.seed for job in swept if job.lr == LRS[4]] == [0, 0, 1]


@pytest.mark.parametrize("moved", [8.0, 1 / 8, 1.0, 1e4, 1e-4])
def test_a_narrow_sweep_goes_on_until_its_best_lies_inside_or_the_grid_ends(moved: float) -> None:
    winner = Job(TASK, "cosine", lr=LRS[5], horizon=4.0)
    jobs = narrow_sweep(winner, best_at(LRS[5], moved=moved))
    lrs = [job.lr for job in jobs]
    assert lrs == [lr for lr in LRS if lrs[0] <= lr <= lrs[-1]] and len(lrs) >= 5  # type: ignore[operator]
    best = min(LRS, key=lambda lr: abs(math.log(lr / (LRS[5] * moved))))
    assert best in lrs
    assert best not in (lrs[0], lrs[-1]) or best in (LRS[0], LRS[-1])
    assert {job.seed for job in jobs} == {0} and {job.horizon for job in jobs} == {4.0}


def test_a_narrow_sweep_waits_for_its_five_points() -> None:
    assert len(narrow_sweep(Job(TASK, "cosine", lr=LRS[5], horizon=4.0), nothing)) == 5
    assert len(narrow_sweep(Job(TASK, "cosine", lr=LRS[0], horizon=4.0), nothing)) == 3


@pytest.mark.parametrize("name", [*COMPARED, *ABLATIONS, *AT_WINNER])
def test_every_row_pays_for_what_it_measures(name: str) -> None:
    assert get_method(name).equal_compute
