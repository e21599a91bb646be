"""What the prose of the pages is about: plain facts, whose sentences stand in the templates."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lrpilot_bench.analysis.compare import Headline
from lrpilot_bench.analysis.finders import FinderRow
from lrpilot_bench.analysis.rows import Failure
from lrpilot_bench.report.findings import ENTRY, GROUPS, Findings, Group
from lrpilot_bench.report.numbers import hours_text, many, multiple_text, ratio_text

ENOUGH = 3  # methods run on every task, below which a ranking would mislead
FINE_TUNING = "minilm_movies"  # the task that answers the issue thread about transformers
NEAR = 2.2  # the step of the oracle's grid: closer than that is as good as the sweep can tell


def facts(findings: Findings) -> tuple[tuple[str, str], ...]:
    """(number, what it counts), for the reader's first glance."""
    runs, tasks, methods = findings.bench.all_runs, len(findings.tasks), len(findings.heads)
    return (
        (f"{tasks}", "task" if tasks == 1 else "tasks"),
        (f"{methods}", "method that trains" if methods == 1 else "methods that train"),
        (f"{len({run.seed for run in runs})}", "seeds at most"),
        (f"{len(runs):,}", "run" if len(runs) == 1 else "runs"),
        (training_time(findings), "of training"),
        ("holds" if findings.panel.holds else "open", "sanity panel"),
    )


def training_time(findings: Findings) -> str:
    """Of all runs together."""
    return hours_text(math.fsum(run.seconds for run in findings.bench.all_runs))


def seed_counts(findings: Findings) -> list[int]:
    """How many seeds a method has on a task: all counts that occur, ascending."""
    return sorted({len(row.seeds) for rows in findings.rows.values() for row in rows})


@dataclass(frozen=True)
class Coverage:
    """How complete the benchmark is.

    Attributes:
        entry: tasks on which lrpilot's entry has run.
        tasks: with a run, or a planned one.
        partial: whether the plan holds only a part of an oracle's sweep.
        parts: planned runs without a record, by part of the protocol.
        large: tasks made for a GPU that have no run.
    """

    entry: int
    tasks: int
    partial: bool
    parts: Mapping[str, int]
    large: tuple[str, ...]


def coverage(findings: Findings) -> Coverage:
    """Of the records."""
    missing, known = findings.missing or (), findings.bench.catalogue
    return Coverage(
        sum(any(row.method == ENTRY for row in rows) for rows in findings.rows.values()),
        len({*findings.tasks, *(run.task for run in missing)}),
        any(not bar.complete for bar in findings.oracles.values()),
        Counter(run.part(known) for run in missing),
        tuple(name for name, task in known.tasks.items() if task.large and name not in findings.tasks),
    )


def runs_apart(findings: Findings) -> dict[str, int]:
    """Runs that were asked for with another start lr, and with another budget."""
    runs = findings.bench.all_runs
    return {
        "start_lr": sum(run.record["lr_factor"] != 1.0 for run in runs),
        "horizon": sum(run.horizon != 1.0 for run in runs),
    }


# ------------------------------------------------------------------ the order of the methods


@dataclass(frozen=True)
class Unranked:
    """Why methods are not ranked: the benchmark is incomplete.

    Attributes:
        everywhere: methods at equal compute that have run on every task.
        finite: those of them without a failed run.
        partly: those that have run on some tasks only, or on tasks without an oracle.
        total: all that have run or are planned.
        without: tasks without an oracle.
    """

    everywhere: int
    finite: int
    partly: int
    total: int
    without: tuple[str, ...]


def unranked(findings: Findings) -> Unranked | None:
    """Why methods are not ranked; None where they are."""
    everywhere = [h for h in findings.heads if h.everywhere]
    partly = [h for h in findings.heads if h.equal_compute and h.missing]
    finite = sum(h.finite_regret is not None for h in everywhere)
    waiting = {h.method for h in partly} | _still_planned(findings)
    if len(everywhere) >= ENOUGH and (finite >= ENOUGH or not waiting):
        return None
    without = tuple(task for task in findings.judged if findings.oracles[task].kind is None)
    return Unranked(len(everywhere), finite, len(partly), len({h.method for h in everywhere} | waiting), without)


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


def score_text(head: Headline) -> str:
    """How a method stands against the oracle, in words."""
    parts = [(head.wins, many(head.wins, "win")), (head.ties, many(head.ties, "tie"))]
    parts += [(head.losses, many(head.losses, "loss")), (head.failed_tasks, f"{head.failed_tasks} with failed runs")]
    parts += [(head.undecided, f"{head.undecided} provisional: too few seeds for a claim")]
    return ", ".join(words for number, words in parts if number) or "nothing to compare"


def winners(findings: Findings) -> dict[Group, dict[str, list[str]]]:
    """Tasks by the title of the method of the smallest regret, by its group; picked afterwards from all methods."""
    best: dict[Group, dict[str, list[str]]] = {group: {} for group in GROUPS}
    for task in findings.judged:
        rows = [row for row in findings.rows[task] if row.equal_compute and row.regret.ratio is not None]
        means = [(row.regret.ratio.mean, row) for row in rows if row.regret.ratio is not None]
        finite = [(mean, row) for mean, row in means if math.isfinite(mean)]
        if finite and len(rows) > 1:
            _, row = min(finite, key=lambda pair: pair[0])
            best.setdefault(findings.group(row.method), {}).setdefault(row.title, []).append(task)
    return best


def tasks_won(by_title: Mapping[str, Sequence[str]]) -> int:
    """How many tasks the methods of a group have won."""
    return sum(map(len, by_title.values()))


def losses_of_nothing(findings: Findings) -> tuple[dict[str, float], list[str]]:
    """Regrets of the tasks' defaults, the smallest first, and the tasks on which a run of the default failed."""
    ratios = {t: d.regret.ratio.mean for t, d in findings.defaults.items() if d.regret.ratio is not None}
    finite = sorted((ratio, task) for task, ratio in ratios.items() if math.isfinite(ratio))
    return {task: ratio for ratio, task in finite}, [task for task, ratio in ratios.items() if math.isinf(ratio)]


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


# ------------------------------------------------------------------ finders


def distance_text(pick: FinderRow) -> str:
    """How far a pick is from the best lr of its schedule; "" where that is not known."""
    ratio = pick.ratio
    if ratio is None:
        return ""
    if 1 / NEAR <= ratio <= NEAR:
        return "within one grid step of"
    return f"{multiple_text(ratio)} times" if ratio > 1 else f"{multiple_text(ratio)} of"


@dataclass(frozen=True)
class Answer:
    """Which finders find the lr to fine-tune a transformer with.

    Attributes:
        rows: every pick.
        near: names of the finders whose pick is within one grid step of the best lr.
        large: of those whose pick is too large.
        small: of those whose pick is too small.
        partly: those that picked on some seeds only: where they did, a pick may be good; a user has one run.
        none: names of those without a pick.
    """

    rows: tuple[FinderRow, ...]
    near: tuple[str, ...]
    large: tuple[str, ...]
    small: tuple[str, ...]
    partly: tuple[FinderRow, ...]
    none: tuple[str, ...]

    @property
    def bests(self) -> dict[str, float]:
        """The best peak lr of the sweeps, by schedule."""
        return {row.schedule: row.best_lr for row in self.rows if row.best_lr is not None}


def answer(findings: Findings) -> Answer:
    """Of the task that fine-tunes one."""
    rows = findings.finders.get(FINE_TUNING, ())
    ratios = {row.name: row.ratio for row in rows if row.ratio is not None and not row.reasons}
    return Answer(
        tuple(rows),
        tuple(name for name, ratio in ratios.items() if 1 / NEAR <= ratio <= NEAR),
        tuple(name for name, ratio in ratios.items() if ratio > NEAR),
        tuple(name for name, ratio in ratios.items() if ratio < 1 / NEAR),
        tuple(row for row in rows if row.lr is not None and row.reasons),
        tuple(row.name for row in rows if row.lr is None),
    )
