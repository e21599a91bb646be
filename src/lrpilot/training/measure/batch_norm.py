"""BatchNorm statistics that fit the weights they judge."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lrpilot.training.torch_private import BatchNorm


def live_batch_norms(model: nn.Module) -> list[BatchNorm]:
    """BatchNorm layers that collect running statistics in training; frozen ones (eval mode) are left out.

    test_forwards.py::test_frozen_batch_norm_stays_frozen_in_mode_and_statistics
    """
    return [m for m in model.modules() if isinstance(m, BatchNorm) and m.training and m.track_running_stats]


def reestimate_batch_norm(model: nn.Module, batches: Iterable[Any], loss: Callable[[Any], Tensor]) -> None:
    """Replace the running statistics of live BatchNorm layers by those of the present weights.

    After a short Trial at a large lr the running statistics lag far behind the weights, and the
    evaluation would judge the lag instead of the lr. Uses ``torch.optim.swa_utils.update_bn``.

    Args:
        model: in the modes it trains in; frozen layers stay frozen.
        batches: training batches to estimate on.
        loss: batch -> loss, which runs the model as training does.
    """
    norms = live_batch_norms(model)
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
