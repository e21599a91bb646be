"""Evaluations: the held-out loss of the weights as they are, under BatchNorm statistics that fit them."""

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
    """

    def __init__(self, training: BoundTraining, meter: Meter) -> None:
        self._training = training
        self._meter = meter

    def judge(self, *, reestimate: bool, batches: int | None = None) -> float:
        """Mean held-out loss over all ranks; of the average, where one is flown.

        Args:
            reestimate: BatchNorm statistics first, on training batches.
            batches: the first so many held-out ones; None for all of them.
        """
        self._meter.count(evaluations=1)
        self._require_same_count()
        return together(lambda: [self._held_out_loss(reestimate=reestimate, batches=batches)])[0]

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
                pure_forward(training.model, training.seed, training.extra_modules),
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
            pure_forward(training.model, training.seed, training.extra_modules),
        ):
            if reestimate:
                self._reestimate(BATCH_NORM_BATCHES)
            training.model.eval()
            held_out = map(training.move, training.probe_data.held_out(batches))
            loss, samples = mean_loss(held_out, training.loss, count_samples)
        for count in samples:
            self._meter.add(count, forwards=1)
        return loss

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


def mean_loss(
    batches: Iterable[Any], loss: Callable[[Any], Tensor], count: Callable[[Any], int]
) -> tuple[float, list[int]]:
    """Mean loss over samples, and the sample count of every batch.

    Args:
        batches: batches on the right device.
        loss: batch -> scalar tensor, the mean over its samples.
        count: batch -> number of samples.
    """
    losses, samples = [], []
    for batch in batches:
        samples.append(count(batch))  # before the loss, which may empty the batch
        losses.append(loss(batch).detach().to(torch.float64))
    weights = torch.tensor(samples, dtype=torch.float64, device=losses[0].device)
    return float((torch.stack(losses) * weights).sum() / weights.sum()), samples
