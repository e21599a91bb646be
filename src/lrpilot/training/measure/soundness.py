"""What is no number, and whose fault that is: that of the weights, which the lr has moved, or not.

A batch is to blame if it gives no number at weights at which another one does. It weighs nothing then: it is left out
of whatever probes read, and the measurement that met it is made anew. A batch that has given a number once is never
asked again, so that a search whose lrs diverge pays nothing for it.

An error of the user's own code is the weights' fault (a check for finiteness, say, or that of a distribution's
arguments) if it comes again at the weights that it came at, and does not at those that the measurement began with.
Else it is the user's, and goes on unchanged.
"""

import math
from collections.abc import Callable
from typing import Any, Never

import torch

from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.state import live_tree
from lrpilot.training.distributed import together
from lrpilot.training.measure.probe import Probe
from lrpilot.training.restore.tree import tensors_of
from lrpilot.training.torch_private import local_of

# Batches after a suspicious one that are asked for a number.
WITNESSES = 4
# Of the lr, for a step that is taken for its loss alone: whatever the lr is now, the weights bear it.
SMALL_SHARE = 1e-3
# Too little memory is never the weights' fault.
OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)


def is_sound(training: BoundTraining) -> bool:
    """Whether weights, buffers and optimizer state are numbers, on every rank; one device sync.

    A buffer may hold infinities (a causal mask does), a parameter may not.
    """
    return together(lambda: [float(_is_sound_here(training))])[0] == 1.0


def _is_sound_here(training: BoundTraining) -> bool:
    tree = live_tree(training)
    buffers = [t for t in tensors_of(tree.pop("buffers")) if t.is_floating_point()]
    rest = [t for t in tensors_of(tree) if t.is_floating_point()]
    broken = [torch.isnan(local_of(t)).any() for t in buffers] + [~torch.isfinite(local_of(t)).all() for t in rest]
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for flag in broken:
        by_device.setdefault(flag.device, []).append(flag)
    return not any(bool(torch.stack(flags).any()) for flags in by_device.values())


def raises_again(work: Callable[[], object], error: Exception) -> bool:
    """Whether work that has raised ``error`` raises such an error once more, on every rank that had it.

    Args:
        work: shared by all ranks, by one :func:`together`.
        error: of this rank, or that another one has failed. Want of memory counts as if it came again.
    """
    # What fails for having been interrupted (a GradScaler that has unscaled already) fails otherwise:
    # test_snapshot.py::test_a_scaler_goes_back_wherever_a_probe_raised
    again = type(raised_by(_spared(work, error))) is type(error)
    return together(lambda: [float(again)])[0] == 1.0


def raises_at_rest(work: Callable[[], object], error: Exception) -> bool:
    """Whether work that has raised ``error`` raises anything at the weights as they are; arguments as there."""
    return raised_by(_spared(work, error)) is not None


def _spared(work: Callable[[], object], error: Exception) -> Callable[[], object]:
    """Work, or where memory was wanting an error in its place, shared as it is: other ranks wait for this one."""
    return (lambda: together(_raiser(error))) if isinstance(error, OUT_OF_MEMORY) else work


def raised_by(work: Callable[[], object]) -> Exception | None:
    """What work raises on this rank; None for nothing."""
    try:
        work()
    except Exception as error:
        return error
    return None


def _raiser(error: Exception) -> Callable[[], Any]:
    def work() -> Never:
        raise error

    return work


class BatchJudge:
    """Finds the training batches of probes that give no number at sound weights.

    Args:
        probe: takes the steps that tell.
    """

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def loss_at(self, index: int) -> float:
        """The loss of a batch at the weights as they are, from a step that is undone."""
        probe = self._probe
        with probe.bracket(), probe.steps(index) as (take, _):
            probe.lrs.set(probe.lrs.reference * SMALL_SHARE)
            return take(probe.training.probe_data.train.take(1, first=index))

    def leaves_out(self, index: int) -> bool:
        """Whether a batch gives no number where another does, at the weights as they are; it is left out then."""
        left_out = self._probe.training.left_out
        if index < left_out.known or math.isfinite(self.loss_at(index)):
            return False
        if not any(math.isfinite(self.loss_at(other)) for other in range(index + 1, index + 1 + WITNESSES)):
            return False
        left_out.add(index)
        return True
