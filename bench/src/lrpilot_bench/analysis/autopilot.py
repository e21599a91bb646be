"""Development and judging tasks apart; what each part of Autopilot is worth; how soon methods come to a loss."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lrpilot_bench.analysis.compare import Headline, Rows, headlines
from lrpilot_bench.analysis.oracle import Oracle
from lrpilot_bench.analysis.recorded import Bench, Run
from lrpilot_bench.analysis.rows import final_losses, regret_of, times_to_target
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.store.schema import ABLATION_GROUP, AT_LR, AUTOPILOT, ORACLE_KINDS

SIDES = ("development", "judging")
TIMED = (
    AUTOPILOT, "schedule_free", "schedule_free_searched", "prodigy_cosine", "prodigy_searched", "lr_tuner",
)  # fmt: skip
ORACLES_OWN = "the oracle's schedule"
READ_AS = "its runs, weights read as an average: "  # begins rows of the oracle's runs

Oracles = Mapping[str, Oracle]


# ---------------------------------------------------------------------- sides


def tasks_of(bench: Bench, tasks: Iterable[str], side: str) -> tuple[str, ...]:
    """Those of the tasks that are on a side of the split, in order."""
    return tuple(task for task in tasks if bench.catalogue.tasks[task].side == side)


def by_side(bench: Bench, rows: Rows) -> dict[str, tuple[Headline, ...]]:
    """Headlines over the tasks of each side that have rows; sides without one are left out."""
    found = {side: tasks_of(bench, rows, side) for side in SIDES}
    return {side: headlines({task: rows[task] for task in tasks}) for side, tasks in found.items() if tasks}


# ---------------------------------------------------------------------- parts


@dataclass(frozen=True)
class Part:
    """Autopilot, or what differs from it in one thing, over tasks.

    Attributes:
        title: how tables call it.
        regrets: against the oracle by task, over paired seeds; inf with a failed run.
        failures: runs that failed.
        runs: all of its runs.
    """

    title: str
    regrets: Mapping[str, float]
    failures: int
    runs: int

    def mean(self, tasks: Iterable[str]) -> float | None:
        """Geometric mean over those of the tasks that it has run on; None where there are none."""
        found = [self.regrets[task] for task in tasks if task in self.regrets]
        return geometric_mean(found) if found else None

    @property
    def worst(self) -> tuple[str, float] | None:
        """(task, regret) of its worst; None where it has none."""
        return max(self.regrets.items(), key=lambda pair: pair[1], default=None)


def parts(bench: Bench, oracles: Oracles) -> tuple[Part, ...]:
    """Autopilot first, then all that is named after it, then the oracle's own runs read as averages.

    Args:
        bench: all records.
        oracles: by task; those without a winner are left out, and so are tasks that take no part in the comparison.
    """
    bars = {task: bar for task, bar in oracles.items() if bar.kind and task in bench.catalogue.compared}
    named = [name for name in bench.catalogue.methods if name == AUTOPILOT or name.startswith(f"{AUTOPILOT}_")]
    found = [
        _part(bench.catalogue.methods[name].title, {task: (bar, _runs(bench, bar, name)) for task, bar in bars.items()})
        for name in named
    ]
    found += [_part(READ_AS + readout.replace("_", " 0."), _read(bench, bars, readout)) for readout in _readouts(bench)]
    return tuple(part for part in found if part.runs)


def _runs(bench: Bench, bar: Oracle, name: str) -> dict[int, Run]:
    """Its runs by seed: at the lr of the oracle's winner where it is flown at that, else its plain ones."""
    lr = bar.lr if name.endswith(AT_LR) else None
    return bench.runs(bar.task, name, family=bar.family, lr=lr)


def _read(bench: Bench, bars: Oracles, readout: str) -> dict[str, tuple[Oracle, dict[int, Run]]]:
    return {
        task: (bar, bench.runs(task, f"{bar.kind}_{readout}", family=bar.family, lr=bar.lr))
        for task, bar in bars.items()
    }


def _readouts(bench: Bench) -> list[str]:
    """What follows the schedule's name in the names of its readouts."""
    first = f"{ORACLE_KINDS[0]}_"
    return [
        name.removeprefix(first)
        for name, facts in bench.catalogue.methods.items()
        if facts.group == ABLATION_GROUP and name.startswith(first) and not name.endswith("_unwarmed")
    ]


def _part(title: str, runs: Mapping[str, tuple[Oracle, Mapping[int, Run]]]) -> Part:
    regrets: dict[str, float] = {}
    for task, (bar, of_task) in runs.items():
        ratio = regret_of(final_losses(of_task), bar).ratio if of_task else None
        if ratio is not None:
            regrets[task] = ratio.mean
    every = [run for _, of_task in runs.values() for run in of_task.values()]
    return Part(title, regrets, sum(run.failed for run in every), len(every))


# ---------------------------------------------------------------------- time


@dataclass(frozen=True)
class Reached:
    """How soon runs come to a loss.

    Attributes:
        median: compute ÷ a plain run's, over all runs of all tasks; inf where half of them never do, or more.
        missed: runs that never do, failures among them.
        runs: all of them.
    """

    median: float
    missed: int
    runs: int


@dataclass(frozen=True)
class TimeRow:
    """A method's time to two losses, everything counted.

    Attributes:
        title: how tables call it.
        to_oracle: to the oracle's target (its median final loss × 1.02).
        to_default: to the median final loss of whoever does nothing about the lr; None without runs of a default.
    """

    title: str
    to_oracle: Reached
    to_default: Reached | None


def time_rows(bench: Bench, oracles: Oracles) -> tuple[TimeRow, ...]:
    """The oracle's own runs, then Autopilot and its rivals, over the tasks of the comparison that have a target."""
    bars = [bar for bar in oracles.values() if bar.target is not None and bar.task in bench.catalogue.compared]
    rows = [_time_row(bench, ORACLES_OWN, [(bar, _winner(bench, bar)) for bar in bars])]
    for name in TIMED:
        facts = bench.catalogue.methods.get(name)
        if facts is not None:
            runs = [(bar, bench.runs(bar.task, name, family=bar.family)) for bar in bars]
            rows.append(_time_row(bench, facts.title, runs))
    return tuple(row for row in rows if row is not None)


def _winner(bench: Bench, bar: Oracle) -> dict[int, Run]:
    assert bar.kind is not None  # it has a target
    return bench.runs(bar.task, bar.kind, family=bar.family, lr=bar.lr)


def _time_row(bench: Bench, title: str, runs: Sequence[tuple[Oracle, Mapping[int, Run]]]) -> TimeRow | None:
    to_oracle = _reached(times_to_target(of_task, bar.target) for bar, of_task in runs)
    to_default = _reached(times_to_target(of_task, _default_loss(bench, bar)) for bar, of_task in runs)
    return None if to_oracle is None else TimeRow(title, to_oracle, to_default)


def _default_loss(bench: Bench, bar: Oracle) -> float | None:
    """Median final loss of the default; None where it was not run, or half of its runs failed."""
    facts = bench.catalogue.task(bar.task).family(bar.family)
    losses = list(final_losses(bench.runs(bar.task, facts.default, family=bar.family)).values())
    middle = statistics.median(losses) if losses else math.inf
    return middle if math.isfinite(middle) else None


def _reached(times: Iterator[dict[int, float]]) -> Reached | None:
    every = [time for of_task in times for time in of_task.values()]
    return Reached(statistics.median(every), sum(map(math.isinf, every)), len(every)) if every else None
