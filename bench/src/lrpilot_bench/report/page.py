"""From a file of records to the page: what ``lrpilot bench report`` does."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpilot.errors import DataError
from lrpilot_bench.analysis.catalogue import registered, runs_of
from lrpilot_bench.analysis.runs import Bench, load
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.report import part_closing, part_finders, part_headline, part_peers, part_reading, part_robust
from lrpilot_bench.report.document import Document
from lrpilot_bench.report.findings import ENTRY, Findings, find
from lrpilot_bench.report.numbers import hours_text, many
from lrpilot_bench.report.part_summary import summary
from lrpilot_bench.report.part_tasks import tasks
from lrpilot_bench.store.records import read_records
from lrpilot_bench.store.schema import NO_RECORD, by_run, unfit

TITLE = "Learning rates at equal total compute"
SUBTITLE = (
    "Methods that choose a learning rate, the schedules people write by hand, framework defaults and the tools one "
    "would pick instead, on real tasks, against the best that a full sweep could find."
)
NOT_REGISTERED = "is not registered"  # how the reason ends why a record of an unknown task or method is left out


def read_bench(path: Path, *, suites: Sequence[str] = ("all",)) -> tuple[Bench, dict[str, dict[str, Any]]]:
    """The records of a file that count today, and what was planned.

    Args:
        path: of JSON lines, as ``lrpilot bench`` writes them.
        suites: names of the parts of the protocol that were planned.

    Raises:
        DataError: no such file, nothing in it, or nothing in it that counts.
    """
    if not path.is_file():
        raise DataError(f"A report needs a file of records, got none at {path}. Run `lrpilot bench run`, or name one.")
    records = read_records(path)
    if not records:
        raise DataError(f"A report needs at least one record, got none in {path}. Run `lrpilot bench run` first.")
    bench = load(records, registered(), current_run=run_of)
    if not bench.all_runs:
        reasons = sorted({record.reason for record in bench.left_out})
        raise DataError(
            f"A report needs a record that counts, got none in {path} ({', '.join(reasons)}). {_remedy(reasons)}"
        )
    return bench, planned(records, suites)


def _remedy(reasons: Iterable[str]) -> str:
    """What to do about a file of which nothing counts."""
    if any(reason.endswith(NOT_REGISTERED) for reason in reasons):
        return "Name the module of your own tasks and methods with --plugin."
    if all(reason.startswith(NO_RECORD) for reason in reasons):
        return "Name a file that `lrpilot bench run` has written."
    return "Run `lrpilot bench run` again."


def planned(records: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every run that the named suites want, given what is on record."""
    from lrpilot_bench.protocol.ledger import Ledger
    from lrpilot_bench.protocol.wanted import scope, suites, wanted

    ledger = Ledger(by_run(record for record in records if unfit(record) is None))
    return runs_of(wanted(suites(names), scope(), ledger.lookup))


def document(findings: Findings) -> Document:
    """What the report says."""
    sections = (
        summary(findings),
        part_headline.headline(findings),
        part_peers.peers(findings),
        part_peers.doing_nothing(findings),
        part_reading.reading(findings),
        tasks(findings),
        part_robust.start_lrs(findings),
        part_robust.horizons(findings),
        part_finders.finders(findings),
        part_closing.cost(findings),
        part_closing.failures(findings),
        part_closing.not_run(findings),
        part_reading.sanity_panel(findings),
        part_closing.machine(findings),
    )
    return Document(TITLE, SUBTITLE, _facts(findings), sections, _status(findings), _banner(findings))


def report(bench: Bench, expected: Mapping[str, Mapping[str, Any]] | None = None) -> Document:
    """The report of a benchmark.

    Args:
        bench: the runs that count.
        expected: what was planned; None where that is not known.
    """
    return document(find(bench, expected))


def _status(findings: Findings) -> str:
    """How complete the benchmark is: where lrpilot's entry has run, and what is planned and not there."""
    ran = sum(any(row.method == ENTRY for row in rows) for rows in findings.rows.values())
    missing = findings.missing
    total = len({*findings.tasks, *(run.task for run in missing or ())})
    words = f"lrpilot's entry has run on {ran} of {many(total, 'task')}"
    if findings.smoke and not ran:
        words = "lrpilot's entry is no part of the smoke run"
    if missing is None:
        return f"{words}; what else was planned is not known here."
    if not missing:
        partial = any(not bar.complete for bar in findings.oracles.values())
        less = "; the plan holds only a part of the oracle's sweep" if partial else ""
        return f"{words}{less}; every planned run is there."
    there = "is" if len(missing) == 1 else "are"
    return f"{words}; {len(missing):,} of the planned runs {there} not there yet."


def _banner(findings: Findings) -> str:
    """What a smoke run is not."""
    if not findings.smoke:
        return ""
    compared = len(findings.bench.catalogue.compared)
    names = ", ".join(findings.tasks)
    is_no = "is" if len(findings.tasks) == 1 else "are"
    return (
        f"Smoke run: it shows that the benchmark works from end to end. {names} {is_no} no comparison of methods, and "
        f"the {many(compared, 'task')} of the comparison were not run."
    )


def _facts(findings: Findings) -> tuple[tuple[str, str], ...]:
    runs = findings.bench.all_runs
    seeds = {run.seed for run in runs}
    time = hours_text(math.fsum(run.seconds for run in runs))
    return (
        (f"{len(findings.tasks)}", "task" if len(findings.tasks) == 1 else "tasks"),
        (f"{len(findings.heads)}", "methods that train" if len(findings.heads) != 1 else "method that trains"),
        (f"{len(seeds)}", "seeds at most"),
        (f"{len(runs):,}", "run" if len(runs) == 1 else "runs"),
        (time, "of training"),
        ("holds" if findings.panel.holds else "open", "sanity panel"),
    )
