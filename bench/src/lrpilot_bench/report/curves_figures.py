"""The three pictures of a task: the oracle's sweep, loss against total compute, lrs over the run."""

import math
from collections.abc import Iterable, Mapping

from lrpilot_bench.analysis.finders import FinderRow
from lrpilot_bench.analysis.oracle import Oracle
from lrpilot_bench.analysis.runs import Run
from lrpilot_bench.report.document import OFF_SCALE, Figure, Group, Key
from lrpilot_bench.report.findings import GROUP_WORDS, Findings
from lrpilot_bench.report.forest import MARKERS
from lrpilot_bench.report.numbers import loss_text, lr_text, schedule_name
from lrpilot_bench.report.scales import padded
from lrpilot_bench.report.svg import Panel, Point, x_scale, y_scale

# Styles of the schedules in a sweep: hollow signs, where those of the groups are filled.
SWEEP_STYLES = {"linear": ("k-1", "circle"), "cosine": ("k-2", "square"), "wsd": ("k-3", "diamond")}
FLOOR = 0.02  # of a curve's highest lr: what falls to zero is not drawn to its end
LANE = 0.09  # of the panel's height, at the bottom of a sweep, for the lrs of others
Runs = Mapping[int, Run]


def sweep_figure(findings: Findings, task: str) -> Figure | None:
    """Final loss against peak lr for each schedule of the oracle; None where nothing was swept."""
    bar = findings.oracles[task]
    points = [(lr, loss) for sweep in bar.sweeps.values() for lr, loss in zip(sweep.lrs, sweep.losses, strict=True)]
    finite = [loss for _, loss in points if math.isfinite(loss) and loss > 0]
    if not finite:
        return None
    panel = Panel(
        f"sweep-{task}",
        x_scale(*padded((lr for lr, _ in points), log=True), log=True),
        y_scale(*_with_lane(*_loss_range(finite, _initial(findings, task))), log=True),
        x_label="peak learning rate",
        y_label="final validation loss",
        x_tick=lr_text,
        summary=f"Final validation loss of {task} against the peak learning rate, for {_listed(bar.sweeps)}.",
    )
    keys = _draw_sweeps(panel, bar)
    keys += _draw_picks(panel, findings, task)
    keys += [OFF_SCALE] if panel.off_scale else []
    return Figure(
        f"{task}: the oracle's sweep",
        panel.svg(),
        f"{_oracle_words(bar)} Seed 0. The filled signs at the bottom are lrs that others train with.",
        tuple(keys),
    )


def _draw_sweeps(panel: Panel, bar: Oracle) -> list[Key]:
    keys = []
    for kind, sweep in bar.sweeps.items():
        style, marker = SWEEP_STYLES.get(kind, ("s-rest", "circle"))
        drawn = list(zip(sweep.lrs, sweep.losses, strict=True))
        if not drawn:
            continue
        panel.line(drawn, style)
        for lr, loss in drawn:
            panel.mark(lr, loss, style, marker, title=f"{kind}, lr {lr_text(lr)}: {loss_text(loss)}")
        keys.append(Key(style, schedule_name(kind), marker))
    winner = bar.sweeps[bar.kind].best if bar.kind is not None and bar.kind in bar.sweeps else None
    if winner is not None:
        panel.mark(*winner, "s-oracle", "star", title=f"best: {bar.kind}, lr {lr_text(winner[0])}")
        keys.append(Key("s-oracle", "best", "star", line=False))
    return keys


def _draw_picks(panel: Panel, findings: Findings, task: str) -> list[Key]:
    """Lrs that others use, as signs on the lower edge."""
    marks: list[tuple[Group, float, str]] = []
    for pick in findings.finders[task]:
        if pick.lr is not None:
            group: Group = "lrpilot" if pick.own else "peer"
            marks.append((group, pick.lr, f"{finder_name(pick)}: {lr_text(pick.lr)}"))
    for row in findings.rows[task]:
        if row.group == "schedule" and row.lr is not None and row.method in SWEEP_STYLES:
            marks.append(("schedule", row.lr, f"default of the hand-made schedules: {lr_text(row.lr)}"))
    words: dict[Group, str] = {
        "lrpilot": "lrs that find_lr picks",
        "peer": "lrs that other finders pick",
        "schedule": "default lr of hand-made schedules",
    }
    for group, lr, title in sorted(set(marks)):
        panel.foot(lr, f"s-{group}", MARKERS[group], title=title)
    return [Key(f"s-{g}", words[g], MARKERS[g], line=False) for g in words if any(m[0] == g for m in marks)]


def finder_name(pick: FinderRow) -> str:
    """A finder and which of its suggestions."""
    title = pick.title.removesuffix(" (pick only)")
    return f"{title}: {pick.suggestion.replace('_', ' ')}" if pick.suggestion else title


def _oracle_words(bar: Oracle) -> str:
    if bar.kind is None or bar.lr is None:
        return f"There is no oracle: {bar.reason}"
    provisional = "" if bar.complete else "(provisional: the sweep is not complete) "
    return f"The oracle {provisional}is {schedule_name(bar.kind)} at {lr_text(bar.lr)}."


# ------------------------------------------------------------------ curves


def loss_figure(findings: Findings, task: str) -> Figure | None:
    """Validation loss against total compute: the best of each group and the oracle, every seed; others grey."""
    best = {group: row.method for group, row in findings.best_of(task).items()}
    others = [row for row in findings.rows[task] if row.method not in best.values() and row.equal_compute]
    bar = oracle_runs(findings, task)
    coloured: list[tuple[Group, str, Runs]] = [("oracle", "oracle", bar)] if bar else []
    coloured += [(group, _title(findings, name), findings.bench.runs(task, name)) for group, name in best.items()]
    curves = {group: [_losses(run) for run in _median_last(runs)] for group, _, runs in coloured}
    finite = [y for traces in curves.values() for trace in traces for _, y in trace if math.isfinite(y) and y > 0]
    if not finite:
        return None
    panel = Panel(
        f"loss-{task}",
        x_scale(0.0, 1.0),
        y_scale(*_loss_range(finite, _initial(findings, task)), log=True),
        x_label="total compute ÷ a plain run's",
        y_label="validation loss",
        summary=f"Validation loss of {task} against total compute, best method of each group and the oracle.",
    )
    target = findings.oracles[task].target
    if target is not None:
        panel.level(target, "s-rest", "target")
    for row in others:
        runs = findings.bench.runs(task, row.method)
        panel.line(_losses(_median_last(runs)[-1]), "s-rest")
    for group, _, _ in coloured:
        for trace in curves[group][:-1]:
            panel.line(trace, f"s-{group}", thin=True)
    for group, _, _ in coloured:
        panel.line(curves[group][-1], f"s-{group}")
    keys = [Key(f"s-{group}", title) for group, title, _ in coloured]
    return Figure(
        f"{task}: loss against total compute",
        panel.svg(),
        "The best method of each group by regret (of lrpilot its entry, where it finished); thick: the seed of median "
        "final loss, thin: the other seeds. A curve that starts late has paid for its probes first.",
        (*keys, *((Key("s-rest", GROUP_WORDS["rest"]),) if others else ())),
    )


def lr_figure(findings: Findings, task: str) -> Figure | None:
    """The lr over total compute, of the seed of median loss of each group's best and of the oracle."""
    bar = oracle_runs(findings, task)
    drawn: list[tuple[Group, str, list[Point]]] = []
    if bar:
        drawn.append(("oracle", "oracle", _lrs(_median_last(bar)[-1])))
    for group, row in findings.best_of(task).items():
        drawn.append((group, row.title, _lrs(_median_last(findings.bench.runs(task, row.method))[-1])))
    positive = [lr for _, _, trace in drawn for _, lr in trace if math.isfinite(lr) and lr > 0]
    if not positive:
        return None
    peaks = [max((lr for _, lr in trace if math.isfinite(lr)), default=0.0) for _, _, trace in drawn]
    low = max(min(positive), FLOOR * min(peak for peak in peaks if peak > 0))
    panel = Panel(
        f"lr-{task}",
        x_scale(0.0, 1.0),
        y_scale(*padded((low, max(positive)), log=True), log=True),
        x_label="total compute ÷ a plain run's",
        y_label="learning rate",
        y_tick=lr_text,
        summary=f"Learning rate of {task} against total compute, best method of each group and the oracle.",
    )
    for group, _, trace in drawn:
        panel.line(trace, f"s-{group}")
    return Figure(
        f"{task}: learning rates",
        panel.svg(),
        "The same methods and their seeds of median loss; the lr of the last step before each evaluation. An optimizer "
        "that scales its own lr (Prodigy, D-Adaptation) shows the multiplier it is given.",
        tuple(Key(f"s-{group}", title) for group, title, _ in drawn),
    )


def oracle_runs(findings: Findings, task: str) -> Runs:
    """The runs of the oracle's winner by seed; none where there is no oracle."""
    bar = findings.oracles[task]
    if bar.kind is None:
        return {}
    return {seed: run for seed, run in findings.bench.runs(task, bar.kind, lr=bar.lr).items() if not run.failed}


def _title(findings: Findings, method: str) -> str:
    return findings.bench.catalogue.methods[method].title


def _median_last(runs: Runs) -> list[Run]:
    """All runs, that of the median final loss last."""
    ranked = sorted(runs.values(), key=lambda run: (run.loss, run.seed))
    middle = ranked[(len(ranked) - 1) // 2]
    return [run for run in ranked if run is not middle] + [middle]


def _losses(run: Run) -> list[Point]:
    return _trace(run, "val_loss")


def _lrs(run: Run) -> list[Point]:
    return _trace(run, "lr")


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


def _with_lane(low: float, high: float) -> tuple[float, float]:
    """The range of a logarithmic axis with room below."""
    return low * (low / high) ** LANE, high


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
