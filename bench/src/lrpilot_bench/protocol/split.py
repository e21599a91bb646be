"""The split of the tasks into development and judging ones: a rule, written down before any new task was there.

Choices are made by looking at development tasks alone; judging tasks are run once a version. The rule:

1. All tasks of the comparison take part: those that are neither ``smoke`` nor ``large`` nor ``experiment``.
2. A task's stratum is what it trains: pretrained weights; else fresh ones with a first optimizer family of SGD's kind
   or of Adam's kind.
3. The strata come in that order, and the tasks within one in the order of the sha256 of their names.
4. Along that order sides alternate within a stratum. A stratum begins with the side that has fewer tasks so far,
   development where both have as many. So the sides differ by one task at most.

Nothing but names and strata decides: neither results, nor the order in which tasks were written.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

from lrpilot.errors import SettingError
from lrpilot_bench.tasks.task import Task

Side = Literal["development", "judging"]
Stratum = Literal["pretrained", "sgd", "adam"]

SIDES: tuple[Side, Side] = ("development", "judging")
STRATA: tuple[Stratum, ...] = ("pretrained", "sgd", "adam")
OF_KIND: Mapping[str, Stratum] = {"sgd": "sgd", "plain_sgd": "sgd", "adamw": "adam", "adam": "adam"}


def sides(strata: Mapping[str, Stratum]) -> dict[str, Side]:
    """The side of every task, in the order of the rule.

    Args:
        strata: each task's stratum, by its name.

    Raises:
        SettingError: an unknown stratum.
    """
    for name, stratum in strata.items():
        if stratum not in STRATA:
            raise SettingError(f"The stratum of {name} must be one of {STRATA}, got {stratum!r}. Write one of these.")
    split: dict[str, Side] = {}
    for stratum in STRATA:
        first = _smaller(split.values())
        within = sorted((name for name in strata if strata[name] == stratum), key=_draw)
        split |= {name: SIDES[(first + i) % 2] for i, name in enumerate(within)}
    return split


def split_tasks(tasks: Iterable[Task]) -> dict[str, Side]:
    """The side of every task of the comparison, by name; what takes no part is left out."""
    return sides({task.name: stratum(task) for task in tasks if takes_part(task)})


def takes_part(task: Task) -> bool:
    """Whether the task is one of the comparison."""
    return not (task.smoke or task.large or task.experiment)


def stratum(task: Task) -> Stratum:
    """What the task trains."""
    return "pretrained" if task.pretrained else OF_KIND[task.families[0].kind]


def _smaller(split: Iterable[Side]) -> int:
    """Number of the side that has fewer tasks."""
    taken = list(split)
    return int(taken.count(SIDES[0]) > taken.count(SIDES[1]))


def _draw(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
