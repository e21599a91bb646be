"""The protocol as lists of jobs: which runs the benchmark wants, in which order, given what is on record.

A suite is a pure function of its scope and of the records so far. The runner asks it again after every
run, until it wants nothing that is missing; so a suite may want more once something is known (the winner of
a sweep on further seeds). Order is priority: what comes first is run first.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from lrpilot.errors import unknown_name
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.readouts import READOUTS
from lrpilot_bench.methods.registry import get_method, methods
from lrpilot_bench.protocol import autopilot as pilot
from lrpilot_bench.protocol.experiments import autolrs_jobs, lr_tuner_jobs, weighted_factors_jobs
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.protocol.winners import Lookup, best_of, final_loss
from lrpilot_bench.store.schema import LR_FACTORS, ORACLE_KINDS, REFERENCE_KINDS
from lrpilot_bench.tasks.registry import get_task, tasks
from lrpilot_bench.tasks.task import OptimizerFamily, Task

ORACLE_SEEDS = (0, 1, 2, 3, 4)
SEEDS = (0, 1, 2)
FURTHER_FACTORS = tuple(factor for factor in LR_FACTORS if factor != 1)  # 1 is the suite of methods
HORIZONS = (0.25, 1.0, 4.0)
HORIZON_TASKS = ("fashion_plain", "diamonds")
HORIZON_METHODS = ("find_decay_linear", "schedule_free", "prodigy_cosine", "linear")
SANITY_METHOD = "linear"
SMOKE_TASK = "digits"
SMOKE_METHODS = ("linear", "adamw_constant", "find_decay_linear_free", "find_decay_linear", "cosine", "constant")
SMOKE_SEEDS = (0, 1)

RUN_ORDER = ("lrpilot", "default", "peer", "finder", "schedule", "ablation")  # of groups of methods


@dataclass(frozen=True)
class Scope:
    """What part of the benchmark is asked for.

    Attributes:
        tasks: in order.
        methods: in order of their running; what a suite is made of besides (a sweep) is left out too where
            its method is not among them.
        seeds: in place of every suite's own; None for these.
        named: whether the tasks were asked for by name.
        family: kind of the optimizer; None for every task's first.
    """

    tasks: tuple[Task, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...] | None = None
    named: bool = False
    family: str | None = None

    @property
    def judged(self) -> tuple[Task, ...]:
        """The tasks of every suite but the smoke run and experiments, whose tasks join only where they are named."""
        return tuple(task for task in self.tasks if self.named or not (task.smoke or task.experiment))

    def has_method(self, name: str) -> bool:
        """Whether the method is asked for."""
        return any(method.name == name for method in self.methods)

    def job(self, task: Task, method: str, **numbers: Any) -> Job:
        """A job with the optimizer family that is asked for."""
        return Job(task.name, method, family=self.family, **numbers)


def scope(
    *,
    task_names: Sequence[str] = (),
    method_names: Sequence[str] = (),
    seeds: Sequence[int] = (),
    large: bool = False,
    family: str | None = None,
) -> Scope:
    """The part of the benchmark that is named; all of it where nothing is.

    Args:
        task_names: tasks; one that is made for a GPU may be named without ``large``.
        method_names: methods.
        seeds: in place of every suite's own.
        large: tasks that are made for a GPU too.
        family: kind of the optimizer; None for every task's first. Jobs of tasks that lack it are refused.

    Raises:
        SettingError: an unknown name; the closest one is offered.
    """
    chosen_tasks = [get_task(name) for name in task_names] or [t for t in tasks().values() if large or not t.large]
    chosen_methods = [get_method(name) for name in method_names] or list(methods().values())
    kinds = {one.kind for task in tasks().values() for one in task.families}
    if family is not None and family not in kinds:
        raise unknown_name("An optimizer family", family, kinds)
    chosen_methods.sort(key=lambda method: (RUN_ORDER.index(method.group), not method.equal_compute))
    return Scope(
        _once(chosen_tasks),
        _once(chosen_methods),
        tuple(dict.fromkeys(seeds)) or None,
        named=bool(task_names),
        family=family,
    )


def _once(entries: Sequence[Any]) -> tuple[Any, ...]:
    return tuple({entry.name: entry for entry in entries}.values())


# ---------------------------------------------------------------------- the oracle


def sweep(task: Task, method: str, *, horizon: float = 1.0, family: str | None = None) -> list[Job]:
    """A method over the grid of lrs of an optimizer family (the first where it is None), at seed 0.

    For a task that lacks the family it is one job, which is refused with the reason.
    """
    job = Job(task.name, method, family=family, horizon=horizon)
    chosen = _family(task, family)
    return [job] if chosen is None else [replace(job, lr=lr) for lr in chosen.oracle_lrs]


def _family(task: Task, kind: str | None) -> OptimizerFamily | None:
    return next((family for family in task.families if kind in (None, family.kind)), None)


def oracle_sweep(task: Task, *, family: str | None = None) -> list[Job]:
    """The full-budget sweep whose best point is the oracle: 11 peak lrs of 3 schedules."""
    return [job for method in ORACLE_KINDS for job in sweep(task, method, family=family)]


def oracle(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """For every task the sweep, then its best point on further seeds."""
    for task in within.judged:
        jobs = oracle_sweep(task, family=within.family)
        yield from jobs
        best = best_of(jobs, lookup)
        if best is not None:
            yield from (replace(best, seed=seed) for seed in within.seeds or ORACLE_SEEDS)


def references(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """Sweeps of the other schedules that finders are meant for, and those schedules at picks no sweep can judge."""
    for method in REFERENCE_KINDS:
        for task in within.judged:
            yield from sweep(task, method, family=within.family)
    finders = [method for method in methods().values() if method.group == "finder"]
    for seed in within.seeds or SEEDS:
        for finder in finders:
            for task in within.judged:
                record = lookup(within.job(task, finder.name, seed=seed))
                notes = {} if record is None else record.get("notes") or {}
                yield from _unjudged(task, within.family, notes, lookup)


def _unjudged(task: Task, family: str | None, notes: Mapping[str, Any], lookup: Lookup) -> Iterator[Job]:
    """The schedule that a finder is meant for, at those of its suggestions that no sweep can judge."""
    suggestions = notes.get("suggestions") or {}
    for lr in [notes.get("picked_lr"), *(suggestions.get(row) for row in notes.get("rows", ()))]:
        if lr is None or not 0 < lr < math.inf:
            continue
        if not _interpolable(sweep(task, notes["schedule"], family=family), lr, lookup):
            yield Job(task.name, notes["schedule"], family=family, lr=float(f"{lr:.6g}"))


def _interpolable(swept: Sequence[Job], lr: float, lookup: Lookup) -> bool:
    """Whether the lr lies in the grid, and not between a run that finished and one that failed."""
    lrs = [job.lr or 0.0 for job in swept]
    above = bisect_left(lrs, lr)
    if above == len(lrs) or (above == 0 and lr < lrs[0]):
        return False
    records = [lookup(job) for job in swept[max(0, above - 1) : above + 1]]
    return len({math.isfinite(final_loss(record)) for record in records if record is not None}) < 2


# ---------------------------------------------------------------------- the other suites


def readouts(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """The oracle's own runs, judged by averages of their weights: what an average gives to one who knows the lr."""
    for task in within.judged:
        best = best_of(oracle_sweep(task, family=within.family), lookup)
        if best is not None:
            for seed in within.seeds or ORACLE_SEEDS:
                yield from (replace(best, method=f"{best.method}_{name}", seed=seed) for name in READOUTS)


def every_method(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """Every method on every task, one seed of all before the next; hand-made schedules after everything else."""
    schedules = [method for method in within.methods if method.group == "schedule"]
    others = [method for method in within.methods if method.group not in ("schedule", "ablation")]
    for some in (others, schedules):
        for seed in within.seeds or SEEDS:
            for method in some:
                yield from (within.job(task, method.name, seed=seed) for task in within.judged)


def start_lr(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """What takes an lr, far below and far above its default: defaults, peers, ours, and the linear schedule."""
    groups = ("default", "peer", "lrpilot")
    for seed in within.seeds or SEEDS:
        for method in within.methods:
            if method.lrs is None or not method.equal_compute:
                continue
            if method.group not in groups and method.name != "linear":
                continue
            for factor in FURTHER_FACTORS:
                yield from (within.job(task, method.name, seed=seed, lr_factor=factor) for task in within.judged)


def horizon(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """A quarter and four times the budget: some methods on two tasks, and a linear sweep to judge them."""
    chosen = [task for task in within.judged if task.name in HORIZON_TASKS]
    for length in HORIZONS:
        for task in chosen:
            jobs = sweep(task, "linear", horizon=length, family=within.family)
            yield from jobs
            best = best_of(jobs, lookup)
            if best is not None:
                yield from (replace(best, seed=seed) for seed in within.seeds or SEEDS)
            family = _family(task, within.family)
            names = dict.fromkeys((*HORIZON_METHODS, *(() if family is None else (family.default,))))
            for seed in within.seeds or SEEDS:
                yield from (within.job(task, n, seed=seed, horizon=length) for n in names if n in methods())


def sanity(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """The same run twice, which must agree bit for bit."""
    for repeat in (0, 1):
        yield from (within.job(task, SANITY_METHOD, repeat=repeat) for task in within.judged)


def smoke(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """Three methods on two seeds of digits, and a sweep to judge them, its best point on both seeds."""
    task = get_task(SMOKE_TASK)
    if task not in within.tasks:
        return
    names = [name for name in SMOKE_METHODS if name in methods()][:3]
    seeds = within.seeds or SMOKE_SEEDS
    yield from (within.job(task, name, seed=seed) for seed in seeds for name in names)
    jobs = sweep(task, "linear", family=within.family)
    yield from jobs
    best = best_of(jobs, lookup)
    if best is not None:
        yield from (replace(best, seed=seed) for seed in seeds)


def _experiment(jobs: Iterable[Job], within: Scope) -> Iterator[Job]:
    """Of an experiment's jobs those of the tasks in scope, in the family that is asked for if there is one."""
    names = {task.name for task in within.tasks}
    for job in jobs:
        if job.task in names and within.family in (None, get_task(job.task).family(job.family).kind):
            yield job


def lr_tuner(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """The experiments of LRTuner."""
    return _experiment(lr_tuner_jobs(within.seeds or SEEDS), within)


def weighted_factors(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """The experiments of loss-weighted factors."""
    return _experiment(weighted_factors_jobs(within.seeds or SEEDS), within)


def autolrs(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """The experiment of AutoLRS."""
    return _experiment(autolrs_jobs(within.seeds or SEEDS, lookup), within)


def _in_family(jobs: Iterable[Job], within: Scope) -> Iterator[Job]:
    return (job if job.family is not None else replace(job, family=within.family) for job in jobs)


def _winners(some: Iterable[Task], within: Scope, lookup: Lookup) -> dict[str, Job | None]:
    """The best of every task's sweep; None while a point of it has no record, and where a task lacks the family."""
    found: dict[str, Job | None] = {}
    for task in some:
        has_family = _family(task, within.family) is not None
        found[task.name] = best_of(oracle_sweep(task, family=within.family), lookup) if has_family else None
    return found


def autopilot(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """Autopilot, each of its arms forced, its opponents, and the oracle's winner; development tasks first."""
    some = within.judged
    return _in_family(pilot.compared_jobs(some, within.seeds or pilot.SEEDS, _winners(some, within, lookup)), within)


def autopilot_ablations(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """What each part of Autopilot is worth, on development tasks; on others where they are named."""
    some = [task for task in within.judged if within.named or pilot.side_of(task) == "development"]
    seeds = within.seeds or pilot.FEWER_SEEDS
    return _in_family(pilot.ablation_jobs(some, seeds, _winners(some, within, lookup)), within)


def autopilot_robust(within: Scope, lookup: Lookup) -> Iterator[Job]:
    """Autopilot from other start lrs, then with other budgets beside the oracle's schedule swept anew there."""
    some, seeds = within.judged, within.seeds or pilot.FEWER_SEEDS
    yield from _in_family(pilot.start_jobs(some, seeds), within)
    yield from _in_family(pilot.horizon_jobs(some, seeds, _winners(some, within, lookup), lookup), within)


@dataclass(frozen=True)
class Suite:
    """A part of the protocol.

    Attributes:
        name: as typed in a terminal.
        title: what it answers, one line.
        wants: its jobs, given the scope and the records so far.
        grows: whether it wants more once the best of a sweep is known.
    """

    name: str
    title: str
    wants: Callable[[Scope, Lookup], Iterator[Job]]
    grows: bool = False


_SUITES = (
    Suite(
        "oracle", "the best that a sweep of 11 lrs and 3 schedules finds, on five seeds: the bar", oracle, grows=True
    ),
    Suite("methods", "every method on every task, three seeds", every_method),
    Suite(
        "references",
        "the schedules that finders of other lrs are meant for, over the same grid",
        references,
        grows=True,
    ),
    Suite(
        "readouts",
        "the oracle's runs again, judged by three averages of their weights, on five seeds",
        readouts,
        grows=True,
    ),
    Suite("sanity", "a plain run twice, which must agree bit for bit", sanity),
    Suite("start_lr", "what takes an lr, at 1/30 and 30 times its default", start_lr),
    Suite("horizon", "a quarter and four times the budget on two tasks", horizon, grows=True),
    Suite("lr_tuner", "experiments: AutoLR's Tables 2, 12 and 14, and steps beyond the minimiser", lr_tuner),
    Suite("weighted_factors", "experiments: the shape of its paper's table and figures", weighted_factors),
    Suite(
        "autolrs", "experiments: AutoLRS against tuned schedules, in trainings four times as long", autolrs, grows=True
    ),
    Suite(
        "autopilot",
        "Autopilot, its arms forced, its opponents and the oracle's winner: five seeds, development tasks first",
        autopilot,
        grows=True,
    ),
    Suite(
        "autopilot_ablations",
        "experiments: Autopilot without its search or its branches, with other averages, and at the oracle's lr",
        autopilot_ablations,
        grows=True,
    ),
    Suite(
        "autopilot_robust",
        "Autopilot from 1/30 and 30 times the start lr, and with a quarter and four times the budget",
        autopilot_robust,
        grows=True,
    ),
    Suite(
        "smoke",
        "does it all work? three methods on digits, two seeds, and the sweep of 11 lrs that judges them",
        smoke,
        grows=True,
    ),
)
SUITES = {suite.name: suite for suite in _SUITES}
ALL = "all"  # of these, in this order: what the report is made from; experiments are named
ALL_OF = ("oracle", "sanity", "methods", "start_lr", "references", "horizon")


def suites(names: Sequence[str]) -> tuple[Suite, ...]:
    """The suites of these names; "all" stands for all but the smoke run and the experiments.

    Raises:
        SettingError: an unknown name; the closest one is offered.
    """
    for name in names:
        if name not in (*SUITES, ALL):
            raise unknown_name("A benchmark suite", name, (*SUITES, ALL))
    expanded = chain.from_iterable(ALL_OF if name == ALL else (name,) for name in names)
    return tuple(SUITES[name] for name in dict.fromkeys(expanded))


def wanted(chosen: Sequence[Suite], within: Scope, lookup: Lookup) -> list[Job]:
    """What the suites want, in order, of the methods in scope."""
    return [job for suite in chosen for job in suite.wants(within, lookup) if within.has_method(job.method)]
