"""``lrpilot bench list``, ``status`` and ``data``: what there is, what is done, and what must be fetched."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.bench_options import (
    RECORDS,
    Family,
    Large,
    MethodNames,
    Plugins,
    Records,
    SeedTexts,
    SuiteNames,
    TaskNames,
    asked,
    load_plugins,
    tell_torn,
)
from lrpilot.cli.options import Json
from lrpilot.cli.report import note, say, say_json, table
from lrpilot.core.names import unknown_name

if TYPE_CHECKING:
    from lrpilot.bench.ledger import Account
    from lrpilot.bench.tasks.task import Task

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
    from lrpilot.bench.methods.registry import methods
    from lrpilot.bench.protocol import SUITES
    from lrpilot.bench.tasks.registry import tasks

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
        say(table((name, *list(rows[0])[1:]), [list(row.values()) for row in rows], numbers=False))


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
    records: Records = RECORDS,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Show what of the benchmark is on record, what is left, and the core hours that it will take."""
    suites, within = asked(suite, task, method, seeds, large=large, plugin=plugin, family=family)
    tell_torn(records)
    from lrpilot.bench.ledger import Ledger, read_runs
    from lrpilot.bench.progress import Pace
    from lrpilot.bench.protocol import wanted

    ledger = Ledger(read_runs(records))
    pace = Pace(ledger.records.values())
    groups = {one.name: (one,) for one in suites} | ({"all of these": suites} if len(suites) > 1 else {})
    rows = [
        {"suite": name, **_counts(ledger.account(wanted(group, within, ledger.lookup)), pace)}
        for name, group in groups.items()
    ]
    document = {"records": records, "earlier_versions": ledger.earlier(), "suites": rows}
    if json:
        say_json(document)
    else:
        _show_status(document)


def _counts(account: "Account", pace: Any) -> dict[str, Any]:
    return {
        "done": len(account.done),
        "failed": sum(record["status"] != "finished" for record in account.done),
        "left": len(account.missing),
        "cannot_run": len(account.refused),
        "core_seconds_left": pace.total(account.missing),
    }


def _show_status(document: dict[str, Any]) -> None:
    from lrpilot.bench.progress import duration

    cells = [[*map(str, list(row.values())[:-1]), duration(row["core_seconds_left"])] for row in document["suites"]]
    say(table(("suite", "done", "of them failed", "left", "cannot run", "time left on one core"), cells))
    if document["earlier_versions"]:
        say(f"{document['earlier_versions']} records are of earlier versions of a task or a method.")


def data(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Data sets; all where none is named.")
    ] = None,
    *,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="FOLDER", help="Data folder.", show_default="LRPILOT_DATA")
    ] = None,
    json: Json = False,
) -> None:
    """Fetch the data sets that are missing, and check those that are there."""
    from lrpilot.bench.data.fetch import DATA_SETS, fetch_all

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
