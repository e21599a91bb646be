"""A small training, a policy that asks for a given list of actions, and a naive record of everything.

Shared by the tests of the torch side. What "everything" means is written here without the snapshot's code.
"""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot import Pilot, Training
from lrpilot.core.actions import Action, Done, Observation, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy

FEATURES, CLASSES, BATCH = 4, 3, 8


def make_model(*, dropout: float = 0.0, batch_norm: bool = False, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(FEATURES, 8)]
    layers += [nn.BatchNorm1d(8)] if batch_norm else []
    layers += [nn.Tanh()]
    layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(8, CLASSES))


def make_samples(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, FEATURES, generator=generator)
    return inputs, inputs[:, :CLASSES].argmax(1)


def make_batches(count: int = 6, size: int = BATCH, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    inputs, targets = make_samples(count * size, seed)
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def loss_fn(model: nn.Module, batch: Any) -> Tensor:
    inputs, targets = batch
    return nn.functional.cross_entropy(model(inputs), targets)


def make_training(
    *, model: nn.Module | None = None, optimizer: Any = None, data: Any = None, val: Any = None, **options: Any
) -> Training:
    model = make_model() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) if optimizer is None else optimizer
    options.setdefault("loss_fn", loss_fn)
    return Training(model, optimizer, train_data=make_batches() if data is None else data, val_data=val, **options)


def loop_step(training: Training, batch: Any) -> Tensor:
    """One step of a user's own loop."""
    training.optimizer.zero_grad()
    loss = loss_fn(training.model, batch)
    loss.backward()
    training.optimizer.step()
    return loss


def training_at(lr: float) -> Training:
    """SGD with momentum on the small model."""
    model = make_model()
    return make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9))


def own_loop(training: Training, pilot: Pilot, steps: int, *, start: int = 0) -> None:
    """A user's loop over the small data, from batch ``start`` on."""
    for batch in islice(cycle(make_batches()), start, start + steps):
        pilot.step(loop_step(training, batch))


def assert_resumes_bit_for_bit(policy: Policy, steps: int, stop: int) -> None:
    """Saved at ``stop`` and continued elsewhere, a training takes the lrs and ends in the weights of a whole one."""
    whole, first, second = training_at(0.01), training_at(0.01), training_at(0.01)
    uninterrupted = Pilot(whole, policy, steps)
    own_loop(whole, uninterrupted, steps)
    pilot = Pilot(first, policy, steps)
    own_loop(first, pilot, stop)
    saved = pilot.state_dict()
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    resumed = Pilot(second, policy, steps)
    resumed.load_state_dict(saved)
    own_loop(second, resumed, steps - stop, start=stop)
    assert resumed.history.lrs == uninterrupted.history.lrs
    assert same_tensors(weights(second.model), weights(whole.model))


class OverflowingSteps:
    """A ``step_fn`` under a GradScaler whose scale overflows until it has been halved a few times.

    Attributes:
        scaler: at 2^127.
        taken: steps that moved the weights.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
        self.taken = 0
        training.step_fn, training.extra_state = self, {"scaler": self.scaler}

    def __call__(self, batch: Any) -> Tensor:
        before = weights(self.training.model)
        self.training.optimizer.zero_grad()
        loss = loss_fn(self.training.model, batch)
        self.scaler.scale(loss * 100).backward()
        self.scaler.step(self.training.optimizer)
        self.scaler.update()
        self.taken += not same_tensors(before, weights(self.training.model))
        return loss


@record
class Listed(Policy):
    """Asks for the given actions, one after the other."""

    actions: tuple[Any, ...]
    max_marks: ClassVar[int] = 2
    max_ends: ClassVar[int] = 2

    def init(self, context: Context) -> int:
        return 0

    def ask(self, state: int) -> Action:
        return self.actions[state] if state < len(self.actions) else Done()

    def tell(self, state: int, observation: Observation) -> int:
        return state if isinstance(observation, Trained) and not observation.finished else state + 1


def everything(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """All that may not change, by value, and by identity where somebody may hold a reference."""
    seen: dict[str, Any] = {
        "parameters": [p.detach().clone() for p in model.parameters()],
        "buffers": {n: b.clone() for n, b in model.named_buffers()},
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "grad_identity": [id(p.grad) for p in model.parameters()],
        "modes": [m.training for m in model.modules()],
        "torch_rng": torch.get_rng_state(),
        "numpy_rng": [np.random.get_state()[1].tolist(), np.random.get_state()[2]],
        "python_rng": random.getstate(),
    }
    if optimizer is not None:
        seen |= {
            "optimizer": copy.deepcopy(optimizer.state_dict()),
            "groups": [{k: copy.deepcopy(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups],
            "lr_identity": [id(g["lr"]) for g in optimizer.param_groups if isinstance(g["lr"], Tensor)],
            "hooks": [len(optimizer._optimizer_step_pre_hooks), len(optimizer._optimizer_step_post_hooks)],
            "patched": "step" in vars(optimizer),
        }
    return seen


def assert_equal(mine: Any, theirs: Any, path: str = "") -> None:
    """Bitwise equal, types included."""
    assert type(mine) is type(theirs), path
    if isinstance(mine, Tensor):
        # No number equals no number: the gradients of a step that a GradScaler has skipped.
        same = torch.equal(mine, theirs) or torch.equal(mine.nan_to_num(7.0), theirs.nan_to_num(7.0))
        assert mine.dtype == theirs.dtype and same and torch.equal(mine.isnan(), theirs.isnan()), path
    elif isinstance(mine, dict):
        assert list(mine) == list(theirs), path
        for key in mine:
            assert_equal(mine[key], theirs[key], f"{path}.{key}")
    elif isinstance(mine, (list, tuple)):
        assert len(mine) == len(theirs), path
        for i, (a, b) in enumerate(zip(mine, theirs, strict=True)):
            assert_equal(a, b, f"{path}[{i}]")
    else:
        assert mine == theirs, path


@contextmanager
def untouched(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Iterator[None]:
    """Model, optimizer and random generators are after the block what they were before it, bit for bit."""
    before = everything(model, optimizer)
    yield
    assert_equal(everything(model, optimizer), before)


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same_tensors(mine: list[Tensor], theirs: list[Tensor]) -> bool:
    return len(mine) == len(theirs) and all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
