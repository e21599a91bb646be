"""Records, read: which of them count, and finding those of a task, a method, a start lr, a horizon."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lrpilot_bench.analysis.catalogue import Catalogue
from lrpilot_bench.store.schema import FINISHED, NO_BETTER, ending, unfit

SAME = 1e-4  # relative: lrs and factors are recorded with six digits


@dataclass(frozen=True)
class Run:
    """One record, as the analysis reads it.

    Attributes:
        run: identity.
        loss: final validation loss; inf where the run failed.
        score: final validation score; None where the run failed.
        test_loss: inf where the run failed.
        test_score: None where the run failed.
        lr: started from, natural units; None for a method that takes none.
        lr_factor: ``lr`` ÷ the method's default; 1 where it takes none.
        steps: budget in plain training steps.
        status: how it ended, as :func:`lrpilot_bench.store.schema.ending` says.
        compute: total ÷ a plain run.
        record: everything, as recorded.
    """

    run: str
    task: str
    method: str
    family: str
    seed: int
    lr: float | None
    lr_factor: float
    horizon: float
    repeat: int
    steps: int
    status: str
    error: str | None
    loss: float
    score: float | None
    test_loss: float
    test_score: float | None
    compute: float
    seconds: float
    record: Mapping[str, Any]

    @property
    def failed(self) -> bool:
        """Whether it ended in any other way than finished; its loss then counts as infinite."""
        return self.status != FINISHED

    @property
    def worsening(self) -> float | None:
        """Final ÷ initial validation loss of a run that ended no better than untrained; None of any other."""
        initial = next(iter(self.curve["val_loss"]), None)
        if self.status != NO_BETTER or initial is None or initial <= 0.0:
            return None
        return float(self.record["final"]["val_loss"]) / float(initial)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What the method noted."""
        notes: Mapping[str, Any] = self.record.get("notes") or {}
        return notes

    @property
    def curve(self) -> Mapping[str, list[Any]]:
        """Lists by name: steps, compute, val_loss, val_score, train_loss, lr; None where not finite."""
        curve: Mapping[str, list[Any]] = self.record["curve"]
        return curve


@dataclass(frozen=True)
class LeftOut:
    """A record that does not count, and why."""

    run: str
    task: str
    method: str
    reason: str


@dataclass(frozen=True)
class Bench:
    """All runs that count.

    Attributes:
        catalogue: what the tasks and methods are.
        all_runs: repeats included, in the order of the records.
        left_out: records that do not count.
    """

    catalogue: Catalogue
    all_runs: tuple[Run, ...]
    left_out: tuple[LeftOut, ...] = ()

    @cached_property
    def _by_method(self) -> dict[tuple[str, str, str], list[Run]]:
        found: dict[tuple[str, str, str], list[Run]] = {}
        for run in self.all_runs:
            found.setdefault((run.task, run.method, run.family), []).append(run)
        return found

    def tasks(self) -> tuple[str, ...]:
        """Tasks that have a run, in the catalogue's order."""
        seen = {run.task for run in self.all_runs}
        return tuple(name for name in self.catalogue.tasks if name in seen)

    def methods(self, task: str, *, family: str | None = None) -> tuple[str, ...]:
        """Methods with a plain run (start-lr factor 1, horizon 1) of a task, in the catalogue's order."""
        return tuple(name for name in self.catalogue.methods if self.runs(task, name, family=family))

    def every(self, task: str, method: str, *, family: str | None = None) -> tuple[Run, ...]:
        """All runs of a method on a task: every start lr, horizon and repeat.

        Args:
            task: its name.
            method: its name.
            family: kind of the optimizer; None for the task's first.
        """
        kind = self.catalogue.task(task).family(family).kind
        return tuple(self._by_method.get((task, method, kind), ()))

    def runs(
        self,
        task: str,
        method: str,
        *,
        family: str | None = None,
        lr_factor: float = 1.0,
        lr: float | None = None,
        horizon: float = 1.0,
    ) -> dict[int, Run]:
        """Runs by seed, ascending, first repeats only.

        Args:
            task: its name.
            method: its name.
            family: kind of the optimizer; None for the task's first.
            lr_factor: of the start lr; not looked at where ``lr`` is given.
            lr: that it started from, natural units, instead.
            horizon: of the budget.
        """

        def wanted(run: Run) -> bool:
            started = same(run.lr_factor, lr_factor) if lr is None else run.lr is not None and same(run.lr, lr)
            return started and same(run.horizon, horizon) and run.repeat == 0

        chosen = [run for run in self.every(task, method, family=family) if wanted(run)]
        return {run.seed: run for run in sorted(chosen, key=lambda run: run.seed)}


def same(a: float, b: float) -> bool:
    """Whether two lrs, factors or horizons are one, but for the rounding of records."""
    return math.isclose(a, b, rel_tol=SAME)


def load(
    records: Iterable[Mapping[str, Any]],
    catalogue: Catalogue,
    *,
    current_run: Callable[[Mapping[str, Any]], str | None] | None = None,
) -> Bench:
    """Read records; of a run that was recorded twice the newest counts.

    Args:
        records: in the order of their file, oldest first.
        catalogue: records of tasks and methods that it lacks are left out.
        current_run: what run a record's job would be today (``jobs.run_of``); records of other
            runs, made by an earlier version of their task or method, are left out. None keeps, of each
            method on each task, the newest version and settings, and of each job the newest run.
    """
    read: list[Run] = []
    left_out: list[LeftOut] = []
    for record in records:
        reason = _unfit(record, catalogue)
        if reason is None and current_run is not None and current_run(record) != record["run"]:
            reason = "made by an earlier version of its task or method"
        if reason is None:
            read.append(_run(record, catalogue))
        else:
            left_out.append(_left_out(record, reason))
    if current_run is None:
        read = _newest(read, left_out, _method_key, _version, "made by an earlier version of its method")
    read = _newest(read, left_out, _cell, lambda run: (id(run),), "recorded again later")
    return Bench(catalogue, tuple(read), tuple(left_out))


def _unfit(record: Mapping[str, Any], catalogue: Catalogue) -> str | None:
    reason = unfit(record)
    if reason is not None:
        return reason
    task = catalogue.tasks.get(record["task"])
    if task is None:
        return "its task is not registered"
    if record["method"] not in catalogue.methods:
        return "its method is not registered"
    if record["family"] not in {family.kind for family in task.families}:
        return "its task has no such optimizer family"
    return None


def _left_out(record: Mapping[str, Any], reason: str) -> LeftOut:
    return LeftOut(str(record.get("run", "")), str(record.get("task", "")), str(record.get("method", "")), reason)


def _run(record: Mapping[str, Any], catalogue: Catalogue) -> Run:
    method, final = catalogue.methods[record["method"]], record["final"]
    status = ending(record, trains=method.trains)
    failed = status != FINISHED
    default = method.lr_for(record["family"])
    return Run(
        run=record["run"],
        task=record["task"],
        method=record["method"],
        family=record["family"],
        seed=record["seed"],
        lr=record["lr"],
        lr_factor=_factor(record["lr"], default, record["lr_factor"]),
        horizon=record["horizon"],
        repeat=record["repeat"],
        steps=record["steps"],
        status=status,
        error=record.get("error"),
        loss=math.inf if failed else _or_inf(final["val_loss"]),
        score=None if failed else final["val_score"],
        test_loss=math.inf if failed else _or_inf(final["test_loss"]),
        test_score=None if failed else final["test_score"],
        compute=record["compute"],
        seconds=record["seconds"],
        record=record,
    )


def _or_inf(loss: float | None) -> float:
    return math.inf if loss is None else loss


def _factor(lr: float | None, default: float | None, recorded: float) -> float:
    """By the lr itself: a sweep that came by the default lr has made the plain run, and the other way round."""
    if lr is None or default is None:
        return recorded
    return recorded if same(lr, default * recorded) else lr / default


def _method_key(run: Run) -> tuple[Any, ...]:
    return run.task, run.method, run.family


def _version(run: Run) -> tuple[Any, ...]:
    return run.record["version"], json.dumps(run.record["settings"], sort_keys=True)


def _cell(run: Run) -> tuple[Any, ...]:
    return run.task, run.method, run.family, run.seed, run.lr, run.steps, run.repeat


def _newest(
    runs: list[Run],
    left_out: list[LeftOut],
    group: Callable[[Run], tuple[Any, ...]],
    edition: Callable[[Run], tuple[Any, ...]],
    reason: str,
) -> list[Run]:
    """The runs of each group that are of the edition of its last one; the others join ``left_out``."""
    newest = {group(run): edition(run) for run in runs}
    kept = [run for run in runs if edition(run) == newest[group(run)]]
    left_out += [_left_out(run.record, reason) for run in runs if edition(run) != newest[group(run)]]
    return kept
