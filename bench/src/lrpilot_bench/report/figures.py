"""Every picture of the report by name: of all tasks together here, of single tasks in their own module."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.finders import OverTasks
from lrpilot_bench.analysis.sweeps import Robustness
from lrpilot_bench.report.drawing import (
    RC,
    ForestRow,
    Point,
    Scale,
    chart,
    finished,
    forest,
    line,
    marks,
    svg,
)
from lrpilot_bench.report.findings import ENTRY, GROUP_WORDS, GROUPS, Findings, Group
from lrpilot_bench.report.looks import COLOURS, DASHES, MARKERS
from lrpilot_bench.report.numbers import factor_text, ratio_text, schedule_name
from lrpilot_bench.report.overview import unranked
from lrpilot_bench.report.task_figures import task_figures
from lrpilot_bench.stats.aggregates import Profile, geometric_mean, performance_profiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOREST_TOP = 5.0  # regrets beyond are arrows at the edge
PROFILE_TOP = 2.0
START_TOP = 6.0
FARTHEST = 1000.0  # picks beyond are arrows
REGRET = "regret (final loss ÷ the oracle's)"


def drawings(findings: Findings) -> dict[str, str]:
    """SVG of every picture by its name; what has nothing to show is not there."""
    with rc_context(RC):
        return {name: svg(figure, name) for name, figure in figures(findings)}


def figures(findings: Findings) -> Iterator[tuple[str, Figure]]:
    """Name and drawing of every picture that has something to show."""
    if unranked(findings) is None:
        yield "forest", _forest(findings)
        for name, drawn in (("profile", _profile(findings)), ("time-profile", _time_profile(findings))):
            if drawn is not None:
                yield name, drawn
    for task in findings.tasks:
        yield from task_figures(findings, task)
    yield from _start_lrs(findings)
    for task in findings.tasks:
        if findings.horizons[task]:
            yield f"horizon-{task}", _horizon(findings, task)
    picks = _picks(findings)
    if picks is not None:
        yield "finders", picks


# ------------------------------------------------------------------ all methods over all tasks


def _forest(findings: Findings) -> Figure:
    rows = [_forest_row(findings, head) for head in findings.heads if head.everywhere and head.regret is not None]
    return forest(rows, Scale(REGRET, 0.0, FOREST_TOP), value="mean over tasks", words=GROUP_WORDS)


def _forest_row(findings: Findings, head: Headline) -> ForestRow:
    value = ratio_text(head.regret)
    if head.failures and head.finished_regret is not None and head.finished_tasks == len(head.regrets):
        value += f" ({ratio_text(head.finished_regret)})"
    value += f", {head.failures} of {head.runs} runs failed" if head.failures else ""
    name = f"{head.title} (entry)" if head.method == ENTRY else head.title
    return ForestRow(name, findings.group(head.method), head.regret, tuple(head.regrets.values()), value)


def _profile(findings: Findings) -> Figure | None:
    """Of the methods run on every task: a share of fewer tasks would be another quantity."""
    profiles = {h.method: h.profile for h in findings.heads if h.profile is not None and h.everywhere}
    if not profiles:
        return None
    low = min([0.98, *(profile.taus[0] / 1.02 for profile in profiles.values() if profile.taus)])
    ax = chart(Scale(REGRET, low, PROFILE_TOP, log=True), Scale("share of tasks within that regret", 0.0, 1.02))
    ax.axvline(1.0, color=COLOURS["oracle"], lw=0.9, zorder=1)
    _draw_profiles(ax, findings, profiles, low, PROFILE_TOP)
    return finished(ax)


def _time_profile(findings: Findings) -> Figure | None:
    """On what share of tasks the target is reached, against the compute spent; of methods run on every task."""
    times: dict[str, dict[str, float]] = {}
    for task, rows in findings.rows.items():
        for row in rows:
            if row.equal_compute and row.time_to_target.value is not None:
                times.setdefault(row.method, {})[task] = row.time_to_target.value
    aimed = [task for task in findings.judged if findings.oracles[task].target is not None]
    profiles = performance_profiles({name: of for name, of in times.items() if aimed and len(of) == len(aimed)})
    if not profiles:
        return None
    shares = Scale("share of tasks that reached the target", 0.0, 1.02)
    ax = chart(Scale("total compute ÷ a plain run's", 0.0, 1.0), shares)
    _draw_profiles(ax, findings, profiles, 0.0, 1.0)
    return finished(ax)


def _draw_profiles(ax: "Axes", findings: Findings, profiles: Mapping[str, Profile], low: float, high: float) -> None:
    """Step lines: of each group the best in colour; of lrpilot its entry and, thinner, the best of its rows."""
    coloured = {head.method: (group, head, False) for group, head in findings.best_heads().items()}
    picked = findings.picked
    if picked is not None and "lrpilot" in findings.best_heads():
        coloured.setdefault(picked.method, ("lrpilot", picked, True))
    for method in sorted(profiles, key=lambda method: method not in coloured):
        steps = _steps(profiles[method], low, high)
        if method not in coloured:
            line(ax, steps, "rest", GROUP_WORDS["rest"], drawstyle="steps-post", gid=f"other-{method}", zorder=1.5)
            continue
        group, head, second = coloured[method]
        label = f"{head.title} (entry)" if method == ENTRY else head.title
        if second:
            label = f"{head.title} (best of {len(findings.own)} lrpilot rows, picked afterwards)"
        ls = (0, (4, 2)) if second else DASHES[group]
        line(ax, steps, group, label, drawstyle="steps-post", gid=f"best-{method}", zorder=2.5, ls=ls)


def _steps(profile: Profile, low: float, high: float) -> list[Point]:
    last = profile.rhos[-1] if profile.rhos else 0.0
    return [(low, 0.0), *zip(profile.taus, profile.rhos, strict=True), (high, last)]


# ------------------------------------------------------------------ other start lrs


def _start_lrs(findings: Findings) -> Iterator[tuple[str, Figure]]:
    """Coloured: of each group the method with the best worst case over tasks."""
    judged = [entry for entry in findings.robust if entry.means]
    chosen: dict[str, Group] = {}
    for group in GROUPS:
        best: Sequence[Robustness] = [entry for entry in judged if findings.group(entry.method) == group]
        chosen |= {best[0].method: group} if best else {}
    factors = sorted({factor for entry in findings.robust for factor in entry.failures})
    if judged:
        yield "start-all", _start_lr(findings, {entry.method: entry.means for entry in judged}, chosen, factors)
    for task in findings.tasks:
        means: dict[str, dict[float, float]] = {}
        for row in findings.start_lrs[task]:
            if row.regret.ratio is not None:
                means.setdefault(row.method, {})[row.lr_factor] = row.regret.ratio.mean
        if means:
            yield f"start-{task}", _start_lr(findings, means, chosen, factors)


def _start_lr(
    findings: Findings,
    means: Mapping[str, Mapping[float, float]],
    chosen: Mapping[str, Group],
    factors: Sequence[float],
) -> Figure:
    values = [v for of in means.values() for v in of.values() if math.isfinite(v)]
    low, high = min([0.97, *(v * 0.97 for v in values)]), min(START_TOP, max([1.2, *(v * 1.05 for v in values)]))
    label = "start lr ÷ the method's documented default"
    ends = (factors[0] / 1.5, factors[-1] * 1.5)
    ax = chart(Scale(label, *ends, log=True, text=factor_text, ticks=factors), Scale(REGRET, low, high, log=True))
    ax.axhline(1.0, color=COLOURS["oracle"], lw=0.9, ls=(0, (5, 3)), zorder=1, label="oracle")
    for method in sorted(means, key=lambda method: method not in chosen):
        points = sorted(means[method].items())
        group = chosen.get(method, "rest")
        label = GROUP_WORDS["rest"] if group == "rest" else findings.title(method)
        line(
            ax,
            [(factor, means[method].get(factor, math.nan)) for factor in factors],
            group,
            label,
            zorder=1.5 if group == "rest" else 2,
        )
        shown = [(x, y) for x, y in points if group != "rest" or not math.isfinite(y)]
        marks(ax, shown, marker=MARKERS[group], color=COLOURS[group], zorder=2 if group == "rest" else 3)
    return finished(ax)


# ------------------------------------------------------------------ other budgets


def _horizon(findings: Findings, task: str) -> Figure:
    rows = findings.horizons[task]
    horizons = sorted({row.horizon for row in rows})
    finite = [r.loss.mean for r in rows if math.isfinite(r.loss.mean) and r.loss.mean > 0] or [1.0]
    budgets = Scale("budget ÷ the task's", horizons[0] / 1.25, horizons[-1] * 1.25, True, factor_text, horizons)
    ax = chart(budgets, Scale("final validation loss", min(finite) / 1.03, max(finite) * 1.03, log=True))
    used: set[Group] = set()
    for method in dict.fromkeys(row.method for row in rows):
        points = sorted((row.horizon, row.loss.mean) for row in rows if row.method == method)
        group = findings.group(method)
        fill = "white" if group in used else COLOURS[group]  # a second one of its group is hollow
        used.add(group)
        line(ax, points, group, lw=1.1 if fill == "white" else 1.7)
        edge = COLOURS[group] if fill == "white" else "white"
        title = findings.title(method)
        marks(ax, points, marker=MARKERS[group], color=COLOURS[group], mfc=fill, mec=edge, label=title)
    return finished(ax)


# ------------------------------------------------------------------ finders


def _picks(findings: Findings) -> Figure | None:
    """Finders with a pick that a sweep can judge, closest first; None where there is no such pick."""
    rows = [_pick_row(finder) for finder in findings.picks if finder.ratios]
    words: dict[Group, str] = {"lrpilot": "find_lr (lrpilot)", "peer": "other finders"}
    axis = Scale("pick ÷ the sweep's best lr", 1 / FARTHEST, FARTHEST, text=factor_text)
    return forest(rows, axis, value="median distance", words=words) if rows else None


def _pick_row(finder: OverTasks) -> ForestRow:
    value = factor_text(finder.distance)
    value += f", {finder.unpicked} of {finder.seeds} without a pick" if finder.unpicked else ""
    name = f"{finder.name} ({schedule_name(finder.schedule)})"
    return ForestRow(name, "lrpilot" if finder.own else "peer", geometric_mean(finder.ratios), finder.ratios, value)
