"""LRTuner on a live model: in a user's own loop and under fit, saved and resumed, with a rewind on the way."""

from dataclasses import replace

import pytest

from lrpilot import Pilot, fit
from lrpilot.core.actions import Rewind
from lrpilot.policies.lr_tuner import LRTuner, PublishedLRTuner
from small_training import (
    assert_resumes_bit_for_bit,
    own_loop,
    same_tensors,
    training_at,
    weights,
)

STEPS = 60
TUNERS = {
    "default": LRTuner(overhead=None, window=6),
    "saturating": LRTuner(overhead=None, window=6, exploit="saturation"),
    "published": replace(LRTuner.paper("mnist", epochs=10), lr=None, superbatch=4),
}


@pytest.mark.parametrize("tuner", TUNERS.values(), ids=TUNERS.keys())
@pytest.mark.parametrize("lr", [0.01, 30.0])
def test_an_own_loop_and_fit_take_the_same_lrs(tuner: LRTuner | PublishedLRTuner, lr: float) -> None:
    one, other = training_at(lr), training_at(lr)
    pilot = Pilot(one, tuner, STEPS)
    own_loop(one, pilot, STEPS)
    result = fit(other, tuner, total_steps=STEPS, progress=False)
    assert pilot.history.lrs == result.history.lrs and len(set(pilot.history.lrs)) > 1
    assert same_tensors(weights(one.model), weights(other.model))
    if lr > 1 and isinstance(tuner, LRTuner):
        assert [e for e in pilot.history.events if isinstance(e.action, Rewind)], "a wreck was undone"


@pytest.mark.parametrize("tuner", TUNERS.values(), ids=TUNERS.keys())
@pytest.mark.parametrize("stop", [1, 2, 7, 8, 31])
def test_it_resumes_bit_for_bit(tuner: LRTuner | PublishedLRTuner, stop: int) -> None:
    assert_resumes_bit_for_bit(tuner, STEPS, stop)
