"""Autopilot's suites: beside its opponents, part by part, and from other starts and with other budgets.

Development tasks come first in each (:mod:`lrpilot_bench.protocol.split`): every choice is made by looking at these
alone. Pure, as all that is wanted (:mod:`lrpilot_bench.protocol.wanted`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isclose

from lrpilot_bench.methods.autopilot import ARMS, AVERAGES
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.protocol.split import SIDES, Side, split_tasks
from lrpilot_bench.protocol.winners import Lookup, best_of
from lrpilot_bench.store.schema import AT_LR, AUTOPILOT, LR_FACTORS
from lrpilot_bench.tasks.registry import get_task, tasks
from lrpilot_bench.tasks.task import Task

SEEDS = (0, 1, 2, 3, 4)
FEWER_SEEDS = (0, 1, 2)  # of ablations, other starts and other budgets
OPPONENTS = (
    "schedule_free",
    "schedule_free_searched",
    "prodigy_cosine",
    "prodigy_searched",
    "lr_tuner",
    "autolrs",
    "wsd",
    "nadamw_fixed",
)
FORCED = tuple(f"{AUTOPILOT}_{arm}" for arm in ARMS)
COMPARED = (AUTOPILOT, *FORCED, *OPPONENTS)
AT_WINNER = tuple(f"{AUTOPILOT}_{arm}{AT_LR}" for arm in ARMS)  # flown at the lr of the oracle's winner
ABLATIONS = (
    f"{AUTOPILOT}_no_branch",
    *(f"{AUTOPILOT}_mix_{round(100 * mix)}_power_{power:g}" for mix, power in AVERAGES),
    f"{AUTOPILOT}_expected",
)
OTHER_FACTORS = tuple(factor for factor in LR_FACTORS if factor != 1)
OTHER_HORIZONS = (0.25, 4.0)
REACH = 2  # points of the grid to either side of the winner's lr, at another budget

Sweep = list[Job]


def side_of(task: Task) -> Side | None:
    """The task's side; None of one that takes no part in the comparison."""
    return split_tasks(tasks().values()).get(task.name)


def compared_jobs(some: Sequence[Task], seeds: Sequence[int], winner: dict[str, Job | None]) -> Iterator[Job]:
    """Every row on every task, one seed of a side before the next; with them the oracle's winner.

    Args:
        some: tasks.
        seeds: of each run.
        winner: the best of the oracle's sweep by task; None where it is not known yet.
    """
    for of_side in _sides(some):
        for seed in seeds:
            for task in of_side:
                yield from (Job(task.name, method, seed=seed) for method in COMPARED)
                best = winner[task.name]
                if best is not None:
                    yield replace(best, seed=seed)


def ablation_jobs(some: Sequence[Task], seeds: Sequence[int], winner: dict[str, Job | None]) -> Iterator[Job]:
    """What changes one thing of Autopilot, and its flights at the lr of the oracle's winner.

    Of development tasks alone, where no task is named: an ablation is there to choose by.
    """
    for seed in seeds:
        for task in some:
            yield from (Job(task.name, method, seed=seed) for method in ABLATIONS)
            best = winner[task.name]
            if best is not None:
                yield from (Job(task.name, method, seed=seed, lr=best.lr) for method in AT_WINNER)


def start_jobs(some: Sequence[Task], seeds: Sequence[int]) -> Iterator[Job]:
    """Autopilot from an lr far below and far above the customary one."""
    for of_side in _sides(some):
        for seed in seeds:
            for task in of_side:
                yield from (Job(task.name, AUTOPILOT, seed=seed, lr_factor=factor) for factor in OTHER_FACTORS)


def horizon_jobs(
    some: Sequence[Task], seeds: Sequence[int], winner: dict[str, Job | None], lookup: Lookup
) -> Iterator[Job]:
    """Autopilot with other budgets, and the winner's schedule swept anew about its lr to judge it."""
    for horizon in OTHER_HORIZONS:
        for of_side in _sides(some):
            for task in of_side:
                yield from (Job(task.name, AUTOPILOT, seed=seed, horizon=horizon) for seed in seeds)
                best = winner[task.name]
                if best is None:
                    continue
                sweep = narrow_sweep(replace(best, horizon=horizon), lookup)
                yield from sweep
                again = best_of(sweep, lookup)
                if again is not None:
                    yield from (replace(again, seed=seed) for seed in seeds)


def narrow_sweep(winner: Job, lookup: Lookup) -> Sweep:
    """Five lrs of the oracle's grid about the winner's; one more beyond the best for as long as it is an outer one.

    Args:
        winner: of the oracle's sweep, its horizon another; its lr is one of the grid.
        lookup: the records so far; with more of them the sweep may be longer.

    Returns:
        Ascending by lr, at seed 0. Where all failed, or the grid ends, it is not widened.
    """
    grid = get_task(winner.task).family(winner.family).oracle_lrs
    at = next(i for i, lr in enumerate(grid) if winner.lr is not None and isclose(lr, winner.lr, rel_tol=1e-4))
    low, high = max(0, at - REACH), min(len(grid) - 1, at + REACH)
    while True:
        jobs = [replace(winner, lr=lr, seed=0) for lr in grid[low : high + 1]]
        best = best_of(jobs, lookup)
        if best == jobs[0] and low > 0:
            low -= 1
        elif best == jobs[-1] and high < len(grid) - 1:
            high += 1
        else:
            return jobs


def _sides(some: Sequence[Task]) -> list[list[Task]]:
    """The tasks of each side, in order; sides without one are left out."""
    known = split_tasks(tasks().values())
    order: tuple[Side | None, ...] = (*SIDES, None)
    found = [[task for task in some if known.get(task.name) == side] for side in order]
    return [of_side for of_side in found if of_side]
