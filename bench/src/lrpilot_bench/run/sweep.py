"""A sweep of a study: a list of plain settings, each run in this process and recorded, resumed where it stopped.

A record of a sweep is its settings and its results side by side in one flat object; settings that have a record are
done. What a study measures need be no run of a method on a task; where it is, the bench's own runner does it.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrpilot_bench.run.pool import InlinePool, Outcome
from lrpilot_bench.run.resume import run_missing
from lrpilot_bench.store.records import Record, append_record, machine_facts, read_records

Settings = Mapping[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Case:
    """One run of a sweep.

    Attributes:
        job: its settings, plain data; they are its identity.
    """

    job: Settings

    @property
    def run(self) -> str:
        """The settings as text, whatever their order."""
        return json.dumps(self.job, sort_keys=True)


def sweep(
    path: Path, settings: Sequence[Settings], run: Callable[[Settings], Mapping[str, Any]], *, say: Say | None = None
) -> list[Record]:
    """Run the settings that have no record yet, in order, and record each as soon as it is done.

    Args:
        path: file of records; other sweeps may share it.
        settings: flat plain data, all with the same keys.
        run: runs one of them and returns its results (their keys differ from the settings').
        say: called with a progress line after each.

    Returns:
        One record each, in the order of ``settings``.
    """
    cases = [Case(one) for one in settings]
    done = _on_record(path, cases)
    total = sum(case.run not in done for case in cases)
    facts = machine_facts() if total else {}
    began, count = time.perf_counter(), 0

    def attempt(one: Settings) -> Outcome[Settings]:
        started = time.perf_counter()
        results = run(one)
        seconds = round(time.perf_counter() - started, 3)
        return Outcome(one, record={**one, **results, "seconds": seconds, "machine": facts})

    def take(case: Case, outcome: Outcome[Settings]) -> None:
        nonlocal count
        assert outcome.record is not None  # attempt() makes one, or raises
        append_record(path, outcome.record)
        done[case.run], count = outcome.record, count + 1
        if say is not None:
            say(_progress(count, total, time.perf_counter() - began, case.job))

    run_missing(lambda: [case for case in cases if case.run not in done], InlinePool(attempt), take)
    return [done[case.run] for case in cases]


def _on_record(path: Path, cases: Sequence[Case]) -> dict[str, Record]:
    """Records by the settings that they hold, of those that have all of these cases'."""
    names = list(cases[0].job) if cases else []
    records = [record for record in read_records(path) if all(name in record for name in names)]
    return {Case({name: record[name] for name in names}).run: record for record in records}


def _progress(count: int, total: int, elapsed: float, settings: Settings) -> str:
    left = elapsed / count * (total - count)
    words = " ".join(f"{name}={value}" for name, value in settings.items())
    return f"{count}/{total} done, about {left / 60:.1f} min left: {words}"
