"""Counting the work of measurements: forwards and backwards by samples, and seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from lrpilot.core.cost import Cost


class Meter:
    """Adds up a :class:`~lrpilot.core.cost.Cost`.

    One unit is a training batch: a batch of other size counts by its samples ÷ those of the first
    training batch seen.
    """

    def __init__(self) -> None:
        self.cost = Cost()
        self._batch_size: int | None = None
        self._running = False

    def training_batch_size(self, samples: int) -> None:
        """Declare the number of samples that counts as one; the first call decides."""
        if self._batch_size is None:
            self._batch_size = samples

    def add(self, samples: int, *, forwards: int = 0, backwards: int = 0) -> None:
        """Count passes over a batch of ``samples``."""
        weight = samples / (self._batch_size or samples) if samples else 0.0
        self.cost = replace(
            self.cost,
            forwards=self.cost.forwards + forwards * weight,
            backwards=self.cost.backwards + backwards * weight,
        )

    def count(self, **more: int) -> None:
        """Add to the named counters (trials, trial_steps, evaluations, lines)."""
        self.cost = replace(self.cost, **{k: getattr(self.cost, k) + v for k, v in more.items()})

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the wall time of a block; nested blocks count once."""
        if self._running:
            yield
            return
        self._running = True
        start = time.perf_counter()
        try:
            yield
        finally:
            self._running = False
            self.cost = replace(self.cost, seconds=self.cost.seconds + time.perf_counter() - start)
