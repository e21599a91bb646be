"""The rows of the tables about methods and tasks: plain data, numbers as they are written."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from lrpilot_bench.analysis.catalogue import MethodFacts
from lrpilot_bench.analysis.compare import Duel, Headline, ToBeat
from lrpilot_bench.analysis.rows import MethodRow
from lrpilot_bench.analysis.sensitivity import failed_runs
from lrpilot_bench.analysis.sweeps import HorizonRow
from lrpilot_bench.report.cells import (
    Cell,
    Row,
    finished_text,
    measured_cell,
    ratio_cell,
    regret_cell,
    time_cell,
)
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    factor_text,
    interval_text,
    loss_text,
    lr_text,
    many,
    multiple_text,
    names_text,
    ratio_text,
    schedule_name,
    seconds_text,
    short,
)
from lrpilot_bench.stats.intervals import standing

# ------------------------------------------------------------------ all methods over all tasks


def headline_rows(findings: Findings, heads: Sequence[Headline], *, bold: bool) -> list[Row]:
    """A row for each method: over all tasks, then on each.

    Args:
        findings: what the records say.
        heads: the methods of the table.
        bold: whether the smallest of each column is marked.
    """
    rows = {task: {row.method: row for row in findings.rows[task]} for task in findings.judged}
    ranked = [(h.finite_regret, i) for i, h in enumerate(heads) if h.finite_regret is not None]
    best = heads[min(ranked)[1]].method if bold and ranked else None
    methods = {h.method for h in heads} if bold else set()
    smallest = {task: _smallest(findings.rows[task], methods) for task in findings.judged}
    lines = []
    for head in heads:
        over = [mean_cell(head, len(findings.judged), best=head.method == best), _worst_cell(head), _score_cell(head)]
        over += [Cell(ratio_text(head.compute)), Cell(seconds_text(head.seconds)), failed_cell(findings, head)]
        for task in findings.judged:
            row = rows[task].get(head.method)
            over.append(_not_run() if row is None else regret_cell(row, best=smallest[task] == head.method))
        lines.append(Row(head.title, tuple(over), findings.group(head.method)))
    return lines


def _not_run() -> Cell:
    return Cell("not run", mark="missing")


def _smallest(rows: Sequence[MethodRow], methods: set[str]) -> str | None:
    found = [
        (row.regret.ratio.mean, row.method)
        for row in rows
        if row.method in methods and row.regret.ratio is not None and math.isfinite(row.regret.ratio.mean)
    ]
    return min(found)[1] if found else None


def mean_cell(head: Headline, tasks: int, *, best: bool = False) -> Cell:
    """The mean regret; where a run failed, that of the seeds that finished."""
    on = f"on {many(len(head.regrets), 'task')}" if head.missing else ""
    if head.regret is None:
        return Cell(NOTHING, small=on)
    if math.isinf(head.regret):
        rest = finished_text(head, tasks - len(head.missing)) if head.finished_regret is not None else ""
        return Cell(INFINITE, small=", ".join(part for part in (rest, on) if part), mark="fail")
    return Cell(ratio_text(head.regret), small=on, best=best)


def _worst_cell(head: Headline) -> Cell:
    return Cell(NOTHING) if head.worst is None else Cell(ratio_text(head.worst[1]), small=head.worst[0])


def _score_cell(head: Headline) -> Cell:
    counts = f"{head.wins} / {head.ties} / {head.losses} / {head.failed_tasks}"
    return Cell(counts, small=f"{head.undecided} provisional" if head.undecided else "")


def failed_cell(findings: Findings, head: Headline) -> Cell:
    """How many runs failed, and how."""
    kinds = Counter(failure.status for _, failure in failed_runs(findings.rows, head.method))
    small = ", ".join(f"{count} {status}" for status, count in kinds.items())
    return Cell(f"{head.failures} of {head.runs}", small=small, mark="fail" if head.failures else None)


def peer_rows(findings: Findings) -> list[Row]:
    """The peer to beat on each task, and lrpilot's entry beside it."""
    return [_peer_row(findings, task, beat) for task, beat in findings.to_beat.items()]


def _peer_row(findings: Findings, task: str, beat: ToBeat) -> Row:
    if beat.best is None or beat.regret is None:
        return Row(task, (Cell(NOTHING, small=short(beat.reason)), *(NOTHING for _ in range(5))), code=True)
    failures = {row.method: len(row.failures) for row in findings.rows[task]}
    failed, duel = failures.get(beat.best, 0), findings.duels.get(task)
    cells = (
        findings.title(beat.best),
        ratio_cell(beat.regret, failed=f"{failed} failed" if failed else ""),
        _ties_cell(beat, findings.bench.catalogue.methods),
        findings.title(duel.method) if duel is not None else "not run",
        _duel_cell(duel, failed=0 if duel is None else failures.get(duel.method, 0)),
        NOTHING if duel is None or duel.seeds_needed is None else f"{duel.seeds_needed:,}",
    )
    return Row(task, cells, code=True)


def _ties_cell(beat: ToBeat, known: Mapping[str, MethodFacts]) -> Cell:
    """Who is level with the best peer, and of whom one seed says nothing."""
    ties, lone = names_text(known[name].title for name in beat.ties), len(beat.unjudged)
    if lone and not ties:
        return Cell("1 seed: not judged", small=many(lone, "peer"))
    return Cell(ties or "none", small=f"1 seed: not judged ({many(lone, 'peer')})" if lone else "")


def _duel_cell(duel: Duel | None, *, failed: int) -> Cell:
    if duel is None or duel.ratio is None:
        return Cell(NOTHING)
    if failed:
        return Cell(INFINITE, small=f"{failed} failed", mark="fail")
    return Cell(ratio_text(duel.ratio.mean), small=interval_text(duel.ratio), mark=duel.standing)


def nothing_rows(findings: Findings) -> list[Row]:
    """What the default of each task loses."""
    rows = []
    for task, default in findings.defaults.items():
        failed = f"{default.failures} failed" if default.failures else ""
        ratio = default.regret.ratio
        more = NOTHING if ratio is None else more_text(ratio.mean)
        rows.append(Row(task, (default.title, ratio_cell(default.regret, failed=failed), more), code=True))
    return rows


def more_text(ratio: float) -> str:
    """A ratio of losses as how much more: "+4.3 %"."""
    return f"{100 * (ratio - 1):+.1f} %" if math.isfinite(ratio) else INFINITE


# ------------------------------------------------------------------ one task


def task_rows(findings: Findings, task: str, *, gap: bool) -> list[Row]:
    """Every method on one task, by regret.

    Args:
        findings: what the records say.
        task: its name.
        gap: whether there is a column of the gap closed.
    """
    ranked = sorted(findings.rows[task], key=_rank)
    best = next((row.method for row in ranked if row.equal_compute and math.isfinite(_rank(row)[1])), None)
    return [
        Row(row.title, _task_cells(row, best=row.method == best, gap=gap), findings.group(row.method)) for row in ranked
    ]


def no_gap(findings: Findings, task: str) -> str:
    """Why the gap closed is known of no method of a task, where that is for one reason; else ""."""
    reasons = {row.gap_closed.reason for row in findings.rows[task]}
    return reasons.pop() if len(reasons) == 1 else ""


def _rank(row: MethodRow) -> tuple[int, float, str]:
    ratio = row.regret.ratio
    return (1, math.inf, row.title) if ratio is None else (0, ratio.mean, row.title)


def _task_cells(row: MethodRow, *, best: bool, gap: bool) -> tuple[Cell | str, ...]:
    return (
        regret_cell(row, best=best),
        _loss_cell(row),
        *((measured_cell(row.gap_closed),) if gap else ()),
        measured_cell(row.score, digits="loss"),
        measured_cell(row.test_loss, digits="loss"),
        measured_cell(row.test_score, digits="loss"),
        lr_text(row.lr),
        Cell(ratio_text(row.compute), small="" if row.equal_compute else "probes free"),
        Cell(seconds_text(row.seconds.value), small=short(row.seconds.reason)),
        time_cell(row),
    )


def _loss_cell(row: MethodRow) -> Cell:
    if row.failures:
        return Cell(INFINITE)
    if row.loss.count < 2:
        return Cell(loss_text(row.loss.mean), small="1 seed")
    return Cell(loss_text(row.loss.mean), small=f"{loss_text(row.loss.low)} to {loss_text(row.loss.high)}")


def cost_table(findings: Findings) -> tuple[list[str], list[Row]]:
    """The columns of the tasks; compute, seconds and time to target of every method."""
    rows = {task: {row.method: row for row in findings.rows[task]} for task in findings.judged}
    lines = []
    for head in findings.heads:
        on = (rows[task].get(head.method) for task in findings.judged)
        times = (NOTHING if row is None or row.time_to_target.value is None else time_cell(row) for row in on)
        over = (ratio_text(head.compute), seconds_text(head.seconds), _steps_share(findings, head.method))
        lines.append(Row(head.title, (*over, *times), findings.group(head.method)))
    return [f"to target: {task}" for task in findings.judged], lines


def _steps_share(findings: Findings, method: str) -> str:
    shares = [
        run.record["kept_steps"] / run.steps
        for task in findings.tasks
        for run in findings.bench.runs(task, method).values()
        if not run.failed and run.record.get("kept_steps")
    ]
    return f"{math.exp(math.fsum(map(math.log, shares)) / len(shares)):.2f}" if shares else NOTHING


# ------------------------------------------------------------------ other start lrs, other budgets, finders


def start_lr_table(findings: Findings) -> tuple[list[str], list[Row]]:
    """The columns of the factors, and the mean regrets of every method that was started from them."""
    factors = sorted({factor for entry in findings.robust for factor in entry.failures})
    rows = []
    for entry in findings.robust:
        cells: list[Cell | str] = []
        for factor in factors:
            failed, total = entry.failures.get(factor, (0, 0))
            small = f"{failed} of {total} failed" if failed else ""
            cells.append(Cell(ratio_text(entry.means.get(factor)), small=small, mark="fail" if failed else None))
        worst = ratio_text(entry.worst) if entry.means else NOTHING
        rows.append(Row(entry.title, (*cells, worst, str(len(entry.tasks))), findings.group(entry.method)))
    return [f"lr {factor_text(factor)}" for factor in factors], rows


def horizon_table(findings: Findings, task: str) -> tuple[list[str], list[Row]]:
    """Three columns for each budget, and their cells of every method."""
    rows = findings.horizons[task]
    horizons = sorted({row.horizon for row in rows})
    lines = []
    for method in dict.fromkeys(row.method for row in rows):
        own = {row.horizon: row for row in rows if row.method == method}
        cells = tuple(cell for horizon in horizons for cell in _horizon_cells(own.get(horizon)))
        lines.append(Row(findings.title(method), cells, findings.group(method)))
    what = ("loss", "÷ best swept", f"÷ default {rows[0].reference}")
    return [f"{factor_text(horizon)}: {each}" for horizon in horizons for each in what], lines


def _horizon_cells(row: HorizonRow | None) -> tuple[Cell, Cell, Cell]:
    if row is None:
        return _not_run(), Cell(NOTHING), Cell(NOTHING)
    failed = f"{len(row.failures)} of {len(row.seeds)} failed" if row.failures else ""
    against = Cell(NOTHING)
    if row.against is not None and row.verdict is not None and row.method != row.reference:
        mark = standing(row.against, row.verdict)
        against = Cell(ratio_text(row.against.mean), small=interval_text(row.against), mark=mark)
        against = against if math.isfinite(row.against.mean) else Cell(INFINITE, mark="fail")
    return Cell(loss_text(row.loss.mean)), ratio_cell(row.regret, failed=failed), against


def paired_seeds(rows: Sequence[HorizonRow]) -> str:
    """Paired seeds behind the regrets of each budget."""
    told: dict[float, str] = {}
    for horizon in sorted({row.horizon for row in rows}):
        counts = sorted({len(row.regret.by_seed) for row in rows if row.horizon == horizon and row.regret.by_seed})
        if counts:
            least = f"{counts[0]} to " if counts[0] < counts[-1] else ""
            told[horizon] = f"{least}{many(counts[-1], 'paired seed')}"
    if len(told) > 1 and len(set(told.values())) == 1:
        return f"{next(iter(told.values()))} at every budget"
    return ", ".join(f"{factor_text(horizon)}: {words}" for horizon, words in told.items()) or "no paired seeds"


def below_bar(rows: Sequence[HorizonRow]) -> list[HorizonRow]:
    """Methods that are better than the bar of their budget."""
    return [r for r in rows if r.regret.ratio is not None and r.regret.ratio.mean < 1.0 and not r.failures]


def finder_rows(findings: Findings) -> list[Row]:
    """Every pick on every task."""
    rows = []
    for task, picks in findings.finders.items():
        for pick in picks:
            refused = f"{len(pick.reasons)} of {len(pick.lrs)} without" if pick.reasons else ""
            cells = (
                Cell(task, code=True),
                schedule_name(pick.schedule),
                Cell(lr_text(pick.lr), small=refused, mark="fail" if refused else None),
                NOTHING if pick.spread is None else multiple_text(pick.spread),
                lr_text(pick.best_lr),
                NOTHING if pick.ratio is None else factor_text(pick.ratio),
                measured_cell(pick.regret),
                ratio_text(pick.worst.value),
                measured_cell(pick.compute),
            )
            rows.append(Row(pick.name, cells, "lrpilot" if pick.own else "peer"))
    return rows
