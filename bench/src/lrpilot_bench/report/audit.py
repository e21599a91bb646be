"""The rows of the tables about the records themselves: what failed, what is missing, whether they can be believed."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lrpilot_bench.analysis.catalogue import MethodFacts
from lrpilot_bench.analysis.recorded import Run
from lrpilot_bench.analysis.sanity import BudgetCheck, CostCheck, InsideCheck
from lrpilot_bench.report.cells import Cell, Row
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import NOTHING, factor_text, lr_text, many, names_text
from lrpilot_bench.report.overview import span
from lrpilot_bench.store.schema import ORACLE_KINDS, REFERENCE_KINDS

SWEPT = (*ORACLE_KINDS, *REFERENCE_KINDS)  # methods that are swept over lrs far beyond what works

# ------------------------------------------------------------------ failures


def of_sweep(run: Run) -> bool:
    """Whether a run is a point of a sweep, of which some must fail."""
    return run.method in SWEPT and run.record["lr_factor"] == 1.0 and not math.isclose(run.lr_factor, 1.0, rel_tol=1e-4)


def failure_counts(findings: Findings) -> tuple[int, int]:
    """Runs that failed, and how many of them are points of sweeps."""
    failed = [run for run in findings.bench.all_runs if run.failed]
    return len(failed), sum(map(of_sweep, failed))


def failure_rows(findings: Findings) -> list[Row]:
    """Every failure outside of the sweeps; seeds that ended alike share a row."""
    groups: dict[tuple[str, str, float, float, str, str], list[Run]] = {}
    for run in findings.bench.all_runs:
        if run.failed and not of_sweep(run):
            key = (run.task, run.method, run.lr_factor, run.horizon, run.status, run.error or "")
            groups.setdefault(key, []).append(run)
    rows = []
    for (task, method, factor, horizon, status, error), alike in groups.items():
        how = [f"start lr {factor_text(factor)}"] if factor != 1.0 else []
        how += [f"budget {factor_text(horizon)}"] if horizon != 1.0 else []
        worse = [run.worsening for run in alike if run.worsening is not None]
        cells = (
            Cell(task, code=True),
            ", ".join(how) or "plain",
            Cell(status, small=f"final ÷ initial loss {span(worse)}" if worse else "", mark="fail"),
            ", ".join(str(seed) for seed in sorted(run.seed for run in alike)),
            Cell(error, code=bool(error)),
        )
        rows.append(Row(findings.title(method), cells, findings.group(method)))
    return rows


# ------------------------------------------------------------------ not run


def missing_rows(findings: Findings) -> list[Row]:
    """Planned runs without a record; methods that lack as many runs of the same tasks share a row."""
    groups: dict[tuple[str, str], Counter[str]] = {}
    for run in findings.missing or ():
        groups.setdefault((run.part(findings.bench.catalogue), run.method), Counter())[run.task] += 1
    alike: dict[tuple[str, frozenset[tuple[str, int]]], list[str]] = {}
    for (part, method), tasks in sorted(groups.items(), key=lambda item: item[0][0]):
        alike.setdefault((part, frozenset(tasks.items())), []).append(method)
    rows = []
    for (part, _), methods in alike.items():
        tasks = groups[part, methods[0]]
        count, each = len(methods) * sum(tasks.values()), f"{len(methods)} × {sum(tasks.values()):,}"
        names = names_text(findings.title(name) for name in methods)
        rows.append(Row(part, (names, Cell(f"{count:,}", small=each if len(methods) > 1 else ""), _on_tasks(tasks))))
    return rows


def _on_tasks(tasks: Counter[str]) -> str:
    """Names with counts; the count once where it is the same for all of them."""
    counts = set(tasks.values())
    if len(counts) == 1 and len(tasks) > 1:
        return f"{', '.join(tasks)} ({counts.pop()} each)"
    return ", ".join(f"{task} ({count})" for task, count in tasks.items())


# ------------------------------------------------------------------ checks


def check_rows(findings: Findings) -> list[Row]:
    """The four checks of the sanity panel."""
    panel = findings.panel
    return [
        _inside_row(panel.inside),
        _repeat_row(findings),
        _bill_row(findings),
        _budget_row(panel.budget),
    ]


def _inside_row(checks: Sequence[InsideCheck]) -> Row:
    verdicts = Counter(check.inside for check in checks)
    outside = [f"{check.kind} on {check.task}" for check in checks if check.inside is False]
    told = f"At the edge: {_listed(outside)}. " if outside else ""
    told += f"Incomplete, or all failed: {many(verdicts[None], 'sweep')}." if verdicts[None] else ""
    what = "The best lr of a sweep lies strictly inside its grid"
    return _check_row(what, verdicts[True], verdicts.total(), told, bad=bool(outside))


def _repeat_row(findings: Findings) -> Row:
    checks = findings.panel.repeats
    unlike = [f"{c.method} on {c.task}, seed {c.seed}" for c in checks if not c.equal]
    told = f"Different weights: {_listed(unlike)}." if unlike else ""
    what = "A run repeated ends bit for bit alike"
    return _check_row(what, len(checks) - len(unlike), len(checks), told, bad=bool(unlike))


def _bill_row(findings: Findings) -> Row:
    checks = findings.panel.costs
    runs, wrong = sum(check.runs for check in checks), sum(check.mismatches for check in checks)
    crashed = len(findings.bench.all_runs) - runs
    told = "; ".join(check.examples[0] for check in checks if check.examples)
    if crashed and runs and not wrong:
        told = f"holds everywhere; {many(crashed, 'more run')} crashed and {'has' if crashed == 1 else 'have'} no bill."
    return _check_row(
        "The declared passes are those that hooks counted, exactly", runs - wrong, runs, told, bad=bool(wrong)
    )


def _budget_row(budget: BudgetCheck) -> Row:
    told = f"Above: {'; '.join(budget.examples)}." if budget.over else ""
    if budget.untrained:
        spent = f"{many(budget.untrained, 'more run')} spent the budget before training and failed by that."
        told = f"{told} {spent}" if told else f"holds everywhere; {spent}"
    what = "At equal compute no finished run spends more than its budget and one step"
    return _check_row(what, budget.runs - budget.over, budget.runs, told, bad=bool(budget.over))


def _check_row(what: str, holds: int, total: int, told: str, *, bad: bool) -> Row:
    if bad:
        return Row(what, (Cell(f"{holds:,}", mark="bad"), f"{total:,}", told))
    if holds < total or total == 0:
        return Row(what, (Cell(f"{holds:,}", mark="unknown"), f"{total:,}", told or "No record to check."))
    return Row(what, (Cell(f"{holds:,}", mark="good"), f"{total:,}", told or "holds everywhere"))


def _listed(names: list[str], at_most: int = 6) -> str:
    """Names joined, with the number of those that were cut off."""
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return names_text(names[:at_most]) + more


def inside_cell(check: InsideCheck) -> Cell:
    """Whether the best lr of a sweep lies strictly inside its grid."""
    if check.inside is None:
        return Cell("cannot be said", mark="unknown")
    return Cell("yes", mark="good") if check.inside else Cell("at the edge", mark="bad")


def mismatch_cell(check: CostCheck) -> Cell:
    """Runs whose declared passes are not those that were counted."""
    return Cell(f"{check.mismatches:,}", mark="bad" if check.mismatches else "good")


def training(findings: Findings) -> list[str]:
    """Methods that train; the page's first count leaves the others out."""
    return [name for name, method in findings.bench.catalogue.methods.items() if method.trains]


# ------------------------------------------------------------------ machine, versions, settings


def versions(findings: Findings) -> dict[str, int]:
    """Runs by the version of lrpilot."""
    return dict(sorted(Counter(str(run.record.get("code", NOTHING)) for run in findings.bench.all_runs).items()))


def left_out(findings: Findings) -> dict[str, int]:
    """Records that do not count, by the reason."""
    return dict(sorted(Counter(record.reason for record in findings.bench.left_out).items()))


def machines(findings: Findings) -> list[tuple[dict[str, Any], int]]:
    """Facts of each machine, and how many runs it has made."""
    found = Counter(json.dumps(run.record.get("machine") or {}, sort_keys=True) for run in findings.bench.all_runs)
    return [(json.loads(text), count) for text, count in sorted(found.items())]


def default_lrs(method: MethodFacts) -> str:
    """The documented default of each optimizer family."""
    if method.lrs is None:
        return NOTHING
    return ", ".join(f"{lr_text(lr)} ({kind})" for kind, lr in method.lrs.items())
