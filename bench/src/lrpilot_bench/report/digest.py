"""The rows of the tables on the Markdown page: what a person reads first, in few columns."""

import statistics
from dataclasses import replace

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.rows import MethodRow
from lrpilot_bench.report.cells import Cell, Row, ratio_cell, regret_cell
from lrpilot_bench.report.findings import ENTRY, Findings
from lrpilot_bench.report.numbers import NOTHING, factor_text, lr_text, many, names_text, ratio_text, schedule_name
from lrpilot_bench.report.overview import winners
from lrpilot_bench.report.tables import failed_cell, headline_rows, more_text

MOST = 15  # rows of the first table
FEWER = 10  # and of those of what failed, and from other start lrs; all rows are on the HTML page

# ------------------------------------------------------------------ all methods over all tasks


def sound(findings: Findings) -> list[Headline]:
    """Methods at equal compute that finished every run on every task, the best mean first."""
    return [head for head in findings.heads if head.everywhere and head.finite_regret is not None]


def sound_rows(findings: Findings, *, bold: bool) -> list[Row]:
    """Mean regret of the best of them, then that of every task: the wide table without its intervals."""
    rows = headline_rows(findings, sound(findings)[:MOST], bold=bold)
    return [replace(row, cells=(_bare(row.cells[0]), *map(_bare, row.cells[6:]))) for row in rows]


def _bare(cell: Cell | str) -> Cell | str:
    return cell if isinstance(cell, str) else replace(cell, small="", mark=None)


def failing_rows(findings: Findings) -> list[Row]:
    """How often, how and where a method at equal compute failed, and its mean over the seeds that finished."""
    rows = []
    for head in findings.heads:
        if head.everywhere and head.failures:
            of_method = [row for of in findings.rows.values() for row in of if row.method == head.method]
            where = ", ".join(row.task for row in of_method if row.failures)
            on = f"of {many(head.finished_tasks, 'task')}" if head.finished_tasks < len(head.regrets) else ""
            cells = (failed_cell(findings, head), where, Cell(ratio_text(head.finished_regret), small=on))
            rows.append(Row(head.title, cells, findings.group(head.method)))
    return rows


def task_rows(findings: Findings) -> list[Row]:
    """Of each task its oracle, the best method, the best peer, lrpilot's entry and what the default loses."""
    best = {task: title for of in winners(findings).values() for title, won in of.items() for task in won}
    rows = []
    for task in findings.judged:
        bar, beat, default = findings.oracles[task], findings.to_beat[task], findings.defaults[task].regret.ratio
        by_method = {row.method: row for row in findings.rows[task]}
        by_title = {row.title: row for row in findings.rows[task]}
        ties = names_text(findings.title(name) for name in beat.ties)
        cells = (
            NOTHING if bar.kind is None else f"{schedule_name(bar.kind)}, {lr_text(bar.lr)}",
            _titled(by_title.get(best.get(task, ""))),
            replace(_titled(by_method.get(beat.best or "")), small=f"level: {ties}" if ties else ""),
            regret_cell(by_method[ENTRY]) if ENTRY in by_method else "not run",
            NOTHING if default is None else more_text(default.mean),
        )
        rows.append(Row(task, cells, code=True))
    return rows


def _titled(row: MethodRow | None) -> Cell:
    """A method with its regret."""
    if row is None:
        return Cell(NOTHING)
    return Cell(f"{row.title} {regret_cell(row).text}", small=regret_cell(row).small)


# ------------------------------------------------------------------ other budgets, finders


def horizon_table(findings: Findings) -> tuple[list[str], list[Row]]:
    """A column for each task and budget; each method's loss ÷ the best linear run's there."""
    found = {(task, row.horizon): row for task, rows in findings.horizons.items() for row in rows}
    columns = sorted(found, key=lambda key: (findings.tasks.index(key[0]), key[1]))
    by_method = {
        (row.method, *key): row for key in columns for row in findings.horizons[key[0]] if row.horizon == key[1]
    }
    rows = []
    for method in dict.fromkeys(name for name, *_ in by_method):
        cells: list[Cell | str] = []
        for key in columns:
            row = by_method.get((method, *key))
            if row is None:
                cells.append("not run")
            else:
                failed = f"{len(row.failures)} of {len(row.seeds)} failed" if row.failures else ""
                cell = ratio_cell(row.regret, failed=failed)
                cells.append(cell if failed else replace(cell, small=""))
        rows.append(Row(findings.title(method), tuple(cells), findings.group(method)))
    return [f"{task} {factor_text(horizon)}" for task, horizon in columns], rows


def finder_rows(findings: Findings) -> list[Row]:
    """How far a finder's picks are from the best lr over the tasks, closest first."""
    return [
        Row(
            finder.name,
            (
                schedule_name(finder.schedule),
                factor_text(finder.distance) if finder.ratios else NOTHING,
                f"{finder.unpicked} of {finder.seeds}",
                ratio_text(statistics.median(finder.costs)) if finder.costs else NOTHING,
            ),
            "lrpilot" if finder.own else "peer",
        )
        for finder in findings.picks
    ]
