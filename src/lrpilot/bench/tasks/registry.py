"""Tasks by name. A task joins by its file's ``TASKS``, a file by its name here."""

from functools import cache
from importlib import import_module

from lrpilot.bench.tasks.task import Task
from lrpilot.core.names import unknown_name

# In the order of the tables.
FILES = ("digits",)


@cache
def tasks() -> dict[str, Task]:
    """Every task, large ones too, by name."""
    found: dict[str, Task] = {}
    for file in FILES:
        for task in import_module(f"lrpilot.bench.tasks.{file}").TASKS:
            assert task.name not in found, f"two tasks are called {task.name!r}"
            found[task.name] = task
    return found


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        SettingError: there is none; the closest names are offered.
    """
    if name not in tasks():
        raise unknown_name("A benchmark task", name, sorted(tasks()))
    return tasks()[name]
