"""Proofs, made once before something is measured: the training works, and its step is linear in lr."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Action, Line, Trial
from lrpilot.errors import LossError, NonlinearStepError, StepError
from lrpilot.flight.substrate import STEP
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.checks import LINEAR_OPTIMIZERS, require_lines_possible
from lrpilot.training.distributed import mean_over_ranks, together
from lrpilot.training.measure.probe import Probe
from lrpilot.training.torch_private import copy_all, local_of

# Largest relative deviation from linearity in lr that float32 rounding explains.
LINEARITY_TOLERANCE = 1e-2
LINEARITY_STEPS = 4  # two brackets of two steps
FILLING_SHARE = 1e-3  # of the lr, for the first step of each
ENDS = frozenset({0.0, 1.0})  # factors of a Line where the weights really were: no linearity is assumed there


class Proofs:
    """What has been proven of one training; a proof is made once, and saved with the flight.

    Attributes:
        training_works: one step has shown it.
        step_is_linear: in lr.

    Args:
        probe: takes the steps.
    """

    def __init__(self, probe: Probe) -> None:
        self.training_works = False
        self.step_is_linear = False
        self._probe = probe

    def due_price(self, action: Action) -> float:
        """Forward-equivalents of the proofs that an action still needs."""
        if isinstance(action, Trial) and not self.training_works:
            return STEP
        if isinstance(action, Line) and not self.step_is_linear and not set(action.factors) <= ENDS:
            return LINEARITY_STEPS * STEP
        return 0.0

    def require_training_works(self) -> None:
        """Prove on one batch, in a bracket, that the training works (see :meth:`lrpilot.Training.check`)."""
        if self.training_works:
            return
        training = self._probe.training
        together(lambda: [training.probe_data.batch_size])
        with self._probe.bracket(), self._probe.steps() as (take, counter):
            loss = take(training.probe_data.train.take(1))
            _require_sound(training, loss, counter.steps)
        self.training_works = True

    def require_linear_step(self) -> None:
        """A Line means something only if the step is linear in lr: prove it once, in a bracket.

        Raises:
            NonlinearStepError: it is not.
        """
        if self.step_is_linear:
            return
        optimizer = self._probe.training.raw_optimizer
        require_lines_possible(optimizer)
        deviation = self._nonlinearity()
        # What is held while the Line is read is two copies of the parameters, and no more.
        self._probe.forget_snapshot()
        if not deviation <= LINEARITY_TOLERANCE:
            raise NonlinearStepError(
                "A Line needs a step that is linear in lr, but half the lr does not give half the step of "
                f"{type(optimizer).__name__} (relative deviation {deviation:.2g}). {LINEAR_OPTIMIZERS}"
            )
        self.step_is_linear = True

    def _nonlinearity(self) -> float:
        """Relative deviation of two half-lr steps' sum from one full step, after one step that fills the state."""
        with self._probe.bracket():
            full = self._scratch_update(1.0)
        with self._probe.bracket():
            half = self._scratch_update(0.5)
        return _relative_nonlinearity(half, full, lr=self._probe.lrs.reference)

    def _scratch_update(self, factor: float) -> list[Tensor]:
        """Change of each parameter, in double precision, by the second step at this factor of the lr."""
        training, lrs = self._probe.training, self._probe.lrs
        with self._probe.steps() as (take, _):
            batches = training.probe_data.train.take(2)
            reference = lrs.reference
            # Buffers fill at any lr; one that is far too large would blow up the weights that the proof is made on.
            lrs.set(reference * FILLING_SHARE)
            take(batches)
            lrs.set(reference * factor)
            with _copied_before_step(training) as before:
                take(batches)
        pairs = zip(training.trainable_parameters, before, strict=True)
        return [(local_of(p.detach()) - local_of(b)).double() for p, b in pairs]


def _require_sound(training: BoundTraining, loss: float, steps: int) -> None:
    """Raise unless the first step of a probe shows that the training works.

    Args:
        training: after that step.
        loss: of it.
        steps: optimizer steps that it took.

    Raises:
        StepError: it took none.
        LossError: the loss is not finite, or depends on no trainable parameter.
    """
    if steps == 0 and not any(isinstance(s, torch.amp.GradScaler) for s in training.extra_state.values()):
        raise StepError(
            "step_fn must take exactly one optimizer step, got none. Call optimizer.step() in it, on the optimizer "
            'given to Training; if a GradScaler skipped the step, pass it as state={"scaler": scaler}.'
        )
    if not math.isfinite(loss):
        raise LossError(
            f"The loss must be finite at the start, got {loss}. Check the data for non-finite values and the "
            "model's initialisation."
        )
    no_gradient = all(p.grad is None for p in training.trainable_parameters)
    if no_gradient and training.step_fn is None:
        raise LossError("The loss must depend on the trainable parameters, but none received a gradient.")


def _relative_nonlinearity(half: Sequence[Tensor], full: Sequence[Tensor], *, lr: float) -> float:
    """Relative deviation of twice a step at half the lr from one at the lr.

    Args:
        half: change of each parameter, in double precision.
        full: likewise, at ``lr``.
        lr: natural units; for errors.

    Raises:
        NonlinearStepError: the step moves nothing, or is not finite.
    """
    squares = sum(float(d.square().sum()) for d in full)
    off_squares = sum(float((2 * h - d).square().sum()) for h, d in zip(half, full, strict=True))
    # Of all ranks, each of which may have another part of a parameter, or none:
    # test_distributed.py::test_every_kind_measures_what_one_process_does
    scale, off = map(math.sqrt, mean_over_ranks([squares, off_squares]))
    if scale == 0:
        raise NonlinearStepError(
            f"A Line needs a step that moves the weights, but a step at lr {lr:.3g} moved none. "
            "Check that the gradients are not all zero, and that the weights' precision shows so small a step."
        )
    if not math.isfinite(scale):
        raise NonlinearStepError(
            f"A Line needs a step that is finite, but a step at lr {lr:.3g} was not. "
            "Check the loss and its gradients for non-finite values, or lower the lr."
        )
    return off / scale


@contextmanager
def _copied_before_step(training: BoundTraining) -> Iterator[list[Tensor]]:
    """Copies of the trainable parameters, right before the last optimizer step inside.

    Not from before its forward pass, which may write into weights too (an embedding with a ``max_norm``).
    """
    copies = [p.detach().clone() for p in training.trainable_parameters]

    def copy_again(*_: Any) -> None:
        copy_all(copies, [p.detach() for p in training.trainable_parameters])

    handle = training.raw_optimizer.register_step_pre_hook(copy_again)
    try:
        yield copies
    finally:
        handle.remove()
