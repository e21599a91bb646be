"""A plugin of the benchmark: a task that takes milliseconds, and methods that end in every way there is."""

from typing import Any

import torch
from torch import nn

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.methods.flying import fly_loop
from lrpilot_bench.methods.method import Method
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def load() -> Splits:
    inputs = torch.linspace(-1, 1, 96).reshape(48, 2)
    targets = (inputs.sum(1) > 0).long()
    return Splits(*(Split(inputs[i::3], targets[i::3]) for i in range(3)))


def missing() -> Splits:
    raise MissingDependencyError("The data of 'fake_without_data' must be there, got none. Fetch it with 'make data'.")


def fly(session: Session, **settings: Any) -> None:
    fly_loop(session, session.optimizer(session.lr))


def fly_crash(session: Session) -> None:
    fly_loop(session, session.optimizer(0.1))
    raise RuntimeError("no good")


def fly_nowhere(session: Session) -> None:
    pass


def fly_missing(session: Session) -> None:
    raise MissingDependencyError("This method needs 'pigeons', found none. Buy some.")


def fly_out_of_memory(session: Session) -> None:
    raise MemoryError


def fly_notes(session: Session, *, plain: bool) -> Any:
    fly_loop(session, session.optimizer(0.1))
    return {"pick": float("nan"), "picks": [1.0, float("inf")]} if plain else {"pick": torch.tensor(1.0)}


def task(name: str, **options: Any) -> Task:
    family = OptimizerFamily("adamw", lr_grid(0.01), default="fake_plain")
    return Task(
        name=name,
        title="points on a line",
        module=__name__,
        make_model=lambda: nn.Linear(2, 2),
        criterion=class_loss,
        score=class_accuracy,
        steps=8,
        batch_size=8,
        families=(family,),
        **{"load": load, **options},
    )


def method(name: str, fly: Any, **options: Any) -> Method:
    return Method(name=name, title=name, fly=fly, practice="of these tests", group="peer", **options)


LRS = {"adamw": 0.01, "sgd": 0.1}
TASKS = (
    task("fake"),
    task("fake_without_data", load=missing),
    task("fake_without_package", packages=("no_such_package",)),
    task("fake_large", large=True),
)
METHODS = (
    method("fake_plain", fly, lrs=LRS),
    method("fake_sgd_only", fly, lrs=LRS, families=frozenset({"sgd"})),
    method("fake_without_package", fly, lrs=LRS, packages=("no_such_package.inner",)),
    method("fake_crash", fly_crash),
    method("fake_dies", fly, lrs=LRS),  # its workers do, see fake_attempts.fateful
    method("fake_dies_once", fly, lrs=LRS),
    method("fake_idle", fly_nowhere),
    method("fake_missing", fly_missing),
    method("fake_out_of_memory", fly_out_of_memory),
    method("fake_nan_notes", fly_notes, settings={"plain": True}),
    method("fake_tensor_notes", fly_notes, settings={"plain": False}),
)
