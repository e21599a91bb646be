"""What a module keeps beside its parameters, put back: buffers, train/eval modes, and what it holds in attributes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lrpilot.training.restore.held import Held
from lrpilot.training.restore.tree import alias_tree, clone_tree, fits, tensors_of, write_tree
from lrpilot.training.restore.walk import Surroundings
from lrpilot.training.torch_private import buffers_of, copy_all, parameters_of


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


class ModuleState:
    """Buffers, modes and what the modules of a model hold; parameters are not part of it.

    Args:
        model: the module, with all that is inside it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        buffers = buffer_tree(self._modules)
        self._identity = alias_tree(buffers)
        self._saved = clone_tree(buffers)
        self._tensors, self._contents = list(tensors_of(self._identity)), list(tensors_of(self._saved))
        parameters = [p for module in self._modules.values() for p in parameters_of(module).values()]
        apart = Surroundings([*self._modules.values(), *parameters, *self._tensors], roots=[model])
        self._held = Held(self._modules.values(), apart)

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
        self._held.restore()

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
