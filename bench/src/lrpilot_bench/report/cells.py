"""What stands in a table: rows of cells, and the cells that several tables share."""

from dataclasses import dataclass
from typing import Literal

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.rows import MethodRow, Regret
from lrpilot_bench.report.findings import Group
from lrpilot_bench.report.numbers import INFINITE, NOTHING, interval_text, loss_text, many, ratio_text, short
from lrpilot_bench.stats.intervals import Standing
from lrpilot_bench.stats.measures import Measured

Mark = Standing | Literal["fail", "good", "bad", "missing"]

SIGNS: dict[Mark, str] = {
    "win": "▲",
    "tie": "=",
    "loss": "▽",
    "maybe-win": "(▲)",
    "maybe-tie": "(=)",
    "maybe-loss": "(▽)",
    "fail": "✕",
    "good": "✓",
    "bad": "✕",
    "unknown": "?",
    "missing": "–",
}


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        small: a second line: an interval, a count.
        mark: a sign in front that says how to take it.
        best: it is the best of its column.
        code: it is a name of the program, or its words.
    """

    text: str
    small: str = ""
    mark: Mark | None = None
    best: bool = False
    code: bool = False


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        head: first cell, the row's name.
        cells: one for each further column; text alone is a cell of it.
        group: what kind of method the row is about.
        code: the head is a name of the program.
    """

    head: str
    cells: tuple[Cell | str, ...]
    group: Group | None = None
    code: bool = False


def regret_cell(row: MethodRow, *, best: bool = False) -> Cell:
    """A method's regret on one task: mean, interval, verdict; what failed."""
    failed = f"{len(row.failures)} of {len(row.seeds)} failed" if row.failures else ""
    return ratio_cell(row.regret, failed=failed, best=best)


def ratio_cell(regret: Regret, *, failed: str = "", best: bool = False) -> Cell:
    """A regret with its interval and verdict; with what failed, and the mean of the rest."""
    if failed:
        rest = f", rest {ratio_text(regret.finished.mean)}" if regret.finished is not None else ""
        return Cell(INFINITE if regret.ratio is not None else NOTHING, small=failed + rest, mark="fail")
    if regret.ratio is None:
        return Cell(NOTHING, small=short(regret.reason))
    return Cell(ratio_text(regret.ratio.mean), small=interval_text(regret.ratio), mark=regret.standing, best=best)


def measured_cell(measured: Measured, *, digits: Literal["ratio", "loss"] = "ratio") -> Cell:
    """A number with its interval, where it has one; or a dash with the reason below."""
    if measured.value is None:
        return Cell(NOTHING, small=short(measured.reason))
    small = interval_text(measured.interval) if measured.interval is not None else ""
    return Cell(ratio_text(measured.value) if digits == "ratio" else loss_text(measured.value), small=small)


def time_cell(row: MethodRow) -> Cell:
    """Compute until the target is reached, and how many seeds never did."""
    if row.misses is None:
        return measured_cell(row.time_to_target)
    missed = f"{row.misses} of {len(row.seeds)} missed" if row.misses else ""
    return Cell(ratio_text(row.time_to_target.value), small=missed)


def finished_text(head: Headline, tasks: int) -> str:
    """The mean over the seeds that finished, and on how many tasks there are any, where not on all."""
    on = f" of {many(head.finished_tasks, 'task')}" if head.finished_tasks < tasks else ""
    return f"finished seeds{on}: {ratio_text(head.finished_regret)}"
