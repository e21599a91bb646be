"""What a module keeps beside its parameters, put back: buffers, train/eval modes, and plain attributes."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot.training.restore.rng import GENERATORS, HeldGenerators
from lrpilot.training.restore.tree import alias_tree, clone_tree, fits, map_leaves, tensors_of, write_tree
from lrpilot.training.torch_private import buffers_of, copy_all, times_written


def buffer_tree(modules: Mapping[str, nn.Module]) -> dict[str, dict[str, Any]]:
    """The buffers of each module, by reference; those that are None too, and no entry for a module without any."""
    return {name: dict(buffers_of(module)) for name, module in modules.items() if buffers_of(module)}


def put_buffers(modules: Mapping[str, nn.Module], tree: Mapping[str, dict[str, Any]]) -> None:
    """Make these the buffers of the modules; others were born since and go."""
    for name, module in modules.items():
        live, buffers = buffers_of(module), tree.get(name, {})
        # A buffer that a probe's forward pass registered is deleted, for a forward pass may ask whether it is there:
        # test_snapshot.py::test_buffers_born_in_a_probe_are_gone_after_it
        for born in [key for key in live if key not in buffers]:
            del live[born]
        # Also those that are None, or that the probe has put other tensors in the place of (same test).
        live.update(buffers)


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
            # test_module_state.py::test_born_attributes_are_gone
            for born in [k for k in attributes.keys() - self._names if _is_plain(attributes[k])]:
                del attributes[born]
        # Lists and dicts that a pass appends to, in place: test_continuation.py::test_a_probe_leaves_no_trace
        for container, identity, saved in self._containers:
            write_tree(container, saved, identity)
        # A module's own noise: test_continuation.py::test_a_probe_leaves_no_trace
        if self._generators is not None:
            self._generators.set(self._generators.start)
        # A hidden state written in place: test_module_state.py::test_a_tensor_that_is_written_in_place_goes_back
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


class ModuleState:
    """Buffers, modes and plain attributes of a model; parameters are not part of it.

    Args:
        model: the module, with all that is inside it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        buffers = buffer_tree(self._modules)
        self._identity = alias_tree(buffers)
        self._saved = clone_tree(buffers)
        self._tensors, self._contents = list(tensors_of(self._identity)), list(tensors_of(self._saved))
        self._attributes = [PlainAttributes(module) for module in self._modules.values()]

    def restore(self) -> None:
        """Put everything back, in place."""
        live = buffer_tree(self._modules)
        if not self._holds_the_same(live):
            # Swapped, resized, sparse or born ones: test_forwards.py::test_odd_buffers_are_put_back
            put_buffers(self._modules, write_tree(live, self._saved, self._identity))
        elif self._tensors:
            # Running statistics and power iterations are written in place, by one call for all of them:
            # test_forwards.py::test_forward_passes_leave_no_trace
            with torch.no_grad():
                copy_all(self._tensors, self._contents)
        # Train/eval modes, and what stateful modules keep: test_forwards.py::test_forward_passes_leave_no_trace
        for attributes in self._attributes:
            attributes.restore()

    def _holds_the_same(self, live: dict[str, dict[str, Any]]) -> bool:
        """Whether every buffer is the tensor that it was. It is as a rule, and then putting it back is quick."""
        return (
            live.keys() == self._identity.keys()
            and all(
                now.keys() == was.keys() and all(now[name] is was[name] for name in was)
                for now, was in zip(live.values(), self._identity.values(), strict=True)
            )
            and all(map(fits, self._tensors, self._contents))
        )
