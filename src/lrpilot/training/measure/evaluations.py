"""Evaluations: the held-out loss of the weights as they are, under BatchNorm statistics that fit them."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrpilot.errors import DataError
from lrpilot.training.bound.batches import count_samples
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.facts import batch_norms_in_training
from lrpilot.training.distributed import same_on_every_rank, together
from lrpilot.training.measure.forwards import pure_forward
from lrpilot.training.measure.meter import Meter
from lrpilot.training.measure.soundness import BatchJudge
from lrpilot.training.torch_private import BatchNorm


def reestimate_batch_norm(model: nn.Module, batches: Iterable[Any], loss: Callable[[Any], Tensor]) -> None:
    """Replace the running statistics of live BatchNorm layers by those of the present weights.

    After a short Trial at a large lr the running statistics lag far behind the weights, and the
    evaluation would judge the lag instead of the lr. Uses ``torch.optim.swa_utils.update_bn``.

    Args:
        model: in the modes it trains in; frozen layers stay frozen.
        batches: training batches to estimate on.
        loss: batch -> loss, which runs the model as training does.
    """
    # test_forwards.py::test_frozen_batch_norm_stays_frozen_in_mode_and_statistics
    norms = batch_norms_in_training(model)
    if not norms:
        return
    with torch.no_grad():
        update_bn(((batch,) for batch in batches), _OnlyTheseNorms(norms, loss))  # type: ignore[arg-type]


class _OnlyTheseNorms:
    """What ``update_bn`` needs of a model: its norms, its mode, and a forward pass.

    The real model would have every layer put in training mode, frozen ones too, and would be handed the
    first element of a batch instead of the batch.
    """

    training = True

    def __init__(self, norms: list[BatchNorm], loss: Callable[[Any], Tensor]) -> None:
        self._norms = norms
        self._loss = loss

    def modules(self) -> list[BatchNorm]:
        return self._norms

    def train(self, mode: bool = True) -> None:
        """The layers are in the modes they train in already."""

    def __call__(self, batch: Any) -> Tensor:
        return self._loss(batch)


# Batches over which BatchNorm statistics are re-estimated before a Trial is judged.
BATCH_NORM_BATCHES = 16


Statistics = list[tuple[Tensor, Tensor]]
"""Buffers, and what they should hold."""


class Evaluations:
    """Reads held-out losses.

    Args:
        training: what is evaluated.
        meter: pays for the passes.
        judge: tells bad training batches, on which statistics are estimated.
    """

    def __init__(self, training: BoundTraining, meter: Meter, judge: BatchJudge) -> None:
        self._training = training
        self._meter = meter
        self._judge = judge
        self._read = 0  # batches of the last evaluation
        self._without_number: list[int] = []  # of these, where their mean is no number

    def at_rest(self, *, reestimate: bool) -> float:
        """The same as :meth:`judge` of all batches, at weights that are those of the training.

        Batches that give no number, where others do, are left out from now on; and so are training batches that spoil
        the statistics of BatchNorm layers.
        """
        loss = self.judge(reestimate=reestimate)
        if math.isfinite(loss) or not self._leave_out(reestimate=reestimate):
            return loss
        return self.judge(reestimate=reestimate)

    def leaves_out(self) -> bool:
        """Whether batches are left out from now on that give no number at the weights as they are."""
        left_out, held = self._training.left_out, self._training.left_out_held
        before = len(left_out.places), len(held.places)
        if not held.known:
            self.at_rest(reestimate=True)
        changed = (len(left_out.places), len(held.places)) != before
        return together(lambda: [float(changed)])[0] > 0

    def _leave_out(self, *, reestimate: bool) -> bool:
        """Find the batches to blame for a held-out loss that is no number at weights that are those of the training."""
        found = False
        if reestimate and batch_norms_in_training(self._training.model):
            found = any([self._judge.leaves_out(index) for index in range(BATCH_NORM_BATCHES)])
        held = self._training.left_out_held
        if held.known:  # all have given a number
            return found
        bad = self._without_number
        for index in reversed(bad if len(bad) < self._read else []):  # from the last: the others keep their index
            held.add(index)
            found = True
        return together(lambda: [float(found)])[0] > 0

    def judge(self, *, reestimate: bool, batches: int | None = None) -> float:
        """Mean held-out loss over all ranks; of the average, where one is flown.

        Args:
            reestimate: BatchNorm statistics first, on training batches.
            batches: the first so many held-out ones; None for all of them.
        """
        self._meter.count(evaluations=1)
        self._require_same_count()
        loss = together(lambda: [self._held_out_loss(reestimate=reestimate, batches=batches)])[0]
        if batches is None and math.isfinite(loss):
            self._training.left_out_held.known = self._read
        return loss

    def _require_same_count(self) -> None:
        """Raise where ranks have numbers of held-out batches that differ, and wait for each other in every pass.

        Raises:
            DataError: they do.
        """
        if self._training.forwards_meet:
            count = len(self.shares())
            if not same_on_every_rank(count):
                raise DataError(
                    f"Every rank needs as many held-out batches where forward passes communicate, got {count} on this "
                    "one and others elsewhere: some would wait for ever. Give val_data a DistributedSampler."
                )

    def shares(self) -> list[float]:
        """Samples of each held-out batch ÷ those of a training batch."""
        return self._training.probe_data.held_out_shares

    def reestimation_price(self, batches: int = BATCH_NORM_BATCHES) -> float:
        """Forward-equivalents of estimating the statistics of BatchNorm layers anew; 0 where there are none."""
        return float(batches) if batch_norms_in_training(self._training.model) else 0.0

    def statistics(self, batches: int) -> Statistics:
        """Running statistics of BatchNorm layers that fit the weights to judge; everything is put back."""
        found: Statistics = []

        def estimate() -> list[float]:
            training = self._training
            self._meter.training_batch_size(training.probe_data.batch_size)
            with (
                training.judged(),
                training.as_probe(),
                pure_forward(training.model, training.seed, training.extra_modules, training.written),
            ):
                norms = self._reestimate(batches)
                found.extend((buffer, buffer.clone()) for norm in norms for buffer in norm.buffers(recurse=False))
            return []

        if batch_norms_in_training(self._training.model):
            together(estimate)
        return found

    def _held_out_loss(self, *, reestimate: bool, batches: int | None) -> float:
        """This rank's mean held-out loss."""
        training = self._training
        self._meter.training_batch_size(training.probe_data.batch_size)
        with (
            training.judged(),
            training.as_probe(),
            pure_forward(training.model, training.seed, training.extra_modules, training.written),
        ):
            if reestimate:
                self._reestimate(BATCH_NORM_BATCHES)
            training.model.eval()
            losses, samples = self._held_out_losses(batches)
        for count in samples:
            self._meter.add(count, forwards=1)
        return training.to_minimize(self._mean(losses, samples))

    def _held_out_losses(self, batches: int | None) -> tuple[list[Tensor], list[int]]:
        """Losses and sample counts; empty batches are left out from now on, whatever the weights.

        Raises:
            DataError: every one of them is empty.
        """
        training = self._training
        while True:
            held_out = map(training.move, training.probe_data.held_out(batches))
            losses, samples = losses_of(held_out, training.loss, count_samples)
            empty = [index for index, size in enumerate(samples) if not size]
            if not empty and samples:
                return losses, samples
            if batches is None and len(empty) == len(samples):
                raise DataError("Held-out loss needs samples, got none in any held-out batch. Check val_data.")
            for index in reversed(empty):  # from the last: the others keep their index
                training.left_out_held.add(index)

    def _mean(self, losses: list[Tensor], samples: list[int]) -> float:
        """Over samples; which batches have given no number is noted where it is none."""
        mean = mean_loss(losses, samples)
        self._read, self._without_number = len(losses), []
        if not math.isfinite(mean):
            self._without_number = [i for i, loss in enumerate(losses) if not math.isfinite(float(loss))]
        return mean

    def _reestimate(self, count: int) -> list[BatchNorm]:
        """Estimate statistics on so many batches, and leave the model in training mode; the layers that have them."""
        training = self._training
        if not training.model.training:
            training.model.train()
        norms = batch_norms_in_training(training.model)
        if not norms:
            return []
        # test_batches.py::test_statistics_of_batch_norm_leave_empty_batches_out
        batches = [training.move(batch) for batch in filter(count_samples, training.probe_data.train.take(count))]
        samples = [count_samples(batch) for batch in batches]
        reestimate_batch_norm(training.model, batches, training.loss)
        for size in samples:
            self._meter.add(size, forwards=1)
        return norms


def put_statistics(statistics: Statistics) -> None:
    """Write what was estimated into the live buffers."""
    with torch.no_grad():
        for buffer, value in statistics:
            buffer.copy_(value)


def losses_of(
    batches: Iterable[Any], loss: Callable[[Any], Tensor], count: Callable[[Any], int]
) -> tuple[list[Tensor], list[int]]:
    """The loss of every batch, in double precision (NaN, and never asked for, where it is empty), and its samples.

    Args:
        batches: batches on the right device.
        loss: batch -> scalar tensor, the mean over its samples.
        count: batch -> number of samples.
    """
    losses, samples = [], []
    for batch in batches:
        samples.append(count(batch))  # before the loss, which may empty the batch
        empty = not samples[-1]
        losses.append(torch.tensor(math.nan) if empty else loss(batch).detach().to(torch.float64))
    return losses, samples


def mean_loss(losses: list[Tensor], samples: list[int]) -> float:
    """Mean loss over samples; NaN without any."""
    if not losses:
        return math.nan
    weights = torch.tensor(samples, dtype=torch.float64, device=losses[0].device)
    return float((torch.stack(losses) * weights).sum() / weights.sum())
