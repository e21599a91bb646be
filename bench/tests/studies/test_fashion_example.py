"""The example's parts: what its factories bind, and what its evaluation leaves alone."""

import pytest
import torch

from lrpilot import Schedule, find_lr, fit
from lrpilot_bench.studies.fashion_example import example

pytestmark = pytest.mark.usefixtures("small_data")
FACTORIES = ("training", "training_adamw", "training_plain", "training_plain_adamw")


@pytest.mark.parametrize("factory", FACTORIES)
def test_each_factory_binds_a_training_that_works(factory: str) -> None:
    bound = getattr(example, factory)(seed=3)

    bound.check()

    norms = [m for m in bound.model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert bool(norms) != ("plain" in factory)
    assert isinstance(bound.optimizer, torch.optim.AdamW if "adamw" in factory else torch.optim.SGD)


def test_the_seed_fixes_weights_and_data_order() -> None:
    first, same, other = (example.training(seed=seed) for seed in (1, 1, 2))

    def weights(bound: object) -> torch.Tensor:
        return torch.cat([p.flatten() for p in bound.model.parameters()])

    assert torch.equal(weights(first), weights(same))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("mode", [True, False])
def test_evaluation_puts_the_mode_back(mode: bool) -> None:
    model = example.make_model(batch_norm=True, seed=0).train(mode)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    loss, accuracy = example.evaluate(model)

    assert loss > 0 and 0 <= accuracy <= 1
    assert all(m.training == mode for m in model.modules())
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


def test_finding_and_fitting_as_the_script_does_learns() -> None:
    bound = example.training_plain_adamw(seed=0)
    start, _ = example.evaluate(bound.model)

    found = find_lr(bound, target="decay", effort="thorough", num_steps=5, min_lr=1e-4, max_lr=1e-1, progress=False)
    assert found.lr is not None
    fit(bound, Schedule("linear", lr=found.lr, warmup=example.WARMUP), total_steps=30, progress=False)

    assert example.evaluate(bound.model)[0] < 0.7 * start
