"""LRTuner on a live model: in a user's own loop and under fit, saved and resumed, with a rewind on the way."""

from dataclasses import replace
from itertools import cycle, islice

import pytest
import torch

from lrpilot import Pilot, Training, fit
from lrpilot.core.actions import Rewind
from lrpilot.policies.lr_tuner import LRTuner
from small_training import loop_step, make_batches, make_model, make_training, same_tensors, weights

STEPS = 60
TUNERS = {
    "default": LRTuner(overhead=None, window=6),
    "saturating": LRTuner(overhead=None, window=6, exploit="saturation"),
    "published": replace(LRTuner.paper("mnist", epochs=10), lr=None, superbatch=4),
}


def training_at(lr: float) -> Training:
    model = make_model()
    return make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9))


def own_loop(training: Training, pilot: Pilot, steps: int, *, start: int = 0) -> None:
    for batch in islice(cycle(make_batches()), start, start + steps):
        pilot.step(loop_step(training, batch))


@pytest.mark.parametrize("tuner", TUNERS.values(), ids=TUNERS.keys())
@pytest.mark.parametrize("lr", [0.01, 30.0])
def test_an_own_loop_and_fit_take_the_same_lrs(tuner: LRTuner, lr: float) -> None:
    one, other = training_at(lr), training_at(lr)
    pilot = Pilot(one, tuner, STEPS)
    own_loop(one, pilot, STEPS)
    result = fit(other, tuner, total_steps=STEPS, progress=False)
    assert pilot.history.lrs == result.history.lrs and len(set(pilot.history.lrs)) > 1
    assert same_tensors(weights(one.model), weights(other.model))
    if lr > 1 and not tuner.published:
        assert [e for e in pilot.history.events if isinstance(e.action, Rewind)], "a wreck was undone"


@pytest.mark.parametrize("tuner", TUNERS.values(), ids=TUNERS.keys())
@pytest.mark.parametrize("stop", [1, 2, 7, 8, 31])
def test_it_resumes_bit_for_bit(tuner: LRTuner, stop: int) -> None:
    whole, first, second = training_at(0.01), training_at(0.01), training_at(0.01)
    uninterrupted = Pilot(whole, tuner, STEPS)
    own_loop(whole, uninterrupted, STEPS)
    pilot = Pilot(first, tuner, STEPS)
    own_loop(first, pilot, stop)
    saved = pilot.state_dict()
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    resumed = Pilot(second, tuner, STEPS)
    resumed.load_state_dict(saved)
    own_loop(second, resumed, STEPS - stop, start=stop)
    assert resumed.history.lrs == uninterrupted.history.lrs
    assert same_tensors(weights(second.model), weights(whole.model))
