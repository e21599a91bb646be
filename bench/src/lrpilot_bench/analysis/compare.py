"""Methods against each other: over tasks, in pairs, who is to be beaten, what doing nothing loses."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lrpilot.errors import SettingError
from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.analysis.rows import MethodRow, Regret, method_rows
from lrpilot_bench.stats.aggregates import Profile, geometric_mean, performance_profiles
from lrpilot_bench.stats.intervals import (
    Interval,
    Standing,
    Verdict,
    paired_interval,
    ratio_interval,
    standing,
    verdict,
)
from lrpilot_bench.stats.measures import log_regrets
from lrpilot_bench.stats.power import seeds_needed
from lrpilot_bench.store.schema import ABLATION_GROUP

Rows = Mapping[str, Sequence[MethodRow]]  # by task, as method_rows makes them


@dataclass(frozen=True)
class Headline:
    """A method over all tasks.

    Attributes:
        regret: geometric mean of its regrets; inf with a failure; None where it has none.
        worst: (task, regret) of its worst.
        regrets: by task.
        finished_regret: geometric mean over the seeds that finished.
        finished_tasks: that ``finished_regret`` stands on: those with a seed that finished.
        compute: geometric mean of its total compute ÷ a plain run's; None where it spent nothing.
        seconds: geometric mean of its seconds ÷ a plain run's; None where not known for any task.
        wins: tasks on which it beats the oracle; ``ties`` and ``losses`` alike. A task on which a run failed,
            or with too few seeds for a claim, is in none of them.
        failed_tasks: tasks on which a run failed.
        undecided: tasks with too few seeds for a claim and no failure.
        missing: tasks (of those with a row for any method) on which it has no regret: its mean stands on
            the others only.
        failures: runs that failed, however they did.
        runs: all of its runs.
        profile: share of tasks by regret; None where it has no regret.
    """

    method: str
    title: str
    group: str
    equal_compute: bool
    regret: float | None
    worst: tuple[str, float] | None
    regrets: dict[str, float]
    finished_regret: float | None
    finished_tasks: int
    compute: float | None
    seconds: float | None
    wins: int
    ties: int
    losses: int
    failed_tasks: int
    undecided: int
    missing: tuple[str, ...]
    failures: int
    runs: int
    profile: Profile | None

    @property
    def everywhere(self) -> bool:
        """Whether it is ranked: at equal compute, and run on every task."""
        return self.equal_compute and not self.missing

    @property
    def finite_regret(self) -> float | None:
        """``regret``; None where a run failed, too."""
        return self.regret if self.regret is not None and math.isfinite(self.regret) else None


@dataclass(frozen=True)
class Duel:
    """Two methods on one task.

    Attributes:
        method: the one judged.
        other: what it is compared with.
        ratio: its loss ÷ the other's, over paired seeds; None where they share none.
        verdict: of ``method``.
        log_ratios: ln(its loss ÷ the other's) of each paired seed.
    """

    task: str
    method: str
    other: str
    ratio: Interval | None
    verdict: Verdict | None
    log_ratios: tuple[float, ...]

    @property
    def standing(self) -> Standing | None:
        """The verdict as it may be called with this many seeds; None where there is none."""
        return None if self.ratio is None or self.verdict is None else standing(self.ratio, self.verdict)

    @property
    def seeds_needed(self) -> int | None:
        """Seeds to tell them apart with power 0.8, by the spread seen; None where there is no telling."""
        return seeds_needed(self.log_ratios)


@dataclass(frozen=True)
class ToBeat:
    """The best peer of a task.

    Attributes:
        best: the peer of the smallest mean regret; None where no peer has one.
        regret: its regret.
        ties: peers whose interval against it holds 0, those with a failed run left out (unless ``best`` has one
            too), and those that share one seed with it.
        reason: why ``best`` is None, else "".
        unjudged: peers that share one seed with it: nothing can be said of them.
    """

    task: str
    best: str | None
    regret: Regret | None
    ties: tuple[str, ...]
    reason: str = ""
    unjudged: tuple[str, ...] = ()


@dataclass(frozen=True)
class DefaultLoss:
    """What somebody who does nothing about the lr loses.

    Attributes:
        method: the family's default.
        regret: of it; its ratio is None with a reason where it was not run.
        failures: of its runs.
    """

    task: str
    method: str
    title: str
    regret: Regret
    failures: int


def all_rows(bench: Bench) -> dict[str, tuple[MethodRow, ...]]:
    """The rows of every task's first family, by task; a task without a plain run has none.

    On a task of the comparison ablations are left out: they are there to choose by, and do not compete.
    """
    rows = {task: tuple(row for row in method_rows(bench, task) if _competes(bench, row)) for task in bench.tasks()}
    return {task: of_task for task, of_task in rows.items() if of_task}


def _competes(bench: Bench, row: MethodRow) -> bool:
    return row.group != ABLATION_GROUP or row.task not in bench.catalogue.compared


def headlines(rows: Rows) -> tuple[Headline, ...]:
    """A line for every method, best geometric mean of regrets first, those without one last."""
    by_method: dict[str, dict[str, MethodRow]] = {}
    for task, of_task in rows.items():
        for row in of_task:
            by_method.setdefault(row.method, {})[task] = row
    regrets = {name: _regrets(of_method) for name, of_method in by_method.items()}
    profiles = performance_profiles(regrets)
    lines = [
        _headline(list(of_method.values()), regrets[name], tuple(rows), profiles.get(name))
        for name, of_method in by_method.items()
    ]
    return tuple(sorted(lines, key=lambda line: [_last(line.regret), _last(line.finished_regret)]))


def _last(value: float | None) -> tuple[bool, float]:
    """Sorts None behind every number."""
    return value is None, 0.0 if value is None else value


def _regrets(by_task: Mapping[str, MethodRow]) -> dict[str, float]:
    return {task: row.regret.ratio.mean for task, row in by_task.items() if row.regret.ratio is not None}


def _headline(
    rows: Sequence[MethodRow], regrets: dict[str, float], tasks: tuple[str, ...], profile: Profile | None
) -> Headline:
    first = rows[0]
    worst = max(regrets, key=lambda task: regrets[task]) if regrets else None
    whole = [row.regret.standing for row in rows if not row.failures and row.regret.standing is not None]
    wins, ties, losses = (whole.count(said) for said in ("win", "tie", "loss"))
    return Headline(
        method=first.method,
        title=first.title,
        group=first.group,
        equal_compute=first.equal_compute,
        regret=_mean(regrets.values()),
        worst=None if worst is None else (worst, regrets[worst]),
        regrets=regrets,
        finished_regret=_mean(row.regret.finished.mean for row in rows if row.regret.finished is not None),
        finished_tasks=sum(row.regret.finished is not None for row in rows),
        compute=_mean(row.compute for row in rows if row.compute > 0.0),
        seconds=_mean(row.seconds.value for row in rows if row.seconds.value),
        wins=wins,
        ties=ties,
        losses=losses,
        failed_tasks=sum(bool(row.failures) for row in rows),
        undecided=len(whole) - wins - ties - losses,
        missing=tuple(task for task in tasks if task not in regrets),
        failures=sum(len(row.failures) for row in rows),
        runs=sum(len(row.seeds) for row in rows),
        profile=profile,
    )


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return geometric_mean(numbers) if numbers else None


def compare(row: MethodRow, other: MethodRow) -> Duel:
    """One method against another on the same task, over paired seeds."""
    log_ratios = tuple(log_regrets(row.losses, other.losses).values())
    return Duel(
        row.task,
        row.method,
        other.method,
        ratio_interval(log_ratios) if log_ratios else None,
        verdict(paired_interval(log_ratios)) if log_ratios else None,
        log_ratios,
    )


def peer_to_beat(rows: Sequence[MethodRow], *, groups: tuple[str, ...] = ("peer",)) -> ToBeat:
    """The best peer of a task, and those that cannot be told from it; free probes do not compete.

    Args:
        rows: of one task.
        groups: of the methods that compete.

    Raises:
        SettingError: no rows.
    """
    if not rows:
        raise SettingError("The peer to beat needs the rows of a task, got none. Ask for tasks with plain runs.")
    task = rows[0].task
    peers = [row for row in rows if row.group in groups and row.equal_compute]
    judged = [row for row in peers if row.regret.ratio is not None]
    if not judged:
        return ToBeat(task, None, None, (), peers[0].regret.reason if peers else "no peer was run")
    best = min(judged, key=_standing)
    rivals = [row for row in peers if row is not best and (not row.failures or best.failures)]
    pairs = [compare(best, row) for row in rivals]
    ties = tuple(pair.other for pair in pairs if pair.verdict == "tie" and len(pair.log_ratios) > 1)
    lone = tuple(pair.other for pair in pairs if len(pair.log_ratios) == 1)
    return ToBeat(task, best.method, best.regret, ties, unjudged=lone)


def _standing(row: MethodRow) -> tuple[float, float]:
    """Mean regret; among those that failed, the regret of the seeds that finished."""
    ratio, finished = row.regret.ratio, row.regret.finished
    return (math.inf if ratio is None else ratio.mean), (math.inf if finished is None else finished.mean)


def default_loss(bench: Bench, rows: Sequence[MethodRow], task: str, *, family: str | None = None) -> DefaultLoss:
    """Regret of the default of the task's family.

    Args:
        bench: all records.
        rows: of the task and family.
        task: its name.
        family: kind of the optimizer; None for the task's first.
    """
    name = bench.catalogue.task(task).family(family).default
    for row in rows:
        if row.method == name:
            return DefaultLoss(task, name, row.title, row.regret, len(row.failures))
    facts = bench.catalogue.methods.get(name)
    missing = Regret(None, {}, None, None, "the default was not run")
    return DefaultLoss(task, name, name if facts is None else facts.title, missing, 0)
