"""Random number generators put back: the global ones (Python, NumPy, torch), and those that an object holds itself."""

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from lrpilot.training.restore.walk import Surroundings, Walk, is_generator

_FEW = 64  # longer lists hold samples, not transforms


class Generators:
    """Some generators.

    Attributes:
        start: their states at first.
    """

    def __init__(self, generators: Sequence[Any]) -> None:
        self._generators = list(generators)
        self.start = self.get()

    def get(self) -> list[Any]:
        """The state of each."""
        return [get_generator(generator) for generator in self._generators]

    def set(self, states: Sequence[Any]) -> None:
        """Put back what :meth:`get` returned.

        Each kind: test_probe_data.py::test_generators_that_a_data_set_holds_are_left_as_they_were
        """
        for generator, state in zip(self._generators, states, strict=True):
            set_generator(generator, state)

    def reseed(self, seed: int) -> None:
        """Start every one of them anew."""
        for i, generator in enumerate(self._generators):
            _reseed(generator, seed + i)


class HeldGenerators(Generators):
    """The generators that an object holds (a data set's own for its crops, a loss's for its noise, say).

    Args:
        owner: searched through attributes, short lists and dicts, data sets and samplers.
        apart: objects inside it that are left alone.
        through_code: search functions too: their closures, and the globals they name.
    """

    def __init__(self, owner: Any, apart: Iterable[Any] = (), *, through_code: bool = False) -> None:
        walk = Walk(owner, Surroundings(apart), widest=_FEW, through_code=through_code, through_data=True)
        super().__init__([thing for thing in walk.things if is_generator(thing)])


def get_generator(generator: Any) -> Any:
    """The state of a generator of any of the ``GENERATORS``."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        # A tensor in place of the array: torch.load(weights_only=True) takes no NumPy array.
        kind, keys, *rest = generator.get_state(legacy=True)
        return (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest)
    return generator.get_state()


def set_generator(generator: Any, state: Any) -> None:
    """Put back what :func:`get_generator` returned."""
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = state
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.RandomState):
        kind, keys, *rest = state
        generator.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    else:
        generator.set_state(state)


def _reseed(generator: Any, seed: int) -> None:
    if isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    elif isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed % 2**32)  # it takes no larger one
    else:
        generator.seed(seed)


def get_rng() -> dict[str, Any]:
    """The state of every global generator, as data that ``torch.load(weights_only=True)`` accepts."""
    # The model draws from torch's, data sets and augmentations from any:
    # test_rng.py::test_every_global_generator_goes_back
    kind, keys, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached),
        "torch": torch.random.get_rng_state(),
    }
    # Dropout on a device draws there; one that nobody uses is not woken:
    # test_rng.py::test_generators_of_devices_go_back, test_rng.py::test_a_device_that_nobody_uses_is_not_woken
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng(state: dict[str, Any]) -> None:
    """Put back what :func:`get_rng` returned."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, numpy_keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, numpy_keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.random.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state:
        torch.mps.set_rng_state(state["mps"])


def seed_rng(seed: int) -> None:
    """Seed every global generator."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if torch.accelerator.is_available():
        torch.manual_seed(seed)
    else:  # which notes the call stack for every kind of accelerator that might still come
        torch.default_generator.manual_seed(seed)


@contextmanager
def kept_rng() -> Iterator[None]:
    """Leave every global generator as it was before the block."""
    before = get_rng()
    try:
        yield
    finally:
        # Also after an error: test_rng.py::test_a_seeded_block_is_repeatable_and_leaves_no_trace
        set_rng(before)


class Held(Protocol):
    """Something with a state of its own that reading moves."""

    start: list[Any]

    def get(self) -> list[Any]:
        """Its state."""

    def set(self, states: Sequence[Any]) -> None:
        """Put back what :meth:`get` returned."""


class SideStream:
    """A random stream of its own, for code that draws from the global generators.

    Reading a batch may draw random crops; the model draws dropout masks. Were both to draw from one
    stream, a batch replayed from memory would shift the masks of the model.

    Args:
        seed: where the stream begins.
        held: what the reader's data holds, to be put back too.
    """

    def __init__(self, seed: int, held: Held) -> None:
        self._seed = seed
        self._held = held
        self._state: dict[str, Any] | None = None
        self._held_state = held.start

    @contextmanager
    def active(self) -> Iterator[None]:
        """Run a block on this stream; all generators are put back after it."""
        before, held_before = get_rng(), self._held.get()
        if self._state is None:
            seed_rng(self._seed)
        else:
            set_rng(self._state)
        # Every reading begins where the first did, however far the loop has moved them:
        # test_probe_data.py::test_a_source_reads_alike_however_far_the_loop_has_moved_the_generators_of_its_data
        self._held.set(self._held_state)
        try:
            yield
        finally:
            self._state, self._held_state = get_rng(), self._held.get()
            # Order and crops of the loop: test_probe_data.py::test_a_loop_in_flight_goes_on_as_if_nobody_had_read
            set_rng(before)
            # test_probe_data.py::test_generators_that_a_data_set_holds_are_left_as_they_were
            self._held.set(held_before)
