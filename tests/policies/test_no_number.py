"""Losses that are no number because the data is bad: it is said, and the lr is not lowered for them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from lrpilot import AutoLRS, LRTuner, WeightedFactors, simulate
from lrpilot.core.policy import Policy
from lrpilot.flight.landscape import NoisyQuadratic, QuadraticState
from lrpilot.flight.simulation import SimulationResult
from lrpilot.policies.lr_tuner import PublishedLRTuner

NAN = float("nan")
STEPS = 400
LR = 0.02
POLICIES = {
    "lr_tuner": LRTuner(overhead=None, exploit="linear"),
    "lr_tuner_paper": PublishedLRTuner(0.2, lr=LR, window=20, superbatch=4, saturation=10.0, clip=1e-3),
    "weighted_factors": WeightedFactors(),
    "autolrs": AutoLRS(1e-3, 1.0, overhead=1.0),
    "autolrs_own_interval": AutoLRS(),
}


class Drawn(NamedTuple):
    """A batch of the quadratic, and whether its loss is no number."""

    batch: Any
    bad: bool


class BadBatches:
    """A quadratic of which some batches have no loss, and a step on one leaves no weights.

    Args:
        is_bad: told which batch of the training it is, counted from 0; None for those of Lines and Trials.
    """

    def __init__(self, is_bad: Callable[[int | None], bool]) -> None:
        self._quadratic = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.05)
        self._is_bad = is_bad
        self._drawn = -1

    def start(self) -> QuadraticState:
        return self._quadratic.start()

    def draw(self, rng: np.random.Generator) -> Drawn:
        own = rng.bit_generator.seed_seq.entropy == [0, 0]  # type: ignore[attr-defined]  # of the kept steps
        self._drawn += own
        return Drawn(self._quadratic.draw(rng), self._is_bad(self._drawn if own else None))

    def loss(self, state: QuadraticState, batch: Drawn) -> float:
        return NAN if batch.bad else self._quadratic.loss(state, batch.batch)

    def step(self, state: QuadraticState, batch: Drawn, lr: float, momentum: float | None) -> QuadraticState:
        after = self._quadratic.step(state, batch.batch, lr, momentum)
        return QuadraticState(after.weights * NAN, after.buffer * NAN) if batch.bad else after

    def held_out(self, state: QuadraticState) -> float:
        return self._quadratic.held_out(state)

    def mix(self, states: Any, weights: Any) -> QuadraticState:
        return self._quadratic.mix(states, weights)


def flown(policy: Policy, is_bad: Callable[[int | None], bool]) -> SimulationResult:
    return simulate(policy, BadBatches(is_bad), lr=LR, total_steps=STEPS)


def codes(result: SimulationResult) -> list[str]:
    return [event.reason.code for event in result.history.events if event.reason is not None]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_data_that_turns_bad_for_good_does_not_lower_the_lr(policy: Policy) -> None:
    whole = flown(policy, lambda batch: False)
    result = flown(policy, lambda batch: batch is not None and batch > 3 * STEPS // 5)
    assert "bad_data" not in codes(whole) and codes(result).count("bad_data") > 20
    # One failure in the middle of a window is the lr's, as far as AutoLRS and the paper's LRTuner can tell.
    pairs = zip(result.history.lrs[2 * STEPS // 3 :], whole.history.lrs[2 * STEPS // 3 :], strict=True)
    assert all(lr >= 0.2 * of_whole for lr, of_whole in pairs)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_a_bad_batch_every_so_often_does_not_end_at_an_lr_of_nothing(policy: Policy) -> None:
    result = flown(policy, lambda batch: batch is not None and batch % 7 == 6)
    assert min(result.history.lrs) > 0
    assert result.history.lrs[-1] > 1e-7 * max(result.history.lrs)
    alarms = [event for event in result.history.events if event.alarms]
    assert alarms and all("times in a row: look for such values in the data" in event.message for event in alarms)
    assert len(alarms) < 12, "the 3rd, the 6th, the 12th, ..."


def test_where_nothing_can_be_measured_the_default_trains_on_at_its_lr() -> None:
    start = BadBatches(lambda batch: False)
    for policy in (LRTuner(overhead=None), WeightedFactors(decay=0.0)):
        result = flown(policy, lambda batch: batch is None)
        assert set(result.history.lrs[20:]) == {LR}, policy.name
        assert result.final_loss < 0.1 * start.held_out(start.start())
        assert any(event.alarms for event in result.history.events)


@pytest.mark.parametrize("every", [20, 50])
def test_autolrs_loses_little_by_bad_batches(every: int) -> None:
    start = BadBatches(lambda batch: False)
    for policy in (AutoLRS(1e-3, 1.0, overhead=1.0), AutoLRS()):
        whole = flown(policy, lambda batch: False)
        result = flown(policy, lambda batch: batch is not None and batch % every == every - 1)
        gain = start.held_out(start.start()) - whole.final_loss
        assert result.final_loss < whole.final_loss + 0.1 * gain
        assert result.history.lrs[-1] > 0.1 * whole.history.lrs[-1]


def test_an_lr_that_is_really_too_large_is_still_lowered() -> None:
    quadratic = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.05)
    for policy in (LRTuner(overhead=None, window=40), WeightedFactors()):
        result = simulate(policy, quadratic, lr=1e4, total_steps=STEPS)
        assert result.history.lrs[-1] < 10.0, policy.name
