"""Does the proof that a step can be put back object where it should, and nowhere else?

    python -m lrpilot_bench.studies.unseen_state

Plants state of nine kinds where no snapshot looks, and counts the kinds that are refused with the name of what holds
it; then makes the proof on optimizers x models that hide nothing, and counts the false alarms. A minute on one core.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot import Training
from lrpilot.errors import UnseenStateError

FEATURES, CLASSES, BATCH = 12, 3, 8
Loss = Callable[[nn.Module, Any], Tensor]


def batches() -> list[tuple[Tensor, Tensor]]:
    """Four of random numbers, the same ones always."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4 * BATCH, FEATURES, generator=generator)
    return list(zip(inputs.split(BATCH), inputs[:, :CLASSES].argmax(1).split(BATCH), strict=True))


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """The loss that the others change."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


# ------------------------------------------------------------------ planted

STEPS = 0
COUNT = itertools.count()


def counting() -> Loss:
    """A number in a closure."""
    calls = 0

    def loss(model: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return cross_entropy(model, batch) * (1 + 0.1 * calls)

    return loss


def closed_over(kind: Callable[[], Any], move: Callable[[Any], float]) -> Callable[[], Loss]:
    """Something in a closure that every pass moves."""

    def make() -> Loss:
        kept = kind()

        def loss(model: nn.Module, batch: Any) -> Tensor:
            return cross_entropy(model, batch) * (1 + 0.1 * move(kept))

        return loss

    return make


def of_the_module() -> Loss:
    """A number among a module's globals."""

    def loss(model: nn.Module, batch: Any) -> Tensor:
        global STEPS
        STEPS += 1
        return cross_entropy(model, batch) * (1 + 0.1 * STEPS)

    return loss


def iterated() -> Loss:
    """An iterator among a module's globals."""
    return lambda model, batch: cross_entropy(model, batch) * (1 + 0.1 * next(COUNT))


class Remembering:
    """A loss that is an object, with an attribute."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss, by what it was before."""
        loss = cross_entropy(model, batch)
        self.last = 0.9 * self.last + float(loss.detach())
        return loss * (1 + self.last)


def growing(kept: Any) -> float:
    """Append to a list or deque."""
    kept.append(1)
    return float(len(kept))


def filling(kept: dict[int, int]) -> float:
    """Add to a dict."""
    kept[len(kept)] = 1
    return float(len(kept))


def adding(kept: Any) -> float:
    """Write an array in place."""
    kept += 1
    return float(kept[0])


def generated() -> Iterator[float]:
    """What a generator function yields."""
    step = 0
    while True:
        step += 1
        yield float(step)


PLANTED: dict[str, tuple[Callable[[], Loss], str]] = {
    "a number in a closure": (counting, "loss_fn's variable 'calls'"),
    "a deque in a closure": (closed_over(deque, growing), "'kept'"),
    "a dict in a closure": (closed_over(dict, filling), "'kept'"),
    "an array in a closure": (closed_over(lambda: np.zeros(1), adding), "'kept'"),
    "a tensor in a closure": (closed_over(lambda: torch.zeros(1), adding), "'kept'"),
    "a number among globals": (of_the_module, "loss_fn's global 'STEPS'"),
    "an iterator among globals": (iterated, "loss_fn's global 'COUNT'"),
    "an attribute of a loss": (Remembering, "loss_fn.last"),
    "a running generator function": (closed_over(generated, next), "'kept'"),
}

# ------------------------------------------------------------- hiding nothing


class Recurrent(nn.Module):
    """A GRU over pieces of the features."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.out = nn.GRU(3, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.out(self.gru(x.view(-1, 4, 3))[0][:, -1])
        return logits


class Attending(nn.Module):
    """A transformer layer with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.out = nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.out(self.layer(x.view(-1, 3, 4)).mean(1))
        return logits


def norm() -> nn.Module:
    """An MLP with BatchNorm."""
    return nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))


def convolution() -> nn.Module:
    """A convolution with dropout and GroupNorm."""
    layers = [nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 4, 2), nn.GroupNorm(2, 4), nn.Dropout(0.3)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, CLASSES))


def spectral() -> nn.Module:
    """Spectral norm, whose passes move a buffer."""
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(FEATURES, 8)), nn.Linear(8, CLASSES))


def compiled() -> nn.Module:
    """By torch.compile, which wraps the module."""
    model: Any = torch.compile(norm(), backend="eager")
    assert isinstance(model, nn.Module)
    return model


MODELS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(FEATURES, CLASSES),
    "norm": norm,
    "dropout": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.Dropout(0.5), nn.Linear(8, CLASSES)),
    "recurrent": Recurrent,
    "attending": Attending,
    "convolution": convolution,
    "spectral": spectral,
    "half": lambda: nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES)).to(torch.bfloat16),
    "compiled": compiled,
}
OF_TORCH = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adamax", "ASGD", "Rprop")
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {"lr": 0.01}) for name in OF_TORCH),
    ("Adafactor", {"lr": 0.01}),
    ("SGD", {"lr": 0.01, "momentum": 0.9}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "fused": True}),
    ("SGD", {"lr": 0.01, "foreach": True}),
    ("AdamW", {"lr": 0.01, "amsgrad": True}),
    ("AdamW", {"lr": 0.01, "fused": True}),
    ("AdamW", {"lr": 0.01, "foreach": True}),
    ("AdamW", {"lr": torch.tensor(0.01), "foreach": False}),
    ("Adam", {"lr": 0.01, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr": 0.01, "fused": True}),
]


def proven(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Loss) -> str:
    """What the proof says: nothing where it holds."""
    training = Training(model, optimizer, loss, batches(), batches()[:1])
    try:
        training.check()
    except UnseenStateError as error:
        return str(error)
    return ""


def planted() -> dict[str, bool]:
    """Of each kind of planted state, whether it is refused and named."""
    found = {}
    for kind, (make, name) in PLANTED.items():
        model = MODELS["norm"]()
        found[kind] = name in proven(model, torch.optim.SGD(model.parameters(), lr=0.1), make())
    return found


def false_alarms() -> tuple[int, list[str]]:
    """How many trainings that hide nothing were tried, and those that were refused."""
    tried, refused = 0, []
    for (name, options), model_name in itertools.product(OPTIONS, MODELS):
        torch.manual_seed(0)
        random.seed(0)
        model = MODELS[model_name]()

        def loss(model: nn.Module, batch: Any) -> Tensor:
            dtype = next(model.parameters()).dtype
            return nn.functional.cross_entropy(model(batch[0].to(dtype)).float(), batch[1])

        optimizer = getattr(torch.optim, name)(model.parameters(), **options)
        tried += 1
        said = proven(model, optimizer, loss)
        if said:
            refused.append(f"{name} {options} on {model_name}: {said}")
    return tried, refused


def main() -> None:
    """Print both counts."""
    torch.set_num_threads(1)
    for kind, named in (found := planted()).items():
        print(f"{kind:32s} {'named' if named else 'NOT NAMED'}")
    tried, refused = false_alarms()
    print(f"planted kinds named: {sum(found.values())} of {len(found)}")
    print(f"false alarms: {len(refused)} of {tried} optimizers x models", *refused, sep="\n")


if __name__ == "__main__":
    main()
