"""All methods over all tasks: the headline picture, the performance profile and the table."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.sensitivity import failed_runs
from lrpilot_bench.report.document import (
    Block,
    Cell,
    Either,
    Figure,
    Gallery,
    Group,
    Key,
    Paragraph,
    Row,
    Section,
    Table,
    Words,
)
from lrpilot_bench.report.findings import ENTRY, GROUP_WORDS, GROUPS, Findings
from lrpilot_bench.report.forest import MARKERS, ForestRow, forest
from lrpilot_bench.report.numbers import (
    INFINITE,
    NOTHING,
    many,
    names_text,
    of_text,
    ratio_text,
    regret_cell,
    seconds_text,
)
from lrpilot_bench.report.part_ranking import finished_text, own_words, sensitivity_words
from lrpilot_bench.report.svg import Panel, x_scale, y_scale
from lrpilot_bench.stats.aggregates import Profile, performance_profiles

FOREST_TOP = 5.0  # regrets beyond are arrows at the edge
PROFILE_TOP = 2.0
ENOUGH = 3  # methods run on every task, below which a ranking would mislead


def _note(*, bold: bool) -> Words:
    marked = "; bold: the smallest of a column" if bold else ""
    return (
        f"Regret with its 95 % interval over paired seeds{marked}. Compute and seconds are ÷ those of a plain run; "
        "seconds are wall time on a busy machine and not to be compared closely. A failed run makes a mean infinite: "
        "those rows stand last, in the order of their means over the seeds that finished. ▲ / = / ▽ / ✕ counts tasks: "
        "won, tied, lost against the oracle, and with a failed run; ",
        Either("below it", "in brackets"),
        " the provisional ones, with too few seeds for a claim, which are in none of these. ",
        Either("The bar at the left tells the group, as in the figures.", "The second column tells the group."),
    )


def headline(findings: Findings) -> Section:
    """The section."""
    everywhere, partly, free = _apart(findings.heads)
    if not findings.heads:
        words = "No method has a run that can be judged yet: there is no plain run, or no oracle to compare with."
        return Section("headline", "All methods over all tasks", (Paragraph(words),))
    unranked = why_unranked(findings)
    blocks: list[Block] = [Paragraph(unranked or _answer(findings, everywhere), lead=True)]
    if not unranked:
        blocks += sensitivity_words(findings)
        blocks.append(_forest(everywhere, findings))
        drawn = tuple(figure for figure in (_profile(findings), _time_profile(findings)) if figure is not None)
        blocks += [Gallery(drawn)] if drawn else []
    tables = (
        (everywhere, "Methods at equal total compute, run on every task"),
        (partly, "Not run on every task (or without an oracle there): their means stand on fewer tasks"),
        (free, "Probes free of charge: not at equal total compute"),
    )
    made = [_table(findings, heads, caption, bold=not unranked) for heads, caption in tables if heads]
    waiting = [task for task in findings.tasks if task not in findings.judged]
    if waiting:
        blocks.append(
            Paragraph(f"No method has a plain run yet on {', '.join(waiting)}, so nothing here is about them.")
        )
    blocks += _smoke_remarks(findings)
    note = _note(bold=not unranked)
    blocks += [replace(table, note="" if i else note) for i, table in enumerate(made)]
    return Section("headline", "All methods over all tasks", blocks)


def group_of(head_group: str) -> Group:
    """The group as figures know it."""
    return next((group for group in GROUPS if group == head_group), "rest")


def _apart(heads: Sequence[Headline]) -> tuple[list[Headline], list[Headline], list[Headline]]:
    everywhere = [h for h in heads if h.everywhere]
    partly = [h for h in heads if h.equal_compute and h.missing]
    return everywhere, partly, [h for h in heads if not h.equal_compute]


def _smoke_remarks(findings: Findings) -> Iterable[Block]:
    """What a reader of a smoke run's table must know of its task."""
    known = findings.bench.catalogue.tasks
    for task in findings.judged if findings.smoke else ():
        if known[task].remark:
            yield Paragraph(f"{task}, {known[task].remark}.")


def why_unranked(findings: Findings) -> str:
    """Why methods are not ranked while the benchmark is incomplete; "" where they are."""
    everywhere, partly, _ = _apart(findings.heads)
    finite = sum(h.finite_regret is not None for h in everywhere)
    waiting = {h.method for h in partly} | _still_planned(findings)
    total = len({h.method for h in everywhere} | waiting)
    if len(everywhere) >= ENOUGH and (finite >= ENOUGH or not waiting):
        return ""
    count, without = len(findings.judged), [t for t in findings.judged if findings.oracles[t].kind is None]
    if without and not everywhere:
        of = f"{many(len(partly), 'method')} {'has' if len(partly) == 1 else 'have'} run, but "
        return f"{of}there is no oracle to judge by on {names_text(without)}: no ranking, and no profile over tasks."
    if not everywhere:
        words = f"Not one of {many(total, 'method')} has run on " if total else "No method at equal compute has run on "
    else:
        some = f"{len(everywhere)} of {many(total, 'method')}" if total > len(everywhere) else many(total, "method")
        words = f"Only {some} {'has' if len(everywhere) == 1 else 'have'} run on "
    words += f"all {count} tasks yet" if count > 1 else "the one task that has runs yet"
    if len(everywhere) >= ENOUGH:
        words += f", {finite} of them without a failed run"
    missing = f" (there is no oracle to judge by on {names_text(without)})" if without else ""
    return f"{words}{missing}: no ranking, and no profile over tasks."


def _still_planned(findings: Findings) -> set[str]:
    """Methods at equal compute that are yet to run on some task."""
    known = findings.bench.catalogue.methods
    plain = [r for r in findings.missing or () if r.seed == 0 and r.lr_factor == r.horizon == 1.0 and not r.repeat]
    ran = {(row.method, task) for task, rows in findings.rows.items() for row in rows}
    return {
        run.method
        for run in plain
        if run.method in known
        and known[run.method].trains
        and known[run.method].equal_compute
        and (run.method, run.task) not in ran
    }


def _answer(findings: Findings, heads: Sequence[Headline]) -> str:
    ranked = [h for h in heads if h.finite_regret is not None]
    count = len(findings.judged)
    if not ranked:
        return f"No method has finished every run on {many(count, 'task')}, so none has a finite mean regret."
    best = ranked[0]
    words = (
        f"Over {many(count, 'task')} the smallest mean regret of a method run on all of them is "
        f"{ratio_text(best.regret)}: {best.title} ({GROUP_WORDS[group_of(best.group)]}; against the oracle "
        f"{_score(best)})."
    )
    ours = next((h for h in heads if h.method == ENTRY), None)
    if ours is None and any(h.group == "lrpilot" for h in heads):
        words += " lrpilot's entry was not run on all of them."
    return f"{words} {own_words(findings)}".strip()


def _score(head: Headline) -> str:
    """Against the oracle, in words."""
    parts = [(head.wins, many(head.wins, "win")), (head.ties, many(head.ties, "tie"))]
    parts += [(head.losses, many(head.losses, "loss")), (head.failed_tasks, f"{head.failed_tasks} with failed runs")]
    parts += [(head.undecided, f"{head.undecided} provisional: too few seeds for a claim")]
    return ", ".join(words for number, words in parts if number) or "nothing to compare"


def _score_cell(head: Headline) -> Cell:
    counts = f"{head.wins} / {head.ties} / {head.losses} / {head.failed_tasks}"
    return Cell(counts, small=f"{head.undecided} provisional" if head.undecided else "")


# ------------------------------------------------------------------ figures


def _forest(heads: Sequence[Headline], findings: Findings) -> Figure:
    rows = [_forest_row(head) for head in heads if head.regret is not None]
    top = f"{FOREST_TOP:g}"
    return Figure(
        f"Final validation loss ÷ the oracle's, over {many(len(findings.judged), 'task')}",
        forest(rows, axis="mean over tasks", one="1 = the oracle", top=FOREST_TOP),
        "Grey dots: single tasks, the bar behind them from the best to the worst. Large signs: the geometric mean. "
        f"An arrow at the right edge is beyond {top}, or infinite because a run failed; the mean over the seeds that "
        "finished then stands in brackets, where there are any on every task. Further left is better; logarithmic.",
        tuple(Key(f"s-{g}", GROUP_WORDS[g], MARKERS[g], line=False) for g in GROUPS if any(r.group == g for r in rows)),
        wide=True,
    )


def _forest_row(head: Headline) -> ForestRow:
    dots = tuple((value, f"{task}: {ratio_text(value)}") for task, value in head.regrets.items())
    warning = of_text(head.failures, head.runs, "runs failed") if head.failures else ""
    name = f"{head.title}: lrpilot's entry" if head.method == ENTRY else head.title
    value = ratio_text(head.regret)
    if head.failures and head.finished_regret is not None and head.finished_tasks == len(head.regrets):
        value += f" ({ratio_text(head.finished_regret)})"
    return ForestRow(name, group_of(head.group), head.regret, dots, value, warning)


def _profile(findings: Findings) -> Figure | None:
    """Of the methods run on every task: a share of fewer tasks would be another quantity."""
    drawn = [h for h in findings.heads if h.profile is not None and h.everywhere]
    if not drawn:
        return None
    best = [line for line in _coloured(findings) if line[1] in drawn]
    chosen = {head.method for _, head, _ in best}
    low = min([0.98, *(h.profile.taus[0] / 1.02 for h in drawn if h.profile is not None and h.profile.taus)])
    panel = Panel(
        "profile",
        x_scale(low, PROFILE_TOP, log=True),
        y_scale(0.0, 1.0),
        x_label="regret (final loss ÷ the oracle's)",
        y_label="share of tasks within that regret",
        summary="Performance profile: share of tasks on which a method's regret is at most the value on the axis.",
    )
    panel.upright(1.0, "s-oracle")
    for head in [h for h in drawn if h.method not in chosen]:
        panel.line(_steps(head.profile, low, PROFILE_TOP), "s-rest", step=True)
    for style, head, _ in reversed(best):
        panel.line(_steps(head.profile, low, PROFILE_TOP), style, step=True)
    keys = [Key(style, title) for style, _, title in best]
    keys += [Key("s-rest", GROUP_WORDS["rest"])] if len(drawn) > len(best) else []
    return Figure(
        "Performance profile: on how many tasks is a method that close?",
        panel.svg(),
        "Each line climbs by one task's share where its regret is reached; further up and further left is better. A "
        "line that ends below 1 failed on a task, or lies beyond the panel. Drawn: methods run on every task; "
        ""
        "coloured: of each group the best by geometric mean. " + own_words(findings),
        (*keys, Key("s-oracle level", "oracle")),
    )


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
    best = [line for line in _coloured(findings) if line[1].method in profiles]
    chosen = {head.method for _, head, _ in best}
    panel = Panel(
        "time-profile",
        x_scale(0.0, 1.0),
        y_scale(0.0, 1.0),
        x_label="total compute ÷ a plain run's",
        y_label="share of tasks that reached the target",
        summary="Share of tasks on which a method has reached the target loss, against the total compute spent.",
    )
    for method in [name for name in profiles if name not in chosen]:
        panel.line(_steps(profiles[method], 0.0, 1.0), "s-rest", step=True)
    for style, head, _ in reversed(best):
        panel.line(_steps(profiles[head.method], 0.0, 1.0), style, step=True)
    keys = [Key(style, title) for style, _, title in best]
    keys += [Key("s-rest", GROUP_WORDS["rest"])] if len(profiles) > len(best) else []
    return Figure(
        "Time to target: how much compute until the oracle's loss?",
        panel.svg(),
        "The target is the oracle's median final loss × 1.02; a task counts once the median seed has reached it. "
        "Methods run on every task, coloured as in the profile of regrets; a line that never rises has missed the "
        "target on every task.",
        tuple(keys),
    )


def _coloured(findings: Findings) -> list[tuple[str, Headline, str]]:
    """(style, method, words of the legend): of each group the best; of lrpilot its entry and the best of its rows."""
    lines = []
    for group, head in findings.best_heads().items():
        lines.append((f"s-{group}", head, f"{head.title} (entry)" if head.method == ENTRY else head.title))
        picked = findings.picked
        if group == "lrpilot" and picked is not None and picked is not head:
            told = f"{picked.title} (best of {len(findings.own)} lrpilot rows, picked afterwards)"
            lines.append((f"s-{group} second", picked, told))
    return lines


def _steps(profile: Profile | None, low: float, high: float) -> list[tuple[float, float]]:
    assert profile is not None  # the caller has seen to it
    rises = list(zip(profile.taus, profile.rhos, strict=True))
    last = rises[-1][1] if rises else 0.0
    points, before = [(low, 0.0)], 0.0
    for tau, rho in [*rises, (high, last)]:
        points += [(tau, before), (tau, rho)]
        before = rho
    return points


# ------------------------------------------------------------------ table


def _table(findings: Findings, heads: Sequence[Headline], caption: str, *, bold: bool) -> Table:
    tasks = list(findings.judged)
    best = _best(heads) if bold else None
    rows = {task: {row.method: row for row in findings.rows[task]} for task in tasks}
    ranks = {task: _smallest(findings, task, {h.method for h in heads}) if bold else None for task in tasks}
    lines = []
    for head in heads:
        cells = [_mean_cell(head, len(tasks), best=head.method == best), _worst_cell(head), _score_cell(head)]
        cells += [Cell(ratio_text(head.compute)), Cell(seconds_text(head.seconds)), _failed_cell(findings, head)]
        for task in tasks:
            row = rows[task].get(head.method)
            cells.append(
                Cell("not run", mark="missing") if row is None else regret_cell(row, best=ranks[task] == head.method)
            )
        lines.append(Row(head.title, tuple(cells), group_of(head.group)))
    columns = ("method", "regret, mean", "worst task", "▲ / = / ▽ / ✕", "compute", "seconds", "failed runs", *tasks)
    return Table(caption, columns, tuple(lines), wordy=frozenset({6}))  # the ways to fail wrap


def _best(heads: Sequence[Headline]) -> str | None:
    ranked = [(h.finite_regret, i) for i, h in enumerate(heads) if h.finite_regret is not None]
    return heads[min(ranked)[1]].method if ranked else None


def _smallest(findings: Findings, task: str, methods: set[str]) -> str | None:
    found = [
        (row.regret.ratio.mean, row.method)
        for row in findings.rows[task]
        if row.method in methods and row.regret.ratio is not None and math.isfinite(row.regret.ratio.mean)
    ]
    return min(found)[1] if found else None


def _mean_cell(head: Headline, tasks: int, *, best: bool) -> Cell:
    on = f"on {many(len(head.regrets), 'task')}" if head.missing else ""
    if head.regret is None:
        return Cell(NOTHING, small=on)
    if math.isinf(head.regret):
        rest = finished_text(head, tasks - len(head.missing)) if head.finished_regret is not None else ""
        return Cell(INFINITE, small=", ".join(part for part in (rest, on) if part), mark="fail")
    return Cell(ratio_text(head.regret), small=on, best=best)


def _worst_cell(head: Headline) -> Cell:
    if head.worst is None:
        return Cell(NOTHING)
    task, value = head.worst
    return Cell(ratio_text(value), small=task)


def _failed_cell(findings: Findings, head: Headline) -> Cell:
    kinds = Counter(failure.status for _, failure in failed_runs(findings.rows, head.method))
    small = ", ".join(f"{count} {status}" for status, count in kinds.items())
    return Cell(f"{head.failures} of {head.runs}", small=small, mark="fail" if head.failures else None)
