"""The one engine that resumes: what has no record yet is given to a pool until nothing is missing.

It knows neither files nor what a job is. Who calls it writes a record down before it is asked again what is missing;
so whatever ends the work, the next call finds every run that was finished and repeats none of them.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

from lrpilot_bench.run.pool import Outcome, Pool

J = TypeVar("J")

WAIT_SECONDS = 1.0


class Missing(Protocol):
    """A run that has no record yet: its identity, and the job that a worker is given."""

    @property
    def run(self) -> str:
        """What identifies it: a run that is under way is not begun again."""

    @property
    def job(self) -> Any:
        """What a worker is given, of the pool's kind."""


M = TypeVar("M", bound=Missing)


def run_missing(missing: Callable[[], Iterable[M]], pool: Pool[J], take: Callable[[M, Outcome[J]], None]) -> None:
    """Run what is missing, in order, until nothing is.

    Args:
        missing: asked again after every outcome; more may be wanted once something is known. Runs that are under way
            may be among them.
        pool: where jobs are run.
        take: is given each run with what became of it; must see to it that it is missing no longer, or it is tried
            again.
    """
    running: list[M] = []
    while True:
        for run in missing():
            if pool.free() == 0:
                break
            if run.run not in {one.run for one in running}:
                running.append(run)
                pool.submit(run.job)
        if not running:
            return
        for outcome in pool.collect(WAIT_SECONDS):
            ended = next(one for one in running if one.job == outcome.job)
            running.remove(ended)
            take(ended, outcome)
