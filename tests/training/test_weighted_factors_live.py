"""WeightedFactors on a live model: in a user's own loop and under fit, with dropout and a rewind on the way."""

from itertools import cycle, islice

import pytest
import torch

from lrpilot import Pilot, Training, WeightedFactors, fit
from lrpilot.core.actions import Rewind
from lrpilot.core.policy import Policy
from small_training import loop_step, make_batches, make_model, make_training, same_tensors, weights

STEPS = 60
POLICIES = {
    "default": WeightedFactors(window=6),
    "published": WeightedFactors.paper(window=6, batches=2),
}


def training_at(lr: float) -> Training:
    model = make_model(dropout=0.2, batch_norm=True)
    return make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("lr", [0.01, 100.0])
def test_an_own_loop_and_fit_take_the_same_lrs(policy: Policy, lr: float) -> None:
    one, other = training_at(lr), training_at(lr)
    torch.manual_seed(7)
    pilot = Pilot(one, policy, STEPS)
    pilot.start()  # as fit does: the first mark is set before the first step
    for batch in islice(cycle(make_batches()), STEPS):
        pilot.step(loop_step(one, batch))
    torch.manual_seed(7)
    result = fit(other, policy, total_steps=STEPS, progress=False)
    assert pilot.history.lrs == result.history.lrs and len(set(pilot.history.lrs)) > 2
    assert pilot.history.events == result.history.events
    assert same_tensors(weights(one.model), weights(other.model))
    if lr > 1 and isinstance(policy, WeightedFactors):
        assert [e for e in pilot.history.events if isinstance(e.action, Rewind)], "a wreck was undone"
