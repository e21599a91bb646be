"""Where jobs are run, as the resuming engine sees it: a pool takes them, and gives back what became of each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

J = TypeVar("J")  # a job: what a worker is given
Blame = Literal["job", "task"]


@dataclass(frozen=True)
class Outcome(Generic[J]):
    """What became of a job: a record, a reason why it cannot be run, or the death of its worker; or it never began.

    Attributes:
        job: the job.
        record: plain data; None where there is none.
        reason: why it was not run; None where it was.
        blame: whether the reason holds for all jobs of the task ("task") or for those of this method on it ("job").
        death: how the worker ended; None where it lives.
        seconds: wall time.
        traceback: of a method that crashed, as Python prints it; goes to a terminal that asks, and to no record.
    """

    job: J
    record: dict[str, Any] | None = None
    reason: str | None = None
    blame: Blame = "job"
    death: str | None = None
    seconds: float = 0.0
    traceback: str | None = None


Attempt = Callable[[J], Outcome[J]]


class Pool(Protocol[J]):
    """Where jobs are run."""

    def free(self) -> int:
        """How many more jobs it takes now."""

    def submit(self, job: J) -> None:
        """Start a job; only where one is free."""

    def collect(self, timeout: float) -> list[Outcome[J]]:
        """What has ended; waits ``timeout`` seconds at most for the first."""

    def close(self) -> None:
        """End the workers, and what they are doing."""


class InlinePool(Generic[J]):
    """A pool of one: this very process, while its caller waits.

    Args:
        run: does a job; what it raises ends the caller.
    """

    def __init__(self, run: Attempt[J]) -> None:
        self._run = run
        self._waiting: list[J] = []

    def free(self) -> int:
        """One, or none while a job waits."""
        return 1 - len(self._waiting)

    def submit(self, job: J) -> None:
        """Take a job; it is begun when its end is waited for."""
        self._waiting.append(job)

    def collect(self, timeout: float) -> list[Outcome[J]]:
        """The job's end, however long it takes."""
        return [self._run(self._waiting.pop())]

    def close(self) -> None:
        """Nothing is left running."""
