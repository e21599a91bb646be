"""The winner of a sweep, by the records of its runs; and a sweep that goes on until its winner lies inside."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.store.schema import FINISHED

Record = Mapping[str, Any]
Lookup = Callable[[Job], Record | None]  # the record of a job's run, if there is one

MOST_LRS = 7  # of a sweep that widens: three decades


def best_of(jobs: Sequence[Job], lookup: Lookup) -> Job | None:
    """The job of lowest final validation loss; None while one has no record, or where none finished."""
    records = [lookup(job) for job in jobs]
    if any(record is None for record in records):
        return None
    scored = [(final_loss(record), i) for i, record in enumerate(records) if record is not None]
    loss, best = min(scored, default=(math.inf, 0))
    return jobs[best] if loss < math.inf else None


def final_loss(record: Record) -> float:
    """Final validation loss of a run; inf where it failed."""
    loss = record["final"]["val_loss"]
    return math.inf if record["status"] != FINISHED or loss is None else float(loss)


def widening_sweep(job: Job, middle: float, lookup: Lookup) -> list[Job]:
    """Three lrs half a decade apart about ``middle``, and one more beyond the best for as long as it is an outer one.

    Args:
        job: what is swept; its lr is put in the place of the one it has.
        middle: lr in the middle, natural units.
        lookup: the records so far; with more of them the sweep may be longer.

    Returns:
        Ascending by lr, at most ``MOST_LRS``. Where all failed it is not widened.
    """
    low, high = -1, 1
    while True:
        jobs = [replace(job, lr=float(f"{middle * 10 ** (k / 2):.3g}")) for k in range(low, high + 1)]
        best = best_of(jobs, lookup)
        if best is None or len(jobs) >= MOST_LRS or best not in (jobs[0], jobs[-1]):
            return jobs
        low, high = (low - 1, high) if best == jobs[0] else (low, high + 1)
