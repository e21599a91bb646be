"""Counting forward and backward passes twice: as declared by who asks for them, and as they happen."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


class Tally:
    """Forward and backward passes, in samples, so that sums are exact.

    Attributes:
        forwards: samples that went forward.
        backwards: samples that went backward.
    """

    def __init__(self, forwards: int = 0, backwards: int = 0) -> None:
        self.forwards = forwards
        self.backwards = backwards

    def add(self, samples: int, *, forwards: int = 0, backwards: int = 0) -> None:
        """Count passes over a batch of ``samples``."""
        self.forwards += samples * forwards
        self.backwards += samples * backwards

    def forward_equivalents(self, batch_size: int) -> float:
        """In passes over a training batch, a backward counting as two forwards."""
        return (self.forwards + 2 * self.backwards) / batch_size

    def to_dict(self) -> dict[str, int]:
        """Plain data for a record."""
        return {"forwards": self.forwards, "backwards": self.backwards}


class PassCounter:
    """Counts the calls of a model and the backward passes through its outputs, by hooks.

    It depends on nothing that a method says: it is what a declared cost is checked against. Copies of the
    model count too; a bare ``model.forward(x)``, which runs no hooks, does not.

    Args:
        model: called with inputs whose first dimension is the samples; returns a tensor.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tally = Tally()
        self._paused = 0
        self._handle: RemovableHandle = model.register_forward_hook(self._on_forward)

    def _on_forward(self, model: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if self._paused:
            return
        samples = len(args[0])
        self.tally.add(samples, forwards=1)
        if torch.is_grad_enabled() and output.requires_grad:
            output.register_hook(lambda grad: self.tally.add(samples, backwards=1))

    def __deepcopy__(self, memo: dict[int, Any]) -> "PassCounter":
        return self  # the hook of a copied model counts here as well

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Passes that begin inside are not counted: the benchmark's own evaluations."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1

    def remove(self) -> None:
        """Take the hook off the model."""
        self._handle.remove()
