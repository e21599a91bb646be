"""Evaluations: the held-out loss of the weights as they are, and nothing changed by reading it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from lrpilot.training.bound.batches import count_samples
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.distributed import together
from lrpilot.training.measure.batch_norm import live_batch_norms, reestimate_batch_norm
from lrpilot.training.measure.forwards import pure_forward
from lrpilot.training.measure.meter import Meter

# Batches over which BatchNorm statistics are re-estimated before a Trial is judged.
BATCH_NORM_BATCHES = 16


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
        """Mean held-out loss over all ranks.

        Args:
            reestimate: BatchNorm statistics first, on training batches.
            batches: the first so many held-out ones; None for all of them.
        """
        self._meter.count(evaluations=1)
        return together(lambda: [self._held_out_loss(reestimate=reestimate, batches=batches)])[0]

    def shares(self) -> list[float]:
        """Samples of each held-out batch ÷ those of a training batch."""
        return self._training.probe_data.held_out_shares

    @property
    def reestimation_price(self) -> float:
        """Forward-equivalents of estimating the statistics of BatchNorm layers anew; 0 where there are none."""
        return float(BATCH_NORM_BATCHES) if live_batch_norms(self._training.model) else 0.0

    def _held_out_loss(self, *, reestimate: bool, batches: int | None) -> float:
        """This rank's mean held-out loss."""
        training = self._training
        self._meter.training_batch_size(training.probe_data.batch_size)
        with training.as_probe(), pure_forward(training.model, training.seed, training.extra_modules):
            if reestimate:
                self._reestimate()
            training.model.eval()
            held_out = map(training.move, training.probe_data.held_out(batches))
            loss, samples = mean_loss(held_out, training.loss, count_samples)
        for count in samples:
            self._meter.add(count, forwards=1)
        return loss

    def _reestimate(self) -> None:
        training = self._training
        if not training.model.training:
            training.model.train()
        if not live_batch_norms(training.model):
            return
        batches = [training.move(batch) for batch in training.probe_data.train.take(BATCH_NORM_BATCHES)]
        samples = [count_samples(batch) for batch in batches]
        reestimate_batch_norm(training.model, batches, training.loss)
        for count in samples:
            self._meter.add(count, forwards=1)


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
