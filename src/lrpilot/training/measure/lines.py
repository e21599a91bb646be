"""Losses along the step just taken, on two copies of the parameters and no more."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lrpilot.errors import StepError
from lrpilot.training.interrupts import deferred_interrupt


class LineEndpoints:
    """The trainable parameters before and after one optimizer step.

    Memory: two copies of the trainable parameters, whatever the number of factors.

    Args:
        parameters: the trainable parameters, live.
        before: their values before a step that has been taken already (resumed from a checkpoint); None
            if the step is still to come.
    """

    def __init__(self, parameters: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> None:
        self._live = [p.detach() for p in parameters]
        self.before = [p.clone() for p in self._live]
        self._after: list[Tensor] | None = None
        self._stepped = before is not None
        if before is not None:
            torch._foreach_copy_(self.before, list(before))

    def step_taken(self) -> None:
        """Note that the step has been taken."""
        self._stepped = True

    def read(self, factors: Sequence[float], losses: Callable[[], list[float]]) -> tuple[tuple[float, ...], ...]:
        """Losses at θ(s) = before + s·(after − before) for each factor s.

        Exact at s = 0 and s = 1. No division by the lr, so groups of any ratio (and a group at 0) are
        right. The parameters are back, bit for bit, afterwards.

        Args:
            factors: the s to read.
            losses: reads one loss per batch at the live parameters.

        Returns:
            Losses, batches x factors.

        Raises:
            StepError: no step has been taken since the Line was armed.
        """
        if not self._stepped:
            raise StepError("A Line is read after a step, but no step has been taken since it was armed.")
        if self._after is None:
            # Not copied inside optimizer.step(): a loop may project or clip the weights after it.
            self._after = [p.clone() for p in self._live]
        after = self._after
        columns = []
        try:
            for factor in factors:
                self._move(factor, after)
                columns.append(losses())
        finally:
            with deferred_interrupt(), torch.no_grad():
                torch._foreach_copy_(self._live, after)
        return tuple(zip(*columns, strict=True))

    def _move(self, factor: float, after: list[Tensor]) -> None:
        with torch.no_grad():
            if factor == 1.0:
                torch._foreach_copy_(self._live, after)
                return
            torch._foreach_copy_(self._live, self.before)
            if factor != 0.0:
                torch._foreach_lerp_(self._live, after, factor)
