"""The ledger: which of the wanted runs are on record, which are missing, and which cannot be run and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lrpilot.bench.jobs import Job, Plan, plan
from lrpilot.bench.records import read_records
from lrpilot.errors import DataError, SettingError

Record = Mapping[str, Any]
JOB_FIELDS = ("task", "method", "seed", "family", "lr", "horizon", "repeat")


def read_runs(path: Path) -> dict[str, Record]:
    """Records of the benchmark by run; the first where a run is there twice.

    Raises:
        DataError: the file holds something else, or records of another form.
    """
    from lrpilot.bench.execute import SCHEMA

    runs: dict[str, Record] = {}
    for record in read_records(path):
        if record.get("schema") != SCHEMA or "run" not in record:
            raise DataError(
                f"Records of the benchmark must be of form {SCHEMA}, got {record.get('schema')!r} in {path}. "
                "Move that file away, or name another one with --records."
            )
        runs.setdefault(record["run"], record)
    return runs


@dataclass(frozen=True)
class Refusal:
    """A job that cannot be run.

    Attributes:
        job: the job.
        reason: why, and what to do about it.
    """

    job: Job
    reason: str


@dataclass(frozen=True)
class Account:
    """Wanted runs, sorted.

    Attributes:
        done: records of those that have one, in the order in which they are wanted.
        missing: what is to be run, in order.
        refused: what cannot be.
    """

    done: tuple[Record, ...]
    missing: tuple[Plan, ...]
    refused: tuple[Refusal, ...]


class Ledger:
    """Records by run, and every job looked up once.

    Args:
        records: by run, as :func:`read_runs` returns them.

    Attributes:
        records: by run.
    """

    def __init__(self, records: Mapping[str, Record] | None = None) -> None:
        self.records: dict[str, Record] = dict(records or {})
        self._looked_up: dict[Job, tuple[str, Plan] | str] = {}
        self._barred: dict[tuple[str, str | None], str] = {}

    def plan(self, job: Job) -> tuple[str, Plan] | str:
        """Its run and its plan; or the reason why it cannot be run."""
        found = self._found(job)
        barred = self._barred.get((job.task, None)) or self._barred.get((job.task, job.method))
        return found if barred is None or isinstance(found, str) else barred

    def lookup(self, job: Job) -> Record | None:
        """The record of a job's run, if there is one."""
        found = self._found(job)
        return None if isinstance(found, str) else self.records.get(found[0])

    def _found(self, job: Job) -> tuple[str, Plan] | str:
        if job not in self._looked_up:
            self._looked_up[job] = _look_up(job)
        return self._looked_up[job]

    def bar(self, task: str, method: str | None, reason: str) -> None:
        """Refuse a task from now on; with a method, that method on it."""
        self._barred[task, method] = reason

    def account(self, jobs: Iterable[Job]) -> Account:
        """Sort jobs; of several with one run, the first counts."""
        done: dict[str, Record] = {}
        missing: dict[str, Plan] = {}
        refused: dict[Job, Refusal] = {}
        for job in jobs:
            record, found = self.lookup(job), self.plan(job)
            if record is not None:
                done[record["run"]] = record
            elif isinstance(found, str):
                refused[job] = Refusal(job, found)
            else:
                missing.setdefault(*found)
        return Account(tuple(done.values()), tuple(missing.values()), tuple(refused.values()))

    def earlier(self) -> int:
        """Records that the present code would not make again: of tasks and methods as they were."""
        return sum(not is_current(record) for record in self.records.values())


def is_current(record: Record) -> bool:
    """Whether the present code gives this record's run the same name."""
    try:
        return bool(plan(Job(**{name: record[name] for name in JOB_FIELDS})).run == record["run"])
    except (KeyError, SettingError):
        return False


def _look_up(job: Job) -> tuple[str, Plan] | str:
    from lrpilot.bench.methods.registry import get_method
    from lrpilot.bench.tasks.registry import get_task

    try:
        planned = plan(job)
    except SettingError as error:
        return str(error)
    needed = (*get_task(job.task).packages, *get_method(job.method).packages)
    missing = [name for name in needed if not _importable(name)]
    if missing:
        return f"It needs {', '.join(missing)}, which cannot be imported. Get it with 'pip install lrpilot[peers]'."
    return planned.run, planned


def _importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
