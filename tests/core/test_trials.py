"""What is kept of Trials; the numbers of it are in test_peak."""

import pytest

from lrpilot.core.actions import HeldOut, Progress, TrialLosses
from lrpilot.core.trials import expect_trial
from lrpilot.errors import PolicyError


def test_a_trial_is_expected() -> None:
    seen = TrialLosses(Progress(0, None), (1.0,), 1.0, None)
    assert expect_trial(seen, "mine") is seen
    with pytest.raises(PolicyError, match="mine must be told of what it asked for, a Trial, got HeldOut"):
        expect_trial(HeldOut(Progress(0, None), 1.0), "mine")
