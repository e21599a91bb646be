"""A sweep goes on until its best lies inside, and ends where it must."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.protocol.winners import MOST_LRS, best_of, final_loss, widening_sweep

JOB = Job("digits", "linear", family="adamw", horizon=4.0)


def recorded(loss: Callable[[float], float]) -> Callable[[Job], Mapping[str, Any]]:
    return lambda job: {"final": {"val_loss": loss(job.lr or 0.0)}, "status": "finished"}


def lrs(jobs: list[Job]) -> list[float | None]:
    return [job.lr for job in jobs]


def test_without_records_it_is_three_half_decades() -> None:
    jobs = widening_sweep(JOB, 0.01, lambda job: None)
    assert lrs(jobs) == [0.00316, 0.01, 0.0316]
    assert {(job.task, job.method, job.family, job.horizon, job.seed) for job in jobs} == {
        ("digits", "linear", "adamw", 4.0, 0)
    }


def test_it_is_not_widened_before_all_of_it_is_recorded() -> None:
    def found(job: Job) -> Mapping[str, Any] | None:
        return None if job.lr == 0.0316 else {"final": {"val_loss": job.lr}, "status": "finished"}

    assert lrs(widening_sweep(JOB, 0.01, found)) == [0.00316, 0.01, 0.0316]


@pytest.mark.parametrize("best, expected", [(0.01, 3), (0.0316, 4), (0.1, 5), (0.316, 6), (1e-3, 5)])
def test_it_goes_one_beyond_its_best(best: float, expected: int) -> None:
    jobs = widening_sweep(JOB, 0.01, recorded(lambda lr: abs(math.log(lr / best))))
    assert len(jobs) == expected
    assert lrs(jobs) == sorted(lr for lr in lrs(jobs) if lr is not None)
    found = best_of(jobs, recorded(lambda lr: abs(math.log(lr / best))))
    assert found is not None and found.lr == pytest.approx(best, rel=0.01)


@given(st.floats(-3.0, 3.0))
def test_the_best_lies_inside_or_the_sweep_is_at_its_longest(center: float) -> None:
    found = recorded(lambda lr: abs(math.log10(lr) - center))
    jobs = widening_sweep(JOB, 1.0, found)
    best = best_of(jobs, found)
    assert len(jobs) <= MOST_LRS
    assert len(jobs) == MOST_LRS or best not in (jobs[0], jobs[-1])
    assert jobs == widening_sweep(JOB, 1.0, found), "the same records, the same sweep"


def test_where_all_failed_there_is_no_winner_and_no_end_to_widen() -> None:
    def diverged(job: Job) -> Mapping[str, Any]:
        return {"final": {"val_loss": None}, "status": "diverged"}

    jobs = widening_sweep(JOB, 0.01, diverged)
    assert len(jobs) == 3 and best_of(jobs, diverged) is None
    assert final_loss(diverged(JOB)) == math.inf
