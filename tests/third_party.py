"""Optimizers of packages that may be installed: made by ``THIRD_PARTY[name](model)``, which skips a test if not.

Tried with schedulefree 1.4.1, prodigyopt 1.1.2, pytorch_optimizer 4.1.0, lion-pytorch 0.2.5 and timm 1.0.31.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from odd_optimizers import trainable


def of(package: str, name: str, **options: Any) -> Callable[[nn.Module], Any]:
    return lambda model: getattr(pytest.importorskip(package), name)(trainable(model), **options)


def around(name: str, **options: Any) -> Callable[[nn.Module], Any]:
    """A wrapper of pytorch_optimizer around SGD."""

    def make(model: nn.Module) -> Any:
        package = pytest.importorskip("pytorch_optimizer")
        inner = torch.optim.SGD(trainable(model), lr=0.05, momentum=0.9)
        return getattr(package, name)(inner, **options)

    return make


THIRD_PARTY: dict[str, Callable[[nn.Module], Any]] = {
    "schedulefree.SGD": of("schedulefree", "SGDScheduleFree", lr=0.1),
    "schedulefree.AdamW": of("schedulefree", "AdamWScheduleFree", lr=0.01),
    "prodigyopt.Prodigy": of("prodigyopt", "Prodigy", lr=1.0),
    "pytorch_optimizer.Lookahead": around("Lookahead", k=2),
    "pytorch_optimizer.ADOPT": of("pytorch_optimizer", "ADOPT", lr=0.01),
    "pytorch_optimizer.Ranger21": of("pytorch_optimizer", "Ranger21", lr=0.01, num_iterations=50),
    "pytorch_optimizer.Tiger": of("pytorch_optimizer", "Tiger", lr=0.01),
    "pytorch_optimizer.StableAdamW": of("pytorch_optimizer", "StableAdamW", lr=0.01),
    "pytorch_optimizer.Adan": of("pytorch_optimizer", "Adan", lr=0.01),
    "pytorch_optimizer.AdEMAMix": of("pytorch_optimizer", "AdEMAMix", lr=0.01),
    "pytorch_optimizer.Lion": of("pytorch_optimizer", "Lion", lr=0.001),
    "lion_pytorch.Lion": of("lion_pytorch", "Lion", lr=0.001),
    "timm.optim.Lamb": of("timm.optim", "Lamb", lr=0.01),
}
