"""Probe: what every measurement that trains stands on, a bracket that undoes it and counted steps that begin alike."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lrpilot.errors import StepError
from lrpilot.training.bound.batches import count_samples
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.checks import explain_refused_gradients
from lrpilot.training.bound.optimizers import ParamGroupLRs, optimizers_inside
from lrpilot.training.bound.state import Snapshot, clear_gradients
from lrpilot.training.bound.steps import StepWatch
from lrpilot.training.distributed import together
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.measure.meter import Meter
from lrpilot.training.restore.rng import seed_rng


class StepCounter:
    """Counts optimizer steps of a probe.

    Attributes:
        steps: optimizer steps since the last restart, each once whatever it is made of.
        skipped: of these, the ones that a fused optimizer skipped since a GradScaler had found inf.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Count from none again."""
        self.steps = self.skipped = 0

    @property
    def moved(self) -> bool:
        """Whether a step was taken, and not skipped."""
        return self.steps > self.skipped

    def require_at_most_one(self) -> None:
        """Raise if a step was more than one optimizer step.

        Raises:
            StepError: it was.
        """
        if self.steps > 1:
            raise StepError(
                f"step_fn must take exactly one optimizer step, got {self.steps}. "
                "Split it, or tune each of several optimizers with a Training of its own."
            )


@contextmanager
def _counted_steps(training: BoundTraining, lrs: ParamGroupLRs) -> Iterator[StepCounter]:
    """Count optimizer steps inside the block, and average them where an average is flown."""
    counter = StepCounter()

    def after(skipped: bool) -> None:
        counter.steps += 1
        if skipped:
            counter.skipped += 1
        elif training.average is not None:
            training.average.step_taken(lrs.reference)

    optimizer = training.raw_optimizer
    watch = StepWatch(optimizer, optimizers_inside(optimizer, training.model), before=lambda: None, after=after)
    try:
        yield counter
    finally:
        watch.remove()


TakeStep = Callable[[Iterator[Any]], float]
"""Takes one training step on the next of some batches; the loss."""


class Probe:
    """Steps that are taken to measure something, and undone.

    Args:
        training: what is measured.
        lrs: of its optimizer.
        meter: pays for the steps.
    """

    def __init__(self, training: BoundTraining, lrs: ParamGroupLRs, meter: Meter) -> None:
        self.training = training
        self.lrs = lrs
        self.meter = meter
        self._snapshot: Snapshot | None = None

    @contextmanager
    def bracket(self) -> Iterator[None]:
        """Everything inside is undone, whatever happens.

        The snapshot is kept until the next kept step: further Trials of a search start from the same state.
        """
        if self._snapshot is None:
            self._snapshot = Snapshot(self.training, self.training.snapshot_device)
        reference = self.lrs.reference
        # A pilot that flies this training does not count these steps:
        # test_pilot.py::test_probes_of_others_do_not_count_as_steps
        with self.training.as_probe():
            try:
                with self.meter.timed():
                    yield
            finally:
                # Ctrl-C waits until all is back:
                # test_probe.py::test_ctrl_c_in_the_middle_of_a_restore_waits_for_its_end
                with deferred_interrupt():
                    self._snapshot.restore()
                    # What was written last is no longer what stands there: test_probe.py::test_lrs_are_known_again
                    self.lrs.rebind(reference)

    def forget_snapshot(self) -> None:
        """The state has moved on: the next bracket takes a new snapshot."""
        self._snapshot = None

    @contextmanager
    def steps(self, first: int = 0) -> Iterator[tuple[TakeStep, StepCounter]]:
        """Training steps inside a bracket: in training mode, without gradients of before, and with masks of their own.

        Args:
            first: index of the first batch: the same one, the same masks.

        Yields:
            What takes a step, and what has counted the optimizer's part of the last one.
        """
        training = self.training
        if not training.model.training:
            # Handed over in eval mode (transformers' from_pretrained does): a loop would call train() first:
            # test_forwards.py::test_a_model_handed_over_in_eval_mode_is_trained_in_train_mode_and_handed_back
            training.model.train()
        # Else a step_fn that does not zero them would begin with the loop's, and write into them:
        # test_snapshot.py::test_a_step_that_zeroes_gradients_in_place
        clear_gradients(training)
        # Masks are the seed's, whenever it is asked: test_substrate.py::test_a_trial_is_the_users_own_loop_rewound
        seed_rng(training.seed + first)
        self.meter.training_batch_size(training.probe_data.batch_size)
        index = first
        with _counted_steps(training, self.lrs) as counter:

            def take(batches: Iterator[Any]) -> float:
                nonlocal index
                counter.restart()
                loss = together(lambda: [self._step(next(batches), counter)])[0]
                if math.isfinite(loss):
                    training.left_out.note(index)
                index += 1
                return loss

            yield take, counter

    def _step(self, batch: Any, counter: StepCounter) -> float:
        """This rank's part of a step; the loss as a number."""
        samples = count_samples(batch)  # before the step, which may empty the batch
        try:
            # A loop may call pilot.step() where gradients are off (a callback under no_grad):
            # test_substrate.py::test_a_probe_started_where_gradients_are_off_is_the_same
            with torch.enable_grad():
                loss = float(self.training.step(batch))
        except RuntimeError as error:
            refused = explain_refused_gradients(error, self.training.raw_optimizer)
            if refused is None:
                raise
            raise refused from error
        finally:
            self.meter.add(samples, forwards=1, backwards=1)  # one that raises is paid for too
        counter.require_at_most_one()
        self.lrs.check_unchanged()
        return loss
