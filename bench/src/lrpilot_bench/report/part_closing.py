"""The closing sections: cost, failures, what was not run, machine and versions."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from lrpilot_bench.analysis.rows import MethodRow
from lrpilot_bench.analysis.runs import Run
from lrpilot_bench.analysis.sanity import NotRun
from lrpilot_bench.report.document import Block, Bullets, Cell, Code, Paragraph, Row, Section, Table
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    factor_text,
    hours_text,
    lr_text,
    many,
    names_text,
    ratio_text,
    seconds_text,
)
from lrpilot_bench.report.part_headline import group_of
from lrpilot_bench.report.part_ranking import span
from lrpilot_bench.store.schema import NO_BETTER, ORACLE_KINDS, REFERENCE_KINDS

MANY_ROWS = 20  # of a table, beyond which methods that lack the same runs share one
KINDS = (
    "Diverged: the loss was not finite. No better than untrained: the run ended with a finite loss above the one it "
    "began with, by a hair or by far; its line gives final ÷ initial validation loss. Both count as infinite."
)
SWEPT = (*ORACLE_KINDS, *REFERENCE_KINDS)  # methods that are swept over lrs far beyond what works


# ------------------------------------------------------------------ cost


def cost(findings: Findings) -> Section:
    """The section."""
    if not findings.heads:
        return Section("cost", "What it costs", (Paragraph("No method has a plain run yet."),))
    tasks = list(findings.judged)
    rows = {task: {row.method: row for row in findings.rows[task]} for task in tasks}
    lines = []
    for head in findings.heads:
        times = tuple(_time_cell(rows[task].get(head.method)) for task in tasks)
        cells = (
            Cell(ratio_text(head.compute)),
            Cell(seconds_text(head.seconds)),
            Cell(_steps_share(findings, head.method)),
        )
        lines.append(Row(head.title, (*cells, *times), group_of(head.group)))
    table = Table(
        "Total compute, seconds, and total compute until the target is reached",
        ("method", "compute", "seconds", "steps trained", *(f"to target: {task}" for task in tasks)),
        tuple(lines),
        note="All ÷ a plain run's; what is missing of the steps trained went into probes. Seconds: means over tasks. "
        f"{INFINITE}: at least half of the seeds never reached the target, the oracle's median final loss × 1.02.",
    )
    lead = "Total compute is counted in forward and backward passes and does not depend on the machine; seconds do."
    return Section("cost", "What it costs", (Paragraph(lead), table))


def _time_cell(row: MethodRow | None) -> Cell:
    if row is None or row.time_to_target.value is None:
        return Cell(NOTHING)
    missed = f"{row.misses} of {len(row.seeds)} missed" if row.misses else ""
    return Cell(ratio_text(row.time_to_target.value), small=missed)


def _steps_share(findings: Findings, method: str) -> str:
    shares = [
        run.record["kept_steps"] / run.steps
        for task in findings.tasks
        for run in findings.bench.runs(task, method).values()
        if not run.failed and run.record.get("kept_steps")
    ]
    return f"{math.exp(math.fsum(map(math.log, shares)) / len(shares)):.2f}" if shares else NOTHING


# ------------------------------------------------------------------ failures


def failures(findings: Findings) -> Section:
    """The section."""
    failed = [run for run in findings.bench.all_runs if run.failed]
    swept = [run for run in failed if _of_sweep(run)]
    shown = [run for run in failed if not _of_sweep(run)]
    blocks: list[Block] = [Paragraph(_failure_words(len(failed), len(findings.bench.all_runs), len(swept)))]
    if any(run.status == NO_BETTER for run in failed):
        blocks.append(Paragraph(KINDS))
    if shown:
        blocks.append(_failure_table(findings, shown))
    return Section("failures", "Failures", blocks)


def _failure_words(failed: int, total: int, swept: int) -> str:
    words = f"{failed:,} of {many(total, 'run')} failed"
    if swept:
        are = f"{swept:,} of these are points" if failed > 1 else "it is a point"
        are = "all of these are points" if swept == failed > 1 else are
        words += (
            f"; {are} of sweeps (the oracle's and those of references) at lrs too large, which is how a grid finds its "
            "end"
        )
    return words + "."


def _of_sweep(run: Run) -> bool:
    return run.method in SWEPT and run.record["lr_factor"] == 1.0 and not math.isclose(run.lr_factor, 1.0, rel_tol=1e-4)


def _failure_table(findings: Findings, runs: Sequence[Run]) -> Table:
    groups: dict[tuple[str, str, float, float, str, str], list[Run]] = {}
    for run in runs:
        key = (run.task, run.method, run.lr_factor, run.horizon, run.status, run.error or "")
        groups.setdefault(key, []).append(run)
    titles = findings.bench.catalogue.methods
    rows = []
    for (task, method, factor, horizon, status, error), alike in groups.items():
        how = [f"start lr {factor_text(factor)}"] if factor != 1.0 else []
        how += [f"budget {factor_text(horizon)}"] if horizon != 1.0 else []
        cells = (
            Cell(Code(task)),
            Cell(", ".join(how) or "plain"),
            Cell(status, small=_worsening(alike), mark="fail"),
            Cell(", ".join(str(seed) for seed in sorted(run.seed for run in alike))),
            Cell(Code(error) if error else ""),
        )
        rows.append(Row(titles[method].title, cells, group_of(titles[method].group)))
    columns = ("method", "task", "run", "status", "seeds", "error")
    return Table("Every failure outside of the sweeps", columns, tuple(rows), frozenset({1, 2, 3, 4, 5}))


def _worsening(runs: Sequence[Run]) -> str:
    worse = [run.worsening for run in runs if run.worsening is not None]
    return f"final ÷ initial loss {span(worse)}" if worse else ""


# ------------------------------------------------------------------ not run


def not_run(findings: Findings) -> Section:
    """The section."""
    if findings.missing is None:
        words = "The plan of the benchmark was not at hand, so what is missing cannot be listed."
        return Section("not-run", "What was not run", (Paragraph(words),))
    large = tuple(_large(findings))
    if not findings.missing:
        done = Paragraph("Everything that was planned is on record.")
        return Section("not-run", "What was not run", (done, *large))
    have = "has" if len(findings.missing) == 1 else "have"
    words = f"{many(len(findings.missing), 'planned run')} {have} no record. Nothing above was guessed for them."
    groups: dict[tuple[str, str], Counter[str]] = {}
    for run in findings.missing:
        groups.setdefault((part_of(run, findings), run.method), Counter())[run.task] += 1
    made = _missing_table if len(groups) <= MANY_ROWS else _short_missing_table
    table = made({key: tasks for key, tasks in sorted(groups.items(), key=lambda item: item[0][0])}, findings)
    return Section("not-run", "What was not run", (Paragraph(words), table, *large))


def _missing_table(groups: Mapping[tuple[str, str], Counter[str]], findings: Findings) -> Table:
    titles = findings.bench.catalogue.methods
    rows = tuple(
        Row(
            titles[method].title if method in titles else method,
            (Cell(part), Cell(f"{sum(tasks.values()):,}"), Cell(_on_tasks(tasks))),
            group_of(titles[method].group) if method in titles else None,
        )
        for (part, method), tasks in groups.items()
    )
    columns = ("method", "part", "runs", "on tasks (runs)")
    return Table("Planned runs without a record", columns, rows, frozenset({1, 3}), folded=f"All {len(rows)} groups")


def _short_missing_table(groups: Mapping[tuple[str, str], Counter[str]], findings: Findings) -> Table:
    """The same in fewer rows: methods that lack as many runs of the same tasks share one."""
    titles = findings.bench.catalogue.methods
    alike: dict[tuple[str, frozenset[tuple[str, int]]], list[str]] = {}
    for (part, method), tasks in groups.items():
        alike.setdefault((part, frozenset(tasks.items())), []).append(method)
    rows = []
    for (part, _), methods in alike.items():
        tasks = groups[part, methods[0]]
        names = names_text(titles[name].title if name in titles else name for name in methods)
        each = f"{len(methods)} × {sum(tasks.values()):,}" if len(methods) > 1 else ""
        runs = Cell(f"{len(methods) * sum(tasks.values()):,}", small=each)
        rows.append(Row(part, (Cell(names), runs, Cell(_on_tasks(tasks)))))
    columns = ("part", "methods", "runs", "on tasks (runs of each method)")
    table = Table("Planned runs without a record", columns, tuple(rows), frozenset({1, 3}))
    return replace(table, folded=f"All {len(rows)} groups")


def _large(findings: Findings) -> Iterable[Block]:
    """The tasks made for a GPU that have no run: no plan names them unless asked to."""
    tasks = large_tasks(findings)
    if tasks:
        named = tuple(part for name in tasks for part in (", ", Code(name)))[1:]
        of = "task was" if len(tasks) == 1 else "tasks were"
        yield Paragraph((f"{len(tasks)} large {of} not run at all: ", *named, "; needs ", Code("--large"), "."))


def large_tasks(findings: Findings) -> list[str]:
    """Those made for a GPU that have no run."""
    return [name for name, task in findings.bench.catalogue.tasks.items() if task.large and name not in findings.tasks]


def _on_tasks(tasks: Counter[str]) -> str:
    """Names with counts; the count once where it is the same for all of them."""
    counts = set(tasks.values())
    if len(counts) == 1 and len(tasks) > 1:
        return f"{', '.join(tasks)} ({counts.pop()} each)"
    return ", ".join(f"{task} ({count})" for task, count in tasks.items())


def part_of(run: NotRun, findings: Findings) -> str:
    """The part of the protocol that a missing run belongs to."""
    if run.horizon != 1.0:
        return "other budgets"
    if run.lr_factor != 1.0:
        return "start lrs"
    if run.repeat:
        return "repeats"
    method = findings.bench.catalogue.methods.get(run.method)
    default = method.lr_for(run.family) if method is not None and run.family is not None else None
    if run.lr is not None and default is not None and not math.isclose(run.lr, default, rel_tol=1e-4):
        return "sweeps"
    return "plain runs"


# ------------------------------------------------------------------ machine


def machine(findings: Findings) -> Section:
    """The section."""
    runs = findings.bench.all_runs
    machines = Counter(json.dumps(run.record.get("machine") or {}, sort_keys=True) for run in runs)
    rows = tuple(_machine_row(json.loads(text), count) for text, count in sorted(machines.items()))
    codes = Counter(str(run.record.get("code", NOTHING)) for run in runs)
    time = hours_text(math.fsum(run.seconds for run in runs))
    columns = ("processor", "cores", "threads", "python", "torch", "device", "runs")
    blocks: list[Block] = [
        Paragraph(f"{many(len(runs), 'run')}, {time} of training in all, without the benchmark's own evaluations."),
        Table("Machines and versions", columns, rows, frozenset({3, 4, 5})),
        Paragraph(
            "lrpilot " + ", ".join(f"{code} ({many(count, 'run')})" for code, count in sorted(codes.items())) + "."
        ),
    ]
    blocks += _left_out(findings)
    blocks.append(_practices(findings))
    return Section("machine", "Machine, versions, settings", blocks)


def _machine_row(facts: dict[str, object], count: int) -> Row:
    names = ("cpu_count", "threads", "python", "torch", "device")
    cells = (Cell(str(facts.get(name, NOTHING))) for name in names)
    return Row(str(facts.get("architecture", NOTHING)), (*cells, Cell(f"{count:,}")))


def _left_out(findings: Findings) -> Iterable[Block]:
    reasons = Counter(record.reason for record in findings.bench.left_out)
    if reasons:
        yield Paragraph("Records that are in the file and do not count:")
        yield Bullets(tuple(f"{count:,}: {reason}" for reason, count in sorted(reasons.items())))


def _practices(findings: Findings) -> Table:
    used = {run.method for run in findings.bench.all_runs}
    methods = [method for name, method in findings.bench.catalogue.methods.items() if name in used]
    rows = tuple(
        Row(
            method.title,
            (Cell(Code(method.name)), Cell(_lrs(method.lrs)), Cell(method.practice)),
            group_of(method.group),
        )
        for method in methods
    )
    columns = ("method", "name", "default lr", "documented best practice that it follows")
    return Table(
        "One configuration per method, for all tasks", columns, rows, frozenset({1, 2, 3}), folded="Every method"
    )


def _lrs(lrs: object) -> str:
    return ", ".join(f"{lr_text(lr)} ({kind})" for kind, lr in lrs.items()) if isinstance(lrs, dict) else NOTHING
