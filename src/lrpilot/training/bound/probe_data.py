"""The fixed batches that probes read, the same ones for every Trial of a comparison."""

import logging
from bisect import insort
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from lrpilot.errors import DataError
from lrpilot.training.bound.batches import bytes_of, copy_batch, count_samples, samples_of
from lrpilot.training.bound.sources import BatchSource
from lrpilot.training.restore.rng import SideStream

logger = logging.getLogger("lrpilot")

# Batches of a comparison are kept up to this size and read again from the twin beyond it.
REPLAY_BYTES = 512 * 2**20
# Held-out batches taken from the training data where there is no validation data.
RESERVED_BATCHES = 8


class LeftOut:
    """Batches of one stream that weigh nothing: they give no number at weights at which others do.

    What reads the stream counts without them. Only batches that have never given a number are left out, so an index
    below :attr:`known` names the same batch for good.

    Attributes:
        places: of these in the stream itself, ascending.
        known: so many batches, the first ones without a gap, have given a number at some weights.
    """

    def __init__(self) -> None:
        self.places: list[int] = []
        self.known = 0

    def place(self, index: int) -> int:
        """Where in the stream itself the batch of this index is."""
        for left_out in self.places:
            if left_out > index:
                break
            index += 1
        return index

    def note(self, index: int) -> None:
        """The batch of this index has given a number."""
        self.known += index == self.known

    def add(self, index: int) -> None:
        """Leave out the batch that has this index now."""
        insort(self.places, self.place(index))
        self.known -= index < self.known


class Replay:
    """The same batches for every Trial of a comparison, in bounded memory.

    Args:
        source: where batches come from.
        seed: of the random stream that reading draws from (augmentations).
        skip: number of leading batches never delivered.
        cycle: past the end of the epoch the same epoch starts again; False ends there.
        max_bytes: batches are kept in memory up to this size; beyond it they are read again.
        left_out: batches that are passed over, and not counted.
    """

    def __init__(
        self,
        source: BatchSource,
        *,
        seed: int,
        skip: int = 0,
        cycle: bool = True,
        max_bytes: int = REPLAY_BYTES,
        left_out: LeftOut | None = None,
    ) -> None:
        self._source = source
        self._seed = seed
        self._skip = skip
        self._cycle = cycle
        self._room = max_bytes
        self._kept: list[Any] = []
        self._whole = False
        self._left_out = LeftOut() if left_out is None else left_out

    def take(self, count: int | None = None, *, first: int = 0) -> Iterator[Any]:
        """``count`` batches (None: all of one epoch) from index ``first`` on, each a copy.

        Copies because a step may pop keys from its batch, or write into its tensors
        (test_probe_data.py::test_a_step_may_spoil_its_batch).

        Raises:
            DataError: the source yields nothing.
        """
        begin, out = self._left_out.place(first), self._left_out.places
        end = None if count is None else self._left_out.place(first + count - 1) + 1
        kept = self._kept[:end]
        for place, batch in enumerate(kept[begin:], start=begin):
            if place not in out:
                yield copy_batch(batch)
        if self._whole or len(kept) == end:
            return
        for place, batch in enumerate(islice(self._stream(), len(kept), end), start=len(kept)):
            self._keep(place, batch)
            if place >= begin and place not in out:
                yield copy_batch(batch)

    def _stream(self) -> Iterator[Any]:
        while True:
            length = 0
            for batch in self._epoch():
                length += 1
                yield batch
            if not length:
                self._raise_empty()
            if not self._cycle:
                self._whole = length == len(self._kept)
                return

    def _epoch(self) -> Iterator[Any]:
        side = SideStream(self._seed, self._source.held)
        with side.active():
            batches = islice(self._source.epoch(), self._skip, None)
        while True:
            with side.active():
                batch = next(batches, _END)
            if batch is _END:
                return
            yield batch

    def _keep(self, index: int, batch: Any) -> None:
        if index != len(self._kept):
            return  # keep a prefix, never a batch behind a gap
        size = bytes_of(batch)
        # A batch without a tensor to be seen (a graph, an array) has an unknown size: it is read again.
        if 0 < size <= self._room:
            self._kept.append(batch)
            self._room -= size
        else:
            self._room = 0

    def _raise_empty(self) -> None:
        skipped = f" beyond the {self._skip} reserved for held-out loss" if self._skip else ""
        raise DataError(f"{self._source.name} must yield at least one batch{skipped}, got none. Check the loader.")


class ProbeData:
    """The batches that probes of one training read: fixed training batches and fixed held-out ones.

    Args:
        train: the training data.
        val: the validation data; None reserves up to ``RESERVED_BATCHES`` training batches instead (never
            more than half of those seen), which training probes then skip.
        eval_batches: most held-out batches; None for all of ``val``.
        seed: of the random stream that reading draws from.
        left_out: training batches that weigh nothing.
        left_out_held: held-out ones.
    """

    def __init__(
        self,
        train: BatchSource,
        val: BatchSource | None,
        *,
        eval_batches: int | None,
        seed: int,
        left_out: LeftOut | None = None,
        left_out_held: LeftOut | None = None,
    ) -> None:
        self._val = val
        self._eval_batches = eval_batches
        leading = Replay(train, seed=seed, cycle=False, left_out=left_out_held)
        self._reserved = 0 if val is not None else sum(1 for _ in leading.take(2 * RESERVED_BATCHES)) // 2
        self.train = Replay(train, seed=seed, skip=self._reserved, left_out=left_out)
        self._held_out = leading if val is None else Replay(val, seed=seed, cycle=False, left_out=left_out_held)
        self.batch_size = self._samples_of_a_batch(train.name)

    def _samples_of_a_batch(self, name: str) -> int:
        """Samples of the first training batch that is not empty."""
        counts = (self._counted(batch, name) for batch in self.train.take(RESERVED_BATCHES))
        size = next(filter(None, counts), None)
        if size is None:
            raise DataError(f"A batch of {name} must hold samples, got none in the first ones. Check the loader.")
        return size

    def _counted(self, batch: Any, name: str) -> int:
        count = samples_of(batch)
        if count is None:
            logger.warning(
                "The samples of a batch of %s cannot be counted (%s without a tensor, an array or a length): each "
                "batch counts as one, and those of unequal size weigh the same.",
                name,
                type(batch).__name__,
            )
        return 1 if count is None else count

    def held_out(self, most: int | None = None) -> Iterator[Any]:
        """The held-out batches, always the same ones: a fixed subset is what makes losses comparable.

        Args:
            most: of them, the first ones; None for all.
        """
        count = self._eval_batches if self._val is not None else max(1, self._reserved)
        return islice(self._held_out.take(count), most)

    @cached_property
    def held_out_shares(self) -> list[float]:
        """Samples of each held-out batch ÷ those of a training batch; they are read once, and where it is asked for."""
        return [size / self.batch_size for size in map(count_samples, self.held_out()) if size]

    @property
    def metric(self) -> str:
        """Which loss evaluations read, in words."""
        if self._val is not None:
            return "validation loss"
        if self._reserved:
            return f"loss on {self._reserved} reserved training batches"
        return "training loss (the data has a single batch)"


_END = object()
