"""PlainAttributes: what a module keeps beside parameters and buffers, as stateful code does."""

import copy
from typing import Any

from torch import Tensor, nn

from lrpilot.training.restore.held_generators import GENERATORS, HeldGenerators
from lrpilot.training.restore.tree import alias_tree, map_leaves, write_tree
from lrpilot.training.torch_private import times_written


class PlainAttributes:
    """Plain attributes of a module: train/eval mode, counters, hidden state kept between batches.

    Short lists and dicts of such values are part of it, and random generators that the module holds.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        values, containers, generators = {}, [], []
        for name, value in vars(module).items():
            if name in _INTERNAL:
                continue
            if _is_plain_container(value):
                containers.append((value, alias_tree(value), _content(value)))
            elif not isinstance(value, tuple) and isinstance(value, GENERATORS):
                generators.append(value)
            elif not _is_plain(value):
                continue
            values[name] = value  # the object itself: a forward pass may put another in its place
        self._names = set(vars(module))
        self._values = values
        self._containers = containers
        self._generators = HeldGenerators(generators) if generators else None
        tensors = {k: v for k, v in values.items() if isinstance(v, Tensor)}
        self._versions = {k: times_written(v) for k, v in tensors.items()}
        # Only a tensor changed in place needs its content: keep copies of leaf tensors, which nobody recomputes.
        self._contents = {
            k: v.detach().clone()
            for k, v in tensors.items()
            if v.is_leaf and not v.is_inference() and not _is_trained(v)
        }

    def restore(self) -> None:
        """Put the attributes back; those born since go."""
        attributes = vars(self._module)
        # Modes, counters, hidden states, and lists that a pass has replaced by others:
        # test_forwards.py::test_what_a_forward_pass_puts_in_place_of_a_list_is_taken_back
        attributes.update(self._values)
        if len(attributes) != len(self._names):
            # An attribute that is there now may be asked for (hasattr):
            # test_attributes.py::test_born_attributes_are_gone
            for born in [k for k in attributes.keys() - self._names if _is_plain(attributes[k])]:
                del attributes[born]
        # Lists and dicts that a pass appends to, in place: test_continuation.py::test_a_probe_leaves_no_trace
        for container, identity, saved in self._containers:
            write_tree(container, saved, identity)
        # A module's own noise: test_continuation.py::test_a_probe_leaves_no_trace
        if self._generators is not None:
            self._generators.set(self._generators.start)
        # A hidden state that is written in place: test_attributes.py::test_a_tensor_that_is_written_in_place_goes_back
        for name, content in self._contents.items():
            if times_written(self._values[name]) != self._versions[name]:
                self._values[name].detach().copy_(content)


# Dicts and sets of torch's own in every module: parameters, buffers, submodules, hooks.
_INTERNAL = frozenset(name for name, value in vars(nn.Module()).items() if isinstance(value, (dict, set)))
_FEW = 256  # longer containers are tables, not state


def _content(container: Any) -> Any:
    """A copy but for the parameters in it (an LSTM's list of its weights), which training's own state has."""
    return map_leaves(container, lambda t: t if _is_trained(t) else t.detach().clone(), copy.deepcopy)


def _is_trained(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad


def _is_plain_container(value: Any) -> bool:
    if not isinstance(value, (list, dict)) or len(value) > _FEW:
        return False
    return all(
        _is_plain(item) or _is_plain_container(item) for item in (value.values() if isinstance(value, dict) else value)
    )


_SIMPLE = (bool, int, float, str, type(None))


def _is_plain(value: Any) -> bool:
    if isinstance(value, _SIMPLE):  # first, for most are: a check against Tensor is a slow one
        return True
    if isinstance(value, tuple):
        return all(_is_plain(item) for item in value)
    return isinstance(value, Tensor)
