"""A study's measurements: a list of plain settings, each measured in this process and recorded, and resumed.

A record of a measurement is its settings and its results side by side in one flat object; settings that have a record
are done. What a study measures need be no run of a method on a task; where it is, the bench's own runner does it.
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
class Measurement:
    """One measurement.

    Attributes:
        job: its settings, plain data; they are its identity.
    """

    job: Settings

    @property
    def run(self) -> str:
        """The settings as text, whatever their order."""
        return json.dumps(self.job, sort_keys=True)


def measure_missing(
    path: Path,
    settings: Sequence[Settings],
    measure: Callable[[Settings], Mapping[str, Any]],
    *,
    say: Say | None = None,
) -> list[Record]:
    """Measure the settings that have no record yet, in order, and record each as soon as it is done.

    Args:
        path: file of records; others may share it.
        settings: flat plain data, all with the same keys.
        measure: measures one of them and returns its results (their keys differ from the settings').
        say: called with a progress line after each.

    Returns:
        One record each, in the order of ``settings``.
    """
    wanted = [Measurement(one) for one in settings]
    done = _on_record(path, wanted)
    total = sum(one.run not in done for one in wanted)
    facts = machine_facts() if total else {}
    began, count = time.perf_counter(), 0

    def attempt(one: Settings) -> Outcome[Settings]:
        started = time.perf_counter()
        results = measure(one)
        seconds = round(time.perf_counter() - started, 3)
        return Outcome(one, record={**one, **results, "seconds": seconds, "machine": facts})

    def take(one: Measurement, outcome: Outcome[Settings]) -> None:
        nonlocal count
        assert outcome.record is not None  # attempt() makes one, or raises
        append_record(path, outcome.record)
        done[one.run], count = outcome.record, count + 1
        if say is not None:
            say(_progress(count, total, time.perf_counter() - began, one.job))

    run_missing(lambda: [one for one in wanted if one.run not in done], InlinePool(attempt), take)
    return [done[one.run] for one in wanted]


def _on_record(path: Path, wanted: Sequence[Measurement]) -> dict[str, Record]:
    """Records by the settings that they hold, of those that have all of these wanted'."""
    names = list(wanted[0].job) if wanted else []
    records = [record for record in read_records(path) if all(name in record for name in names)]
    return {Measurement({name: record[name] for name in names}).run: record for record in records}


def _progress(count: int, total: int, elapsed: float, settings: Settings) -> str:
    left = elapsed / count * (total - count)
    words = " ".join(f"{name}={value}" for name, value in settings.items())
    return f"{count}/{total} done, about {left / 60:.1f} min left: {words}"
