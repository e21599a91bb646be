"""Random generators that a data set or a sampler holds itself, beside the global ones."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_DEPTH = 6  # dataset.dataset.transform.transforms[0].rng
_FEW = 64  # longer lists hold samples, not transforms


class HeldGenerators:
    """The generators that an object holds in its attributes (a data set's own for its crops, say).

    Args:
        owner: searched through attributes, short lists and dicts, a few levels deep; not through closures.
        apart: objects inside it that are left alone.

    Attributes:
        start: their states when they were found.
    """

    def __init__(self, owner: Any, apart: Sequence[Any] = ()) -> None:
        self._generators = list(_search(owner, _DEPTH, {id(thing) for thing in apart}))
        self.start = self.get()

    def get(self) -> list[Any]:
        """The state of each."""
        return [_get_state(generator) for generator in self._generators]

    def set(self, states: Sequence[Any]) -> None:
        """Put back what :meth:`get` returned.

        Each kind: test_probe_data.py::test_generators_that_a_data_set_holds_are_left_as_they_were
        """
        for generator, state in zip(self._generators, states, strict=True):
            _set_state(generator, state)

    def reseed(self, seed: int) -> None:
        """Start every one of them anew."""
        for i, generator in enumerate(self._generators):
            _reseed(generator, seed + i)


def _search(value: Any, depth: int, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen or depth < 0:
        return
    seen.add(id(value))
    if isinstance(value, GENERATORS) and not isinstance(value, random.SystemRandom):
        yield value
        return
    for part in _parts(value):
        yield from _search(part, depth - 1, seen)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return list(value) if len(value) <= _FEW else []
    if isinstance(value, dict):
        return list(value.values()) if len(value) <= _FEW else []
    if isinstance(value, (type, torch.Tensor)) or not hasattr(value, "__dict__"):
        return []
    return list(vars(value).values())


def _get_state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        # A tensor in place of the array: torch.load(weights_only=True) takes no NumPy array.
        kind, keys, *rest = generator.get_state(legacy=True)
        return (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest)
    return generator.get_state()


def _set_state(generator: Any, state: Any) -> None:
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
