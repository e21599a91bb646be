"""What happens when the start lr is wrong, and when the budget is another."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lrpilot_bench.analysis.sweeps import HorizonRow, StartLrRow
from lrpilot_bench.report.document import (
    OFF_SCALE,
    Block,
    Cell,
    Figure,
    Gallery,
    Group,
    Key,
    Paragraph,
    Row,
    Section,
    Table,
)
from lrpilot_bench.report.findings import GROUP_WORDS, GROUPS, Findings
from lrpilot_bench.report.forest import MARKERS
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    factor_text,
    interval_text,
    loss_text,
    many,
    names_text,
    of_text,
    ratio_cell,
    ratio_text,
)
from lrpilot_bench.report.part_headline import group_of
from lrpilot_bench.report.svg import Panel, x_scale, y_scale
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.stats.intervals import standing

TOP = 6.0  # regrets beyond are arrows at the edge


@dataclass(frozen=True)
class Robustness:
    """A method from several start lrs, over the tasks on which every factor was run.

    Attributes:
        means: geometric mean of its regrets by factor; inf with a failure.
        tasks: that the means stand on.
        failures: (failed, runs) by factor, over all tasks.
    """

    method: str
    title: str
    group: Group
    means: Mapping[float, float]
    tasks: tuple[str, ...]
    failures: Mapping[float, tuple[int, int]]

    @property
    def worst(self) -> float:
        """The largest mean over its start lrs."""
        return max(self.means.values(), default=math.inf)

    @property
    def failed(self) -> int:
        """Runs that failed, from any start lr."""
        return sum(failed for failed, _ in self.failures.values())

    @property
    def finite_mean(self) -> float:
        """Geometric mean over the start lrs that have a finite mean."""
        finite = [mean for mean in self.means.values() if math.isfinite(mean)]
        return geometric_mean(finite) if finite else math.inf


def start_lrs(findings: Findings) -> Section:
    """The section."""
    found = robustness(findings)
    lead = "Every method that takes a learning rate was also started far below and far above its documented default."
    if not found:
        runs = sum(run.record["lr_factor"] != 1.0 for run in findings.bench.all_runs)
        none = _none(runs, "another start lr", "of a method that trains with its task's first optimizer")
        return Section("start-lr", "Start-lr robustness", (Paragraph(none),))
    factors = sorted({factor for entry in found for factor in entry.failures})
    figures = tuple(_figures(findings, found, factors))
    blocks: list[Block] = [Paragraph(lead)]
    if not any(entry.means for entry in found):
        runs = sum(total for entry in found for _, total in entry.failures.values())
        there = f"{many(runs, 'run')} {'is' if runs == 1 else 'are'} there"
        words = f"{there}, but not yet from every start lr on a task with an oracle: no means."
        blocks.append(Paragraph(words))
    blocks += [Gallery(figures)] if figures else []
    blocks.append(_table(found, factors))
    return Section("start-lr", "Start-lr robustness", blocks)


def _none(runs: int, what: str, needed: str) -> str:
    """Why a section has nothing to show."""
    if not runs:
        return f"No run with {what} is on record yet."
    there = "run is" if runs == 1 else "runs are"
    return f"{runs:,} {there} there with {what}, but not yet one {needed}, so there is nothing to show."


def robustness(findings: Findings) -> list[Robustness]:
    """Of every method with a start-lr sweep, over tasks; the least bad worst case first."""
    rows = [row for task in findings.tasks for row in findings.start_lrs[task]]
    names = dict.fromkeys(row.method for row in rows)
    found = [_of_method(findings, [row for row in rows if row.method == name]) for name in names]
    return sorted(found, key=lambda entry: (not entry.means, entry.worst, entry.failed, entry.finite_mean, entry.title))


def _of_method(findings: Findings, rows: Sequence[StartLrRow]) -> Robustness:
    factors = sorted({row.lr_factor for row in rows})
    ratios = {(r.task, r.lr_factor): r.regret.ratio.mean for r in rows if r.regret.ratio is not None}
    tasks = [t for t in dict.fromkeys(r.task for r in rows) if all((t, f) in ratios for f in factors)]
    failed = {f: [(len(r.failures), len(r.seeds)) for r in rows if r.lr_factor == f] for f in factors}
    method = rows[0].method
    return Robustness(
        method,
        rows[0].title,
        group_of(findings.bench.catalogue.methods[method].group),
        {f: geometric_mean(ratios[t, f] for t in tasks) for f in factors} if tasks else {},
        tuple(tasks),
        {f: (sum(a for a, _ in pairs), sum(b for _, b in pairs)) for f, pairs in failed.items()},
    )


def _figures(findings: Findings, found: Sequence[Robustness], factors: Sequence[float]) -> Iterable[Figure]:
    chosen: dict[Group, Robustness] = {}
    for group in GROUPS:
        best = [entry for entry in found if entry.group == group and entry.means]
        if best:
            chosen[group] = best[0]
    lines = [(entry.method, entry.means) for entry in found if entry.means]
    caption = (
        "Flat and low is robust. Coloured, here and in the figures of single tasks: of each group the method with "
        "the best worst case over tasks."
    )
    if lines:
        yield _figure("all", "Regret against the start lr, mean over tasks", chosen, lines, factors, caption)
    for task in findings.tasks:
        by_method: dict[str, dict[float, float]] = {}
        for row in findings.start_lrs[task]:
            if row.regret.ratio is not None:
                by_method.setdefault(row.method, {})[row.lr_factor] = row.regret.ratio.mean
        if by_method:
            yield _figure(task, f"{task}: regret against the start lr", chosen, list(by_method.items()), factors)


def _figure(
    name: str,
    title: str,
    chosen: Mapping[Group, Robustness],
    lines: Sequence[tuple[str, Mapping[float, float]]],
    factors: Sequence[float],
    caption: str = "",
) -> Figure:
    values = [v for _, means in lines for v in means.values() if math.isfinite(v)]
    low, high = min([0.97, *(v * 0.97 for v in values)]), min(TOP, max([1.2, *(v * 1.05 for v in values)]))
    panel = Panel(
        f"start-{name}",
        x_scale(factors[0] / 1.5, factors[-1] * 1.5, log=True),
        y_scale(low, high, log=True),
        x_label="start lr ÷ the method's documented default",
        y_label="regret (final loss ÷ the oracle's)",
        x_tick=factor_text,
        x_ticks=factors,
        summary=f"{title}: a line for each method that takes an lr.",
    )
    panel.level(1.0, "s-oracle")
    styles = {entry.method: group for group, entry in chosen.items()}
    for method, means in sorted(lines, key=lambda line: line[0] in styles):
        group = styles.get(method, "rest")
        panel.line([(f, means.get(f, math.nan)) for f in factors], f"s-{group}")
        for factor, value in sorted(means.items()):
            if group != "rest" or not math.isfinite(value):
                panel.mark(factor, value, f"s-{group}", MARKERS[group], title=f"{method}: {ratio_text(value)}")
    keys = [Key(f"s-{group}", entry.title, MARKERS[group]) for group, entry in chosen.items()]
    keys += [Key("s-rest", GROUP_WORDS["rest"])] if any(method not in styles for method, _ in lines) else []
    keys += [Key("s-oracle level", "oracle")]
    keys += [OFF_SCALE] if panel.off_scale else []
    return Figure(title, panel.svg(), caption, tuple(keys))


def _table(found: Sequence[Robustness], factors: Sequence[float]) -> Table:
    rows = []
    for entry in found:
        cells = []
        for factor in factors:
            failed, total = entry.failures.get(factor, (0, 0))
            small = of_text(failed, total, "failed") if failed else ""
            mean = entry.means.get(factor)
            text = NOTHING if mean is None else ratio_text(mean)
            cells.append(Cell(text, small=small, mark="fail" if failed else None))
        worst = ratio_text(entry.worst) if entry.means else NOTHING
        rows.append(Row(entry.title, (*cells, Cell(worst), Cell(str(len(entry.tasks)))), entry.group))
    columns = ("method", *(f"lr {factor_text(factor)}" for factor in factors), "worst", "tasks")
    return Table(
        "Regret from other start lrs, geometric mean over the tasks on which all were run",
        columns,
        tuple(rows),
        note=f"{INFINITE} where a run failed; the count of failed runs is over all tasks. Best worst case first.",
    )


# ------------------------------------------------------------------ horizons


def horizons(findings: Findings) -> Section:
    """The section."""
    tasks = [task for task in findings.tasks if findings.horizons[task]]
    if not tasks:
        runs = sum(run.horizon != 1.0 for run in findings.bench.all_runs)
        none = _none(runs, "another budget", "of a method that trains with its task's first optimizer")
        return Section("horizon", "Other budgets", (Paragraph(none),))
    lead = (
        "The same methods, unchanged, with a fraction and a multiple of the task's budget. The bar of this section is "
        "another one: at every budget, ×1 among them, the best of 11 lrs of the linear schedule alone, where the rest "
        "of the page compares with the best of three schedules."
    )
    figures = tuple(_horizon_figure(task, findings.horizons[task], findings) for task in tasks)
    tables = [_horizon_table(task, findings.horizons[task], findings) for task in tasks]
    return Section("horizon", "Other budgets", [Paragraph(lead), Gallery(figures), *tables])


def _horizon_figure(task: str, rows: Sequence[HorizonRow], findings: Findings) -> Figure:
    horizons = sorted({row.horizon for row in rows})
    finite = [r.loss.mean for r in rows if math.isfinite(r.loss.mean) and r.loss.mean > 0] or [1.0]
    panel = Panel(
        f"horizon-{task}",
        x_scale(horizons[0] / 1.25, horizons[-1] * 1.25, log=True),
        y_scale(min(finite) / 1.03, max(finite) * 1.03, log=True),
        x_label="budget ÷ the task's",
        y_label="final validation loss",
        x_tick=factor_text,
        x_ticks=horizons,
        summary=f"Final validation loss of {task} against the budget, a line for each method.",
    )
    keys, used = [], dict[Group, int]()
    for method in dict.fromkeys(row.method for row in rows):
        own = sorted((row for row in rows if row.method == method), key=lambda row: row.horizon)
        group = group_of(findings.bench.catalogue.methods[method].group)
        style = f"s-{group}" if not used.get(group) else f"s-{group} second"
        used[group] = used.get(group, 0) + 1
        panel.line([(row.horizon, row.loss.mean) for row in own], style)
        for row in own:
            panel.mark(
                row.horizon, row.loss.mean, style, MARKERS[group], title=f"{row.title}: {loss_text(row.loss.mean)}"
            )
        keys.append(Key(style, own[0].title, MARKERS[group]))
    return Figure(
        f"{task}: final loss against the budget",
        panel.svg(),
        "Mean over seeds; both axes are logarithmic.",
        (*keys, OFF_SCALE) if panel.off_scale else tuple(keys),
    )


def _horizon_table(task: str, rows: Sequence[HorizonRow], findings: Findings) -> Table:
    titles = findings.bench.catalogue.methods
    horizons = sorted({row.horizon for row in rows})
    lines = []
    for method in dict.fromkeys(row.method for row in rows):
        own = {row.horizon: row for row in rows if row.method == method}
        cells = tuple(cell for horizon in horizons for cell in _horizon_cells(own.get(horizon)))
        lines.append(Row(titles[method].title, cells, group_of(titles[method].group)))
    reference = rows[0].reference
    columns = (
        "method",
        *(
            f"{factor_text(h)}: {what}"
            for h in horizons
            for what in ("loss", "÷ best linear", f"÷ default {reference}")
        ),
    )
    note = (
        "÷ best linear: against the best of the linear sweep at that budget, where there is one. The third column of "
        f"each budget compares with the {reference} schedule at its default lr. Both over paired seeds: ▲ wins, ▽ "
        "loses, = cannot be told; in brackets while the seeds are too few for a claim, ? with a single one."
    ) + _below_one(rows)
    caption = f"{task}: final loss by budget ÷ the task's, and ÷ that of the best linear run at that budget"
    return Table(f"{caption} ({_seeds_words(rows)})", columns, tuple(lines), note=note)


def _seeds_words(rows: Sequence[HorizonRow]) -> str:
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


def _below_one(rows: Sequence[HorizonRow]) -> str:
    """A word on methods that are better than the bar."""
    below = [
        f"{row.title} at {factor_text(row.horizon)}"
        for row in rows
        if row.regret.ratio is not None and row.regret.ratio.mean < 1.0 and not row.failures
    ]
    if not below:
        return ""
    return (
        f" Below 1: {names_text(below)}. That is no error: the bar is one schedule with the task's own optimizer, its "
        "lr chosen at seed 0, so another schedule, another optimizer or chance can get below it."
    )


def _horizon_cells(row: HorizonRow | None) -> tuple[Cell, Cell, Cell]:
    if row is None:
        return Cell("not run", mark="missing"), Cell(NOTHING), Cell(NOTHING)
    failed = of_text(len(row.failures), len(row.seeds), "failed") if row.failures else ""
    against = Cell(NOTHING)
    if row.against is not None and row.verdict is not None and row.method != row.reference:
        mark = standing(row.against, row.verdict)
        against = Cell(ratio_text(row.against.mean), small=interval_text(row.against), mark=mark)
        against = against if math.isfinite(row.against.mean) else Cell(INFINITE, mark="fail")
    return Cell(loss_text(row.loss.mean)), ratio_cell(row.regret, failed=failed), against
