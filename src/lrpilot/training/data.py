"""Reading a user's data a second time, without touching the first reading.

With persistent workers a second ``iter()`` on a DataLoader resets the loop in flight, and any second
``iter()`` draws from the generators that decide the user's order. So probes never iterate the user's
loader: they iterate a twin of it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sized
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lrpilot.errors import DataError
from lrpilot.training.held_generators import HeldGenerators
from lrpilot.training.rng import SideStream
from lrpilot.training.tree import map_leaves, map_tensors, tensors_of

Data = Iterable[Any] | Callable[[], Iterable[Any]]

# Batches of a comparison are kept up to this size and read again from the twin beyond it.
REPLAY_BYTES = 512 * 2**20
# Held-out batches taken from the training data where there is no validation data.
RESERVED_BATCHES = 8

_CALLABLE_REMEDY = "Pass a zero-argument callable that returns a fresh iterable of batches instead."


class BatchSource:
    """Opens a user's data anew, any number of times, in an order of its own.

    Args:
        data: a DataLoader, a re-iterable of batches, or a callable returning an iterable of batches.
        seed: decides the order of a shuffling loader's twin.
        name: how errors call it.

    Raises:
        DataError: the data can be read only once, or cannot be twinned.
    """

    def __init__(self, data: Data, *, seed: int, name: str) -> None:
        self._seed = seed
        self.name = name
        # Accelerate's prepared loaders wrap the user's own one, and would move batches and sync generators.
        self._data = getattr(data, "base_dataloader", data)
        self._check()
        if isinstance(self._data, DataLoader):
            # A sampler may move on with the user's loop (its epoch, its weights): copy it as it is now.
            self._data = twin_loader(self._data, seed)
        # Workers read a copy of the data set, with copies of its generators.
        in_this_process = isinstance(self._data, DataLoader) and self._data.num_workers == 0
        self.held = HeldGenerators(getattr(self._data, "dataset", None) if in_this_process else None)

    def _check(self) -> None:
        data = self._data
        if isinstance(data, DataLoader):
            return  # twin_loader checks it
        if callable(data) and not isinstance(data, Iterable):
            return
        elif not (isinstance(data, Iterable) or hasattr(data, "__getitem__")) or isinstance(data, (str, bytes)):
            raise DataError(
                f"{self.name} must be an iterable of batches, got {type(data).__name__}. {_CALLABLE_REMEDY}"
            )
        elif isinstance(data, Iterator):
            raise DataError(
                f"{self.name} must be readable more than once, got the one-shot iterator {type(data).__name__}. "
                f"{_CALLABLE_REMEDY}"
            )
        elif isinstance(data, Sized) and len(data) == 0:
            raise DataError(f"{self.name} must hold at least one batch, got none.")

    def epoch(self, number: int = 0) -> Iterator[Any]:
        """The batches of one pass; the same for the same number."""
        if isinstance(self._data, DataLoader):
            return iter(twin_loader(self._data, self._seed + number))
        if callable(self._data) and not isinstance(self._data, Iterable):
            made = self._data()
            if not (isinstance(made, Iterable) or hasattr(made, "__getitem__")):
                raise DataError(
                    f"{self.name}() must return an iterable of batches, got {type(made).__name__}. "
                    "Add the missing return, or pass the iterable itself."
                )
            return iter(made)
        return iter(self._data)


def twin_loader(loader: DataLoader[Any], seed: int) -> DataLoader[Any]:
    """A loader over the same data set with the same batches in an order of its own.

    Same data set, batch size, collate function and workers; own generator, no persistent workers.

    Raises:
        DataError: the loader has iteration code of its own, or a sampler that cannot be copied.
    """
    if type(loader).__iter__ is not DataLoader.__iter__:
        raise DataError(
            f"Probes read a twin of the loader, which needs plain DataLoader iteration, got {type(loader).__name__} "
            f"with its own __iter__. {_CALLABLE_REMEDY}"
        )
    if isinstance(loader.dataset, IterableDataset) and isinstance(loader.dataset, Iterator):
        raise DataError(
            f"Probes read the data set a second time, got {type(loader.dataset).__name__}, which is its own one-shot "
            f"iterator. {_CALLABLE_REMEDY}"
        )
    generator = torch.Generator().manual_seed(seed)
    shared: dict[str, Any] = {
        "num_workers": loader.num_workers,
        "collate_fn": loader.collate_fn,
        "pin_memory": loader.pin_memory,
        "timeout": loader.timeout,
        "worker_init_fn": loader.worker_init_fn,
        "multiprocessing_context": loader.multiprocessing_context,
        "prefetch_factor": loader.prefetch_factor,
        "generator": generator,
    }
    if isinstance(loader.dataset, IterableDataset):
        return DataLoader(loader.dataset, batch_size=loader.batch_size, drop_last=loader.drop_last, **shared)
    if loader.batch_sampler is not None:
        own = _own_order(loader.batch_sampler, loader.dataset, generator)
        return DataLoader(loader.dataset, batch_sampler=own, **shared)
    own = _own_order(loader.sampler, loader.dataset, generator)
    return DataLoader(loader.dataset, batch_size=None, sampler=own, **shared)


def _own_order(sampler: Any, dataset: Any, generator: torch.Generator) -> Any:
    """A deep copy of a sampler that shares the data and draws from ``generator``."""
    memo: dict[int, Any] = {id(dataset): dataset}
    for part in _sampler_parts(sampler):
        source = getattr(part, "data_source", None)
        memo[id(source)] = source
        theirs = getattr(part, "generator", None)
        if theirs is not None:
            memo[id(theirs)] = generator
    shared = [*memo.values(), generator]
    try:
        own = copy.deepcopy(sampler, memo)
    except Exception as error:
        raise DataError(
            f"Probes need a sampler of their own, but {type(sampler).__name__} cannot be copied ({error}). "
            f"{_CALLABLE_REMEDY}"
        ) from error
    HeldGenerators(own, apart=shared).reseed(generator.initial_seed())
    for part in _sampler_parts(own):
        if getattr(part, "generator", generator) is None:
            part.generator = generator
        if hasattr(part, "set_epoch"):  # DistributedSampler draws from its epoch, which the user's loop moves on
            part.set_epoch(generator.initial_seed())
    return own


def _sampler_parts(sampler: Any) -> Iterator[Any]:
    """A sampler and the samplers it wraps."""
    part, depth = sampler, 0
    while part is not None and depth < 8:
        yield part
        part, depth = getattr(part, "sampler", getattr(part, "batch_sampler", None)), depth + 1


class Replay:
    """The same batches for every Trial of a comparison, in bounded memory.

    Args:
        source: where batches come from.
        seed: of the random stream that reading draws from (augmentations).
        skip: number of leading batches never delivered.
        cycle: past the end of the epoch the same epoch starts again; False ends there.
        max_bytes: batches are kept in memory up to this size; beyond it they are read again.
    """

    def __init__(
        self, source: BatchSource, *, seed: int, skip: int = 0, cycle: bool = True, max_bytes: int = REPLAY_BYTES
    ) -> None:
        self._source = source
        self._seed = seed
        self._skip = skip
        self._cycle = cycle
        self._room = max_bytes
        self._kept: list[Any] = []
        self._whole = False

    def take(self, count: int | None = None) -> Iterator[Any]:
        """The first ``count`` batches (None: all of one epoch), each a copy.

        Copies because a step may pop keys from its batch, or write into its tensors.

        Raises:
            DataError: the source yields nothing.
        """
        kept = self._kept[:count]
        for batch in kept:
            yield copy_batch(batch)
        if self._whole or len(kept) == count:
            return
        for index, batch in enumerate(islice(self._stream(), len(kept), count), start=len(kept)):
            self._keep(index, batch)
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
        size = sum(t.numel() * t.element_size() for t in tensors_of(batch))
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
    """

    def __init__(self, train: BatchSource, val: BatchSource | None, *, eval_batches: int | None, seed: int) -> None:
        self._val = val
        self._eval_batches = eval_batches
        leading = Replay(train, seed=seed, cycle=False)
        self._reserved = 0 if val is not None else sum(1 for _ in leading.take(2 * RESERVED_BATCHES)) // 2
        self.train = Replay(train, seed=seed, skip=self._reserved)
        self._held_out = leading if val is None else Replay(val, seed=seed, cycle=False)
        self.batch_size = count_samples(next(self.train.take(1)))

    def held_out(self) -> Iterator[Any]:
        """The held-out batches, always the same ones: a fixed subset is what makes losses comparable."""
        return self._held_out.take(self._eval_batches if self._val is not None else max(1, self._reserved))

    @property
    def metric(self) -> str:
        """Which loss evaluations read, in words."""
        if self._val is not None:
            return "validation loss"
        if self._reserved:
            return f"loss on {self._reserved} reserved training batches"
        return "training loss (the data has a single batch)"


_END = object()


def copy_batch(batch: Any) -> Any:
    """A batch of one's own: new containers and tensors; what else it holds is copied one level deep."""
    return map_leaves(batch, lambda t: t.detach().clone().requires_grad_(t.requires_grad), _copy_leaf)


def _copy_leaf(leaf: Any) -> Any:
    if isinstance(leaf, MutableMapping):
        made = copy.copy(leaf)
        made.update({key: copy_batch(value) for key, value in leaf.items()})
        return made
    try:
        return copy.copy(leaf)
    except TypeError:  # what cannot be copied is shared
        return leaf


def count_samples(batch: Any) -> int:
    """Number of samples in a batch: the first dimension of its first tensor (1 if it has none)."""
    for tensor in tensors_of(batch):
        return int(tensor.shape[0]) if tensor.ndim else 1
    if isinstance(batch, (list, tuple)):
        return max(1, len(batch))
    return 1


def to_device(batch: Any, device: torch.device) -> Any:
    """Every tensor of a batch on ``device``; objects with their own ``.to`` are asked to move."""
    if not isinstance(batch, (Tensor, dict, list, tuple)) and hasattr(batch, "to"):
        return batch.to(device)
    return map_tensors(batch, lambda t: t if t.device == device else t.to(device))
