"""What a policy may know of a training before its first action, read off model, optimizer and data."""

import inspect
import math
from collections.abc import Sized
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lrpilot.core.policy import Facts
from lrpilot.core.settings import is_positive
from lrpilot.training.bound.batches import count_samples
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.optimizers import (
    arithmetic_of,
    has_own_average,
    is_sharded,
    momentum_as_given,
    optimizer_layers,
    optimizers_inside,
)
from lrpilot.training.distributed import mean_over_ranks
from lrpilot.training.torch_private import BatchNorm

# Torch's own optimizers that have no momentum to be set to 0, and step by the gradient all the same.
_WITHOUT_MOMENTUM = ("Adagrad", "Adadelta")


def facts_of(training: BoundTraining) -> Facts:
    """What can be seen of it; no batch is drawn and no forward pass made."""
    optimizer, stepping = training.raw_optimizer, _stepping(training)
    return Facts(
        averages=averages(training),
        optimizer=_family(stepping),
        momentum=_momentum(optimizer),
        pretrained=_is_pretrained(training.model),
        epoch_steps=_steps_of_a_pass(training),
        trains_batchnorm=bool(batch_norms_in_training(training.model)),
        batch_size=_samples_of_a_step(training),
        customary_lr=_customary_lr(stepping),
    )


def averages(training: BoundTraining) -> bool:
    """Whether averaged flight is possible: one momentum of all groups, which can be set to 0, and no other average.

    Where groups differ in their momenta, to take these away would change what a step of one is worth beside another's.
    """
    optimizer = training.raw_optimizer
    if has_own_average(optimizer):
        return False
    wrapped = optimizer_layers(training.optimizer)[:-1]
    if any(vars(layer).get("state", optimizer.state) is not optimizer.state for layer in wrapped):
        return False  # a wrapper with state of its own (Lookahead) moves the weights after the step
    if optimizers_inside(optimizer, training.model) and not is_sharded(optimizer):
        return False  # so may one that is an optimizer itself, around another
    if any(cls.__name__ in _WITHOUT_MOMENTUM for cls in type(arithmetic_of(optimizer)).__mro__):
        return True
    momenta = {momentum_as_given(group) for group in optimizer.param_groups}
    return None not in momenta and len(momenta) == 1


def batch_norms_in_training(model: nn.Module) -> list[BatchNorm]:
    """BatchNorm layers that collect running statistics when the model trains.

    Of a model that is in eval mode as a whole (transformers hand theirs over so) all of them, for ``train()`` will
    come; else those in training mode: frozen ones are left out.
    """
    norms = [m for m in model.modules() if isinstance(m, BatchNorm) and m.track_running_stats]
    return [m for m in norms if m.training] if model.training else norms


def _stepping(training: BoundTraining) -> Optimizer:
    """The optimizer whose arithmetic a step is, the only one inside a wrapper that is an optimizer itself too."""
    optimizer = training.raw_optimizer
    inside = optimizers_inside(optimizer, training.model)
    return inside[0] if len(inside) == 1 else arithmetic_of(optimizer)


def _family(optimizer: Optimizer) -> Literal["sgd", "adam", "other"]:
    names = [cls.__name__.lower() for cls in type(optimizer).__mro__]
    if "sgd" in names:
        return "sgd"
    # By name, since Adam has no common ancestor: NAdam, AdamW8bit, FusedAdam.
    return "adam" if any("adam" in name for name in names) else "other"


def _momentum(optimizer: Optimizer) -> float | None:
    """That of the group with the most trainable parameters, the first of such: most of a step is that group's."""
    sizes = [sum(p.numel() for p in group["params"] if p.requires_grad) for group in optimizer.param_groups]
    return momentum_as_given(optimizer.param_groups[sizes.index(max(sizes))])


def _customary_lr(optimizer: Optimizer) -> float | None:
    """The lr that the class takes where none is given."""
    # Not of a wrapped __init__: torch profiles the steps of optimizers, and wraps those alone.
    lr = getattr(inspect.signature(type(optimizer)).parameters.get("lr"), "default", None)
    if isinstance(lr, Tensor):
        lr = float(lr)
    return float(lr) if isinstance(lr, (int, float)) and is_positive(lr) else None


def _is_pretrained(model: nn.Module) -> bool:
    """Whether a norm layer's scale has moved: a fresh one is constant, and no step moves all of it alike."""
    scales = [getattr(m, "weight", None) for m in model.modules() if "norm" in type(m).__name__.lower()]
    here = any(_varies(scale) for scale in scales if isinstance(scale, Tensor))
    return mean_over_ranks([float(here)])[0] > 0  # a rank's shard may be too small to tell


def _varies(scale: Tensor) -> bool:
    own = scale.detach()
    own = own.to_local() if hasattr(own, "to_local") else own  # this rank's part of it tells as well
    return own.dim() == 1 and own.numel() > 1 and not own.is_meta and bool(torch.any(own != own[0]))


def _steps_of_a_pass(training: BoundTraining) -> int | None:
    batches = _length(training.train_source.data)
    return None if batches is None else math.ceil(batches / training.own_step.accumulate)


def _samples_of_a_step(training: BoundTraining) -> int | None:
    samples = _batch_size(training.train_source.data)
    return None if samples is None else samples * training.own_step.accumulate


def _length(data: Any) -> int | None:
    """Batches of one pass, where the data says so."""
    if not isinstance(data, Sized):
        return None
    try:
        return len(data)
    except TypeError:  # a loader of an IterableDataset without a length
        return None


def _batch_size(data: Any) -> int | None:
    if isinstance(data, DataLoader):
        size = data.batch_size if data.batch_size is not None else getattr(data.batch_sampler, "batch_size", None)
        return size if isinstance(size, int) else None
    return count_samples(data[0]) if isinstance(data, (list, tuple)) and data else None
