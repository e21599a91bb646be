"""Plugins: tasks and methods of a user's own in the benchmark, beside its own and without a change to it.

A plugin is an importable module with a sequence ``TASKS`` or ``METHODS`` or both, of
:class:`lrpilot_bench.tasks.task.Task` and :class:`lrpilot_bench.methods.method.Method`::

    # my_methods.py
    def fly_half(session):
        fly_loop(session, session.optimizer(session.lr / 2))

    METHODS = (
        Method(
            name="half",
            title="half the default lr",
            fly=fly_half,
            practice="mine",
            group="peer",
            lrs={"sgd": 0.1, "adamw": 1e-3},
        ),
    )

and is named to a command of the benchmark: ``lrpilot bench run --plugin my_methods --method half``, or to all of them
in the environment variable below, which is also how worker processes get to know of it. An installed distribution
names its own for good, by an entry point::

    [project.entry-points."lrpilot_bench.plugins"]
    mine = "my_methods"
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from traceback import extract_tb
from types import ModuleType
from typing import Any, TypeVar

from lrpilot.errors import LRPilotError, SettingError, unknown_name

Entry = TypeVar("Entry")

PLUGINS_GROUP = "lrpilot_bench.plugins"  # entry points of installed distributions
PLUGINS_VARIABLE = "LRPILOT_BENCH_PLUGINS"  # importable modules, separated by commas
NAMES = ("TASKS", "METHODS")


def plugins() -> tuple[str, ...]:
    """The modules that the benchmark takes tasks and methods from beside its own, each once: installed, then named."""
    return tuple(dict.fromkeys((*_installed(tuple(sys.path)), *named_plugins())))


@cache
def _installed(path: tuple[str, ...]) -> tuple[str, ...]:
    """Of the distributions on this path, which is the present one: it is asked for at every look-up of a name."""
    return tuple(sorted(entry.module for entry in entry_points(group=PLUGINS_GROUP)))


def named_plugins() -> tuple[str, ...]:
    """Those that the environment names: what another process must be told of."""
    return tuple(name.strip() for name in os.environ.get(PLUGINS_VARIABLE, "").split(",") if name.strip())


def use_plugins(names: Sequence[str]) -> None:
    """Take tasks and methods from these modules too, in this process and in those it starts.

    Args:
        names: importable modules, each with a sequence ``TASKS`` or ``METHODS`` or both.

    Raises:
        SettingError: one cannot be imported, or has neither.
    """
    for name in names:
        if not any(hasattr(load_plugin(name), part) for part in NAMES):
            raise SettingError(f"A plugin must have TASKS or METHODS, got {name!r} with neither. Add one of them.")
    os.environ[PLUGINS_VARIABLE] = ",".join(dict.fromkeys((*named_plugins(), *names)))


def load_plugin(name: str) -> ModuleType:
    """Import a plugin.

    Raises:
        SettingError: there is no such module, or it raises an error; one of lrpilot's own kinds passes through, and so
            does any of the benchmark's own modules.
    """
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SettingError(
            f"A plugin must be an importable module, got {name!r}. "
            "Write it as in an import (my_package.my_tasks), and install it or start in its folder."
        )
    try:
        return import_module(name)
    except LRPilotError:
        raise
    except Exception as error:
        if name.startswith(f"{__package__}."):
            raise  # no plugin: a defect of ours, to be seen in full
        raise SettingError(
            f"The plugin {name!r} cannot be imported: {type(error).__name__}: {error}{_where(error, spec.origin)}. "
            "For the traceback run 'lrpilot --debug ...'."
        ) from error


def _where(error: Exception, file: str | None) -> str:
    """The line of the plugin that the error came through; a syntax error names its own."""
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    return f" (line {lines[-1]})" if lines and not isinstance(error, SyntaxError) else ""


@cache
def _collected(modules: tuple[str, ...], part: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for module in modules:
        for entry in getattr(load_plugin(module), part, ()):
            if entry.name in found:
                raise SettingError(
                    f"Names of the benchmark's {part.lower()} must be unique, got {entry.name!r} twice. Rename one."
                )
            found[entry.name] = entry
    return found


def named(entries: Mapping[str, Entry], what: str, name: str, *, listing: str) -> Entry:
    """The entry of that name.

    Args:
        entries: by name.
        what: kind of entry, for the message ("A benchmark task").
        name: as typed.
        listing: command that lists the entries.

    Raises:
        SettingError: there is none; the closest names are offered.
    """
    if name not in entries:
        raise unknown_name(what, name, entries, listing=listing)
    return entries[name]


def collected(own: Iterable[str], part: str) -> dict[str, Any]:
    """Every entry of ``TASKS`` or ``METHODS`` by name: of the benchmark's own modules, then of the plugins.

    Raises:
        SettingError: two entries have one name.
    """
    return _collected((*own, *plugins()), part)
