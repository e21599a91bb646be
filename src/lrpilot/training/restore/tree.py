"""Copy and write back nested containers of tensors, in place wherever that is possible.

``clone_tree`` makes plain data of a live tree; ``write_tree`` puts plain data back into a live tree so
that tensors keep their identity (captured graphs, compiled optimizers and other holders of a reference go
on working), and keys born in between are deleted rather than zeroed.
"""

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lrpilot.training.restore.walk import slots_of
from lrpilot.training.torch_private import copy_all


def clone_tree(value: Any, device: torch.device | None = None) -> Any:
    """A copy of ``value`` that shares nothing with it.

    Args:
        value: nested dicts, lists and tuples of tensors and other values.
        device: where the tensors are kept; None keeps each where it is.
    """
    return map_leaves(value, lambda t: _clone(t, device), copy.deepcopy)


# Whose objects (a path, a date, a dtype) are values, and not what somebody wrote for a training.
LIBRARIES = frozenset({"torch", "numpy", *sys.stdlib_module_names}) - {"types", "argparse", "collections"}


def fields_of(thing: Any) -> dict[str, Any]:
    """The attributes of an object, slots included, as they are now."""
    return slots_of(thing) | getattr(thing, "__dict__", {})


def alias_tree(value: Any) -> Any:
    """New containers around the very same leaves."""
    return map_leaves(value, lambda t: t, lambda leaf: leaf)


def tensors_of(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested containers, depth first."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):  # transformers' BatchEncoding is a mapping and no dict
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_of(item)


def map_leaves(value: Any, on_tensor: Callable[[Tensor], Any], on_leaf: Callable[[Any], Any]) -> Any:
    """New containers, every tensor replaced by ``on_tensor(tensor)``, every other leaf by ``on_leaf(leaf)``."""
    if isinstance(value, Tensor):
        return on_tensor(value)
    if isinstance(value, dict):
        items = {k: map_leaves(v, on_tensor, on_leaf) for k, v in value.items()}
        return _same_mapping(value, items)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_leaves(v, on_tensor, on_leaf) for v in value))
    if isinstance(value, (list, tuple)):
        items_list = [map_leaves(v, on_tensor, on_leaf) for v in value]
        return items_list if isinstance(value, list) else tuple(items_list)
    return on_leaf(value)


def _same_mapping(value: dict[Any, Any], items: dict[Any, Any]) -> dict[Any, Any]:
    # A batch may be a dict subclass with attribute access (transformers' BatchEncoding is a UserDict and
    # does not come here; its tensors are moved by its own .to). Keep the class where a copy keeps it.
    if type(value) is dict:
        return items
    made = copy.copy(value)
    for key, item in items.items():
        made[key] = item
    return made


def _clone(tensor: Tensor, device: torch.device | None) -> Tensor:
    made = tensor.detach()
    if device is not None and device != made.device:
        return made.to(device, copy=True)
    return made.clone()


class _Copies:
    """Tensor copies, collected so that they can be made by one multi-tensor call."""

    def __init__(self) -> None:
        self._targets: list[Tensor] = []
        self._sources: list[Tensor] = []

    def add(self, target: Tensor, source: Tensor) -> None:
        if target.layout is torch.strided:
            self._targets.append(target.detach())
            self._sources.append(source)
        else:
            # A detached sparse tensor would take new indices of its own:
            # test_forwards.py::test_odd_buffers_are_put_back
            target.copy_(source)

    def run(self) -> None:
        if self._targets:
            copy_all(self._targets, self._sources)


def write_tree(live: Any, saved: Any, identity: Any = None) -> Any:
    """Make ``live`` equal to ``saved`` again, in place.

    Args:
        live: the tree as it is now; its dicts and lists are changed in place.
        saved: what :func:`clone_tree` made of it earlier (or the same loaded from a file). Not aliased.
        identity: what :func:`alias_tree` made of it earlier; tensors found there are put back as the
            same objects. Without it, tensors that ``live`` holds now are kept.

    Returns:
        The tree to use from now on (``live`` itself where it is a container of the same kind).
    """
    copies = _Copies()
    with torch.no_grad():
        result = _write(live, saved, identity, copies)
        copies.run()
    return result


def _write(live: Any, saved: Any, identity: Any, copies: _Copies) -> Any:
    if isinstance(saved, Tensor):
        # The object that others may hold, even where a step has put another in its place:
        # test_tree.py::test_a_tensor_that_changed_its_kind_is_replaced_by_the_original_object
        target = identity if isinstance(identity, Tensor) else live
        if target is saved:
            return saved  # kept by reference
        if isinstance(target, Tensor) and fits(target, saved):
            copies.add(target, saved)
            return target
        # A copy, so that what is saved can be written again:
        # test_tree.py::test_what_came_back_from_nothing_is_not_aliased
        return saved.clone() if not isinstance(target, Tensor) else saved.to(target.device, copy=True)
    if isinstance(saved, dict):
        return _write_dict(live, saved, identity if isinstance(identity, dict) else {}, copies)
    if isinstance(saved, (list, tuple)):
        return _write_sequence(live, saved, identity, copies)
    return copy.deepcopy(saved)


def _write_dict(live: Any, saved: dict[Any, Any], identity: dict[Any, Any], copies: _Copies) -> dict[Any, Any]:
    target: dict[Any, Any] = live if isinstance(live, dict) else {}
    # Deleted, not zeroed: test_tree.py::test_born_keys_are_deleted_and_lost_ones_come_back
    for key in [k for k in target if k not in saved]:
        del target[key]
    for key, value in saved.items():
        target[key] = _write(target.get(key), value, identity.get(key), copies)
    return target


def _write_sequence(live: Any, saved: Any, identity: Any, copies: _Copies) -> Any:
    same_length = isinstance(live, (list, tuple)) and len(live) == len(saved)
    known = isinstance(identity, (list, tuple)) and len(identity) == len(saved)
    items = [
        _write(live[i] if same_length else None, value, identity[i] if known else None, copies)
        for i, value in enumerate(saved)
    ]
    if isinstance(saved, tuple):
        return type(saved)(*items) if hasattr(saved, "_fields") else tuple(items)
    if isinstance(live, list):
        live[:] = items
        return live
    return items


def fits(target: Tensor, saved: Tensor) -> bool:
    """Whether ``saved`` can be written into ``target`` without changing what kind of tensor it is."""
    return target.shape == saved.shape and target.dtype == saved.dtype and not _overlaps_itself(target)


def _overlaps_itself(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_contiguous():
        return False
    # torch refuses to write into an expanded tensor: test_tree.py::test_an_overlapping_tensor_that_nobody_changed
    return any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
