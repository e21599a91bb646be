"""The three pictures of a task: the oracle's sweep, loss against total compute, lrs over the run."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from lrpilot.pictures.style import INK, QUIET, RUNS
from lrpilot_bench.analysis.recorded import Run
from lrpilot_bench.report.drawing import Point, Scale, chart, finished, joined, line, marks, padded
from lrpilot_bench.report.findings import GROUP_WORDS, Findings, Group
from lrpilot_bench.report.looks import COLOURS, MARKERS
from lrpilot_bench.report.numbers import lr_text, schedule_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colour, dash and sign of the schedules in a sweep: hollow signs, where those of the groups are filled.
SWEEP_LOOKS = {"linear": (RUNS[7], "-", "o"), "cosine": (RUNS[6], "--", "s"), "wsd": (RUNS[5], ":", "D")}
PICK_WORDS: dict[Group, str] = {
    "lrpilot": "lrs that find_lr picks",
    "peer": "lrs that other finders pick",
    "schedule": "default lr of hand-made schedules",
}
COMPUTE = "total compute ÷ a plain run's"
FLOOR = 0.02  # of a curve's highest lr: what falls to zero is not drawn to its end
LANE = 0.09  # of the axes' height, at the bottom of a sweep, for the lrs of others
Runs = Mapping[int, Run]


def task_figures(findings: Findings, task: str) -> Iterator[tuple[str, Figure]]:
    """Name and drawing of each picture of a task that has something to show."""
    drawn = (("sweep", sweep_figure), ("loss", loss_figure), ("lr", lr_figure))
    for kind, draw in drawn:
        figure = draw(findings, task)
        if figure is not None:
            yield f"{kind}-{task}", figure


def sweep_figure(findings: Findings, task: str) -> Figure | None:
    """Final loss against peak lr for each schedule of the oracle; None where nothing was swept."""
    bar = findings.oracles[task]
    points = [(lr, loss) for sweep in bar.sweeps.values() for lr, loss in zip(sweep.lrs, sweep.losses, strict=True)]
    finite = [loss for _, loss in points if math.isfinite(loss) and loss > 0]
    if not finite:
        return None
    low, high = _loss_range(finite, _initial(findings, task))
    lane = low * (low / high) ** LANE
    lrs = padded(lr for lr, _ in points)
    ax = chart(
        Scale("peak learning rate", *lrs, log=True, text=lr_text),
        Scale("final validation loss", lane, high, log=True),
    )
    for kind, sweep in bar.sweeps.items():
        color, dash, marker = SWEEP_LOOKS.get(kind, (QUIET, "-", "o"))
        drawn = list(zip(sweep.lrs, sweep.losses, strict=True))
        line(ax, drawn, "rest", color=color, ls=dash, lw=1.5)
        marks(ax, drawn, marker=marker, color=color, mfc="white", mec=color, mew=1.3, label=schedule_name(kind))
    winner = bar.sweeps[bar.kind].best if bar.kind is not None and bar.kind in bar.sweeps else None
    if winner is not None:
        marks(ax, [winner], marker="*", color=INK, ms=11, label="best")
    _draw_picks(ax, findings, task, lrs, (lane * low) ** 0.5)
    return finished(ax)


def _draw_picks(ax: "Axes", findings: Findings, task: str, lrs: Point, at: float) -> None:
    """Lrs that others use, as signs near the lower edge, at its ends where they lie beyond."""
    picks: dict[Group, set[float]] = {group: set() for group in PICK_WORDS}
    for pick in findings.finders[task]:
        if pick.lr is not None:
            picks["lrpilot" if pick.own else "peer"].add(pick.lr)
    for row in findings.rows[task]:
        if row.group == "schedule" and row.lr is not None and row.method in SWEEP_LOOKS:
            picks["schedule"].add(row.lr)
    for group, found in picks.items():
        drawn = [(min(max(lr, lrs[0]), lrs[1]), at) for lr in sorted(found)]
        marks(ax, drawn, marker=MARKERS[group], color=COLOURS[group], ms=5.5, clip_on=False, label=PICK_WORDS[group])


# ------------------------------------------------------------------ curves


def loss_figure(findings: Findings, task: str) -> Figure | None:
    """Validation loss against total compute: the best of each group and the oracle, every seed; others grey."""
    best = findings.best_of(task)
    named = {row.method for row in best.values()}
    others = [row.method for row in findings.rows[task] if row.method not in named and row.equal_compute]
    coloured = _coloured(findings, task)
    curves = {group: [_trace(run, "val_loss") for run in _median_last(runs)] for group, _, runs in coloured}
    finite = [y for traces in curves.values() for trace in traces for _, y in trace if math.isfinite(y) and y > 0]
    if not finite:
        return None
    low, high = _loss_range(finite, _initial(findings, task))
    ax = chart(Scale(COMPUTE, 0.0, 1.0), Scale("validation loss", low, high, log=True))
    target = findings.oracles[task].target
    if target is not None:
        ax.axhline(target, color=QUIET, lw=0.9, ls=(0, (5, 3)), zorder=1, label="target")
    for group, title, _ in coloured:
        line(ax, joined(curves[group][:-1]), group, lw=0.8, alpha=0.5, ls="-")
        line(ax, curves[group][-1], group, title, zorder=2.5)
    grey = [_trace(_median_last(findings.bench.runs(task, name))[-1], "val_loss") for name in others]
    if grey:
        line(ax, joined(grey), "rest", GROUP_WORDS["rest"], lw=0.7, zorder=1.5)
    return finished(ax)


def lr_figure(findings: Findings, task: str) -> Figure | None:
    """The lr over total compute, of the seed of median loss of each group's best and of the oracle."""
    drawn = [(group, title, _trace(_median_last(runs)[-1], "lr")) for group, title, runs in _coloured(findings, task)]
    positive = [lr for _, _, trace in drawn for _, lr in trace if math.isfinite(lr) and lr > 0]
    if not positive:
        return None
    peaks = [max((lr for _, lr in trace if math.isfinite(lr)), default=0.0) for _, _, trace in drawn]
    low = max(min(positive), FLOOR * min(peak for peak in peaks if peak > 0))
    lrs = padded((low, max(positive)))
    ax = chart(Scale(COMPUTE, 0.0, 1.0), Scale("learning rate", *lrs, log=True, text=lr_text))
    for group, title, trace in drawn:
        line(ax, trace, group, title)
    return finished(ax)


def _coloured(findings: Findings, task: str) -> list[tuple[Group, str, Runs]]:
    """The oracle, where there is one, and the best of each group: (group, title, runs by seed)."""
    bar = oracle_runs(findings, task)
    lines: list[tuple[Group, str, Runs]] = [("oracle", "oracle", bar)] if bar else []
    for group, row in findings.best_of(task).items():
        lines.append((group, row.title, findings.bench.runs(task, row.method)))
    return lines


def oracle_runs(findings: Findings, task: str) -> Runs:
    """The runs of the oracle's winner by seed; none where there is no oracle."""
    bar = findings.oracles[task]
    if bar.kind is None:
        return {}
    return {seed: run for seed, run in findings.bench.runs(task, bar.kind, lr=bar.lr).items() if not run.failed}


def _median_last(runs: Runs) -> list[Run]:
    """All runs, that of the median final loss last."""
    ranked = sorted(runs.values(), key=lambda run: (run.loss, run.seed))
    middle = ranked[(len(ranked) - 1) // 2]
    return [run for run in ranked if run is not middle] + [middle]


def _trace(run: Run, what: str) -> list[Point]:
    plain = 3.0 * run.record["steps"]  # forward-equivalents of a plain run
    values = (math.nan if value is None else float(value) for value in run.curve[what])
    return [(compute / plain, value) for compute, value in zip(run.curve["compute"], values, strict=True)]


def _initial(findings: Findings, task: str) -> float:
    """Loss before training: the largest over what was run."""
    first = [run.curve["val_loss"][0] for run in findings.bench.all_runs if run.task == task]
    return max((loss for loss in first if loss is not None), default=math.inf)


def _loss_range(finite: Iterable[float], initial: float) -> tuple[float, float]:
    """From just below the best loss to half way (in the logarithm) to the untrained loss, or to the worst shown."""
    losses = list(finite)
    best, worst = min(losses), max(losses)
    half_way = math.sqrt(best * initial) if initial > best else worst
    high = max(min(worst, half_way), best * 1.05)
    margin = (high / best) ** 0.06
    return best / margin, high * margin
