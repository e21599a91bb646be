"""The buffers of modules, as a tree by name, and put back from one."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from lrpilot.training.torch_private import buffers_of


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
