"""The runner: asks the protocol what is missing, gives it to workers, and writes down what comes back.

One process writes, and it writes a whole record at a time; so whatever ends a bench, the next one finds every
run that was finished and repeats none of them.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lrpilot_bench.protocol.jobs import Job, Plan
from lrpilot_bench.protocol.ledger import (
    Account,
    Ledger,
    Refusal,
    read_runs,
    require_device,
    status_of,
    without_crashed,
)
from lrpilot_bench.protocol.winners import Lookup
from lrpilot_bench.run.pool import Outcome, Pool
from lrpilot_bench.run.progress import Pace, Silence, Watch, crash_reason, latest_line
from lrpilot_bench.run.recording import MeasuredRun, record_of
from lrpilot_bench.run.resume import run_missing
from lrpilot_bench.store.records import append_record
from lrpilot_bench.store.schema import CRASHED

Wants = Callable[[Lookup], list[Job]]

TRIES = 2  # of a job whose worker dies: the machine may have been at fault
OTHER_CODE = (
    "The worker must have the code that the bench has, got a run of another name. Start the bench again, and install "
    "one version of lrpilot and of every plugin on all machines."
)


@dataclass(frozen=True)
class Summary:
    """What a bench did.

    Attributes:
        done: runs of this bench.
        present: wanted runs that had a record before.
        earlier: records in the file that the present code would not make again.
        unregistered: how many records are of each task or method that is not registered.
        refused: what could not be run.
        statuses: how many of the wanted runs ended how, see :func:`lrpilot_bench.protocol.ledger.status_of`.
        seconds: wall time.
        warned: reasons of refusals that the watch was told while the bench was running.
        all_crashed: methods of which this bench did runs, and every one of them crashed.
        reasons: why runs of this bench crashed, as (method, reason), each once.
    """

    done: int
    present: int
    earlier: int
    refused: tuple[Refusal, ...]
    statuses: Counter[str]
    seconds: float
    unregistered: Mapping[str, int] = field(default_factory=dict)
    warned: frozenset[str] = frozenset()
    all_crashed: tuple[str, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()

    @property
    def in_vain(self) -> bool:
        """Whether nothing that was wanted could be run, and nothing of it was there."""
        return bool(self.refused) and self.done + self.present == 0


class Runner:
    """One bench on one file of records, which the caller has locked.

    Args:
        path: the file.
        wants: the jobs wanted, in order, given the records so far.
        pool: where they are run.
        watch: told about every run.
        device: where the pool trains.
        retry_crashed: run again what has a record of a crash; its new record is added, and counts.
        tracebacks: tell the watch the traceback of a crash, too.

    Attributes:
        ledger: the records, and what can be run.

    Raises:
        DataError: the file holds something else than records of the benchmark, or some of another device.
    """

    def __init__(
        self,
        path: Path,
        wants: Wants,
        pool: Pool[Job],
        *,
        watch: Watch | None = None,
        device: str = "cpu",
        retry_crashed: bool = False,
        tracebacks: bool = False,
    ) -> None:
        self.path = path
        records = read_runs(path)
        require_device(records.values(), device, path)
        self.ledger = Ledger(without_crashed(records) if retry_crashed else records)
        self._device = device
        self._tracebacks = tracebacks
        self._wants = wants
        self._pool = pool
        self._watch = watch or Silence()
        self._processes = pool.free()
        self._pace = Pace(self.ledger.records.values())
        self._deaths: Counter[Job] = Counter()
        self._done = 0
        self._ran: Counter[str] = Counter()  # by method, as the next
        self._crashed: Counter[str] = Counter()
        self._reasons: dict[tuple[str, str], None] = {}  # in order
        self._warned: set[str] = set()

    def run(self) -> Summary:
        """Run what is missing until nothing more is wanted.

        Raises:
            DataError: a record could not be written; those before it are safe.
            LRPilotError: the workers do not start.
        """
        began = time.perf_counter()
        self._account = self._look()
        run_missing(lambda: self._account.missing, self._pool, self._take)
        return self._sum_up(self._account, time.perf_counter() - began)

    def _look(self) -> Account:
        return self.ledger.account(self._wants(self.ledger.lookup))

    # ------------------------------------------------------------------ what comes back

    def _take(self, plan: Plan, outcome: Outcome[Job]) -> None:
        latest = self._write_down(plan, outcome)
        self._account = self._look()
        if latest is not None:
            self._tell(self._account, latest)

    def _write_down(self, plan: Plan, outcome: Outcome[Job]) -> str | None:
        """Write down what became of a job; a line about it where it has a record now."""
        job, record, run = plan.job, outcome.record, plan.run
        if outcome.death is not None:
            self._deaths[job] += 1
            if self._deaths[job] == TRIES:
                record = self._death(plan, outcome)
        if record is not None and record["run"] != run:
            outcome, record = replace(outcome, reason=OTHER_CODE), None
        if outcome.reason is not None:
            self._refuse(outcome, outcome.reason)
        if record is None:
            return None
        append_record(self.path, record)
        self.ledger.records[run] = record
        self._pace.learn(record, seconds=outcome.seconds)
        self._done += 1
        self._ran[job.method] += 1
        if record["status"] == CRASHED:
            self._count_crash(job, record, outcome.traceback)
        return latest_line(plan, record, status_of(record))

    def _death(self, plan: Plan, outcome: Outcome[Job]) -> dict[str, Any]:
        """The record of a run that took its worker with it, every time: a crash, with nothing measured."""
        error = f"Its worker died {TRIES} times: {outcome.death}."
        return record_of(plan, CRASHED, MeasuredRun(), error=error, seconds=outcome.seconds, device=self._device)

    def _count_crash(self, job: Job, record: Mapping[str, Any], traceback: str | None) -> None:
        self._crashed[job.method] += 1
        reason = crash_reason(record)
        if (job.method, reason) not in self._reasons:  # a method may crash alike on every task and seed
            self._reasons[job.method, reason] = None
            self._watch.warn(f"crashed: {job.task} {job.method}: {reason}")
            if self._tracebacks and traceback is not None:
                self._watch.warn(traceback)

    def _refuse(self, outcome: Outcome[Job], reason: str) -> None:
        if isinstance(self.ledger.plan(outcome.job), str):
            return  # it was under way when another was refused for the same reason
        method = None if outcome.blame == "task" else outcome.job.method
        self.ledger.bar(outcome.job.task, method, reason)
        if reason not in self._warned:  # the same one may hold for many methods
            self._warned.add(reason)
            self._watch.warn(f"not run: {' '.join(filter(None, (outcome.job.task, method)))}: {reason}")

    def _tell(self, account: Account, latest: str) -> None:
        plans = account.missing  # those running among them
        seconds = self._pace.total(plans)
        at_a_time = max(1, min(self._processes, len(plans)))
        self._watch.update(
            done=self._done, left=len(plans), seconds=None if seconds is None else seconds / at_a_time, latest=latest
        )

    def _sum_up(self, account: Account, seconds: float) -> Summary:
        return Summary(
            done=self._done,
            present=len(account.done) - self._done,
            earlier=self.ledger.earlier(),
            unregistered=self.ledger.unregistered(),
            refused=account.refused,
            statuses=Counter(status_of(record) for record in account.done),
            seconds=seconds,
            warned=frozenset(self._warned),
            all_crashed=tuple(method for method, runs in self._ran.items() if runs == self._crashed[method]),
            reasons=tuple(self._reasons),
        )
