"""SavedState: the state of a training as plain data, to go back to later or in another process."""

from typing import Any

import torch

from lrpilot.errors import StateError
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.extra_state import ExtraState
from lrpilot.training.bound.inventory import live_tree, optimizers_of, write_live
from lrpilot.training.restore.tree import clone_tree, write_tree


class SavedState:
    """A kept rollback, as plain data: parameters, buffers, optimizer and extra state."""

    def __init__(self, saved: dict[str, Any]) -> None:
        self.saved = saved

    @classmethod
    def take(cls, training: BoundTraining, device: torch.device | None = None) -> "SavedState":
        """Copy the present state."""
        return cls({"tree": clone_tree(live_tree(training), device), "extra": ExtraState(training).saved})

    def require_fits(self, training: BoundTraining) -> None:
        """Raise unless this is a state of the same model, optimizers and extra state. Nothing is written.

        Raises:
            StateError: it is not.
        """
        try:
            saved = _layout(self.saved["tree"], self.saved["extra"])
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"A saved state must be one that lrpilot wrote, but it lacks {error}.") from error
        here = _layout(live_tree(training), ExtraState(training).saved)
        for part in saved | here:
            if saved.get(part) != here.get(part):
                raise StateError(
                    f"A saved state must be of the same training, but {part} was {saved.get(part)} and is "
                    f"{here.get(part)} here. Build the model, optimizer and state as when it was saved."
                )

    def rewind(self, training: BoundTraining) -> None:
        """Put it back in place. RNG, data order, gradients, train/eval modes and lrs do not move."""
        # The lr is the flight's to write, not the past's: copied before, for a tensor lr is written in place.
        optimizers = optimizers_of(training).values()
        groups = clone_tree([[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers])
        # In place, so that compiled steps and other holders of a tensor go on with it. Without identities: the
        # tensors of now are as good as those of then, and after a resume the only ones.
        write_live(training, self.saved["tree"])
        # test_saved_state.py::test_extra_state_goes_back_with_it
        ExtraState(training).restore(self.saved["extra"])
        # test_saved_state.py::test_it_moves_weights_and_optimizer_and_nothing_else
        for optimizer, lrs in zip(optimizers, groups, strict=True):
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = write_tree(group["lr"], lr)


def _layout(tree: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """What two states must have in common for one to be written over the other, by its name in errors."""
    shapes = {f"the shape of parameter {i}": tuple(p.shape) for i, p in enumerate(tree["parameters"])}
    groups = {f"the number of param groups of {name}": len(o["groups"]) for name, o in tree["optimizers"].items()}
    return shapes | groups | {f"the type of state[{name!r}]": type(state).__name__ for name, state in extra.items()}
