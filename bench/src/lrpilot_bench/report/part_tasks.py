"""A section for each task: its oracle, its pictures, and every method on it."""

from lrpilot_bench.analysis.oracle import Oracle
from lrpilot_bench.analysis.rows import MethodRow
from lrpilot_bench.report.curves_figures import loss_figure, lr_figure, sweep_figure
from lrpilot_bench.report.document import Block, Cell, Figure, Gallery, Paragraph, Row, Section, Strong, Table
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    loss_text,
    lr_text,
    many,
    measured_cell,
    of_text,
    ratio_text,
    regret_cell,
    schedule_name,
    seconds_text,
    short,
)
from lrpilot_bench.report.part_headline import group_of

GAP_NOTE = "The interval of the gap closed is that of a ratio of means over paired seeds. "
OPTIMIZERS = {"sgd": "SGD with momentum", "adamw": "AdamW"}


def tasks(findings: Findings) -> Section:
    """The section."""
    words = (
        "For each task: where its oracle comes from, how the best of each group get there, and every method's numbers."
    )
    return Section(
        "tasks", "Task by task", (Paragraph(words),), tuple(_task(findings, task) for task in findings.tasks)
    )


def _task(findings: Findings, task: str) -> Section:
    facts = findings.bench.catalogue.tasks[task]
    remark = f" {facts.remark[0].upper()}{facts.remark[1:]}." if facts.remark else ""
    optimizer = OPTIMIZERS.get(facts.families[0].kind, facts.families[0].kind)
    about = Paragraph(f"{facts.title}; {optimizer}.{remark}")
    blocks: list[Block] = [about, Paragraph(_oracle_words(findings.oracles[task], planned=findings.missing != ()))]
    drawn = (sweep_figure(findings, task), loss_figure(findings, task), lr_figure(findings, task))
    figures: tuple[Figure, ...] = tuple(figure for figure in drawn if figure is not None)
    if figures:
        blocks.append(Gallery(figures))
    rows = findings.rows[task]
    blocks.append(_table(findings, task, rows) if rows else Paragraph("No method has a plain run of this task."))
    return Section(f"task-{task}", task, blocks)


def _oracle_words(bar: Oracle, *, planned: bool) -> tuple[str | Strong, ...]:
    if bar.kind is None or bar.mean_loss is None:
        return (Strong("No oracle yet:"), f" {bar.reason or 'nothing was swept'}.")
    words = (
        f"{schedule_name(bar.kind)}, peak lr {lr_text(bar.lr)}, final validation loss {loss_text(bar.mean_loss)} "
        f"(mean of {many(len(bar.losses), 'seed')})"
    )
    target = f"; target loss {loss_text(bar.target)}" if bar.target is not None else ""
    if bar.complete and not bar.reason:
        return (Strong("Oracle:"), f" {words}{target}.")
    missing = bar.reason.removeprefix("provisional: ")
    return (
        Strong("Provisional oracle:"),
        f" {words}{target}. {'So far' if planned else 'By the plan of these runs'} {missing}.",
    )


def _table(findings: Findings, task: str, rows: tuple[MethodRow, ...]) -> Table:
    facts = findings.bench.catalogue.tasks[task]
    ranked = sorted(rows, key=_rank)
    best = next((row.method for row in ranked if row.equal_compute and _rank(row)[1] < float("inf")), None)
    reasons = {row.gap_closed.reason for row in ranked}
    gap = len(reasons) > 1 or "" in reasons  # else there is none for any method, and why is said once
    lines = tuple(
        Row(
            row.title,
            _cells(row, best=row.method == best, gap=gap),
            group_of(row.group),
        )
        for row in ranked
    )
    columns = (
        "method", "regret", "final loss", *(("gap closed",) if gap else ()), facts.score_name, "test loss",
        f"test {facts.score_name}", "start lr", "compute", "seconds", "time to target",
    )  # fmt: skip
    note = ("" if gap else f"Gap closed is not given: {reasons.pop()}. ") + (
        f"Sorted by regret; of the {facts.score_name}, {facts.score_better} is better. "
        f"{GAP_NOTE if gap else ''}Losses, scores and test values are means over seeds; scores and test values over "
        "those that finished. Time to target: total compute until the validation loss first reaches the target; ∞ "
        "where most seeds never do. Compute, seconds and time to target are ÷ a plain run's."
    )
    return Table(f"{task}: every method", columns, lines, folded=f"All {len(lines)} methods on {task}", note=note)


def _rank(row: MethodRow) -> tuple[int, float, str]:
    ratio = row.regret.ratio
    return (1, 0.0, row.title) if ratio is None else (0, ratio.mean, row.title)


def _cells(row: MethodRow, *, best: bool, gap: bool) -> tuple[Cell, ...]:
    return (
        regret_cell(row, best=best),
        _loss_cell(row),
        *((measured_cell(row.gap_closed),) if gap else ()),
        measured_cell(row.score, digits="loss"),
        measured_cell(row.test_loss, digits="loss"),
        measured_cell(row.test_score, digits="loss"),
        Cell(lr_text(row.lr)),
        Cell(ratio_text(row.compute), small="" if row.equal_compute else "probes free"),
        Cell(seconds_text(row.seconds.value), small=short(row.seconds.reason)),
        _time_cell(row),
    )


def _loss_cell(row: MethodRow) -> Cell:
    if row.failures:
        return Cell(INFINITE)
    if row.loss.count < 2:
        return Cell(loss_text(row.loss.mean), small="1 seed")
    return Cell(loss_text(row.loss.mean), small=f"{loss_text(row.loss.low)} to {loss_text(row.loss.high)}")


def _time_cell(row: MethodRow) -> Cell:
    if row.misses is None:
        return measured_cell(row.time_to_target)
    missed = of_text(row.misses, len(row.seeds), "missed") if row.misses else ""
    value = row.time_to_target.value
    return Cell(NOTHING if value is None else ratio_text(value), small=missed)
