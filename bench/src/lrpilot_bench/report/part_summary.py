"""The page in a few plain sentences: who is best, what that hangs on, what doing nothing loses, what is missing."""

import math
from collections import Counter

from lrpilot_bench.report.document import Bullets, Paragraph, Section, Strong, Words
from lrpilot_bench.report.findings import GROUPS, Findings
from lrpilot_bench.report.numbers import INFINITE, many, names_text, ratio_text
from lrpilot_bench.report.part_closing import large_tasks, part_of
from lrpilot_bench.report.part_headline import why_unranked
from lrpilot_bench.report.part_ranking import left_out, own_words

BAR = (
    "The oracle is a bar, not a limit: the best of sweeps of three schedules with the task's own optimizer. It can be "
    "beaten, by a better optimizer or by chance. Regret is a method's final validation loss ÷ the oracle's."
)
TOP = 3  # methods that the first sentence names


def summary(findings: Findings) -> Section:
    """The section."""
    found = (_best(findings), _caveat(findings), _nothing(findings), _missing(findings), _peers(findings))
    items = tuple(item for item in (*found, _panel(findings)) if item)
    return Section("summary", "In short", (Paragraph(BAR, lead=True), Bullets(items)))


def _best(findings: Findings) -> Words:
    if not findings.heads:
        return ()
    unranked = why_unranked(findings)
    if unranked:
        return (Strong("Best methods."), f" {unranked}")
    ranked = [h for h in findings.heads if h.everywhere and h.finite_regret is not None][:TOP]
    if not ranked:
        return (Strong("Best methods."), " No method has finished every run on every task.")
    names = names_text(f"{head.title} {ratio_text(head.regret)} ({head.group})" for head in ranked)
    counts = sorted({len(row.seeds) for rows in findings.rows.values() for row in rows})
    seeds = f"{counts[0]} to {counts[-1]} seeds" if counts[0] < counts[-1] else many(counts[0], "seed")
    first = ranked[0]
    doubt = (
        f"; {first.undecided} of the first one's {len(first.regrets)} comparisons with the oracle are provisional"
        if first.undecided
        else ""
    )
    tasks = many(len(findings.judged), "task")
    words = f" The smallest mean regrets over {tasks} at equal total compute: {names}; {seeds} a task{doubt}. "
    return (Strong("Best methods."), words, own_words(findings))


def _caveat(findings: Findings) -> Words:
    """What the first place hangs on."""
    if why_unranked(findings):
        return ()
    ranking = findings.ranking
    parts = [left_out(findings)] if ranking.without else []
    if ranking.lone and len(ranking.lone[0].methods) > 1:
        group = ranking.lone[0]
        count = f"{len(group.methods)} of the {many(ranking.failed, 'method')} with a failed run"
        parts.append(f"{count} failed once only, all at seed {group.seed} of {group.task}.")
    if ranking.unlucky:
        names = names_text(f"{head.title} ({ratio_text(head.finished_regret)})" for head in ranking.unlucky)
        parts.append(f"Over the seeds that finished, better than the first: {names}.")
    return (Strong("What that hangs on."), f" {' '.join(parts)}") if parts else ()


def _nothing(findings: Findings) -> Words:
    ratios = {t: d.regret.ratio.mean for t, d in findings.defaults.items() if d.regret.ratio is not None}
    finite = {task: ratio for task, ratio in ratios.items() if math.isfinite(ratio)}
    failed = [task for task, ratio in ratios.items() if math.isinf(ratio)]
    parts = []
    if finite:
        low, high = min(finite, key=lambda t: finite[t]), max(finite, key=lambda t: finite[t])
        parts.append(
            f"{_percent(finite[low])} ({low})" + (f" to {_percent(finite[high])} ({high})" if high != low else "")
        )
    parts += [f"{INFINITE} on {', '.join(failed)}, where a run of it failed"] if failed else []
    return (
        (Strong("Doing nothing"), f" ends with this much more loss than the oracle: {'; '.join(parts)}.")
        if parts
        else ()
    )


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"


def _missing(findings: Findings) -> Words:
    if findings.missing is None:
        return (Strong("Not run:"), " not known here, the plan was not at hand.")
    parts = Counter(part_of(run, findings) for run in findings.missing)
    told = [f"{part}: {count:,}" for part, count in parts.items()]
    large = large_tasks(findings)
    items = [f"{many(len(findings.missing), 'planned run')} ({', '.join(told)})"] if told else []
    items += [f"{many(len(large), 'large task')}"] if large else []
    return (Strong("Not run:"), f" {'; '.join(items) or 'nothing that was planned'}.")


def _peers(findings: Findings) -> Words:
    """Which group has the best of each task: picked afterwards from all methods."""
    best: dict[str, dict[str, list[str]]] = {}
    for task in findings.judged:
        rows = [row for row in findings.rows[task] if row.equal_compute and row.regret.ratio is not None]
        means = [(row.regret.ratio.mean, row) for row in rows if row.regret.ratio is not None]
        finite = [(mean, row) for mean, row in means if math.isfinite(mean)]
        if finite and len(rows) > 1:
            _, row = min(finite, key=lambda pair: pair[0])
            best.setdefault(row.group, {}).setdefault(row.title, []).append(task)
    total = sum(len(tasks) for of in best.values() for tasks in of.values())
    if not total or not any(row.group == "peer" for rows in findings.rows.values() for row in rows):
        return ()
    won = best.get("peer", {})
    words = f" on {sum(map(len, won.values()))} of {many(total, 'task')} a peer has the smallest regret of all methods"
    words += f": {_titles(won)}" if won else ""
    rest = "; ".join(f"{group}: {_titles(best[group])}" for group in GROUPS if group != "peer" and group in best)
    words += f". On the others: {rest}" if rest else ""
    return (Strong("Where the peers win:"), f"{words}. Each is the best of many, picked afterwards.")


def _titles(won: dict[str, list[str]]) -> str:
    return names_text(f"{title} ({', '.join(tasks)})" for title, tasks in won.items())


def _panel(findings: Findings) -> Words:
    panel = findings.panel
    runs = sum(check.runs for check in panel.costs)
    if panel.holds:
        checked = f"{len(panel.inside)} sweeps, {many(len(panel.repeats), 'repeat')}, {runs:,} bills"
        return (Strong("The records:"), f" every check of the sanity panel was made and holds ({checked}).")
    if not panel.fails:
        return (Strong("The records:"), " no check of the sanity panel fails; some could not be made (near the end).")
    return (
        Strong("The records:"),
        " not every check of the sanity panel holds or could be made; it stands near the end.",
    )
