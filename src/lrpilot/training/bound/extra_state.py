"""ExtraState: what the user gave in ``state=`` that is neither a module nor an optimizer."""

import copy
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lrpilot.training.bound.bound_training import BoundTraining


class ExtraState:
    """A copy of the user's extra state that is neither module nor optimizer (scaler, scheduler, ...)."""

    def __init__(self, training: BoundTraining) -> None:
        self._objects = {
            name: thing for name, thing in training.extra_state.items() if not isinstance(thing, (nn.Module, Optimizer))
        }
        self.saved = {name: _get_state(thing) for name, thing in self._objects.items()}

    def restore(self, saved: dict[str, Any] | None = None) -> None:
        """Load the copy (or ``saved``) back."""
        # Scaler, EMA, scheduler, the user's own generators: test_continuation.py::test_extra_state_goes_back
        for name, state in (self.saved if saved is None else saved).items():
            _set_state(self._objects[name], state)


def _get_state(thing: Any) -> Any:
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    # Copied, for a state_dict may hand out live tensors: test_snapshot.py::test_extra_state_is_restored_and_not_aliased
    return copy.deepcopy(thing.state_dict())


def _set_state(thing: Any, state: Any) -> None:
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    else:
        # And copied again, for load_state_dict may keep what it is given (same test).
        thing.load_state_dict(copy.deepcopy(state))
