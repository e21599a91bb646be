"""How far a GradScaler has come with each optimizer."""

import torch

from lrpilot.training.restore.tree import alias_tree
from lrpilot.training.torch_private import scaler_states


class ScalerStages:
    """How far a GradScaler has come with each optimizer: not in its state_dict, and left half way by an exception.

    A stage of the probe's own would make the loop's next ``scaler.step`` raise
    (test_snapshot.py::test_a_scaler_goes_back_wherever_a_probe_raised), and without the loop's own it would unscale
    gradients a second time (test_snapshot.py::test_gradients_that_the_loop_has_unscaled_stay_unscaled).
    """

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self._scaler = scaler
        self._saved = alias_tree(dict(scaler_states(scaler))) if scaler.is_enabled() else {}

    def restore(self) -> None:
        """Put them back."""
        if self._scaler.is_enabled():
            scaler_states(self._scaler).clear()
            scaler_states(self._scaler).update(alias_tree(self._saved))
