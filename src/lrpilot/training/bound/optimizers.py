"""An optimizer as the user hands it over: the torch optimizer inside wrappers, and steps that it skipped."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrpilot.errors import OptimizerError


def unwrap_optimizer(optimizer: Any) -> Optimizer:
    """The torch optimizer inside wrappers such as AcceleratedOptimizer or LightningOptimizer.

    Raises:
        OptimizerError: there is none.
    """
    inner = optimizer_layers(optimizer)[-1]
    if not isinstance(inner, Optimizer):
        raise OptimizerError(
            f"The optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}. "
            "Pass the optimizer that your training loop steps."
        )
    return inner


def optimizer_layers(optimizer: Any) -> list[Any]:
    """An optimizer and the ones it wraps, outermost first."""
    layers = [optimizer]
    for _ in range(8):  # wrappers of wrappers exist, endless ones do not
        inside = getattr(layers[-1], "__dict__", {})
        wrapped = inside.get("optimizer", inside.get("_optimizer"))
        if not isinstance(wrapped, Optimizer):
            break
        layers.append(wrapped)
    return layers


def was_skipped(optimizer: Optimizer) -> bool:
    """Whether a fused optimizer skipped its update inside the kernel (a GradScaler found inf)."""
    found_inf = getattr(optimizer, "found_inf", None)
    return isinstance(found_inf, Tensor) and bool(torch.count_nonzero(found_inf))
