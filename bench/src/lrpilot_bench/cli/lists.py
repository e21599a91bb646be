"""``lrpilot bench list``, ``status`` and ``data``: what there is, what is done, and what must be fetched."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.options import Json
from lrpilot.cli.report import note, say, say_json, table
from lrpilot.errors import unknown_name
from lrpilot_bench.cli.options import (
    RECORDS,
    Family,
    Large,
    MethodNames,
    Plugins,
    ReadRecords,
    SeedTexts,
    SuiteNames,
    TaskNames,
    asked,
    load_plugins,
    tell_refused,
    tell_torn,
    tell_uncounted,
)
from lrpilot_bench.store.schema import FINISHED

if TYPE_CHECKING:
    from lrpilot_bench.protocol.ledger import Account
    from lrpilot_bench.tasks.task import Task

ALL_ROW = "all of these"
LISTS = ("tasks", "methods", "suites")


def list_(
    what: Annotated[
        str | None, typer.Argument(metavar="[tasks|methods|suites]", help="What to list.", show_default="all")
    ] = None,
    *,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """List the tasks, the methods with the practice each follows, and the suites."""
    if what is not None and what not in LISTS:
        raise unknown_name("What is listed", what, LISTS)
    load_plugins(plugin)
    from lrpilot_bench.methods.registry import methods
    from lrpilot_bench.protocol.wanted import SUITES
    from lrpilot_bench.tasks.registry import tasks

    parts: dict[str, list[dict[str, Any]]] = {
        "tasks": [
            {
                "name": task.name,
                "what": task.title,
                "trained with": f"{' or '.join(family.kind for family in task.families)}, {task.steps} steps",
                "note": _note(task),
            }
            for task in tasks().values()
        ],
        "methods": [{"name": m.name, "group": m.group, "practice": m.practice} for m in methods().values()],
        "suites": [{"name": suite.name, "what": suite.title} for suite in SUITES.values()],
    }
    parts = {name: rows for name, rows in parts.items() if what in (None, name)}
    if json:
        say_json(parts)
        return
    for name, rows in parts.items():
        say(table((name, *list(rows[0])[1:]), [list(row.values()) for row in rows], numbers=False, whole_names=True))


def _note(task: "Task") -> str:
    notes = {"experiment": task.experiment, "smoke": task.smoke, "--large": task.large}
    return ", ".join(note for note, holds in notes.items() if holds)


def status(
    *,
    suite: SuiteNames = None,
    task: TaskNames = None,
    method: MethodNames = None,
    seeds: SeedTexts = None,
    family: Family = None,
    large: Large = False,
    records: ReadRecords = RECORDS,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Show what of the benchmark is on record, what is left, and the core hours that it will take."""
    suites, within = asked(suite, task, method, seeds, large=large, plugin=plugin, family=family)
    if not records.exists():
        note(f"There is no file {records} yet: nothing is on record.", style="yellow")
    tell_torn(records)
    from lrpilot_bench.data import missing_data
    from lrpilot_bench.protocol.ledger import Ledger, read_runs
    from lrpilot_bench.protocol.wanted import wanted
    from lrpilot_bench.run.progress import Pace

    ledger = Ledger(read_runs(records))
    for name, reason in missing_data().items():
        ledger.bar(name, None, reason)
    pace = Pace(ledger.records.values())
    groups = {one.name: (one,) for one in suites} | ({ALL_ROW: suites} if len(suites) > 1 else {})
    accounts = {name: ledger.account(wanted(group, within, ledger.lookup)) for name, group in groups.items()}
    rows = [{"suite": name, **_counts(account, pace)} for name, account in accounts.items()]
    document = {
        "records": records,
        "earlier_versions": ledger.earlier(),
        "unregistered": dict(ledger.unregistered()),
        "suites": rows,
    }
    if json:
        say_json(document)
    else:
        _show_status(document)
        tell_refused("cannot run", list(accounts.values())[-1].refused)


def _counts(account: "Account", pace: Any) -> dict[str, Any]:
    from lrpilot_bench.protocol.ledger import status_of

    return {
        "done": len(account.done),
        "failed": sum(status_of(record) != FINISHED for record in account.done),
        "left": len(account.missing),
        "cannot_run": len(account.refused),
        "core_seconds_left": pace.total(account.missing),
    }


def _show_status(document: dict[str, Any]) -> None:
    from lrpilot_bench.run.progress import duration

    cells = [[*map(str, list(row.values())[:-1]), duration(row["core_seconds_left"])] for row in document["suites"]]
    say(table(("suite", "done", "of them failed", "left", "cannot run", "time left on one core"), cells))
    *rows, last = document["suites"]
    if rows and sum(map(_size, rows)) > _size(last):
        say(f"Some runs belong to several suites; {ALL_ROW!r} counts each once.")
    tell_uncounted(document["earlier_versions"], document["unregistered"])


def _size(row: dict[str, Any]) -> int:
    return int(row["done"] + row["left"] + row["cannot_run"])


def data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Data sets; all where none is named.")
    ] = None,
    *,
    only_list: Annotated[
        bool, typer.Option("--list", help="Only say which are there and which are missing; fetch nothing.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="FOLDER", help="Data folder.", show_default="LRPILOT_DATA")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch the data sets that are missing, and check those that are there."""
    from lrpilot_bench.data.fetch import DATA_SETS, fetch_all

    if only_list:
        _list_data(names, folder, json=json)
        return
    found = fetch_all(names or None, folder=folder, say=note)
    rows = [
        {"name": one.name, "licence": one.licence, "place": str(found[one.name])}
        for one in DATA_SETS
        if one.name in found
    ]
    if json:
        say_json({"data": rows})
    else:
        say(table(("data set", "licence", "place"), [list(row.values()) for row in rows], numbers=False))


def _list_data(names: list[str] | None, folder: Path | None, *, json: bool) -> None:
    from lrpilot_bench.data.fetch import asked_for, find_all
    from lrpilot_bench.data.folder import data_folder

    places = find_all(names or None, folder=folder)
    rows = [
        {"name": one.name, "megabytes": one.megabytes, "licence": one.licence, "place": places[one.name]}
        for one in asked_for(places)
    ]
    if json:
        say_json({"folder": data_folder(folder), "data": rows})
        return
    states = [
        (one.name, one.licence, str(places[one.name] or f"missing ({one.megabytes:g} MB)")) for one in asked_for(places)
    ]
    say(table(("data set", "licence", "place"), states, numbers=False))
    if None in places.values():
        missing = " ".join(name for name, place in places.items() if place is None)
        say(f"'lrpilot bench data {missing}' fetches what is missing, into {data_folder(folder)}. Digits need no file.")
