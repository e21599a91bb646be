"""Options that the commands of the benchmark share, and what they ask for."""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrpilot.cli.report import note
from lrpilot.errors import SettingError

if TYPE_CHECKING:
    from lrpilot_bench.protocol.ledger import Refusal
    from lrpilot_bench.protocol.wanted import Scope, Suite

RECORDS = Path("bench/records/bench.jsonl")
DEVICE_KINDS = ("cpu", "cuda", "mps")

SuiteNames = Annotated[
    list[str] | None,
    typer.Option("--suite", metavar="NAME", help="Part of the benchmark; repeatable.", show_default="all"),
]
TaskNames = Annotated[list[str] | None, typer.Option("--task", metavar="NAME", help="Only this task; repeatable.")]
MethodNames = Annotated[
    list[str] | None, typer.Option("--method", metavar="NAME", help="Only this method; repeatable.")
]
SeedTexts = Annotated[
    list[str] | None,
    typer.Option(
        "--seeds",
        metavar="0-4",
        help="Seed numbers, not how many: 3, or 0-4; repeatable.",
        show_default="the suites' own",
    ),
]
Large = Annotated[bool, typer.Option("--large", help="Tasks made for a GPU, too.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="Importable module with TASKS or METHODS of your own; repeatable."),
]
Records = Annotated[Path, typer.Option("--records", metavar="FILE", help="File of records; it is added to.")]
ReadRecords = Annotated[Path, typer.Option("--records", metavar="FILE", help="File of records.")]
Processes = Annotated[
    int | None, typer.Option("--processes", metavar="N", min=1, help="Runs at a time.", show_default="one a core")
]
Family = Annotated[
    str | None,
    typer.Option(
        "--family",
        metavar="KIND",
        help="Optimizer family: sgd, adamw (of experiments also plain_sgd, adam).",
        show_default="each task's first",
    ),
]
RayAddress = Annotated[
    str | None, typer.Option("--ray", metavar="ADDRESS", help="Run on a Ray cluster: auto, ray://HOST:PORT, local:2.")
]
Device = Annotated[str, typer.Option("--device", metavar="DEVICE", help="Where models train: cpu, cuda, cuda:1, mps.")]


def asked(
    suite: Sequence[str] | None,
    task: Sequence[str] | None,
    method: Sequence[str] | None,
    seeds: Sequence[str] | None,
    *,
    large: bool,
    plugin: Sequence[str] | None,
    family: str | None = None,
) -> "tuple[tuple[Suite, ...], Scope]":
    """The suites and the scope that were asked for, with plugins loaded.

    Raises:
        SettingError: an unknown name, or seeds that cannot be read.
    """
    load_plugins(plugin)
    from lrpilot_bench.protocol.wanted import scope, suites

    numbers = [number for text in seeds or () for number in parse_seeds(text)]
    within = scope(task_names=task or (), method_names=method or (), seeds=numbers, large=large, family=family)
    return suites(suite or ("all",)), within


def load_plugins(names: Sequence[str] | None) -> None:
    """Take tasks and methods from these modules too; one in the current folder is found."""
    from lrpilot_bench.plugins import use_plugins

    if names:
        if not {"", str(Path.cwd())} & set(sys.path):
            sys.path.insert(0, str(Path.cwd()))  # as `python -m` does; workers inherit it
        use_plugins(names)


def check_device(name: str, *, here: bool = True) -> None:
    """Make sure that models can train on a device.

    Args:
        name: as torch writes it.
        here: whether on this machine; that a cluster has it is the cluster's business.

    Raises:
        SettingError: there is no such device.
    """
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in DEVICE_KINDS:
        raise SettingError(f"--device must be cpu, cuda, cuda:N or mps, got {name!r}. Write one of these.")
    if not here or device.type == "cpu":
        return
    there = torch.cuda.device_count() if device.type == "cuda" else int(torch.backends.mps.is_available())
    if (device.index or 0) >= there:
        raise SettingError(f"--device must be on this machine, got {name!r} where torch finds {there}. Write cpu.")


def tell_torn(records: Path) -> None:
    """Say on stderr where the last line of a file of records is half done.

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    from lrpilot_bench.store.records import torn_warning

    warning = torn_warning(records)
    if warning is not None:
        note(warning, style="yellow")


def tell_uncounted(earlier: int, unregistered: Mapping[str, int]) -> None:
    """Say on stderr which records do not count today.

    Args:
        earlier: records of earlier versions of a task or a method.
        unregistered: how many are of each task or method that is not registered.
    """
    if earlier:
        note(f"{earlier} records are of earlier versions of a task or a method: kept, and not counted.")
    if unregistered:
        many, names = sum(unregistered.values()), few("task or method", unregistered)
        note(
            f"{many} records are of a task or a method that is not registered ({names}): kept, and not counted. "
            "If it is your own, name its module with --plugin.",
            style="yellow",
        )


def tell_refused(what: str, refused: "Sequence[Refusal]", *, warned: Collection[str] = ()) -> None:
    """Say on stderr which jobs cannot be run and why, each reason once.

    Args:
        what: begins each line.
        refused: the jobs.
        warned: reasons that were said before.
    """
    for reason in dict.fromkeys(refusal.reason for refusal in refused):
        jobs = [refusal.job for refusal in refused if refusal.reason == reason]
        where = f"{few('method', (job.method for job in jobs))} on {few('task', (job.task for job in jobs))}"
        said = "as said above" if reason in warned else reason
        note(f"{what} ({len(jobs)}): {where}: {said}", style="yellow")


def few(what: str, names: Iterable[str]) -> str:
    """The names, or their number where they are many."""
    different = sorted(set(names))
    return ", ".join(different) if len(different) <= 3 else f"{len(different)} {what}s"


def parse_seeds(text: str) -> list[int]:
    """Seeds as written: ``3``, or ``0-4`` for the five from 0 to 4.

    Raises:
        SettingError: neither.
    """
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
        raise SettingError(f"--seeds must be a number or a range of numbers >= 0, got {text!r}. Write 3 or 0-4.")
    return list(range(int(first), int(last if dash else first) + 1))
