"""The ends of Trials that a training may go on from."""

from dataclasses import dataclass
from typing import Any

from lrpilot.core.codec import decode, encode
from lrpilot.flight.substrate import STEP, TrialEnd
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.inventory import named_modules
from lrpilot.training.bound.saved_state import SavedState
from lrpilot.training.restore.attributes import PlainAttributes


@dataclass(frozen=True)
class HeldEnd:
    """The state at the end of a Trial.

    Attributes:
        state: parameters, buffers, optimizer and extra state.
        attributes: plain attributes of the modules; None where it comes from a checkpoint, which has none.
        end: what the training's record gets of it.
        passed: batches of the Trials' own data that continued Trials have trained on, this one among them.
    """

    state: SavedState
    attributes: list[PlainAttributes] | None
    end: TrialEnd
    passed: int


class TrialEnds:
    """Ends of Trials by key, and how far into their own data continued Trials have come.

    Trials of one search see the same batches. Were those of the next to see them again, the steps that are kept
    would train on the first batches of an epoch time and again: so they begin where the last continued one ended.

    Attributes:
        passed: index of the first batch of the next Trial.

    Args:
        training: what is flown.
    """

    def __init__(self, training: BoundTraining) -> None:
        self.passed = 0
        self._training = training
        self._held: dict[str, HeldEnd] = {}

    def hold(self, key: str, end: TrialEnd, batches: int) -> None:
        """Copy the present state, at the end of a Trial of so many batches; one copy of the training state each."""
        state = SavedState.take(self._training, self._training.snapshot_device)
        attributes = [PlainAttributes(module) for module in named_modules(self._training).values()]
        self._held[key] = HeldEnd(state, attributes, end, self.passed + batches)

    def go_on(self, key: str) -> TrialEnd:
        """Make an end the present state; RNG, gradients and lrs do not move."""
        held = self._held[key]
        held.state.rewind(self._training)
        # Counters and hidden states of the Trial go on too:
        # test_trial_ends.py::test_it_is_bitwise_what_training_on_the_trials_batches_gives
        for attributes in held.attributes or ():
            attributes.restore()
        # test_trial_ends.py::test_two_in_a_row_are_what_training_on_the_batches_of_both_gives
        self.passed = held.passed
        return held.end

    def drop(self, key: str) -> None:
        """Forget an end."""
        del self._held[key]

    def extra_price(self, key: str) -> float:
        """Forward-equivalents that continuing takes out of a budget, where its batches were smaller than a kept step's.

        A kept step counts 3 whatever its batch; in a Trial it was counted by its samples.
        """
        held = self._held.get(key)
        return 0.0 if held is None else STEP * len(held.end.lrs) - held.end.cost.forward_equivalents

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors."""
        held = {
            key: {"state": held.state.saved, "end": encode(held.end), "passed": held.passed}
            for key, held in self._held.items()
        }
        return {"passed": self.passed, "held": held}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.passed = saved["passed"]
        self._held = {
            key: HeldEnd(SavedState(held["state"]), None, decode(held["end"]), held["passed"])
            for key, held in saved["held"].items()
        }
