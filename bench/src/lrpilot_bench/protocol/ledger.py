"""The ledger: which of the wanted runs are on record, which are missing, and which cannot be run and why."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lrpilot.errors import DataError, SettingError
from lrpilot_bench.protocol.jobs import Job, Plan, plan, run_of
from lrpilot_bench.store.records import read_records
from lrpilot_bench.store.schema import CRASHED, FINDER_GROUP, NO_RECORD, SCHEMA, by_run, ending, unfit

Record = Mapping[str, Any]


def read_runs(path: Path) -> dict[str, Record]:
    """Records of the benchmark by run; the newest where a run is there twice.

    Raises:
        DataError: the file holds something else, or records of another form.
    """
    records = read_records(path)
    for number, record in enumerate(records, start=1):
        reason = unfit(record)
        if reason is not None:
            if reason.startswith(NO_RECORD):
                reason = f"schema {record['schema']!r} in place of {SCHEMA}" if "schema" in record else "something else"
            raise DataError(
                f"Every line must be a record that `lrpilot bench run` has written, got {reason} in line {number} of "
                f"{path}. Move that file away, or name another one with --records."
            )
    return by_run(records)


def require_device(records: Iterable[Record], device: str, path: Path) -> None:
    """Make sure that records are of one kind of device: a table that mixed two would compare devices, not methods.

    Args:
        records: those on record.
        device: where further runs would train.
        path: of the records, for the message.

    Raises:
        DataError: some are of another device.
    """
    kind = device.partition(":")[0]
    others = {found for record in records if (found := device_of(record)) != kind}
    if others:
        raise DataError(
            f"A file of records must be of one device, got runs on {', '.join(sorted(others))} in {path} "
            f"and --device {device}. Name another file with --records."
        )


def device_of(record: Record) -> str:
    """The kind of device that a run trained on; a CPU where the record names none."""
    return str((record.get("machine") or {}).get("device", "cpu"))


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
        if isinstance(found, str):
            return found
        barred = self._barred.get((job.task, None)) or self._barred.get((job.task, job.method))
        return barred or _lacking(job) or found

    def lookup(self, job: Job) -> Record | None:
        """The record of a job's run, if there is one; also of what cannot be run here."""
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
            record = self.lookup(job)
            if record is not None:
                done[record["run"]] = record
                continue
            found = self.plan(job)
            if isinstance(found, str):
                refused[job] = Refusal(job, found)
            else:
                missing.setdefault(*found)
        return Account(tuple(done.values()), tuple(missing.values()), tuple(refused.values()))

    def shares(self, lists: Iterable[tuple[str, Iterable[Job]]]) -> dict[str, int]:
        """How many runs that are on record or can be run each named list of jobs adds to those before it."""
        seen: set[str] = set()
        counts: dict[str, int] = {}
        for name, jobs in lists:
            account = self.account(jobs)
            runs = {str(record["run"]) for record in account.done} | {plan.run for plan in account.missing}
            counts[name] = len(runs - seen)
            seen |= runs
        return counts

    def earlier(self) -> int:
        """Records that the present code would not make again: of tasks and methods as they were."""
        known = (record for record in self.records.values() if unregistered_name(record) is None)
        return sum(not is_current(record) for record in known)

    def unregistered(self) -> Counter[str]:
        """How many records are of each task or method that is not registered: of a plugin that is not loaded, say."""
        names = (unregistered_name(record) for record in self.records.values())
        return Counter(name for name in names if name is not None)


def unregistered_name(record: Record) -> str | None:
    """The task or the method of a record that is not registered; None where both are."""
    from lrpilot_bench.methods.registry import methods
    from lrpilot_bench.tasks.registry import tasks

    if record["task"] not in tasks():
        return str(record["task"])
    return None if record["method"] in methods() else str(record["method"])


def is_current(record: Record) -> bool:
    """Whether the present code gives this record's run the same name."""
    return run_of(record) == str(record["run"])


def status_of(record: Record) -> str:
    """How a run of a registered method ended, as the report judges it."""
    from lrpilot_bench.methods.registry import get_method

    return ending(record, trains=get_method(record["method"]).group != FINDER_GROUP)


def without_crashed(records: Mapping[str, Record]) -> dict[str, Record]:
    """Records by run without those that crashed, so that they are missing; of earlier versions all stay."""
    return {run: record for run, record in records.items() if record["status"] != CRASHED or not is_current(record)}


def _look_up(job: Job) -> tuple[str, Plan] | str:
    try:
        planned = plan(job)
    except SettingError as error:
        return str(error)
    return planned.run, planned


def _lacking(job: Job) -> str | None:
    """Which packages must be installed before the job can be run; None where all are."""
    from lrpilot_bench.methods.registry import get_method
    from lrpilot_bench.tasks.registry import get_task

    needed = (*get_task(job.task).packages, *get_method(job.method).packages)
    missing = [name for name in needed if not _importable(name)]
    if missing:
        return (
            f"It needs {', '.join(missing)}, which cannot be imported. Get it with 'pip install lrpilot-bench[peers]'."
        )
    return None


@cache
def _importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
