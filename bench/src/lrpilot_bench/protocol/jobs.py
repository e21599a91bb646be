"""A job: one run that the benchmark wants, and what identifies it."""

import ast
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lrpilot.errors import SettingError
from lrpilot_bench.store.schema import JOB_FIELDS, SCHEMA

# The registries load torch, so they are imported where they are used: a job travels without it.

PROSE = ("title", "remark", "pretrained")  # fields of a task that decide no run
# Where a task's imports lay when tasks were first recorded: that a file has moved since makes no other run of it.
RECORDED_AS = {"lrpilot_bench.data.splits": "lrpilot.bench.splits", "lrpilot_bench": "lrpilot.bench"}


@dataclass(frozen=True)
class Job:
    """One training of one task by one method.

    Attributes:
        task: its name.
        method: its name.
        seed: of weights and data order.
        family: kind of the optimizer; None for the task's first.
        lr: lr to start from, natural units; None for the method's documented default.
        lr_factor: multiplies that default: the start-lr sweep.
        horizon: multiplies the task's steps: the horizon sweep.
        repeat: number of a further run of the same; they must agree bit for bit.
    """

    task: str
    method: str
    seed: int = 0
    family: str | None = None
    lr: float | None = None
    lr_factor: float = 1.0
    horizon: float = 1.0
    repeat: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a record."""
        return asdict(self)

    @property
    def whole(self) -> bool:
        """Whether its course is looked at: the start-lr sweep asks how a run ends, and no more."""
        return self.lr_factor == 1.0


@dataclass(frozen=True)
class Plan:
    """A job with everything looked up that decides its run.

    Attributes:
        kind: of the optimizer family.
        lr: to start from; None for a method that takes none.
        steps: budget in plain training steps.
    """

    job: Job
    kind: str
    lr: float | None
    steps: int

    @property
    def run(self) -> str:
        """16 hex digits that identify the run.

        A hash of the task's file, the method's name, version and settings, and the job's own numbers; so a
        commit that touches neither the task nor the method reruns nothing.
        """
        from lrpilot_bench.methods.registry import get_method
        from lrpilot_bench.tasks.registry import get_task

        method = get_method(self.job.method)
        identity = {
            "task": [self.job.task, task_digest(get_task(self.job.task).module, self.job.task)],
            "family": self.kind,
            "method": [method.name, method.version, dict(method.settings)],
            "lr": self.lr,
            "steps": self.steps,
            "seed": self.job.seed,
            "repeat": self.job.repeat,
        }
        return digest(identity)

    def to_record(self) -> dict[str, Any]:
        """What a record says of its run before it has begun: plain data."""
        from lrpilot_bench.methods.registry import get_method

        method = get_method(self.job.method)
        return {
            "schema": SCHEMA,
            "run": self.run,
            **self.job.to_dict(),
            "family": self.kind,
            "lr": self.lr,
            "version": method.version,
            "settings": dict(method.settings),
            "steps": self.steps,
        }


def plan(job: Job) -> Plan:
    """Look up what a job leaves to its task and method.

    Raises:
        SettingError: unknown task or method, a family that one of them lacks, or an lr for a method that
            takes none.
    """
    from lrpilot_bench.methods.registry import get_method
    from lrpilot_bench.tasks.registry import get_task

    task, method = get_task(job.task), get_method(job.method)
    family = task.family(job.family)
    if family.kind not in method.families:
        raise SettingError(f"The method {method.name!r} trains with {sorted(method.families)}, got {family.kind!r}.")
    steps = max(1, round(task.steps * job.horizon))
    return Plan(job, family.kind, _start_lr(job, method.lr_for(family.kind)), steps)


def job_of(record: Mapping[str, Any]) -> Job:
    """The job that a record is of, its lr written out."""
    return Job(**{name: record[name] for name in JOB_FIELDS})


def run_of(record: Mapping[str, Any]) -> str | None:
    """The run that the registered task and method would make of a record's job today.

    None where the task or the method is gone, or cannot be combined any more. A record is current where this
    is the run that it names.
    """
    try:
        return plan(job_of(record)).run
    except (SettingError, KeyError):
        return None


def _start_lr(job: Job, default: float | None) -> float | None:
    if default is None:
        if job.lr is not None or job.lr_factor != 1.0:
            raise SettingError(f"The method {job.method!r} takes no lr, got {job.lr or job.lr_factor}. Leave it out.")
        return None
    return float(f"{(job.lr if job.lr is not None else default * job.lr_factor):.6g}")


def digest(identity: Mapping[str, Any]) -> str:
    """16 hex digits of plain data."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@cache
def task_digest(module: str, task: str) -> str:
    """16 hex digits of a task's file: of its code, without comments, docstrings, formatting and other tasks."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    code = code_of(Path(spec.origin).read_text(encoding="utf-8"), task)
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def code_of(source: str, task: str) -> str:
    """What a file does for one of its tasks.

    Comments, docstrings and formatting make no difference, nor do a task's prose, the other tasks' entries and the
    places of the files that it imports from.

    Args:
        source: text of the file.
        task: name of the task.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg not in PROSE]
        if isinstance(node, (ast.Tuple, ast.List)):
            node.elts = [entry for entry in node.elts if _task_name(entry) in (None, task)]
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            body[:] = body[1:] or [ast.Pass()]
    _put_imports_back(tree)
    return ast.unparse(tree)  # ast.dump would differ between versions of Python


def _put_imports_back(tree: ast.Module) -> None:
    """Name imported modules as they were named when they were recorded, in the order that their names had then."""
    places = [i for i, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom) and _is_ours(node.module)]
    ours = [tree.body[i] for i in places]
    for node in ours:
        assert isinstance(node, ast.ImportFrom) and node.module is not None  # _is_ours has seen to it
        node.module = recorded_name(node.module)
    for place, node in zip(places, sorted(ours, key=lambda node: str(getattr(node, "module", ""))), strict=True):
        tree.body[place] = node


def _is_ours(module: str | None) -> bool:
    return module is not None and module.split(".")[0] in ("lrpilot", "lrpilot_bench")


def recorded_name(module: str) -> str:
    """The name of a module of ours when tasks were first recorded."""
    for now, then in RECORDED_AS.items():
        if module == now or module.startswith(f"{now}."):
            return then + module[len(now) :]
    return module


def _task_name(entry: ast.expr) -> str | None:
    """The name in ``Task(name="...")``; None for anything else."""
    if not (isinstance(entry, ast.Call) and isinstance(entry.func, ast.Name) and entry.func.id == "Task"):
        return None
    named = [k.value for k in entry.keywords if k.arg == "name"]
    return str(named[0].value) if named and isinstance(named[0], ast.Constant) else None


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
