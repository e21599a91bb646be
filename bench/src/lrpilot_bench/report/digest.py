"""The rows of the tables on the Markdown page: what a person reads first, in few columns."""

import statistics
from dataclasses import replace

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.sweeps import HorizonRow
from lrpilot_bench.report import tables
from lrpilot_bench.report.cells import Cell, Row, ratio_cell
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import NOTHING, factor_text, many, ratio_text
from lrpilot_bench.store.schema import AUTOPILOT, ORACLE_KINDS

MOST = 10  # methods of the first table, besides lrpilot's own and those that would lead but for a failed run
FEWER = 6  # rows of the table of start lrs
CLOSEST = 4  # finders, besides the peers'; the HTML page has all

# ------------------------------------------------------------------ all methods over all tasks


def ranked(findings: Findings) -> list[Headline]:
    """Methods at equal compute that were run on every task, the best mean first and those with a failed run last."""
    return [head for head in findings.heads if head.everywhere]


def best_rows(findings: Findings, *, bold: bool) -> list[Row]:
    """Mean regret, worst task and failed runs: of the best, of lrpilot's rows, and of what a failed run threw back.

    Args:
        findings: what the records say.
        bold: whether the smallest mean is marked.
    """
    return [
        Row(head.title, _over_tasks(findings, head, best=bold and place == 0), findings.group(head.method))
        for place, head in enumerate(ranked(findings))
        if place < MOST or findings.group(head.method) == "lrpilot" or head in findings.ranking.unlucky
    ]


def _over_tasks(findings: Findings, head: Headline, *, best: bool) -> tuple[Cell, ...]:
    of_method = (row for rows in findings.rows.values() for row in rows if row.method == head.method)
    failed_on = ", ".join(row.task for row in of_method if row.failures)
    worst = NOTHING if head.worst is None else f"{head.worst[0]} {ratio_text(head.worst[1])}"
    return _mean_cell(head, best=best), Cell(failed_on or worst), Cell(f"{head.failures}/{head.runs}")


def _mean_cell(head: Headline, *, best: bool) -> Cell:
    """The mean regret; where a run failed, that of the rest."""
    if head.finite_regret is not None:
        return Cell(ratio_text(head.regret), best=best)
    on = f" on {many(head.finished_tasks, 'task')}" if head.finished_tasks < len(head.regrets) else ""
    rest = f"rest {ratio_text(head.finished_regret)}{on}" if head.finished_regret is not None else ""
    return Cell(ratio_text(head.regret), small=rest, mark="fail" if head.failures else None)


# ------------------------------------------------------------------ other budgets, finders


def start_lr_table(findings: Findings) -> tuple[list[str], list[Row]]:
    """The columns of the factors, and the mean regrets of every method from there, best worst case first."""
    columns, rows = tables.start_lr_table(findings)
    return columns, [replace(row, cells=row.cells[: len(columns)]) for row in rows]


def horizon_table(findings: Findings) -> tuple[list[str], list[Row]]:
    """A column for each task and other budget on which methods are compared; each one's loss ÷ the best of a sweep."""
    alone = {AUTOPILOT, *ORACLE_KINDS}  # and the schedules that judge it: a table of its own
    compared = {t for t, rows in findings.horizons.items() if any(row.method not in alone for row in rows)}
    found = {
        (row.method, task, row.horizon): row
        for task, rows in findings.horizons.items()
        for row in rows
        if row.horizon != 1.0 and task in compared
    }
    columns = sorted({key[1:] for key in found}, key=lambda key: (findings.tasks.index(key[0]), key[1]))
    rows = [
        Row(findings.title(method), tuple(_horizon_cell(found.get((method, *key))) for key in columns))
        for method in dict.fromkeys(name for name, *_ in found)
    ]
    return [f"{task} {factor_text(horizon)}" for task, horizon in columns], rows


def _horizon_cell(row: HorizonRow | None) -> Cell | str:
    if row is None:
        return "not run"
    failed = f"{len(row.failures)} of {len(row.seeds)} failed" if row.failures else ""
    cell = ratio_cell(row.regret, failed=failed)
    return cell if failed else replace(cell, small="")


def finder_rows(findings: Findings) -> list[Row]:
    """How far picks are from the best lr over the tasks: the closest finders, and every peer's."""
    return [
        Row(
            finder.name,
            (
                factor_text(finder.distance) if finder.ratios else NOTHING,
                f"{finder.unpicked}/{finder.seeds}",
                ratio_text(statistics.median(finder.costs)) if finder.costs else NOTHING,
            ),
        )
        for place, finder in enumerate(findings.picks)
        if place < CLOSEST or not finder.own
    ]
