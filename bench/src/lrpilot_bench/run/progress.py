"""How far a bench is, and how long it will take, estimated from what is on record."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from lrpilot.progress import drawn_bar
from lrpilot_bench.protocol.jobs import Plan
from lrpilot_bench.store.schema import CRASHED, DIVERGED, FINISHED, NO_BETTER

Record = Mapping[str, Any]


RESULTS = (FINISHED, DIVERGED, NO_BETTER)  # ends whose loss is a method's doing


class Pace:
    """Seconds that a run takes, learnt from records: of its method on its task, else of its task, else of all."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._seconds: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._steps: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._runs: defaultdict[tuple[str, ...], int] = defaultdict(int)
        for record in records:
            self.learn(record)

    def learn(self, record: Record, *, seconds: float | None = None) -> None:
        """Take in a record; ``seconds`` are those that it really took, evaluations included."""
        if record["status"] == CRASHED:
            return
        taken = record["seconds"] if seconds is None else seconds
        for key in _keys(record["task"], record["method"]):
            self._seconds[key] += taken
            self._steps[key] += record["steps"]
            self._runs[key] += 1

    def seconds(self, plan: Plan) -> float | None:
        """What a run is expected to take; None while nothing is on record."""
        for key in _keys(plan.job.task, plan.job.method)[:2]:
            if self._runs[key]:
                return plan.steps * self._seconds[key] / self._steps[key]
        return self._seconds[()] / self._runs[()] if self._runs[()] else None

    def total(self, plans: Iterable[Plan]) -> float | None:
        """What runs are expected to take one after another; None while nothing is on record."""
        each = [self.seconds(plan) for plan in plans]
        return sum(seconds or 0.0 for seconds in each) if None not in each else None


def _keys(task: str, method: str) -> tuple[tuple[str, ...], ...]:
    return ((task, method), (task,), ())


class Watch(Protocol):
    """Somebody who follows a bench."""

    def update(self, *, done: int, left: int, seconds: float | None, latest: str) -> None:
        """``done`` and ``left`` count runs; ``seconds`` are left in all; ``latest`` is one line."""

    def warn(self, message: str) -> None:
        """Something that should be seen even where progress is not."""

    def close(self) -> None:
        """The end."""


class Silence:
    """Nobody."""

    def update(self, *, done: int, left: int, seconds: float | None, latest: str) -> None:
        """Say nothing."""

    def warn(self, message: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


class ProgressLines:
    """A line on stderr after every run: for logs."""

    def update(self, *, done: int, left: int, seconds: float | None, latest: str) -> None:
        """Say it."""
        self.warn(f"{done}/{done + left}  {duration(seconds)} left  {latest}")

    def warn(self, message: str) -> None:
        """Say it."""
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Nothing is open."""


class Bar:
    """The bar of the library on stderr, for a terminal: its total grows with what is wanted."""

    def __init__(self) -> None:
        from rich.progress import TextColumn

        self._progress = drawn_bar(TextColumn("{task.completed}/{task.total}"), TextColumn("{task.fields[time]}"))
        self._task = self._progress.add_task("bench", total=None, time="", note="starting")
        self._progress.start()

    def update(self, *, done: int, left: int, seconds: float | None, latest: str) -> None:
        """Draw it."""
        self._progress.update(
            self._task, completed=done, total=done + left, time=f"{duration(seconds)} left", note=latest
        )

    def warn(self, message: str) -> None:
        """Print it above the bar."""
        self._progress.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()


def duration(seconds: float | None) -> str:
    """Seconds in words: "40 s", "12 min", "3.4 h"."""
    if seconds is None:
        return "unknown time"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"


def latest_line(plan: Plan, record: Record, status: str) -> str:
    """One run in one line; of what crashed or took no step the loss is no result, and is left out.

    Args:
        plan: of the run.
        record: of the run.
        status: how it ended, as :func:`lrpilot_bench.protocol.ledger.status_of` says.
    """
    job, loss = plan.job, record["final"]["val_loss"]
    parts = [job.task, job.method, "" if plan.lr is None else f"lr {plan.lr:g}", f"seed {job.seed}"]
    parts += [f"x{job.horizon:g} steps" if job.horizon != 1 else "", f"repeat {job.repeat}" if job.repeat else ""]
    results = [] if status not in RESULTS else [f"val loss {loss:.4g}" if loss is not None else "no loss"]
    results += [status] if status != FINISHED else []
    return ", ".join([" ".join(part for part in parts if part), *results, f"{record['seconds']:.1f} s"])


def crash_reason(record: Record) -> str:
    """Why a run crashed, one line."""
    lines = str(record.get("error") or "").strip().splitlines()
    return lines[0] if lines else "no reason is on record"
