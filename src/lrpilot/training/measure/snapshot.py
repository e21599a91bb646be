"""Snapshot: all state at one moment, put back exactly. It brackets every probe."""

import torch

from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.extra_state import ExtraState
from lrpilot.training.bound.inventory import live_tree, named_modules, write_live
from lrpilot.training.restore.module_state import PlainAttributes
from lrpilot.training.restore.rng import get_rng, set_rng
from lrpilot.training.restore.step_state import Gradients, ScalerStages
from lrpilot.training.restore.tree import alias_tree, clone_tree


class Snapshot:
    """All state at one moment. Use :meth:`restore` as often as needed.

    Memory: one copy of parameters, buffers and optimizer state on ``device`` (None: where each lives).
    Gradients are kept by reference, for the steps of a Trial make their own.
    """

    def __init__(self, training: BoundTraining, device: torch.device | None = None) -> None:
        self._training = training
        self._rng = get_rng()
        tree = live_tree(training)
        self._identity = alias_tree(tree)
        self._saved = clone_tree(tree, device)
        self._gradients = Gradients(tree["parameters"])
        self._attributes = [PlainAttributes(module) for module in named_modules(training).values()]
        self._extra = ExtraState(training)
        self._scalers = [ScalerStages(s) for s in training.extra_state.values() if isinstance(s, torch.amp.GradScaler)]

    def restore(self) -> None:
        """Put everything back: values, identities, absences and random generators."""
        # Parameters, buffers, optimizer state and groups, those of an EMA or a second optimizer too:
        # test_continuation.py::test_a_probe_leaves_no_trace. In place, since captured graphs hold them:
        # test_snapshot.py::test_a_tensor_that_a_step_replaced_is_the_same_object_again
        write_live(self._training, self._saved, self._identity)
        # test_continuation.py::test_a_probe_leaves_no_trace, identity included
        self._gradients.restore()
        # Train/eval modes
        # (test_forwards.py::test_a_model_handed_over_in_eval_mode_is_trained_in_train_mode_and_handed_back) and what
        # stateful modules keep (test_continuation.py::test_a_probe_leaves_no_trace)
        for attributes in self._attributes:
            attributes.restore()
        try:
            # The user's own code: it may raise, and may draw random numbers.
            self._extra.restore()
        finally:
            # After the scaler's own state, which knows nothing of how far it had come:
            # test_snapshot.py::test_a_scaler_goes_back_wherever_a_probe_raised
            for scaler in self._scalers:
                scaler.restore()
            # Last, and in any case: test_snapshot.py::test_extra_state_that_fails_to_load_does_not_keep_the_generators
            set_rng(self._rng)
