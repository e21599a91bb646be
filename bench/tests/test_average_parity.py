"""Averaged flight over a plain optimizer is the schedulefree package's own optimizer, to rounding."""

import copy
from itertools import cycle, islice
from typing import Any

import pytest
import torch

from lrpilot import Pilot, Training
from lrpilot.core.actions import Average, Train
from lrpilot.core.shape import Shape, constant
from small_training import Listed, loop_step, loss_fn, make_batches, make_model

schedulefree = pytest.importorskip("schedulefree")

STEPS, WARMUP, LR = 60, 5, 0.05


def groups(model: Any) -> list[dict[str, Any]]:
    first, *rest = model.parameters()
    return [{"params": [first], "lr": LR}, {"params": rest, "lr": LR / 4}]


def ours(model: Any, kind: str, decay: float) -> torch.optim.Optimizer:
    if kind == "sgd":
        return torch.optim.SGD(groups(model), momentum=0.7, weight_decay=decay)
    return torch.optim.AdamW(groups(model), weight_decay=decay)


def theirs(model: Any, kind: str, decay: float, average: Average) -> Any:
    settings = {"weight_decay": decay, "warmup_steps": WARMUP, "r": average.power}
    if kind == "sgd":
        return schedulefree.SGDScheduleFree(groups(model), momentum=average.mix, **settings)
    return schedulefree.AdamWScheduleFree(groups(model), betas=(average.mix, 0.999), **settings)


@pytest.mark.parametrize("average", [Average(), Average(0.8, 1.0)], ids=["published", "of its own"])
@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_it_is_the_package(kind: str, decay: float, average: Average, dtype: torch.dtype, tolerance: float) -> None:
    mine = make_model().to(dtype)
    published = copy.deepcopy(mine)
    batches = [(inputs.to(dtype), targets) for inputs, targets in make_batches()]
    training = Training(mine, ours(mine, kind, decay), loss_fn, batches)
    warmup = Shape((0.0, WARMUP - 1.0), (LR / WARMUP, LR), ("linear",))
    pilot = Pilot(training, Listed((Train(warmup, STEPS, momentum=constant(0.0), average=average),)), STEPS)
    optimizer = theirs(published, kind, decay, average)
    optimizer.train()
    for batch in islice(cycle(batches), STEPS):
        optimizer.zero_grad()
        loss = loss_fn(published, batch)
        loss.backward()
        optimizer.step()
        own = loop_step(training, batch)
        torch.testing.assert_close(own, loss, rtol=100 * tolerance, atol=0)
        pilot.step(own)
    optimizer.eval()
    assert pilot.driver.landed
    for p, q in zip(mine.parameters(), published.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance)
