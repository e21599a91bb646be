"""``lrpilot bench``: run the benchmark, and the smoke run of all of it."""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrpilot.cli.options import Json
from lrpilot.cli.report import note, say, say_json
from lrpilot.cli.run_folder import run_folder
from lrpilot.errors import SettingError
from lrpilot_bench.cli.lists import data, list_, status
from lrpilot_bench.cli.options import (
    RECORDS,
    Device,
    Family,
    Large,
    MethodNames,
    Plugins,
    Processes,
    RayAddress,
    Records,
    SeedTexts,
    SuiteNames,
    TaskNames,
    asked,
    check_device,
    tell_refused,
    tell_torn,
    tell_uncounted,
)
from lrpilot_bench.cli.report import report, write_report
from lrpilot_bench.store.schema import CRASHED

if TYPE_CHECKING:
    from lrpilot_bench.protocol.jobs import Job
    from lrpilot_bench.protocol.ledger import Ledger
    from lrpilot_bench.protocol.wanted import Scope, Suite
    from lrpilot_bench.run.pool import Pool
    from lrpilot_bench.run.progress import Watch
    from lrpilot_bench.run.runner import Summary

NOTHING_RUN = 1  # exit status where nothing of what was wanted could be run, or all runs of a method crashed
INTERRUPTED = 130  # what a shell reports of a program that Ctrl-C ended

bench = typer.Typer(name="bench", add_completion=False, pretty_exceptions_enable=False)


@bench.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke",
            help="Does it all work? 17 runs on digits (three methods, and a sweep to judge them), and a report.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Of --smoke: its folder.", show_default="runs/COMMAND-TIMESTAMP"),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", metavar="N", min=1, help="Of --smoke: runs at a time.", show_default="one a core"),
    ] = None,
) -> None:
    """Compare the methods, the schedules people use and their peers on real tasks."""
    if context.invoked_subcommand is not None:
        if smoke:
            raise SettingError(f"--smoke is a run of its own, got {context.invoked_subcommand!r} too. Leave one away.")
        _require_alone(context)
    elif smoke:
        run_smoke(out, processes=processes)
    else:
        _require_alone(context)
        typer.echo(context.get_help())


def _require_alone(context: typer.Context) -> None:
    """Make sure that no option of the smoke run is given without it."""
    given = [f"--{name}" for name in ("out", "processes") if context.params[name] is not None]
    if given:
        command = context.invoked_subcommand
        remedy = f"an option of {command!r} goes behind its name" if command else "add --smoke"
        raise SettingError(
            f"Before a command, {given[0]} is an option of the smoke run, got it without --smoke: {remedy}."
        )


@bench.command()
def run(
    context: typer.Context,
    *,
    suite: SuiteNames = None,
    task: TaskNames = None,
    method: MethodNames = None,
    seeds: SeedTexts = None,
    family: Family = None,
    large: Large = False,
    processes: Processes = None,
    ray: RayAddress = None,
    device: Device = "cpu",
    records: Records = RECORDS,
    plugin: Plugins = None,
    retry_crashed: Annotated[
        bool, typer.Option("--retry-crashed", help="Run again what crashed; the new record counts.")
    ] = False,
    json: Json = False,
) -> None:
    """Run what has no record yet. Stop it at any time: the next one goes on where it ended."""
    suites, within = asked(suite, task, method, seeds, large=large, plugin=plugin, family=family)
    summary = run_suites(
        suites,
        within,
        records,
        processes=processes,
        ray=ray,
        device=device,
        retry_crashed=retry_crashed,
        quiet=json,
        tracebacks=bool(context.find_root().params.get("debug")),
    )
    if json:
        say_json({"records": records, **_plain(summary)})
    else:
        _tell(summary, records)
    if summary.in_vain or summary.all_crashed:
        raise typer.Exit(NOTHING_RUN)


def run_smoke(out: Path | None, *, processes: int | None = None) -> None:
    """The smoke run, in a folder of its own, with its report."""
    from lrpilot_bench.protocol.wanted import scope, suites

    with run_folder("bench-smoke", out) as folder:
        records = folder.path / "records.jsonl"
        summary = run_suites(suites(("smoke",)), scope(), records, processes=processes)
        _tell(summary, records)
        write_report(records, folder.path / "report.html", suites=("smoke",))
    if summary.all_crashed:
        raise typer.Exit(NOTHING_RUN)


def run_suites(
    suites: "Sequence[Suite]",
    within: "Scope",
    records: Path,
    *,
    processes: int | None = None,
    ray: str | None = None,
    device: str = "cpu",
    retry_crashed: bool = False,
    quiet: bool = False,
    tracebacks: bool = False,
) -> "Summary":
    """Run what the suites miss, and write it down.

    Raises:
        SettingError: there is no such device.
        LRPilotError: the file cannot be used or written, or the workers do not start.
    """
    check_device(device, here=ray is None)
    from lrpilot_bench.protocol.wanted import wanted
    from lrpilot_bench.run.runner import Runner
    from lrpilot_bench.store.locking import locked

    with locked(records):
        tell_torn(records)
        pool = _pool(processes, ray, device)
        watch = _watch(quiet=quiet)
        try:
            wants = partial(wanted, suites, within)
            runner = Runner(
                records,
                wants,
                pool,
                watch=watch,
                device=device,
                retry_crashed=retry_crashed,
                tracebacks=tracebacks,
            )
            if not quiet:
                _tell_plan(suites, within, runner.ledger, watch, at_a_time=pool.free())
            return runner.run()
        except KeyboardInterrupt:
            watch.close()
            _tell_stopped(records)
            raise typer.Exit(INTERRUPTED) from None
        finally:
            watch.close()
            pool.close()


def _tell_stopped(records: Path) -> None:
    if records.exists() and records.stat().st_size:
        note(f"Stopped; what was running is dropped. Every finished run is in {records}: the same command goes on.")
    else:
        note("Stopped before any run had finished: nothing is written, and the same command begins anew.")


def _tell_plan(suites: "Sequence[Suite]", within: "Scope", ledger: "Ledger", watch: "Watch", *, at_a_time: int) -> None:
    """Say what is wanted, every run once, for the first suite that wants it; and that it begins."""
    from lrpilot_bench.protocol.wanted import wanted

    account = ledger.account(wanted(suites, within, ledger.lookup))
    counts = ledger.shares((suite.name, wanted((suite,), within, ledger.lookup)) for suite in suites)
    many = len(account.done) + len(account.missing)
    each = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
    cannot = f"; {len(account.refused)} cannot be run" if account.refused else ""
    watch.warn(f"{many} runs wanted, {len(account.done)} are there: {each or 'none'}{cannot}")
    if not account.missing:
        return
    workers = min(at_a_time, len(account.missing))
    more = "; more are wanted once the best of a sweep is known" if any(suite.grows for suite in suites) else ""
    watch.warn(f"starting {workers} worker{'s' if workers > 1 else ''}: a line follows with every run that ends{more}")


def _pool(processes: int | None, ray: str | None, device: str) -> "Pool[Job]":
    from lrpilot_bench.run.workers import ProcessPool, attempt, cores

    if ray is None:
        return ProcessPool(processes or (cores() if device == "cpu" else 1), partial(attempt, device=device))
    from lrpilot_bench.run.ray_workers import RayPool

    return RayPool(ray, at_most=processes, device=device)


def _watch(*, quiet: bool) -> "Watch":
    from lrpilot_bench.run.progress import Bar, ProgressLines, Silence

    if quiet:
        return Silence()
    return Bar() if sys.stderr.isatty() else ProgressLines()


def _plain(summary: "Summary") -> dict[str, Any]:
    return {
        "done": summary.done,
        "present": summary.present,
        "earlier_versions": summary.earlier,
        "unregistered": dict(summary.unregistered),
        "statuses": dict(summary.statuses),
        "crashes": [{"method": method, "reason": reason} for method, reason in summary.reasons],
        "all_crashed": summary.all_crashed,
        "not_run": [{**refusal.job.to_dict(), "reason": refusal.reason} for refusal in summary.refused],
        "seconds": round(summary.seconds, 1),
    }


def _tell(summary: "Summary", records: Path) -> None:
    statuses = ", ".join(f"{many} {status}" for status, many in sorted(summary.statuses.items()))
    say(f"{summary.done} runs done, {summary.present} were there: {statuses or 'none'}. Records: {records}")
    if summary.statuses[CRASHED]:
        say("Crashed runs are kept; raise the method's version to run them again, or pass --retry-crashed.")
        say("'lrpilot --debug bench run ... --retry-crashed' shows the traceback, too.")
    if summary.all_crashed:
        note(f"every run crashed of {', '.join(summary.all_crashed)}: the reason stands above", style="red")
    tell_uncounted(summary.earlier, summary.unregistered)
    tell_refused("not run", summary.refused, warned=summary.warned)


bench.command("list")(list_)
bench.command()(status)
bench.command()(report)
bench.command()(data)
