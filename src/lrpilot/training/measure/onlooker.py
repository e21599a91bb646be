"""Looking on at a few optimizer steps, to tell whether the user's loop takes them as Trials do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import finalize, ref

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.optimizers import optimizers_inside
from lrpilot.training.bound.steps import StepWatch
from lrpilot.training.torch_private import in_backward

# Steps that are looked at: three may be alike by chance, or the last of them a smaller group.
LOOKS = 4


@dataclass
class StepSeen:
    """What one optimizer step was made of.

    Attributes:
        forwards: passes through the model in training mode, with gradients; 0 where none was seen (a loop may call a
            part of the model, or a compiled form of it).
        precisions: of these: what autocast computed in, None for no autocast.
        norm: of all gradients together when the optimizer stepped; None where that cannot be told without asking a
            wrapper or another rank.
        top: largest absolute value among them; likewise.
        loss: of the step, if known.
    """

    forwards: int
    precisions: frozenset[torch.dtype | None]
    norm: Tensor | float | None
    top: Tensor | float | None
    loss: Tensor | float | None = None


class Onlooker:
    """Looks on at the first few steps, of probes or of the loop, and stalls no device.

    Attributes:
        steps: as far as seen.

    Args:
        training: whose steps.
        probes: whether those of probes, or those of the loop.
    """

    def __init__(self, training: BoundTraining, *, probes: bool) -> None:
        self.steps: list[StepSeen] = []
        self._training = training
        self._probes = probes
        self._forwards = 0
        self._precisions: set[torch.dtype | None] = set()
        optimizer, model = training.raw_optimizer, training.model
        steps = StepWatch(optimizer, optimizers_inside(optimizer, model), before=_StepHook(self), after=lambda _: None)
        self._leave = [finalize(self, steps.remove)]  # a pilot that is given up leaves nothing at the model
        self._leave.append(finalize(self, model.register_forward_pre_hook(_ForwardHook(self)).remove))

    @property
    def has_seen_enough(self) -> bool:
        """Whether no further step is looked at."""
        return len(self.steps) >= LOOKS

    def leave(self) -> None:
        """Look no more."""
        for leave in self._leave:
            leave()

    def told(self, loss: Tensor | float | None) -> None:
        """Note the loss of the last step."""
        if self.steps and self.steps[-1].loss is None:
            self.steps[-1].loss = loss

    def forward(self, model: nn.Module) -> None:
        """A pass begins."""
        # One inside backward is a pass computed a second time, by checkpointing.
        counts = model.training and torch.is_grad_enabled() and not in_backward()
        if counts and self._training.probing is self._probes:
            self._forwards += 1
            self._precisions.add(_precision(self._training.device.type))

    def step(self) -> None:
        """The optimizer is about to step."""
        if self._training.probing is not self._probes or self.has_seen_enough:
            return
        norm, top = _sizes(self._training.raw_optimizer, self._training.trainable_parameters)
        self.steps.append(StepSeen(self._forwards, frozenset(self._precisions), norm, top))
        self._forwards, self._precisions = 0, set()


class _Hook:
    """Held by a model or an optimizer, but not with it: a copy, or what is read from a file, looks at nothing."""

    def __init__(self, onlooker: Onlooker | None = None) -> None:
        self._onlooker = None if onlooker is None else ref(onlooker)

    @property
    def onlooker(self) -> Onlooker | None:
        return None if self._onlooker is None else self._onlooker()

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Hook":
        return type(self)()

    def __reduce__(self) -> tuple[type["_Hook"], tuple[()]]:
        return type(self), ()


class _ForwardHook(_Hook):
    def __call__(self, model: nn.Module, *_: Any) -> None:
        if not torch.compiler.is_compiling() and self.onlooker is not None:
            self.onlooker.forward(model)


class _StepHook(_Hook):
    def __call__(self) -> None:
        if self.onlooker is not None:
            self.onlooker.step()


def _precision(device_type: str) -> torch.dtype | None:
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None


def _sizes(optimizer: Optimizer, parameters: Sequence[Tensor]) -> tuple[Tensor | None, Tensor | None]:
    """Norm and largest absolute value of all gradients."""
    grads = [p.grad for p in parameters if p.grad is not None]
    plain = all(type(grad) is Tensor and grad.layout is torch.strided for grad in grads)
    if not grads or not plain or getattr(optimizer, "grad_scale", None) is not None:  # a fused one unscales by itself
        return None, None
    return nn.utils.get_total_norm(grads), nn.utils.get_total_norm(grads, float("inf"))


@contextmanager
def looked_at(training: BoundTraining) -> Iterator[Onlooker | None]:
    """Steps of a probe inside are looked at, where more can be seen of them than was until now."""
    if len(training.probe_steps_seen) >= LOOKS:
        yield None
        return
    onlooker = Onlooker(training, probes=True)
    try:
        yield onlooker
    finally:
        onlooker.leave()
        if len(onlooker.steps) > len(training.probe_steps_seen):
            training.probe_steps_seen = tuple(onlooker.steps)
