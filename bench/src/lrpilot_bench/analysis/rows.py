"""One row per method and task: the numbers of the tables."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrpilot_bench.analysis.oracle import Oracle, oracle
from lrpilot_bench.analysis.recorded import Bench, Run, same
from lrpilot_bench.stats.intervals import (
    Interval,
    Standing,
    Verdict,
    exp,
    paired_interval,
    ratio_interval,
    standing,
    t_interval,
    verdict,
)
from lrpilot_bench.stats.measures import Measured, gap_closed, log_regrets, time_to_target

PLAIN = ("constant", "linear")  # methods that do a plain step and nothing else: the unit of seconds


@dataclass(frozen=True)
class Failure:
    """A run that failed.

    Attributes:
        status: see :class:`lrpilot_bench.analysis.recorded.Run`.
        error: of a crash.
        worsening: final ÷ initial validation loss where it ended no better than untrained.
    """

    seed: int
    status: str
    error: str | None
    worsening: float | None = None


@dataclass(frozen=True)
class Regret:
    """Final loss of a method ÷ that of the oracle, over paired seeds.

    Attributes:
        ratio: geometric mean over seeds with its interval (1 = the oracle); None where there is no oracle,
            or no seed in common. inf with a failure.
        by_seed: the ratios.
        finished: the same of the seeds that finished; None where none did.
        verdict: of the method against the oracle.
        reason: why ``ratio`` is None, else "".
    """

    ratio: Interval | None
    by_seed: dict[int, float]
    finished: Interval | None
    verdict: Verdict | None
    reason: str = ""

    @property
    def standing(self) -> Standing | None:
        """The verdict as it may be called with this many seeds; None where there is none."""
        return None if self.ratio is None or self.verdict is None else standing(self.ratio, self.verdict)


@dataclass(frozen=True)
class MethodRow:
    """What one method did on one task, over its seeds.

    Attributes:
        task: its name.
        family: kind of the optimizer.
        method: its name.
        title: how tables call it.
        group: "schedule", "default", "peer" or "lrpilot".
        equal_compute: False where its probes were free.
        lr: it started from, natural units; None where it takes none.
        seeds: with a record, ascending.
        losses: final validation loss by seed; inf where the run failed.
        loss: arithmetic mean over seeds with its t interval; inf with a failure.
        regret: against the oracle's same seeds.
        gap_closed: 0 = the oracle, 1 = the framework default.
        score: mean final validation score over the seeds that finished.
        test_loss: mean over the seeds that finished.
        test_score: mean over the seeds that finished.
        compute: median of total compute ÷ a plain run's, over the seeds that finished (over all where none did).
        seconds: median of seconds ÷ the median plain run's on the same machine, over the seeds that finished.
        time_to_target: median of compute ÷ a plain run's; inf where half of the seeds missed, or more.
        times_to_target: by seed.
        misses: seeds that did not reach the target, failures among them; None where there is no target.
        failures: runs that failed, however they did.
        notes: what the method noted, by seed.
    """

    task: str
    family: str
    method: str
    title: str
    group: str
    equal_compute: bool
    lr: float | None
    seeds: tuple[int, ...]
    losses: dict[int, float]
    loss: Interval
    regret: Regret
    gap_closed: Measured
    score: Measured
    test_loss: Measured
    test_score: Measured
    compute: float
    seconds: Measured
    time_to_target: Measured
    times_to_target: dict[int, float]
    misses: int | None
    failures: tuple[Failure, ...]
    notes: dict[int, Any] = field(default_factory=dict)


def method_rows(bench: Bench, task: str, *, family: str | None = None) -> tuple[MethodRow, ...]:
    """A row for every method with plain runs (start-lr factor 1, horizon 1), in the catalogue's order."""
    facts = bench.catalogue.task(task).family(family)
    bar = oracle(bench, task, family=facts.kind)
    default = final_losses(bench.runs(task, facts.default, family=facts.kind))
    names = [name for name in bench.methods(task, family=facts.kind) if bench.catalogue.methods[name].trains]
    return tuple(_row(bench, name, bar, default) for name in names)


def _row(bench: Bench, name: str, bar: Oracle, default: dict[int, float]) -> MethodRow:
    runs = bench.runs(bar.task, name, family=bar.family)
    facts, losses = bench.catalogue.methods[name], final_losses(runs)
    finished = [run for run in runs.values() if not run.failed]
    times = times_to_target(runs, bar.target)
    return MethodRow(
        task=bar.task,
        family=bar.family,
        method=name,
        title=facts.title,
        group=facts.group,
        equal_compute=facts.equal_compute,
        lr=next(run.lr for run in runs.values()),
        seeds=tuple(runs),
        losses=losses,
        loss=t_interval(list(losses.values())),
        regret=regret_of(losses, bar),
        gap_closed=_gap(losses, bar, default),
        score=_mean(finished, lambda run: run.score),
        test_loss=_mean(finished, lambda run: run.test_loss),
        test_score=_mean(finished, lambda run: run.test_score),
        compute=statistics.median(run.compute for run in finished or runs.values()),
        seconds=_seconds(bench, finished),
        time_to_target=_median_time(times),
        times_to_target=times,
        misses=None if bar.target is None else sum(math.isinf(time) for time in times.values()),
        failures=failures_of(runs),
        notes={seed: run.notes for seed, run in runs.items()},
    )


def final_losses(runs: Mapping[int, Run]) -> dict[int, float]:
    """Final validation loss by seed; inf where the run failed."""
    return {seed: run.loss for seed, run in runs.items()}


def failures_of(runs: Mapping[int, Run]) -> tuple[Failure, ...]:
    """The runs that failed."""
    return tuple(Failure(run.seed, run.status, run.error, run.worsening) for run in runs.values() if run.failed)


def regret_of(losses: Mapping[int, float], bar: Oracle) -> Regret:
    """Regret of final losses by seed against the oracle's same seeds."""
    if bar.kind is None:
        return Regret(None, {}, None, None, f"no oracle: {bar.reason}")
    log_ratios = log_regrets(losses, bar.losses)
    if not log_ratios:
        return Regret(None, {}, None, None, "no seed in common with the oracle")
    finite = [value for value in log_ratios.values() if math.isfinite(value)]
    return Regret(
        ratio_interval(list(log_ratios.values())),
        {seed: exp(value) for seed, value in log_ratios.items()},
        ratio_interval(finite) if finite else None,
        verdict(paired_interval(list(log_ratios.values()))),
    )


def times_to_target(runs: Mapping[int, Run], target: float | None) -> dict[int, float]:
    """Compute ÷ a plain run's at which each run reaches the target, by seed; inf for a miss and for a failure.

    Args:
        runs: by seed.
        target: a validation loss; None gives no times.
    """
    if target is None:
        return {}
    return {
        seed: math.inf
        if run.failed
        else time_to_target(run.curve["compute"], run.curve["val_loss"], target) / (3.0 * run.steps)
        for seed, run in runs.items()
    }


def _median_time(times: dict[int, float]) -> Measured:
    return Measured(statistics.median(times.values())) if times else Measured(None, "no oracle to set the target")


def _gap(losses: dict[int, float], bar: Oracle, default: dict[int, float]) -> Measured:
    if bar.kind is None:
        return Measured(None, f"no oracle: {bar.reason}")
    if not default:
        return Measured(None, "the framework default was not run")
    shared = [seed for seed in default if seed in bar.losses]
    if len(shared) == 1 and math.isfinite(default[shared[0]]) and math.isfinite(bar.losses[shared[0]]):
        whose = "the default has one seed" if len(default) == 1 else "the default and the oracle share one seed"
        return Measured(None, f"{whose}, so its distance from the oracle cannot be judged")
    return gap_closed(losses, bar.losses, default)


def _mean(runs: Iterable[Run], read: Callable[[Run], float | None]) -> Measured:
    values = [value for value in map(read, runs) if value is not None]
    return Measured(statistics.fmean(values)) if values else Measured(None, "no seed finished")


def _seconds(bench: Bench, finished: list[Run]) -> Measured:
    """Seconds ÷ plain ones; a run that failed stopped early, and its seconds say nothing."""
    if not finished:
        return Measured(None, "no seed finished")
    ratios = [run.seconds / plain for run in finished if (plain := _plain_seconds(bench, run))]
    return Measured(statistics.median(ratios)) if ratios else Measured(None, "no plain run on the same machine")


def _plain_seconds(bench: Bench, run: Run) -> float | None:
    plain = [
        other.seconds
        for name in PLAIN
        for other in bench.every(run.task, name, family=run.family)
        if not other.failed
        and same(other.horizon, run.horizon)
        and other.record.get("machine") == run.record.get("machine")
    ]
    return statistics.median(plain) if plain else None
