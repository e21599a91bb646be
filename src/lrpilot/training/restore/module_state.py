"""What a forward pass may change in a module: buffers, train/eval modes, and plain attributes."""

from typing import Any

import torch
from torch import nn

from lrpilot.training.restore.attributes import PlainAttributes
from lrpilot.training.restore.buffers import buffer_tree, put_buffers
from lrpilot.training.restore.tree import alias_tree, clone_tree, fits, tensors_of, write_tree
from lrpilot.training.torch_private import copy_all


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
