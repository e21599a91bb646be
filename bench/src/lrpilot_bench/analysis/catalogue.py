"""What the analysis must know of tasks and methods beside their records; plain data, free of torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lrpilot.errors import SettingError, unknown_name
from lrpilot_bench.store.schema import FINDER_GROUP, family_of

if TYPE_CHECKING:
    from lrpilot_bench.methods.method import Method
    from lrpilot_bench.protocol.jobs import Job
    from lrpilot_bench.tasks.task import Task


@dataclass(frozen=True)
class FamilyFacts:
    """One optimizer family of a task.

    Attributes:
        kind: "sgd" or "adamw".
        default: name of the method of somebody who does nothing about the lr.
        oracle_lrs: the grid of the oracle's sweep, natural units, ascending.
    """

    kind: str
    default: str
    oracle_lrs: tuple[float, ...]


@dataclass(frozen=True)
class TaskFacts:
    """One task; the attributes are those of :class:`lrpilot_bench.tasks.task.Task`.

    Attributes:
        side: "development" or "judging"; None of one that takes no part in the comparison.
    """

    name: str
    title: str
    families: tuple[FamilyFacts, ...]
    score_name: str = "accuracy"
    score_better: str = "higher"
    handmade: str = "cosine"
    remark: str = ""
    large: bool = False
    smoke: bool = False
    experiment: bool = False
    side: str | None = None

    def family(self, kind: str | None = None) -> FamilyFacts:
        """The family of that kind; the first where it is None.

        Raises:
            SettingError: the task has no such family.
        """
        return family_of(self.name, self.families, kind)


@dataclass(frozen=True)
class FinderFacts:
    """What a method that only picks an lr picks it for.

    Attributes:
        schedule: kind that the pick is meant for.
        suggestions: names among its suggestions that the finder table shows, its own pick first.
        own: whether it is lrpilot's.
    """

    schedule: str
    suggestions: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True)
class MethodFacts:
    """One method; the attributes are those of :class:`lrpilot_bench.methods.method.Method`.

    Attributes:
        finder: of a method that only picks an lr and trains nothing; None for all others.
    """

    name: str
    title: str
    group: str
    practice: str = ""
    lrs: Mapping[str, float] | None = None
    equal_compute: bool = True
    finder: FinderFacts | None = None

    @property
    def trains(self) -> bool:
        """Whether it trains anything; a finder alone does not."""
        return self.group != FINDER_GROUP

    def lr_for(self, kind: str) -> float | None:
        """Its documented default lr with a family of that kind; None for a method that takes no lr."""
        return None if self.lrs is None else self.lrs.get(kind)


@dataclass(frozen=True)
class Catalogue:
    """Tasks and methods by name, in the order of the tables."""

    tasks: Mapping[str, TaskFacts]
    methods: Mapping[str, MethodFacts]

    @property
    def compared(self) -> tuple[str, ...]:
        """Tasks that the comparison of methods is about; not those of the smoke run, of experiments, for a GPU."""
        return tuple(name for name, task in self.tasks.items() if not (task.large or task.smoke or task.experiment))

    def task(self, name: str) -> TaskFacts:
        """The task of that name.

        Raises:
            SettingError: there is none; the closest name is offered.
        """
        if name not in self.tasks:
            raise unknown_name("A benchmark task", name, self.tasks)
        return self.tasks[name]


def registered() -> Catalogue:
    """The catalogue of everything that is registered (loads torch)."""
    from lrpilot_bench.methods.registry import methods
    from lrpilot_bench.protocol.split import split_tasks
    from lrpilot_bench.tasks.registry import tasks

    sides = split_tasks(tasks().values())
    return Catalogue(
        {name: replace(task_facts(task), side=sides.get(name)) for name, task in tasks().items()},
        {name: method_facts(method) for name, method in methods().items()},
    )


def task_facts(task: "Task") -> TaskFacts:
    """What the analysis must know of a task."""
    return TaskFacts(
        task.name,
        task.title,
        tuple(FamilyFacts(family.kind, family.default, family.oracle_lrs) for family in task.families),
        task.score_name,
        task.score_better,
        task.handmade,
        task.remark,
        task.large and not task.experiment,  # of the comparison: what it lacks is listed
        task.smoke,
        task.experiment,
    )


def method_facts(method: "Method") -> MethodFacts:
    """What the analysis must know of a method."""
    finder = None
    if method.group == FINDER_GROUP:
        from lrpilot_bench.methods.pickers import PICKERS

        picker = PICKERS.get(method.settings.get("picker", ""))
        finder = None if picker is None else FinderFacts(picker.schedule, tuple(picker.rows), picker.own)
    return MethodFacts(
        method.name, method.title, method.group, method.practice, method.lrs, method.equal_compute, finder
    )


def runs_of(jobs: "Iterable[Job]") -> dict[str, dict[str, Any]]:
    """Settings of jobs by the run that they plan (loads torch): what ``not_run`` takes.

    A job that no run can be made of (a method that cannot train the family) is left out.
    """
    from lrpilot_bench.protocol.jobs import plan

    runs: dict[str, dict[str, Any]] = {}
    for job in jobs:
        try:
            planned = plan(job)
        except SettingError:
            continue
        runs.setdefault(planned.run, {**job.to_dict(), "family": planned.kind, "lr": planned.lr})
    return runs
