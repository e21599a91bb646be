"""Proof that a step which is undone is undone: it is taken, put back and taken again, and must be the same step.

State that no snapshot can see (in a closure, in a module's globals, inside an extension) makes the second step another
one. Then nothing that is measured would mean anything, and training after a probe would not be training without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lrpilot.errors import UnseenStateError
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.state import live_tree
from lrpilot.training.restore.step_state import stepped_parameters
from lrpilot.training.restore.tree import tensors_of
from lrpilot.training.restore.walk import Surroundings
from lrpilot.training.restore.witness import checksums, fingerprints

_NAMED = 3  # differences and suspects that a message tells of


@dataclass(frozen=True)
class StepSeen:
    """What a step came to.

    Attributes:
        loss: of it.
        sums: a checksum of every tensor of the training's state after it, by name.
    """

    loss: float
    sums: Mapping[str, int]

    @classmethod
    def of(cls, training: BoundTraining, loss: float) -> "StepSeen":
        """Look at a training right after a step of this loss."""
        return cls(loss, checksums(live_tree(training), _names(training)))

    def differences(self, other: "StepSeen") -> list[str]:
        """What is not the same in another one, bit for bit, in words."""
        loss = [] if _same(self.loss, other.loss) else [f"the loss ({self.loss:.9g}, then {other.loss:.9g})"]
        names = [*self.sums, *(other.sums.keys() - self.sums.keys())]
        return loss + [name for name in names if self.sums.get(name) != other.sums.get(name)]


def _same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


def _names(training: BoundTraining) -> dict[int, str]:
    """What to call tensors of the training's state, by their id."""
    model = training.model
    named = {id(p): f"parameter {name!r}" for name, p in model.named_parameters()}
    named |= {id(b): f"buffer {name!r}" for name, b in model.named_buffers()}
    for i, parameter in enumerate(stepped_parameters(training.raw_optimizer)):
        owner = named.setdefault(id(parameter), f"parameter {i} of the optimizer")
        kept = getattr(training.raw_optimizer, "state", {}).get(parameter)
        for key, value in kept.items() if isinstance(kept, dict) else ():
            named[id(value)] = f"optimizer state {key!r} of {owner}"
    return named


class Suspects:
    """What may have moved in a step and was not put back: everything in reach, looked at before and after.

    Args:
        training: before a step that will be undone.
    """

    def __init__(self, training: BoundTraining) -> None:
        self._training = training
        self._before = self._look()

    def _look(self) -> dict[str, Any]:
        training = self._training
        roots: dict[str, Any] = {"loss_fn": training.loss_fn, "step_fn": training.step_fn}
        roots |= {f"state[{name!r}]": thing for name, thing in training.extra_state.items()}
        roots |= {"model": training.model, "optimizer": training.optimizer}
        return fingerprints(roots, Surroundings([training, *tensors_of([live_tree(training)])]))

    def named(self) -> list[str]:
        """Paths of what has changed since."""
        now = self._look()
        return [path for path in {**self._before, **now} if self._before.get(path) != now.get(path)]


def refuse(differences: list[str], suspects: list[str]) -> UnseenStateError:
    """The error to raise where a step that was undone is another step the second time."""
    return UnseenStateError(
        "A step that is put back and taken again on the same batch must be the same step, but "
        f"{_listed(differences)} differed: something that it changes was not put back. "
        + (f"Probably {_listed(suspects)}. " if suspects else "Look for what loss_fn, step_fn or the model keeps. ")
        + "Hand it to Training in state={...}, as an object with state_dict and load_state_dict, or keep it in an "
        "attribute of the model. Begin anew, for it stands as the steps of this proof left it. If it does not matter "
        "to the training, Training(..., prove=False) leaves this proof out."
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
