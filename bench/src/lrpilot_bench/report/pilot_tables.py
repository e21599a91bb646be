"""The rows of the tables about Autopilot: sides of the split, its parts, other budgets, time to a loss."""

import math
from collections.abc import Sequence

from lrpilot_bench.analysis.autopilot import SIDES, Part, Reached, tasks_of
from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.sweeps import HorizonRow
from lrpilot_bench.report.cells import Cell, Row
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import INFINITE, NOTHING, factor_text, many, ratio_text
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.store.schema import AUTOPILOT

MOST = 12  # methods of the table of sides, besides lrpilot's own


def side_columns(findings: Findings) -> list[str]:
    """Each side with its number of tasks."""
    return [f"{side} ({many(len(tasks_of(findings.bench, findings.judged, side)), 'task')})" for side in findings.sides]


def side_rows(findings: Findings) -> list[Row]:
    """Mean regrets of each side: the methods run on all tasks of one, the best there first.

    The order is that of development tasks where a method has run on all of them: judging ones only judge.
    """
    found = {side: {head.method: head for head in heads if head.everywhere} for side, heads in findings.sides.items()}
    names = sorted({name for heads in found.values() for name in heads}, key=lambda name: _place(found, name))
    shown = [n for place, n in enumerate(names) if place < MOST or findings.group(n) == "lrpilot"]
    return [_side_row(findings, name, [found[side].get(name) for side in found]) for name in shown]


def _place(found: dict[str, dict[str, Headline]], name: str) -> tuple[list[float], str]:
    means = [found[side][name].regret if name in found[side] else None for side in found]
    return [math.inf if mean is None else mean for mean in means], name


def _side_row(findings: Findings, name: str, heads: Sequence[Headline | None]) -> Row:
    known = [head for head in heads if head is not None]
    worst = max((head.worst for head in known if head.worst is not None), key=lambda pair: pair[1], default=None)
    failures, runs = sum(head.failures for head in known), sum(head.runs for head in known)
    cells = [_mean_cell(head) for head in heads]
    cells.append(Cell(NOTHING if worst is None else f"{worst[0]} {ratio_text(worst[1])}"))
    cells.append(Cell(f"{failures}/{runs}", mark="fail" if failures else None))
    return Row(findings.title(name), tuple(cells), findings.group(name))


def _mean_cell(head: Headline | None) -> Cell:
    if head is None or head.regret is None:
        return Cell("not run", mark="missing")
    if math.isfinite(head.regret):
        return Cell(ratio_text(head.regret))
    rest = f"rest {ratio_text(head.finished_regret)}" if head.finished_regret is not None else ""
    return Cell(INFINITE, small=rest, mark="fail")


# ------------------------------------------------------------------ parts


def part_rows(findings: Findings) -> list[Row]:
    """What changes one thing of Autopilot: mean regrets of each side, how many tasks they stand on, the worst."""
    return [_part_row(findings, part) for part in findings.parts]


def _part_row(findings: Findings, part: Part) -> Row:
    tasks = [tasks_of(findings.bench, findings.judged, side) for side in findings.sides]
    means = [_part_cell(part, of_side) for of_side in tasks]
    worst = NOTHING if part.worst is None else f"{part.worst[0]} {ratio_text(part.worst[1])}"
    failed = Cell(f"{part.failures}/{part.runs}", mark="fail" if part.failures else None)
    return Row(part.title, (*means, Cell(worst), failed))


def _part_cell(part: Part, tasks: Sequence[str]) -> Cell:
    on, mean = sum(task in part.regrets for task in tasks), part.mean(tasks)
    if mean is None:
        return Cell("not run", mark="missing")
    return Cell(ratio_text(mean), small="" if on == len(tasks) else f"on {many(on, 'task')}")


# ------------------------------------------------------------------ other budgets


def budget_table(findings: Findings) -> tuple[list[str], list[Row]]:
    """Autopilot's regret at every budget, by task, with the geometric mean of each side on top."""
    own = {task: [row for row in rows if row.method == AUTOPILOT] for task, rows in findings.horizons.items()}
    own = {task: rows for task, rows in own.items() if rows}
    horizons = sorted({row.horizon for rows in own.values() for row in rows})
    regrets = {(task, row.horizon): _regret(row) for task, rows in own.items() for row in rows}
    rows = [
        Row(f"{side}, mean", tuple(_budget_mean(regrets, tasks_of(findings.bench, own, side), h) for h in horizons))
        for side in SIDES
        if tasks_of(findings.bench, own, side)
    ]
    rows += [Row(task, tuple(_budget_cell(regrets.get((task, h))) for h in horizons), code=True) for task in own]
    return [f"budget {factor_text(horizon)}" for horizon in horizons], rows


def _regret(row: HorizonRow) -> float | None:
    return None if row.regret.ratio is None else row.regret.ratio.mean


def _budget_mean(regrets: dict[tuple[str, float], float | None], tasks: Sequence[str], horizon: float) -> Cell:
    found = [regret for task in tasks if (regret := regrets.get((task, horizon))) is not None]
    if not found:
        return Cell(NOTHING)
    return Cell(ratio_text(geometric_mean(found)), small="" if len(found) == len(tasks) else f"on {len(found)} tasks")


def _budget_cell(regret: float | None) -> Cell:
    if regret is None:
        return Cell("not run", mark="missing")
    return Cell(ratio_text(regret), mark=None if math.isfinite(regret) else "fail")


# ------------------------------------------------------------------ time


def time_rows(findings: Findings) -> list[Row]:
    """Total compute until a loss is reached: the median over runs, and how many never reach it."""
    return [
        Row(row.title, tuple(cell for reached in (row.to_oracle, row.to_default) for cell in _reached_cells(reached)))
        for row in findings.times
    ]


def _reached_cells(reached: Reached | None) -> tuple[Cell, Cell]:
    if reached is None:
        return Cell(NOTHING), Cell(NOTHING)
    return Cell(ratio_text(reached.median)), Cell(f"{reached.missed}/{reached.runs}")
