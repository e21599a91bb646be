"""Robustness: the same methods from other start lrs, and with other budgets."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lrpilot_bench.analysis.oracle import oracle
from lrpilot_bench.analysis.recorded import Bench, Run, same
from lrpilot_bench.analysis.rows import Failure, Regret, failures_of, final_losses, regret_of
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.stats.intervals import Interval, Verdict, paired_interval, ratio_interval, t_interval, verdict
from lrpilot_bench.stats.measures import log_regrets
from lrpilot_bench.store.schema import LR_FACTORS


@dataclass(frozen=True)
class StartLrRow:
    """A method on a task from one start lr.

    Attributes:
        lr_factor: start lr ÷ the method's default.
        lr: natural units; None where the method takes none.
        seeds: with a record.
        losses: by seed; inf where the run failed.
        regret: against the oracle.
        failures: runs that failed.
    """

    task: str
    family: str
    method: str
    title: str
    lr_factor: float
    lr: float | None
    seeds: tuple[int, ...]
    losses: dict[int, float]
    regret: Regret
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class HorizonRow:
    """A method on a task with one budget.

    Attributes:
        horizon: budget ÷ the task's.
        steps: plain training steps of the budget.
        seeds: with a record.
        losses: by seed; inf where the run failed.
        loss: arithmetic mean with its t interval.
        regret: against the best that a sweep has found at the same horizon (there it need not be a whole one of three
            schedules); its ratio is None where there is none.
        against: loss ÷ that of the ``reference`` at the same horizon, over paired seeds; None without.
        reference: method that ``against`` compares with.
        verdict: of ``against``.
        failures: runs that failed.
    """

    task: str
    family: str
    method: str
    title: str
    horizon: float
    steps: int
    seeds: tuple[int, ...]
    losses: dict[int, float]
    loss: Interval
    regret: Regret
    against: Interval | None
    reference: str
    verdict: Verdict | None
    failures: tuple[Failure, ...]


def start_lr_rows(
    bench: Bench, task: str, *, family: str | None = None, factors: Sequence[float] = LR_FACTORS
) -> tuple[StartLrRow, ...]:
    """A row for each start-lr factor of the methods that were run from another than 1.

    Args:
        bench: all records.
        task: its name.
        family: kind of the optimizer; None for the task's first.
        factors: to look for; those without a run have no row.
    """
    bar = oracle(bench, task, family=family)
    rows = []
    for name in _varied(bench, task, family, lambda run: run.record["lr_factor"]):
        for factor in factors:
            runs = bench.runs(task, name, family=family, lr_factor=factor)
            if not runs:
                continue
            losses, lr = final_losses(runs), next(run.lr for run in runs.values())
            rows.append(
                StartLrRow(
                    task=task,
                    family=bar.family,
                    method=name,
                    title=bench.catalogue.methods[name].title,
                    lr_factor=factor,
                    lr=lr,
                    seeds=tuple(runs),
                    losses=losses,
                    regret=regret_of(losses, bar),
                    failures=failures_of(runs),
                )
            )
    return tuple(rows)


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
    means: Mapping[float, float]
    tasks: tuple[str, ...]
    failures: Mapping[float, tuple[int, int]]

    @property
    def worst(self) -> float:
        """The largest mean over its start lrs."""
        return max(self.means.values(), default=math.inf)

    @property
    def runs(self) -> int:
        """Of every start lr and task."""
        return sum(runs for _, runs in self.failures.values())

    @property
    def failed(self) -> int:
        """Runs that failed, from any start lr."""
        return sum(failed for failed, _ in self.failures.values())

    @property
    def finite_mean(self) -> float:
        """Geometric mean over the start lrs that have a finite mean."""
        finite = [mean for mean in self.means.values() if math.isfinite(mean)]
        return geometric_mean(finite) if finite else math.inf


def robustness(rows: Sequence[StartLrRow]) -> tuple[Robustness, ...]:
    """Of every method with a start-lr sweep, over tasks; the least bad worst case first.

    Args:
        rows: of all tasks, as :func:`start_lr_rows` makes them.
    """
    found = [_robust([row for row in rows if row.method == name]) for name in dict.fromkeys(row.method for row in rows)]
    order = sorted(found, key=lambda of: (not of.means, of.worst, of.failed, of.finite_mean, of.title))
    return tuple(order)


def _robust(rows: Sequence[StartLrRow]) -> Robustness:
    factors = sorted({row.lr_factor for row in rows})
    ratios = {(r.task, r.lr_factor): r.regret.ratio.mean for r in rows if r.regret.ratio is not None}
    tasks = [t for t in dict.fromkeys(r.task for r in rows) if all((t, f) in ratios for f in factors)]
    failed = {f: [(len(r.failures), len(r.seeds)) for r in rows if r.lr_factor == f] for f in factors}
    return Robustness(
        rows[0].method,
        rows[0].title,
        {f: geometric_mean(ratios[t, f] for t in tasks) for f in factors} if tasks else {},
        tuple(tasks),
        {f: (sum(a for a, _ in pairs), sum(b for _, b in pairs)) for f, pairs in failed.items()},
    )


def horizon_rows(
    bench: Bench, task: str, *, family: str | None = None, reference: str = "linear"
) -> tuple[HorizonRow, ...]:
    """A row for each horizon (1 among them) of the methods that were run with another than 1.

    Args:
        bench: all records.
        task: its name.
        family: kind of the optimizer; None for the task's first.
        reference: name of the method that the others are compared with at every horizon.
    """
    names = _varied(bench, task, family, lambda run: run.horizon)
    horizons = sorted({run.horizon for name in names for run in bench.every(task, name, family=family)})
    bars = {horizon: oracle(bench, task, family=family, horizon=horizon) for horizon in horizons}
    rows = []
    for name in names:
        for horizon, bar in bars.items():
            runs = bench.runs(task, name, family=family, horizon=horizon)
            if not runs:
                continue
            losses = final_losses(runs)
            log_ratios = _log_ratios(losses, final_losses(bench.runs(task, reference, family=family, horizon=horizon)))
            rows.append(
                HorizonRow(
                    task=task,
                    family=bar.family,
                    method=name,
                    title=bench.catalogue.methods[name].title,
                    horizon=horizon,
                    steps=next(run.steps for run in runs.values()),
                    seeds=tuple(runs),
                    losses=losses,
                    loss=t_interval(list(losses.values())),
                    regret=regret_of(losses, bar),
                    against=ratio_interval(log_ratios) if log_ratios else None,
                    reference=reference,
                    verdict=verdict(paired_interval(log_ratios)) if log_ratios else None,
                    failures=failures_of(runs),
                )
            )
    return tuple(rows)


def _varied(bench: Bench, task: str, family: str | None, read: Callable[[Run], float]) -> list[str]:
    """Methods with a run in which a quantity of the job was asked to be another than 1."""
    return [
        name
        for name, facts in bench.catalogue.methods.items()
        if facts.trains and any(not same(read(run), 1.0) for run in bench.every(task, name, family=family))
    ]


def _log_ratios(losses: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    return list(log_regrets(losses, other).values())
