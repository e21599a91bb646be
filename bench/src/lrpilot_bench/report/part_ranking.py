"""What the order of the methods hangs on, in words: failed runs, single tasks, and who was picked afterwards."""

import math
from collections import Counter
from collections.abc import Iterable

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.rows import Failure
from lrpilot_bench.analysis.sensitivity import LoneFailures, Without, failed_runs
from lrpilot_bench.report.document import Paragraph
from lrpilot_bench.report.findings import ENTRY, Findings
from lrpilot_bench.report.numbers import many, names_text, ratio_text


def sensitivity_words(findings: Findings) -> Iterable[Paragraph]:
    """What would change the ranking: a paragraph each on failures, on left-out tasks, and on the unlucky."""
    ranking = findings.ranking
    total = sum(head.everywhere for head in findings.heads)
    if ranking.failed:
        words = f"{ranking.failed} of the {many(total, 'method')} run on every task {_have(ranking.failed)} a failed "
        words += "run, and by the protocol one is enough to make a mean infinite. "
        yield Paragraph(
            (words + " ".join(_lone(findings, group) for group in ranking.lone if len(group.methods) > 1)).strip()
        )
    if ranking.best is not None and ranking.without:
        yield Paragraph(left_out(findings))
    for head in ranking.unlucky:
        yield Paragraph(_unlucky(findings, head))


def left_out(findings: Findings) -> str:
    """Whether another method would be the best without one of the tasks."""
    ranking = findings.ranking
    if ranking.best is None:
        return ""
    same = [left.regret for left in ranking.without if left not in ranking.deciding and left.regret is not None]
    stays = f"{ranking.best.title} stays first" + (f" ({span(same)})" if same else "")
    if not ranking.deciding:
        return f"Without any single one of the {len(ranking.without)} tasks {stays}."
    rest = f"; without any other single task {stays}" if same else ""
    return f"{'; '.join(map(_left, ranking.deciding))}{rest}."


def _left(left: Without) -> str:
    if left.method is None:
        return f"Without {left.task} no method would have a finite mean"
    return f"Without {left.task} the smallest mean would be {ratio_text(left.regret)}: {left.title}"


def _lone(findings: Findings, group: LoneFailures) -> str:
    titles = names_text(findings.bench.catalogue.methods[name].title for name in group.methods)
    return (
        f"{len(group.methods)} of them failed once and nowhere else, all at seed {group.seed} of {group.task} "
        f"({failures_text(group.failures)}): {titles}."
    )


def _unlucky(findings: Findings, head: Headline) -> str:
    failed = failed_runs(findings.rows, head.method)
    told = ", ".join(f"{task} seed {failure.seed} ({failures_text((failure,))})" for task, failure in failed)
    best = findings.ranking.best
    other = f", less than the {ratio_text(best.regret)} of {best.title}" if best is not None else ""
    return (
        f"Over the seeds that finished, {head.title} has {ratio_text(head.finished_regret)}{other}; what cost it the "
        f"place: {told}."
    )


def failures_text(failures: Iterable[Failure]) -> str:
    """Failures by kind; with final ÷ initial loss where that is known: "2 diverged, no better than untrained: 1.02"."""
    kept = list(failures)
    parts = []
    for status, count in Counter(failure.status for failure in kept).items():
        worse = [f.worsening for f in kept if f.status == status and f.worsening is not None]
        ended = f": {span(worse)} × the initial loss" if worse else ""
        parts.append(f"{f'{count} ' if len(kept) > 1 else ''}{status}{ended}")
    return ", ".join(parts)


def span(values: Iterable[float]) -> str:
    """A number, or the smallest and the largest of several."""
    kept = list(values)
    low, high = ratio_text(min(kept)), ratio_text(max(kept))
    return low if low == high else f"{low} to {high}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


# ------------------------------------------------------------------ lrpilot's two rows


def own_words(findings: Findings) -> str:
    """Which of lrpilot's methods was named before the runs, and which is the best of several picked afterwards."""
    entry = next((head for head in findings.own if head.method == ENTRY), None)
    picked, words = findings.picked, ""
    if entry is not None:
        words = f"lrpilot's entry, named before any run, is {entry.title}: {mean_words(entry, len(findings.judged))}."
    if picked is not None:
        words += (
            f" {picked.title} is the best of {len(findings.own)} lrpilot rows, picked afterwards by the very runs that "
            "judge it, which is to its favour."
        )
    return words.strip()


def mean_words(head: Headline, tasks: int) -> str:
    """A mean; an infinite one with the failed runs and the mean of the others."""
    if head.regret is None or math.isfinite(head.regret):
        return ratio_text(head.regret)
    failed = f"{head.failures} of {many(head.runs, 'run')} failed"
    if head.finished_regret is None:
        return f"{ratio_text(head.regret)} ({failed})"
    return f"{ratio_text(head.regret)} ({failed}; {finished_text(head, tasks)})"


def finished_text(head: Headline, tasks: int) -> str:
    """The mean over the seeds that finished, and on how many tasks there are any, where not on all."""
    on = f" of {many(head.finished_tasks, 'task')}" if head.finished_tasks < tasks else ""
    return f"finished seeds{on}: {ratio_text(head.finished_regret)}"
