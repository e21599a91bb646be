"""Whether the records can be believed, and what is missing from them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lrpilot_bench.analysis.catalogue import Catalogue
from lrpilot_bench.analysis.oracle import sweep
from lrpilot_bench.analysis.recorded import Bench, Run, same
from lrpilot_bench.store.schema import CRASHED, ORACLE_KINDS, UNTRAINED

EXAMPLES = 3  # mismatches told in words


@dataclass(frozen=True)
class InsideCheck:
    """Whether a sweep's best lr is strictly inside its grid; None (with a reason) where it cannot be said."""

    task: str
    family: str
    kind: str
    best_lr: float | None
    lowest: float
    highest: float
    inside: bool | None
    reason: str = ""


@dataclass(frozen=True)
class RepeatCheck:
    """Whether repeats of a run ended with the same weights, bit for bit."""

    task: str
    method: str
    seed: int
    lr: float | None
    repeats: int
    equal: bool


@dataclass(frozen=True)
class CostCheck:
    """Whether a method's declared passes are those that the hooks counted.

    Attributes:
        runs: records compared (a run that crashed half-way through a pass is not).
        mismatches: records where they differ.
        tasks: compared on.
        examples: up to three mismatches in words.
    """

    method: str
    runs: int
    mismatches: int
    tasks: tuple[str, ...]
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class BudgetCheck:
    """Whether the runs of the methods at equal compute stayed within the budget, but for one plain step.

    Attributes:
        runs: those that finished; one that failed is compared with nothing.
        over: those that spent more.
        untrained: runs that spent their budget before training, which are failures.
        examples: up to three of ``over`` in words, the worst first.
    """

    runs: int
    over: int
    untrained: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sanity:
    """The panel.

    Attributes:
        inside: by task and schedule.
        repeats: for every run that was repeated.
        costs: by method.
        budget: of all runs that are compared at equal compute.
        holds: whether every check was made and holds: at least one repeat, every sweep complete.
    """

    inside: tuple[InsideCheck, ...]
    repeats: tuple[RepeatCheck, ...]
    costs: tuple[CostCheck, ...]
    budget: BudgetCheck
    holds: bool

    @property
    def fails(self) -> bool:
        """Whether a check that was made does not hold; without one, the panel may still be open."""
        return (
            any(check.inside is False for check in self.inside)
            or any(not check.equal for check in self.repeats)
            or any(check.mismatches for check in self.costs)
            or bool(self.budget.over)
        )


@dataclass(frozen=True)
class NotRun:
    """A planned run without a record."""

    run: str
    task: str
    method: str
    seed: int
    family: str | None
    lr: float | None
    lr_factor: float
    horizon: float
    repeat: int

    def part(self, catalogue: Catalogue) -> str:
        """The part of the protocol that it belongs to."""
        if self.horizon != 1.0:
            return "other budgets"
        if self.lr_factor != 1.0:
            return "start lrs"
        if self.repeat:
            return "repeats"
        method = catalogue.methods.get(self.method)
        default = method.lr_for(self.family) if method is not None and self.family is not None else None
        if self.lr is not None and default is not None and not same(self.lr, default):
            return "sweeps"
        return "plain runs"


def sanity(bench: Bench) -> Sanity:
    """Check the oracle grids, the repeats, the cost counters and the budgets."""
    inside = tuple(_inside(bench, task, kind) for task in bench.tasks() for kind in ORACLE_KINDS)
    repeats = _repeats(bench.all_runs)
    costs = tuple(_cost(name, runs) for name in bench.catalogue.methods if (runs := _countable(bench, name)))
    budget = _budget(bench)
    holds = (
        bool(inside and repeats and costs)
        and all(check.inside for check in inside)
        and all(check.equal for check in repeats)
        and not any(check.mismatches for check in costs)
        and not budget.over
    )
    return Sanity(inside, repeats, costs, budget, holds)


def _inside(bench: Bench, task: str, kind: str) -> InsideCheck:
    family = bench.catalogue.task(task).family()
    swept = sweep(bench, task, kind)
    return InsideCheck(
        task=task,
        family=family.kind,
        kind=kind,
        best_lr=swept.best[0] if swept.best else None,
        lowest=family.oracle_lrs[0],
        highest=family.oracle_lrs[-1],
        inside=swept.inside,
        reason=swept.reason,
    )


def _repeats(runs: Iterable[Run]) -> tuple[RepeatCheck, ...]:
    groups: dict[tuple[Any, ...], dict[int, Run]] = {}
    for run in runs:
        cell = (run.task, run.method, run.family, run.seed, run.lr, run.steps)
        groups.setdefault(cell, {})[run.repeat] = run
    return tuple(_repeat(list(group.values())) for group in groups.values() if len(group) > 1)


def _repeat(runs: list[Run]) -> RepeatCheck:
    first, digests = runs[0], {run.record["weights"] for run in runs}
    return RepeatCheck(first.task, first.method, first.seed, first.lr, len(runs), len(digests) == 1)


def _countable(bench: Bench, method: str) -> list[Run]:
    """A run that crashed may have done so between a pass and its declaration."""
    return [run for run in bench.all_runs if run.method == method and run.status != CRASHED]


def _cost(method: str, runs: list[Run]) -> CostCheck:
    wrong = [run for run in runs if run.record["declared"] != run.record["counted"]]
    return CostCheck(
        method=method,
        runs=len(runs),
        mismatches=len(wrong),
        tasks=tuple(dict.fromkeys(run.task for run in runs)),
        examples=tuple(_mismatch(run) for run in wrong[:EXAMPLES]),
    )


def _mismatch(run: Run) -> str:
    declared, counted = run.record["declared"], run.record["counted"]
    differences = (
        f"declared {declared.get(name)} {name}, counted {counted.get(name)}"
        for name in sorted({*declared, *counted})
        if declared.get(name) != counted.get(name)
    )
    return f"{run.task}, seed {run.seed}: {'; '.join(differences)}"


def _budget(bench: Bench) -> BudgetCheck:
    equal = [run for run in bench.all_runs if bench.catalogue.methods[run.method].equal_compute]
    finished = [run for run in equal if not run.failed]
    over = sorted((run for run in finished if run.compute > allowed(run.steps)), key=lambda run: -run.compute)
    return BudgetCheck(
        len(finished),
        len(over),
        sum(run.status == UNTRAINED for run in equal),
        tuple(f"{run.method} on {run.task}, seed {run.seed}: {run.compute:.4f}" for run in over[:EXAMPLES]),
    )


def allowed(steps: int) -> float:
    """Total compute ÷ a plain run's that still counts as equal: one plain step more, and rounding."""
    return 1.0 + 1.0 / steps + 1e-9


def not_run(expected: Mapping[str, Mapping[str, Any]], bench: Bench) -> tuple[NotRun, ...]:
    """What was planned and has no record.

    Args:
        expected: settings of jobs by their run, as ``catalogue.runs_of`` makes them.
        bench: all records.
    """
    done = {run.run for run in bench.all_runs}
    names = [each.name for each in fields(NotRun) if each.name != "run"]
    return tuple(
        NotRun(run=run, **{name: job[name] for name in names}) for run, job in expected.items() if run not in done
    )
