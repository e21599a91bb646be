"""What a Trial needs beside its steps: a count of them, and the mean of the weights they pass through."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrpilot.errors import StepError
from lrpilot.training.bound.bound_training import Training


class StepCounter:
    """Counts optimizer steps of a probe.

    Attributes:
        steps: calls of ``optimizer.step``.
        skipped: of these, the ones that a fused optimizer skipped since a GradScaler had found inf.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.skipped = 0

    def require_at_most_one(self) -> None:
        """Raise if a step was more than one optimizer step.

        Raises:
            StepError: it was.
        """
        if self.steps > 1:
            raise StepError(
                f"step_fn must take exactly one optimizer step, got {self.steps}. "
                "Split it, or tune each of several optimizers with a Training of its own."
            )


@contextmanager
def counted_steps(training: Training) -> Iterator[StepCounter]:
    """Count calls of ``optimizer.step`` inside the block."""
    counter = StepCounter()

    def hook(stepped: Optimizer, *_: Any) -> None:
        counter.steps += 1
        counter.skipped += was_skipped(stepped)

    handle = training.raw_optimizer.register_step_post_hook(hook)
    try:
        yield counter
    finally:
        handle.remove()


def was_skipped(optimizer: Optimizer) -> bool:
    """Whether a fused optimizer skipped its update inside the kernel (a GradScaler found inf)."""
    found_inf = getattr(optimizer, "found_inf", None)
    return isinstance(found_inf, Tensor) and bool(torch.count_nonzero(found_inf))


class RunningAverage:
    """Mean of the parameters over the added steps (one more copy of them, while a Trial runs)."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._live = [p.detach() for p in parameters]
        self._mean = [torch.zeros_like(p) for p in self._live]
        self._count = 0

    def add(self) -> None:
        """Take the present parameters into the mean."""
        self._count += 1
        torch._foreach_lerp_(self._mean, self._live, 1.0 / self._count)

    def apply(self) -> None:
        """Write the mean into the parameters."""
        torch._foreach_copy_(self._live, self._mean)


@contextmanager
def copied_before_step(training: Training) -> Iterator[list[Tensor]]:
    """Copies of the trainable parameters, right before the last optimizer step inside.

    Not from before its forward pass, which may write into weights too (an embedding with a ``max_norm``).
    """
    copies = [p.detach().clone() for p in training.trainable_parameters]

    def copy_again(*_: Any) -> None:
        torch._foreach_copy_(copies, [p.detach() for p in training.trainable_parameters])

    handle = training.raw_optimizer.register_step_pre_hook(copy_again)
    try:
        yield copies
    finally:
        handle.remove()
