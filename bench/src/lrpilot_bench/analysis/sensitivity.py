"""How much of a ranking hangs on a single task, or on a single seed of one: a failed run makes a mean infinite."""

from collections.abc import Sequence
from dataclasses import dataclass

from lrpilot_bench.analysis.compare import Headline, Rows, headlines
from lrpilot_bench.analysis.rows import Failure, MethodRow


@dataclass(frozen=True)
class LoneFailures:
    """Methods whose only failed run is of one seed of one task: it alone makes their mean regret infinite.

    Attributes:
        task: its name.
        seed: of the run.
        methods: names.
        failures: theirs, in the same order.
    """

    task: str
    seed: int
    methods: tuple[str, ...]
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Without:
    """The best method with one task left out.

    Attributes:
        task: the one left out.
        method: of the smallest finite mean regret over the others; None where none has one.
        title: how tables call it.
        regret: its mean.
    """

    task: str
    method: str | None
    title: str
    regret: float | None


@dataclass(frozen=True)
class Sensitivity:
    """What decides the ranking of the methods at equal compute that were run on every task.

    Attributes:
        best: the method of the smallest finite mean regret; None where none has one.
        failed: number of methods with a failed run.
        lone: groups of methods that failed once, at the same seed of the same task; the largest group first.
        without: the best with each task left out; nothing where there is one task.
        unlucky: those behind ``best`` for their failed runs only: their mean over the seeds that finished, on
            every task, is smaller; smallest first.
    """

    best: Headline | None
    failed: int
    lone: tuple[LoneFailures, ...]
    without: tuple[Without, ...]
    unlucky: tuple[Headline, ...]

    @property
    def deciding(self) -> tuple[Without, ...]:
        """Tasks without which another method would be the best."""
        return tuple(left for left in self.without if self.best is None or left.method != self.best.method)


def sensitivity(rows: Rows) -> Sensitivity:
    """Leave out one task at a time, and the failed runs.

    Args:
        rows: of every task, as ``all_rows`` makes them.
    """
    heads = headlines(rows) if rows else ()
    ranked = [head for head in heads if head.everywhere]
    best = _best(ranked)
    names = {head.method for head in ranked}
    return Sensitivity(
        best=best,
        failed=sum(head.failures > 0 for head in ranked),
        lone=_lone(rows, names),
        without=tuple(_without(rows, task, names) for task in rows) if len(rows) > 1 else (),
        unlucky=tuple(head for head in ranked if _unlucky(head, best, len(rows))),
    )


def failed_runs(rows: Rows, method: str) -> tuple[tuple[str, Failure], ...]:
    """(task, failure) of every failed run of a method."""
    own: Sequence[tuple[str, MethodRow]] = [(t, row) for t, of in rows.items() for row in of if row.method == method]
    return tuple((task, failure) for task, row in own for failure in row.failures)


def _best(ranked: Sequence[Headline]) -> Headline | None:
    return next((head for head in ranked if head.finite_regret is not None), None)


def _unlucky(head: Headline, best: Headline | None, tasks: int) -> bool:
    """A mean over fewer tasks would be another quantity: where all seeds failed, nothing stands in for the task."""
    if not head.failures or head.finished_regret is None or head.finished_tasks < tasks:
        return False
    return best is None or best.regret is None or head.finished_regret < best.regret


def _lone(rows: Rows, names: set[str]) -> tuple[LoneFailures, ...]:
    groups: dict[tuple[str, int], list[tuple[str, Failure]]] = {}
    for method in dict.fromkeys(row.method for of in rows.values() for row in of if row.method in names):
        failed = failed_runs(rows, method)
        if len(failed) == 1:
            ((task, failure),) = failed
            groups.setdefault((task, failure.seed), []).append((method, failure))
    found = [
        LoneFailures(task, seed, tuple(name for name, _ in of), tuple(failure for _, failure in of))
        for (task, seed), of in groups.items()
    ]
    return tuple(sorted(found, key=lambda group: -len(group.methods)))


def _without(rows: Rows, task: str, names: set[str]) -> Without:
    heads = headlines({name: of for name, of in rows.items() if name != task})
    best = _best([head for head in heads if head.method in names and head.everywhere])
    return Without(task, None, "", None) if best is None else Without(task, best.method, best.title, best.regret)
