"""Lines: losses along the step just taken, on two copies of the parameters and no more."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Line
from lrpilot.errors import StepError
from lrpilot.training.bound.batches import copy_batch, count_samples
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.distributed import mean_over_ranks, together
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.measure.forwards import pure_forwards
from lrpilot.training.measure.meter import Meter
from lrpilot.training.measure.proofs import ENDS, Proofs
from lrpilot.training.measure.soundness import OUT_OF_MEMORY, WITNESSES, raised_by
from lrpilot.training.torch_private import copy_all, lerp_all

LossTable = tuple[tuple[float, ...], ...]
"""Losses, batches x factors."""


class Lines:
    """Arms Lines, and reads them after their step.

    Args:
        training: whose steps they are.
        meter: pays for the passes.
        proofs: that the step is linear in lr.
    """

    def __init__(self, training: BoundTraining, meter: Meter, proofs: Proofs) -> None:
        self._training = training
        self._meter = meter
        self._proofs = proofs
        self._endpoints: LineEndpoints | None = None
        self._armed = False
        self._samples: dict[int, int] = {}  # of the batches that have been read, by index

    def arm(self) -> None:
        """Make the next kept step that of a Line: its parameters are copied right before it."""
        self._armed = True
        self._endpoints = None

    def before_kept_step(self) -> None:
        """Copy the parameters, where a Line is armed."""
        if self._armed:
            self._training.reshard()
            self._endpoints = LineEndpoints(self._training.trainable_parameters)

    def after_kept_step(self) -> None:
        """Note that the step has been taken, where a Line is armed."""
        if self._armed and self._endpoints is not None:
            self._endpoints.step_taken()
            self._armed = False

    def read(self, action: Line) -> LossTable:
        """Losses along the step of the armed Line, batches x factors, in the mode the model trains in.

        Raises:
            StepError: no step has been taken since it was armed.
            NonlinearStepError: the step is not linear in lr, and factors other than 0 and 1 are asked for.
        """
        endpoints = self._endpoints
        if endpoints is None:
            raise StepError("A Line is read after a step, but none was taken since it was armed.")
        if not set(action.factors) <= ENDS:
            self._proofs.require_linear_step()
        self._meter.count(lines=1)
        with self._meter.timed():
            table = self._table(endpoints, action.factors, action.first, action.batches)
            while self._leaves_out(endpoints, table, action.first):
                table = self._table(endpoints, action.factors, action.first, action.batches)
        return table

    def _table(self, endpoints: "LineEndpoints", factors: Sequence[float], first: int, count: int) -> LossTable:
        """Losses of so many batches, the first of index ``first``, over all ranks: batches x factors.

        Raises:
            Exception: of the user's own code, unless it is raised beyond the step alone: the loss is infinite there.
        """
        width, raised = len(factors), list[Exception]()

        def read() -> list[float]:
            self._training.reshard()
            batches = list(self._training.probe_data.train.take(count, first=first))
            table = endpoints.read(factors, lambda: self._guarded_losses(batches, first, raised))
            if raised:
                _raise_at_rest(endpoints, lambda: self._pure_losses(batches, first), raised[0])
            return [loss for row in table for loss in row]

        with self._training.as_probe():
            losses = together(read)
        return tuple(tuple(losses[i : i + width]) for i in range(0, len(losses), width))

    def shares(self, action: Line) -> tuple[float, ...]:
        """Of the samples of all batches of a Line that has been read, those of each, over all ranks."""
        samples = mean_over_ranks([self._samples[i] for i in range(action.first, action.first + action.batches)])
        return () if len(set(samples)) == 1 else tuple(count / sum(samples) for count in samples)

    def _guarded_losses(self, batches: Sequence[Any], first: int, raised: list[Exception]) -> list[float]:
        """The losses at the parameters as they are; infinite where these make the user's code raise, which is noted."""
        try:
            return self._pure_losses(batches, first)
        except Exception as error:
            again = raised_by(lambda: self._pure_losses(batches, first))
            if isinstance(error, OUT_OF_MEMORY) or type(again) is not type(error):
                raise
            raised.append(error)
            return [math.inf] * len(batches)

    def gives_number(self) -> bool:
        """Whether a batch, of the first few, gives a number at the parameters as they are."""

        def losses() -> list[float]:
            self._meter.training_batch_size(self._training.probe_data.batch_size)
            return self._pure_losses(list(self._training.probe_data.train.take(WITNESSES)), 0)

        return any(map(math.isfinite, together(losses)))

    def _leaves_out(self, endpoints: "LineEndpoints", table: LossTable, first: int) -> bool:
        """Whether batches are left out from now on: before the step they give no number, and others do."""
        left_out, suspects = self._training.left_out, []
        for index, row in enumerate(table, start=first):
            if any(map(math.isfinite, row)):
                left_out.note(index)
            elif index >= left_out.known:
                suspects.append(index)
        if not suspects:
            return False
        span = suspects[-1] + 1 + WITNESSES - suspects[0]
        losses = [row[0] for row in self._table(endpoints, (0.0,), suspects[0], span)]
        if not any(map(math.isfinite, losses)):
            return False
        bad = [index for index in suspects if not math.isfinite(losses[index - suspects[0]])]
        for index in reversed(bad):
            left_out.add(index)
        return bool(bad)

    def _pure_losses(self, batches: Sequence[Any], first: int) -> list[float]:
        """One loss per batch, the first of index ``first``; a batch has the same dropout masks in every call."""
        training, losses = self._training, []
        with pure_forwards(training.model, training.extra_modules, training.written) as begin:
            for i, batch in enumerate(batches, start=first):
                own = training.move(copy_batch(batch))
                # The same masks at every factor: test_lines.py::test_a_line_equals_the_slow_reference; others for every
                # batch: test_lines.py::test_every_batch_has_masks_of_its_own
                begin(training.seed + i)
                losses.append(training.loss(own).detach())
                self._samples[i] = count_samples(batch)
                self._meter.add(self._samples[i], forwards=1)
        return [training.to_minimize(float(x)) for x in torch.stack(losses).tolist()]

    def release(self) -> None:
        """Forget the endpoints of the last Line."""
        self._endpoints = None
        self._armed = False

    @property
    def before(self) -> list[Tensor] | None:
        """The parameters before the step of a Line that is due, for a checkpoint; None if there is none."""
        return None if self._endpoints is None or self._armed else self._endpoints.before

    def resume(self, before: Sequence[Tensor] | None) -> None:
        """Go on with a Line whose step was taken before the checkpoint; the parameters after it are the live ones."""
        if before is not None:
            self._endpoints = LineEndpoints(self._training.trainable_parameters, before)
            self._armed = False


def _raise_at_rest(endpoints: "LineEndpoints", losses: Callable[[], list[float]], error: Exception) -> None:
    """Raise an error that comes at the parameters before the step too: it is the user's own."""
    if raised_by(lambda: endpoints.read((0.0,), losses)) is not None:
        raise error


class LineEndpoints:
    """The trainable parameters before and after one optimizer step.

    Memory: two copies of the trainable parameters, whatever the number of factors.

    Args:
        parameters: the trainable parameters, live.
        before: their values before a step that has been taken already (resumed from a checkpoint); None
            if the step is still to come.
    """

    def __init__(self, parameters: Sequence[Tensor], before: Sequence[Tensor] | None = None) -> None:
        self._live = [p.detach() for p in parameters]
        self.before = [p.clone() for p in self._live]
        self._after: list[Tensor] | None = None
        self._stepped = before is not None
        if before is not None:
            copy_all(self.before, list(before))

    def step_taken(self) -> None:
        """Note that the step has been taken."""
        self._stepped = True

    def read(self, factors: Sequence[float], losses: Callable[[], list[float]]) -> tuple[tuple[float, ...], ...]:
        """Losses at θ(s) = before + s·(after − before) for each factor s.

        Exact at s = 0 and s = 1. No division by the lr, so groups of any ratio (and a group at 0) are
        right. The parameters are back, bit for bit, afterwards.

        Args:
            factors: the s to read.
            losses: reads one loss per batch at the live parameters.

        Returns:
            Losses, batches x factors.

        Raises:
            StepError: no step has been taken since the Line was armed.
        """
        if not self._stepped:
            raise StepError("A Line is read after a step, but no step has been taken since it was armed.")
        if self._after is None:
            # Not copied inside optimizer.step(), for a loop may project or clip the weights after it:
            # test_lines.py::test_a_loop_that_projects_its_weights_after_the_step_finds_them_projected
            self._after = [p.clone() for p in self._live]
        after = self._after
        columns = []
        try:
            for factor in factors:
                self._move(factor, after)
                columns.append(losses())
        finally:
            # From the copy and not by another step back, which would round; whatever a loss has raised, and before
            # Ctrl-C: test_lines.py::test_weights_are_back_even_if_a_loss_fails_or_ctrl_c_comes,
            # test_lines.py::test_ctrl_c_in_the_middle_of_the_restore_waits_for_its_end
            with deferred_interrupt(), torch.no_grad():
                copy_all(self._live, after)
        return tuple(zip(*columns, strict=True))

    def _move(self, factor: float, after: list[Tensor]) -> None:
        with torch.no_grad():
            # Copies at both ends, for 0 x inf is no number where the step was not finite:
            # test_lines.py::test_both_ends_are_exact_where_the_step_was_not_finite
            if factor == 1.0:
                copy_all(self._live, after)
                return
            copy_all(self._live, self.before)
            if factor != 0.0:
                lerp_all(self._live, after, factor)
