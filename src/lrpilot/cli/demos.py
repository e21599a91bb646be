"""What ``lrpilot demo`` trains: small classifiers on real data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module

    from lrpilot.cli.demo_data import Data
    from lrpilot.training import Training

DATA = ("digits", "fashion-mnist")
# Optimizer steps of a run: 43 epochs of the digits (three seeds take half a minute on one core), 3 of Fashion-MNIST.
DIGITS_STEPS, FASHION_STEPS = 1600, 2500


@dataclass(frozen=True)
class Demo:
    """What the demo trains.

    Attributes:
        title: one line.
        make: a fresh training from a seed: the same seed, the same weights and batches.
        accuracy: share of the validation set that a trained model gets right.
        steps: optimizer steps of a run.
    """

    title: str
    make: Callable[[int], "Training"]
    accuracy: Callable[["Training"], float]
    steps: int


def demo_on(data: str) -> Demo:
    """What is trained on "digits" or "fashion-mnist".

    Raises:
        MissingDependencyError: Fashion-MNIST is not there; the message says how to get it.
    """
    from lrpilot.cli.demo_data import digits, fashion_mnist

    if data == "digits":
        title = "scikit-learn's digits with jittered pixels, 3-layer MLP, AdamW, batch 32"
        return _classification(title, digits(), _mlp, batch_size=32, steps=DIGITS_STEPS, jitter=0.7)
    title = "Fashion-MNIST (50,000 images), 3 convolutions with BatchNorm, AdamW, batch 64"
    return _classification(title, fashion_mnist(), _conv_net, batch_size=64, steps=FASHION_STEPS)


def _mlp() -> "Module":
    from torch import nn

    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _conv_net() -> "Module":
    from torch import nn

    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 10))


def _classification(
    title: str, data: "Data", fresh: Callable[[], "Module"], *, batch_size: int, steps: int, jitter: float = 0.0
) -> Demo:
    """A demo from a data set and a model; ``jitter`` is the deviation of noise added to inputs in training."""
    import torch

    from lrpilot.training import Training

    def loss_fn(model: "Module", batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        inputs, targets = batch
        if model.training and jitter > 0:
            inputs = inputs + jitter * torch.randn_like(inputs)
        return torch.nn.functional.cross_entropy(model(inputs), targets)

    def make(seed: int) -> Training:
        torch.manual_seed(seed)
        model = fresh()
        loader, held_out = data.loader(batch_size, seed=seed), data.held_out(256)
        return Training(model, torch.optim.AdamW(model.parameters()), loss_fn, loader, held_out, seed=seed)

    def accuracy(training: Training) -> float:
        with torch.no_grad():
            right = training.model.eval()(data.val_inputs).argmax(1) == data.val_targets
        return float(right.float().mean())

    return Demo(title, make, accuracy, steps)
