"""The bracket around a probe's steps, where the batteries of trials do not reach it."""

import signal
from typing import Any

import pytest

from lrpilot.core.actions import Trial
from lrpilot.core.shape import ramp
from lrpilot.training.measure.snapshot import Snapshot
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import make_model, make_training, untouched

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


def test_lrs_are_known_again() -> None:
    substrate = LiveSubstrate(make_training())
    before = substrate.lrs.reference
    substrate.trial(TRIAL)
    assert substrate.lrs.reference == before
    substrate.lrs.check_unchanged()  # raises where what was written last is thought to be the Trial's
