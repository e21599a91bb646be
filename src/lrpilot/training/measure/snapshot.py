"""Snapshot: all state at one moment, put back exactly. It brackets every probe."""

import torch

from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.extra_state import ExtraState
from lrpilot.training.bound.inventory import live_tree, named_modules, write_live
from lrpilot.training.restore.attributes import PlainAttributes
from lrpilot.training.restore.gradients import Gradients
from lrpilot.training.restore.rng import get_rng, set_rng
from lrpilot.training.restore.scaler_stages import ScalerStages
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
        write_live(self._training, self._saved, self._identity)
        self._gradients.restore()
        for attributes in self._attributes:
            attributes.restore()
        try:
            self._extra.restore()
        finally:
            for scaler in self._scalers:
                scaler.restore()
            set_rng(self._rng)
