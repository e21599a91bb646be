"""From a file of records to what a report is made of: the runs that count, and what was planned."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpilot.errors import DataError
from lrpilot_bench.analysis.catalogue import registered, runs_of
from lrpilot_bench.analysis.recorded import Bench, load
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.store.records import read_records
from lrpilot_bench.store.schema import NO_RECORD, by_run, unfit

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
