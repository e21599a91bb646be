"""Opening a user's data a second time, without touching the first reading.

With persistent workers a second ``iter()`` on a DataLoader resets the loop in flight, and any second
``iter()`` draws from the generators that decide the user's order. So probes never iterate the user's
loader: they iterate a twin of it.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from lrpilot.errors import DataError
from lrpilot.training.restore.data_state import DataState, data_named_by, is_one_shot
from lrpilot.training.restore.rng import HeldGenerators

Data = Iterable[Any] | Callable[[], Iterable[Any]]

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
            # test_probe_data.py::test_a_source_reads_alike_when_the_loop_changes_its_sampler
            self._data = twin_loader(self._data, seed)
        self.held = self._find_held()
        self._last_made: Any = None

    def _find_held(self) -> DataState:
        """What reading moves in the user's own objects; of those in worker processes, what the workers begin with.

        Raises:
            DataError: something among it can be read once only.
        """
        held, once = _held_by(self._data)
        if once is not None:
            raise DataError(
                f"{self.name} must be readable a second time beside your loop, but it holds the {once}, which a second "
                f"reading would move. Make it anew for each reading. {_CALLABLE_REMEDY}"
            )
        return held

    def _check(self) -> None:
        data = self._data
        if isinstance(data, DataLoader) or (callable(data) and not isinstance(data, Iterable)):
            return  # checked when it is twinned, or called
        if not _is_iterable(data) or isinstance(data, (str, bytes)):
            raise DataError(
                f"{self.name} must be an iterable of batches, got {type(data).__name__}. {_CALLABLE_REMEDY}"
            )
        if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
            raise DataError(
                f"{self.name} must be an iterable of batches, got the data set {type(data).__name__}, which holds "
                "single samples. Wrap it in a DataLoader."
            )
        if isinstance(data, Iterator):
            raise DataError(
                f"{self.name} must be readable more than once, got the one-shot iterator {type(data).__name__}. "
                f"{_CALLABLE_REMEDY}"
            )
        if isinstance(data, Sized) and len(data) == 0:
            raise DataError(f"{self.name} must hold at least one batch, got none.")

    @property
    def data(self) -> Any:
        """The data itself, or the twin of its loader: for what it says of itself, not to be iterated."""
        return self._data

    @property
    def lends(self) -> bool:
        """Whether a batch may be delivered again, or is made of the data itself: a step that spoils it spoils that."""
        data = self._data
        makes = isinstance(data, DataLoader) and (data.num_workers > 0 or data.collate_fn is default_collate)
        return not makes

    def epoch(self, number: int = 0) -> Iterator[Any]:
        """The batches of one pass; the same for the same number.

        Args:
            number: 0 for probes, which read the data as it stood when it was bound; n for the n-th epoch of a training,
                which data sets and samplers with a ``set_epoch`` are told of, counted from 0.
        """
        data = self._data
        if callable(data) and not isinstance(data, Iterable):
            data = self._made(data, number)
        elif isinstance(data, DataLoader):
            data = twin_loader(data, _order_seed(self._seed, number))
        _tell_epoch(data, number)
        return iter(data)

    def _made(self, function: Callable[[], Any], number: int) -> Any:
        """What the user's callable returns, or the twin of it."""
        made = function()
        if not _is_iterable(made):
            raise DataError(
                f"{self.name}() must return an iterable of batches, got {type(made).__name__}. "
                "Add the missing return, or pass the iterable itself."
            )
        if isinstance(made, Iterator):
            self._require_fresh(made, function)
        if isinstance(made, DataLoader):
            # It may be the one that the user's loop is in; one that cannot be twinned must be fresh:
            # test_probe_data.py::test_a_callable_may_hand_out_the_very_loader_of_the_loop
            with suppress(DataError):
                return twin_loader(made, _order_seed(self._seed, number))
        return made

    def _require_fresh(self, made: Any, function: Callable[[], Any]) -> None:
        """Nothing has been taken from it yet, so it costs nobody a batch to ask for another."""
        if self._last_made is None:
            self._last_made = function()
        if made is self._last_made:
            raise DataError(
                f"{self.name}() must return a fresh iterable each time, got the same {type(made).__name__} twice. "
                "Open the data inside of it: lambda: read_batches(path)."
            )
        self._last_made = made


def _held_by(data: Any) -> tuple[DataState, str | None]:
    """What reading moves in the user's own objects, and what among it nobody can put back, in words."""
    if isinstance(data, (list, tuple)):
        return DataState(), None
    if callable(data) and not isinstance(data, Iterable):
        named = data_named_by(data)
        once = [type(thing).__name__ for thing in named if isinstance(thing, Iterator)]
        held = DataState(*(thing for thing in named if not is_one_shot(thing)))
        return held, f"{once[0]} made outside of it" if once else None
    streams = not isinstance(data, DataLoader)
    held = DataState(data, in_order=True) if streams else DataState(data.dataset, data.collate_fn)
    if not streams and (data.num_workers > 0 or not isinstance(data.dataset, IterableDataset)):
        return held, None  # workers have copies of their own, and samples that are asked for by index are left in place
    return held, None if held.one_shot is None else "{1} {0!r}".format(*held.one_shot)


def _tell_epoch(data: Any, number: int) -> None:
    """Call ``set_epoch`` of what is about to be read, where it is an epoch of a training."""
    if number == 0:
        return
    parts = [data]
    if isinstance(data, DataLoader):
        parts = [*_inner(data.dataset, "dataset", "datasets"), *_sampler_parts(_sampler_of(data))]
    for part in parts:
        if callable(getattr(part, "set_epoch", None)):
            part.set_epoch(number - 1)


def _order_seed(seed: int, epoch: int) -> int:
    """The seed of one epoch's order. Not ``seed + epoch``: neighbouring seeds would share their orders."""
    return int(np.random.SeedSequence([abs(seed), epoch]).generate_state(1, np.uint32)[0])


def _is_iterable(thing: Any) -> bool:
    return isinstance(thing, Iterable) or hasattr(thing, "__getitem__")


def twin_loader(loader: DataLoader[Any], seed: int) -> DataLoader[Any]:
    """A loader over the same data set with the same batches in an order of its own.

    Same data set, batch size, collate function and workers; own generator, no persistent workers.

    Raises:
        DataError: the loader has iteration code of its own, or a sampler that cannot be copied.
    """
    iteration = type(loader).__iter__
    # torchdata's keeps account of how far its loop is, and reads as the plain one does.
    if iteration is not DataLoader.__iter__ and not iteration.__module__.startswith("torchdata.stateful_dataloader"):
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
        "in_order": loader.in_order,
        # The loop's order is the loop's: test_probe_data.py::test_a_loop_in_flight_goes_on_as_if_nobody_had_read
        "generator": generator,
    }
    if isinstance(loader.dataset, IterableDataset):
        return DataLoader(loader.dataset, batch_size=loader.batch_size, drop_last=loader.drop_last, **shared)
    own = _own_order(_sampler_of(loader), loader.dataset, generator)
    if loader.batch_sampler is not None:
        return DataLoader(loader.dataset, batch_sampler=own, **shared)
    return DataLoader(loader.dataset, batch_size=None, sampler=own, **shared)


def _sampler_of(loader: DataLoader[Any]) -> Any:
    """What decides the batches of a loader, or its samples where it makes no batches."""
    return loader.sampler if loader.batch_sampler is None else loader.batch_sampler


def _own_order(sampler: Any, dataset: Any, generator: torch.Generator) -> Any:
    """A deep copy of a sampler that shares the data and draws from ``generator``."""
    memo: dict[int, Any] = {id(dataset): dataset}
    for part in _sampler_parts(sampler):
        source = getattr(part, "data_source", None)
        memo[id(source)] = source
        theirs = getattr(part, "generator", None)
        if isinstance(theirs, torch.Generator):
            memo[id(theirs)] = generator
    shared = [*memo.values(), generator]
    try:
        own = copy.deepcopy(sampler, memo)
    except Exception as error:
        raise DataError(
            f"Probes need a sampler of their own, but {type(sampler).__name__} cannot be copied ({error}). "
            f"{_CALLABLE_REMEDY}"
        ) from error
    # An order of its own for every epoch, whatever a sampler draws from:
    # test_probe_data.py::test_a_twin_holds_the_same_samples_in_batches_of_the_same_sizes
    HeldGenerators(own, apart=shared).reseed(generator.initial_seed())
    for part in _sampler_parts(own):
        if getattr(part, "generator", generator) is None:
            part.generator = generator
        # DistributedSampler draws from its seed and its epoch, and only the seed is ours to choose:
        # test_probe_data.py::test_a_distributed_sampler_is_read_alike_whatever_epoch_the_loop_is_in
        if callable(getattr(part, "set_epoch", None)) and isinstance(getattr(part, "seed", None), int):
            part.seed = generator.initial_seed()
    return own


def _sampler_parts(sampler: Any) -> Iterator[Any]:
    """A sampler and the samplers it wraps."""
    return _inner(sampler, "sampler", "batch_sampler")


def _inner(part: Any, *names: str, depth: int = 8) -> Iterator[Any]:
    """Something, and what it wraps under any of these names, one thing or several; no deeper than anybody wraps."""
    if part is None or depth == 0:
        return
    yield part
    for name in names:
        wrapped = getattr(part, name, None)
        for inner in wrapped if isinstance(wrapped, (list, tuple)) else [wrapped]:
            yield from _inner(inner, *names, depth=depth - 1)
