"""The bracket around a probe's steps, where the batteries of trials do not reach it."""

import signal
from dataclasses import replace
from typing import Any

import pytest

from lrpilot import Training
from lrpilot.core.actions import Trial
from lrpilot.core.shape import ramp
from lrpilot.training.bound.state import Snapshot
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import loop_step, make_batches, make_model, make_training, same_tensors, untouched, weights

TRIAL = Trial(ramp(0.3, 0.02, 3), 3)


def test_ctrl_c_in_the_middle_of_a_restore_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    training = make_training(model=make_model(batch_norm=True, dropout=0.3))
    restore = Snapshot.restore

    def interrupted(self: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        restore(self)

    monkeypatch.setattr(Snapshot, "restore", interrupted)
    with untouched(training.model, training.raw_optimizer), pytest.raises(KeyboardInterrupt):
        LiveSubstrate(training).trial(TRIAL)


def train(training: Training, substrate: LiveSubstrate) -> None:
    substrate.before_kept_step()
    loop_step(training, make_batches()[0])
    substrate.after_kept_step()


def go_on(training: Training, substrate: LiveSubstrate) -> None:
    substrate.continue_trial("a")


def rewind(training: Training, substrate: LiveSubstrate) -> None:
    substrate.rewind("m")


@pytest.mark.parametrize("move", [train, go_on, rewind])
def test_a_measurement_goes_back_to_where_the_training_is_now(move: Any) -> None:
    """One snapshot serves all measurements from one state, and none from the next."""
    training = make_training()
    substrate = LiveSubstrate(training)
    substrate.mark("m")
    train(training, substrate)
    substrate.trial(replace(TRIAL, keep="a"))
    before = weights(training.model)
    move(training, substrate)
    assert not same_tensors(weights(training.model), before)
    with untouched(training.model, training.raw_optimizer):
        substrate.trial(TRIAL)


def test_lrs_are_known_again() -> None:
    substrate = LiveSubstrate(make_training())
    before = substrate.lrs.reference
    substrate.trial(TRIAL)
    assert substrate.lrs.reference == before
    substrate.lrs.check_unchanged()  # raises where what was written last is thought to be the Trial's
