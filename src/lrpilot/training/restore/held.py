"""What modules and optimizers hold in attributes, put back: containers, arrays, objects, generators."""

import array
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot.training.restore.rng import Generators
from lrpilot.training.restore.walk import (
    Surroundings,
    attributes_of,
    held_by,
    is_generator,
    is_plain,
    is_state,
    left_out,
    slots_of,
)
from lrpilot.training.torch_private import times_written

Undo = Callable[[], None]


class Held:
    """What some owners hold in their attributes, as it is now: everything that the walk finds, by value.

    Train/eval modes, counters, hidden states kept between batches, queues, arrays, helpers and their attributes, slow
    weights of an optimizer, random generators. References go back too: what was put in the place of something is gone.

    Args:
        owners: modules and optimizers.
        surroundings: what is put back by somebody else (parameters, buffers, optimizer state).
        device: where copies of tensors are kept; None for where each lives.
    """

    def __init__(
        self, owners: Iterable[Any], surroundings: Surroundings, *, device: torch.device | None = None
    ) -> None:
        self._undo: list[Undo] = []
        self._tensors: list[tuple[Tensor, Tensor, int]] = []
        generators: list[Any] = []
        for owner in owners:
            self._undo.append(_undo_of_attributes(owner))
            for _, thing in held_by(owner, surroundings):
                if isinstance(thing, Tensor):
                    self._hold_tensor(thing, device)
                elif is_generator(thing):
                    generators.append(thing)
                else:
                    self._undo += _undo_of(thing)
        self._generators = Generators(generators)

    def _hold_tensor(self, tensor: Tensor, device: torch.device | None) -> None:
        # Content only of what nobody recomputes, and what can be written:
        # test_held.py::test_a_hidden_state_that_is_part_of_a_graph_goes_back_as_it_is
        if tensor.is_leaf and not tensor.is_inference() and not tensor.is_meta and not is_trained(tensor):
            content = tensor.detach()
            content = content.clone() if device is None else content.to(device, copy=True)
            self._tensors.append((tensor, content, times_written(tensor)))

    def restore(self) -> None:
        """Put it back, in place."""
        # Containers and attributes: test_continuation.py::test_a_probe_leaves_no_trace
        for undo in self._undo:
            undo()
        with torch.no_grad():
            for tensor, content, written in self._tensors:
                _put_content(tensor, content, written)
        # A module's own noise: test_continuation.py::test_a_probe_leaves_no_trace
        self._generators.set(self._generators.start)


def is_trained(tensor: Tensor) -> bool:
    """Whether it is a parameter that trains: what steps it has it among its own."""
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad


def _put_content(tensor: Tensor, content: Tensor, written: int) -> None:
    if times_written(tensor) != written:
        # A hidden state written in place: test_held.py::test_a_tensor_that_is_written_in_place_goes_back
        tensor.detach().copy_(content)
    elif type(tensor) is Tensor or type(tensor) is nn.Parameter:
        # Written through .data, which leaves no mark; neither does this, for a graph of the loop may hold the tensor:
        # test_held.py::test_a_tensor_that_is_written_past_its_counter_goes_back
        tensor.data.copy_(content)


def _undo_of_attributes(owner: Any) -> Undo:
    live: dict[str, Any] = vars(owner) if hasattr(owner, "__dict__") else {}
    hidden = left_out(owner)
    names = set(live)
    kept = {name: value for name, value in live.items() if name not in hidden and is_state(value)}
    slots = slots_of(owner) if is_plain(type(owner)) else {}

    def undo() -> None:
        # Modes, counters, and what a pass has replaced by another:
        # test_forwards.py::test_what_a_forward_pass_puts_in_place_of_a_list_is_taken_back
        live.update(kept)
        if len(live) != len(names):
            # An attribute that is there now may be asked for (hasattr): test_held.py::test_born_attributes_are_gone
            for born in [name for name in live.keys() - names if is_state(live[name])]:
                del live[born]
        if slots:
            _put_slots(owner, slots)

    return undo


def _put_slots(owner: Any, slots: dict[str, Any]) -> None:
    for name, value in slots.items():
        if getattr(owner, name, None) is not value:
            object.__setattr__(owner, name, value)
    for born in slots_of(owner).keys() - slots:
        object.__delattr__(owner, born)


def _undo_of(thing: Any) -> list[Undo]:
    """How one thing is put back; nothing for what has no content of its own."""
    if isinstance(thing, dict):
        return [_undo_of_dict(thing)]
    if isinstance(thing, (list, deque)):
        return [_undo_of_sequence(thing)]
    if isinstance(thing, set):
        return [_undo_of_set(thing)]
    if isinstance(thing, np.ndarray):
        return [_undo_of_array(thing)] if thing.flags.writeable and not isinstance(thing, np.memmap) else []
    if isinstance(thing, (bytearray, array.array)):
        return [_undo_of_bytes(thing)]
    return [] if attributes_of(thing) is None else [_undo_of_attributes(thing)]


# The methods of the plain class, lest a subclass count or check what is put back:
# test_held.py::test_a_container_of_ones_own_is_put_back_without_its_methods


def _undo_of_dict(live: dict[Any, Any]) -> Undo:
    keys, values = list(live.keys()), list(live.values())
    plain: Any = OrderedDict if isinstance(live, OrderedDict) else dict

    def undo() -> None:
        if len(live) == len(keys) and all(map(is_, live.keys(), keys)) and all(map(is_, live.values(), values)):
            return
        plain.clear(live)
        for key, value in zip(keys, values, strict=True):
            plain.__setitem__(live, key, value)

    return undo


def _undo_of_sequence(live: Any) -> Undo:
    entries = list(live)
    plain: Any = deque if isinstance(live, deque) else list

    def undo() -> None:
        if len(live) != len(entries) or not all(map(is_, live, entries)):
            plain.clear(live)
            plain.extend(live, entries)

    return undo


def _undo_of_set(live: set[Any]) -> Undo:
    entries = list(live)

    def undo() -> None:
        if len(live) != len(entries) or not all(entry in live for entry in entries):
            set.clear(live)
            set.update(live, entries)

    return undo


def _undo_of_array(live: np.ndarray[Any, Any]) -> Undo:
    content = live.copy()

    def undo() -> None:
        live[...] = content

    return undo


def _undo_of_bytes(live: Any) -> Undo:
    content = live[:]

    def undo() -> None:
        live[:] = content

    return undo
