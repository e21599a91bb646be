"""Bitwise continuation of trainings that keep state where none is looked for: wrappers, packages, odd modules.

Steps, a probe, and steps again give the losses and the weights of a training that was not probed; or the probe is
refused by a typed error. What is compared is written here naively and shares no code with the snapshot.
"""

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrpilot import Training
from lrpilot.core.actions import Evaluate, Line, Trial
from lrpilot.core.shape import annealed, constant
from lrpilot.errors import UnseenStateError
from lrpilot.training.measure.substrate import LiveSubstrate
from odd_modules import ODD_MODULES
from odd_optimizers import TWO_STEPS, WRAPPERS, sam_step, trainable
from small_training import CLASSES, FEATURES, assert_equal, make_batches
from third_party import THIRD_PARTY

MODULES = {
    "plain": lambda *_: nn.Sequential(
        nn.Linear(FEATURES, 8), nn.Dropout(0.2), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)
    ),
    **ODD_MODULES,
}
OPTIMIZERS = {"sgd": lambda m: torch.optim.SGD(trainable(m), lr=0.1, momentum=0.9), **WRAPPERS, **THIRD_PARTY}


class Odd:
    """A training and the loop of its owner."""

    def __init__(self, optimizer: str, module: str) -> None:
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(0)
        self.model = MODULES[module](FEATURES, CLASSES)
        self.optimizer = OPTIMIZERS[optimizer](self.model)
        if hasattr(self.optimizer, "train"):
            self.optimizer.train()
        self.takes_two = optimizer in TWO_STEPS
        self.training = Training(
            self.model,
            self.optimizer,
            self.loss,
            make_batches(),
            make_batches(2, seed=3),
            step_fn=self.step if self.takes_two else None,
        )

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def step(self, batch: Any) -> Tensor:
        if self.takes_two:
            return sam_step(self.optimizer, lambda: self.loss(self.model, batch))
        self.optimizer.zero_grad()
        loss = self.loss(self.model, batch)
        loss.backward()
        self.optimizer.step()
        return loss

    def probe(self) -> None:
        substrate = LiveSubstrate(self.training)
        substrate.check()
        for action in (
            Trial(annealed(0.1, 3), 3, evaluate="end"),
            Trial(constant(1e30), 2),
            Trial(constant(0.05), 2, evaluate="average"),
        ):
            substrate.trial(action)
        substrate.evaluate(Evaluate(reestimate=True))
        substrate.forget_snapshot()


def flown(optimizer: str, module: str, *, probed: bool) -> list[Any]:
    """The losses of three steps and four more, the state of the generators, and everything at the end."""
    odd = Odd(optimizer, module)
    seen: list[Any] = []
    for i, batch in enumerate(itertools.islice(itertools.cycle(make_batches()), 7)):
        if probed and i in (0, 3):
            odd.probe()
        seen.append(odd.step(batch).detach().clone())
    seen.append([p.detach().clone() for p in odd.model.parameters()])
    return [*seen, torch.get_rng_state(), odd.model.state_dict(), dict(odd.optimizer.state_dict())]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_probed_training_goes_on_as_one_that_was_not(optimizer: str, module: str) -> None:
    alone = flown(optimizer, module, probed=False)
    probed = flown(optimizer, module, probed=True)
    assert_equal(repr_of_objects(probed), repr_of_objects(alone))


def repr_of_objects(value: Any) -> Any:
    """Objects without equality of their own (a momentum in eight bits) by what is in their slots."""
    if isinstance(value, dict):
        return {key: repr_of_objects(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [repr_of_objects(item) for item in value]
    if type(value).__module__ == "odd_optimizers":
        return [repr_of_objects(getattr(value, name)) for name in type(value).__slots__]
    return value


@pytest.mark.parametrize("module", MODULES)
def test_a_line_leaves_odd_modules_as_they_were(module: str) -> None:
    def losses(*, lined: bool) -> list[float]:
        odd = Odd("sgd", module)
        substrate = LiveSubstrate(odd.training)
        if lined:
            substrate.check()
        seen = []
        for batch in make_batches():
            if lined:
                substrate.arm_line()
            substrate.before_kept_step()
            seen.append(float(odd.step(batch).detach()))
            substrate.after_kept_step()
            if lined:
                substrate.line(Line((0.0, 0.5, 1.0), batches=2))
        return seen

    assert losses(lined=True) == losses(lined=False)


def test_what_cannot_be_seen_is_refused() -> None:
    odd = Odd("sgd", "plain")
    odd.training.loss_fn = hidden()
    with pytest.raises(UnseenStateError, match="loss_fn's variable 'calls'"):
        odd.probe()


def hidden() -> Any:
    calls = 0

    def loss(model: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return nn.functional.cross_entropy(model(batch[0]), batch[1]) * calls

    return loss
