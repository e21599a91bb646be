"""Data as people really have it: streams that count, buffer and resume, files, shards, epochs, batches of any class.

Each is made of the same samples. Reading any of them twice at once would move the first reading, were nothing done.
"""

import io
import random
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, default_collate, get_worker_info

Sample = tuple[Tensor, Tensor]


def samples(count: int = 48, features: int = 6, classes: int = 3) -> list[Sample]:
    inputs = torch.randn(count, features, generator=torch.Generator().manual_seed(5))
    return list(zip(inputs, inputs[:, :classes].argmax(1), strict=True))


class Counting(IterableDataset[Sample]):
    """Goes round and round its samples, and on where it was left."""

    def __init__(self) -> None:
        self.samples, self.position = samples(), 0

    def __iter__(self) -> Iterator[Sample]:
        while True:
            self.position += 1
            yield self.samples[self.position % len(self.samples)]


class Buffered(IterableDataset[Sample]):
    """Shuffles in a buffer that it keeps from one epoch to the next."""

    def __init__(self) -> None:
        self.samples, self.buffer, self.rng = samples(), list[Sample](), random.Random(3)

    def __iter__(self) -> Iterator[Sample]:
        for sample in self.samples:
            self.buffer.append(sample)
            if len(self.buffer) > 10:
                yield self.buffer.pop(self.rng.randrange(len(self.buffer)))


class Resumable(IterableDataset[Sample]):
    """With the protocol of Hugging Face's: a state, an epoch that processes share, and an account of its reading."""

    def __init__(self) -> None:
        self.samples = samples()
        self._epoch = torch.tensor(0).share_memory_()
        self._state: dict[str, int] | None = None
        self._starting: dict[str, int] | None = None

    def set_epoch(self, epoch: int) -> None:
        self._epoch += epoch - self._epoch

    def state_dict(self) -> dict[str, int]:
        return dict(self._state or {"epoch": int(self._epoch), "index": 0})

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._starting = dict(state)

    def __iter__(self) -> Iterator[Sample]:
        start, self._starting = self._starting or {"index": 0}, None
        self._state = {"epoch": int(self._epoch), "index": start["index"]}
        order = torch.randperm(len(self.samples), generator=torch.Generator().manual_seed(int(self._epoch))).tolist()
        for index in order[start["index"] :]:
            self._state["index"] += 1
            yield self.samples[index]


class OpenFile(IterableDataset[Sample]):
    """Reads records from a file that it holds open."""

    record = struct.Struct("6f")

    def __init__(self) -> None:
        self.file = io.BytesIO(b"".join(self.record.pack(*x.tolist()) for x, _ in samples()))

    def __iter__(self) -> Iterator[Sample]:
        self.file.seek(0)
        while record := self.file.read(self.record.size):
            inputs = torch.tensor(self.record.unpack(record))
            yield inputs, inputs[:3].argmax()


class Sharded(IterableDataset[Sample]):
    """Each worker reads its share."""

    def __init__(self) -> None:
        self.samples = samples()

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        return iter(self.samples if worker is None else self.samples[worker.id :: worker.num_workers])


class Reader(IterableDataset[Sample]):
    """Opens a reader with a position of its own when it is first read."""

    class Handle:
        def __init__(self) -> None:
            self.samples, self.at = samples(), 0

        def read(self) -> Sample:
            self.at += 1
            return self.samples[self.at % len(self.samples)]

    def __init__(self) -> None:
        self.handle: Reader.Handle | None = None

    def __iter__(self) -> Iterator[Sample]:
        if self.handle is None:
            self.handle = self.Handle()
        for _ in range(40):
            yield self.handle.read()


class Growing(Dataset[Sample]):
    """Noise that grows with the samples read, as curricula do, and jumps with the epoch."""

    def __init__(self) -> None:
        self.samples, self.reads, self.epoch, self.seen = samples(), 0, 0, np.zeros(48)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        self.seen[index] += 1
        inputs, target = self.samples[index]
        return inputs + 1e-3 * self.reads + 1e-2 * self.epoch + float(self.seen[index]), target


class ByEpoch(Sampler[int]):
    """Another order in every epoch, and fewer samples in the first."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(48, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        return iter(order[:32] if self.epoch == 0 else order)

    def __len__(self) -> int:
        return 32 if self.epoch == 0 else 48


class NoisyCollator:
    """Draws from a generator of its own, as those that mask words do."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)

    def __call__(self, found: list[Sample]) -> Any:
        inputs, targets = default_collate(found)
        return inputs + torch.from_numpy(self.rng.normal(size=inputs.shape)).float(), targets


class OwnIterable:
    """No loader at all: batches one after the other, and on where it was left."""

    def __init__(self) -> None:
        self.samples, self.position = samples(), 0

    def __iter__(self) -> Iterator[Any]:
        for _ in range(5):
            self.position += 8
            yield default_collate([self.samples[(self.position + i) % len(self.samples)] for i in range(8)])


class AroundALoader:
    """Somebody's wrapper around a loader whose workers stay."""

    def __init__(self) -> None:
        self.loader = DataLoader(samples(), batch_size=8, num_workers=1, persistent_workers=True)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        yield from self.loader


@dataclass
class PlainBatch:
    inputs: Tensor
    targets: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.inputs, self.targets))


class NamedBatch(NamedTuple):
    inputs: Tensor
    targets: Tensor


class MovingBatch:
    """Moves itself in place."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.parts = [inputs, targets]

    def to(self, device: torch.device) -> "MovingBatch":
        self.parts = [part.to(device) for part in self.parts]
        return self

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.parts)


def loader(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, **({"batch_size": 8} | options))


def batches_of(make: Callable[[Tensor, Tensor], Any]) -> list[Any]:
    return [make(*batch) for batch in loader(samples())]


def stateful_loader(data: Any, **options: Any) -> Any:
    """torchdata's; the test is skipped without it."""
    import pytest

    module = pytest.importorskip("torchdata.stateful_dataloader")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls what torch is about to drop
        return module.StatefulDataLoader(data, **({"batch_size": 8} | options))


DATA: dict[str, Callable[[], Any]] = {
    "counting_stream": lambda: loader(Counting()),
    "buffered_stream": lambda: loader(Buffered()),
    "resumable_stream": lambda: loader(Resumable()),
    "resumable_stream_in_workers": lambda: loader(Resumable(), num_workers=1),
    "open_file": lambda: loader(OpenFile(), drop_last=True),
    "opened_reader": lambda: loader(Reader()),
    "sharded_stream": lambda: loader(Sharded(), num_workers=2),
    "growing": lambda: loader(Growing(), shuffle=True),
    "sampler_by_epoch": lambda: loader(samples(), sampler=ByEpoch()),
    "noisy_collator": lambda: loader(samples(), shuffle=True, collate_fn=NoisyCollator()),
    "own_iterable": OwnIterable,
    "around_a_loader": AroundALoader,
    "callable_of_a_stream": lambda: (lambda data: lambda: data)(loader(Counting())),
    "stateful_loader": lambda: stateful_loader(samples(), shuffle=True),
    "stateful_loader_in_workers": lambda: stateful_loader(samples(), shuffle=True, num_workers=1),
    "stateful_loader_of_a_stream": lambda: stateful_loader(Resumable()),
    "dataclasses": lambda: batches_of(PlainBatch),
    "named_tuples": lambda: batches_of(NamedBatch),
    "moving_batches": lambda: batches_of(MovingBatch),
}


class Generating(IterableDataset[Sample]):
    """A generator that is there from the start: who reads, takes."""

    def __init__(self) -> None:
        self.stream = (sample for _ in range(1000) for sample in samples())

    def __iter__(self) -> Iterator[Sample]:
        yield from self.stream


class Prefetched:
    """An iterator of a loader, held."""

    def __init__(self) -> None:
        self.batches = iter(loader(samples()))

    def __iter__(self) -> Iterator[Any]:
        return self.batches


def one_for_all() -> Callable[[], Any]:
    batches = iter(loader(samples()))
    return lambda: batches


def one_kept_by_an_object() -> Callable[[], Any]:
    return Prefetched().__iter__


REFUSED: dict[str, Callable[[], Any]] = {
    "generating": lambda: loader(Generating()),
    "prefetched": Prefetched,
    "one_for_all": one_for_all,
    "kept_by_an_object": one_kept_by_an_object,
}
