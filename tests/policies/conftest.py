"""Flying a finder on a made-up curve: no model, no driver, just ask and tell."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from lrpilot.core.actions import Done, Evaluate, HeldOut, Progress, Trial, TrialLosses
from lrpilot.core.codec import decode, encode
from lrpilot.core.policy import Context, Policy
from lrpilot.core.stop import StopReason, StopState, check_stop
from lrpilot.found import FoundLR

HERE = Progress(0, None)
Curve = Callable[[float, int], float]  # peak lr and steps of a Trial -> held-out loss after it


@dataclass
class FinderRun:
    """A finder's answer and what it asked for.

    ``steps`` counts the optimizer steps of all Trials; a diverging Trial ends after half of them.
    """

    found: FoundLR
    trials: list[Trial] = field(default_factory=list)
    steps: int = 0

    @property
    def lrs(self) -> list[float]:
        return [trial.shape(0) for trial in self.trials]


def observe(trial: Trial, loss: float, start: float, batch_noise: float = 0.0) -> TrialLosses:
    """Training losses on a straight line from the start loss to the held-out one, by turns above and below it."""
    if not math.isfinite(loss):
        return TrialLosses(HERE, (start,) * max(1, trial.steps // 2) + (math.nan,), None, StopReason.NON_FINITE)
    losses = [start + (loss - start) * i / trial.steps + batch_noise * (-1) ** i for i in range(trial.steps)]
    state = StopState()
    for i, seen in enumerate(losses):
        state, stop = check_stop(trial.stop, state, seen)
        if stop is not None:
            return TrialLosses(HERE, tuple(losses[: i + 1]), None, stop)
    return TrialLosses(HERE, tuple(losses), loss, None)


def fly(
    policy: Policy, curve: Curve, *, start: float = 2.3, batch_noise: float = 0.0, through_json: bool = False
) -> FinderRun:
    """Ask and tell until Done; with ``through_json`` the state is saved and loaded before every call."""

    def saved(state: Any) -> Any:
        return decode(json.loads(json.dumps(encode(state)))) if through_json else state

    state = policy.init(Context(0.1, HERE))
    run = FinderRun(found=None)  # type: ignore[arg-type]
    for _ in range(500):
        state = saved(state)
        action = policy.ask(state)
        assert policy.ask(state) == action, "asking changes nothing"
        if isinstance(action, Done):
            run.found = action.result
            return run
        if isinstance(action, Evaluate):
            assert action.reestimate
            state = policy.tell(state, HeldOut(HERE, start))
            continue
        assert isinstance(action, Trial) and action.evaluate == "end"
        seen = observe(action, curve(action.shape(0), action.steps), start, batch_noise)
        run.trials.append(action)
        run.steps += len(seen.losses)
        state = policy.tell(state, seen)
    raise AssertionError("the finder does not end")


@pytest.fixture
def fly_finder() -> Callable[..., FinderRun]:
    return fly
