"""RunningAverage: the mean of the weights that a Trial passes through."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lrpilot.training.torch_private import copy_all, lerp_all


class RunningAverage:
    """Mean of the parameters over the added steps (one more copy of them, while a Trial runs)."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._live = [p.detach() for p in parameters]
        self._mean = [torch.zeros_like(p) for p in self._live]
        self._count = 0

    def add(self) -> None:
        """Take the present parameters into the mean."""
        self._count += 1
        lerp_all(self._mean, self._live, 1.0 / self._count)

    def apply(self) -> None:
        """Write the mean into the parameters."""
        copy_all(self._live, self._mean)
