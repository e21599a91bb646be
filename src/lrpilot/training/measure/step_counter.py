"""How many optimizer steps a probe's own step took: exactly one, or none that a scaler skipped."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

from lrpilot.errors import StepError
from lrpilot.training.bound.optimizers import was_skipped


class StepCounter:
    """Counts optimizer steps of a probe.

    Attributes:
        steps: calls of ``optimizer.step`` since the last restart.
        skipped: of these, the ones that a fused optimizer skipped since a GradScaler had found inf.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from none again."""
        self.steps = self.skipped = 0

    @property
    def moved(self) -> bool:
        """Whether a step was taken, and not skipped."""
        return self.steps > self.skipped

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
def counted_steps(optimizer: Optimizer) -> Iterator[StepCounter]:
    """Count calls of ``optimizer.step`` inside the block."""
    counter = StepCounter()

    def hook(stepped: Optimizer, *_: Any) -> None:
        counter.steps += 1
        counter.skipped += was_skipped(stepped)

    handle = optimizer.register_step_post_hook(hook)
    try:
        yield counter
    finally:
        handle.remove()
