"""Forward passes of a probe: pure, and with BatchNorm statistics that fit the weights they judge."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.restore.module_state import ModuleState
from lrpilot.training.restore.rng import kept_rng, seed_rng


@contextmanager
def pure_forwards(model: nn.Module, beside: Iterable[nn.Module] = ()) -> Iterator[Callable[[int], None]]:
    """Forward passes inside leave no trace: buffers, modes, plain attributes and RNG are put back.

    Yields ``begin(seed)``, to be called before every pass: the state is then again what it was before the block, and
    passes of the same seed draw the same dropout masks. That state is copied once for all passes, so nothing but
    they may change the model inside; parameters are no part of it, but for embeddings with a ``max_norm``, which
    shrink the rows that a pass looks up.

    Args:
        model: the model.
        beside: modules that a loss may use beside the model (a criterion with a moving centre).
    """
    before = [ModuleState(module) for module in (model, *beside)]
    tables = [module.weight for module in model.modules() if _renorms(module)]
    contents = [table.detach().clone() for table in tables]
    begun = False

    def put_back() -> None:
        with deferred_interrupt(), torch.no_grad():
            for state in before:
                state.restore()
            for table, content in zip(tables, contents, strict=True):
                table.copy_(content)

    def begin(seed: int) -> None:
        nonlocal begun
        if begun:
            put_back()
        begun = True
        seed_rng(seed)

    try:
        with kept_rng(), torch.no_grad():
            yield begin
    finally:
        put_back()


def _renorms(module: nn.Module) -> TypeGuard[nn.Embedding | nn.EmbeddingBag]:
    """Whether a forward pass of this module writes into its weights."""
    return isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.max_norm is not None


@contextmanager
def pure_forward(model: nn.Module, seed: int, beside: Iterable[nn.Module] = ()) -> Iterator[None]:
    """One block of :func:`pure_forwards`, under ``seed``."""
    with pure_forwards(model, beside) as begin:
        begin(seed)
        yield


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


def live_batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """BatchNorm layers that collect running statistics in training; frozen ones (eval mode) are left out."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats]


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

    def __init__(self, norms: list[_BatchNorm], loss: Callable[[Any], Tensor]) -> None:
        self._norms = norms
        self._loss = loss

    def modules(self) -> list[_BatchNorm]:
        return self._norms

    def train(self, mode: bool = True) -> None:
        """The layers are in the modes they train in already."""

    def __call__(self, batch: Any) -> Tensor:
        return self._loss(batch)
