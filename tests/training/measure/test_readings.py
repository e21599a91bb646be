"""Held-out readings inside a Trial: the loss of one batch, paid for, and no trace in what the Trial trains."""

import math
from typing import Any

import pytest
from torch import Tensor

from lrpilot import fit
from lrpilot.core.actions import Continue, Train, Trial
from lrpilot.core.shape import constant
from lrpilot.core.stop import StopReason
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.restore.rng import seed_rng
from small_training import (
    Listed,
    assert_equal,
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_samples,
    make_training,
    untouched,
)

STEPS = 7


def build(**options: Any) -> Any:
    """Dropout, BatchNorm, and held-out batches of 4 and 12 samples beside training batches of 8."""
    inputs, targets = make_samples(16, seed=5)
    options.setdefault("val", list(zip(inputs.split([4, 12]), targets.split([4, 12]), strict=True)))
    return make_training(model=make_model(dropout=0.3, batch_norm=True), seed=4, **options)


@pytest.mark.parametrize("evaluate", ["no", "end", "average"])
@pytest.mark.parametrize("reserved", [False, True])
def test_a_trial_is_bit_for_bit_what_it_is_without_readings(evaluate: Any, reserved: bool) -> None:
    """With reserved batches the readings come from the training data itself."""
    training = build(data=make_batches(12), val=None) if reserved else build()
    loop_step(training, make_batches()[0])
    substrate = LiveSubstrate(training)
    plain = substrate.trial(Trial(constant(0.3), STEPS, evaluate=evaluate))
    with untouched(training.model, training.raw_optimizer):
        read = substrate.trial(Trial(constant(0.3), STEPS, evaluate=evaluate, read_every=2))
    assert read.losses == plain.losses and read.held_out == plain.held_out and read.stop is None
    assert plain.readings == () and len(set(read.readings)) == 3


def test_a_reading_is_the_loss_on_the_first_held_out_batch_in_eval_mode() -> None:
    """The slow reference: a model stepped by hand, its BatchNorm statistics as they are."""
    training, reference = build(), build()
    seen = LiveSubstrate(training).trial(Trial(constant(0.3), STEPS, read_every=3))
    seed_rng(reference.seed)
    expected = []
    for step, batch in enumerate(make_batches()[:STEPS] + make_batches()[: STEPS - 6]):
        reference.raw_optimizer.param_groups[0]["lr"] = 0.3
        reference.step(batch)
        if step in (2, 5):
            reference.model.eval()
            expected.append(loss_fn(reference.model, next(reference.probe_data.held_out())).item())
            reference.model.train()
        if step == STEPS - 1:
            break
    assert seen.readings == tuple(pytest.approx(loss, rel=1e-6) for loss in expected)


def test_readings_are_priced_and_charged_by_the_samples_of_that_batch() -> None:
    passes = {"forwards": 0.0}

    def counting(model: Any, batch: Any) -> Tensor:
        passes["forwards"] += len(batch[0]) / 8
        return loss_fn(model, batch)

    substrate = LiveSubstrate(build(loss_fn=counting))
    substrate.check()
    before, counted, trial = substrate.cost, passes["forwards"], Trial(constant(0.1), STEPS, read_every=3)
    assert substrate.price(trial) == 3 * STEPS + 2 * 0.5
    counted = passes["forwards"]
    substrate.trial(trial)
    spent = substrate.cost - before
    assert (spent.forwards, spent.backwards, spent.evaluations, spent.trial_steps) == (STEPS + 1.0, STEPS, 2, STEPS)
    assert passes["forwards"] - counted == spent.forwards


def test_a_trial_that_is_stopped_keeps_what_it_has_read() -> None:
    training = build(loss_fn=lambda model, batch: model(batch[0]).square().mean() * 1e30)
    seen = LiveSubstrate(training).trial(Trial(constant(1e30), 50, evaluate="end", read_every=1))
    assert seen.stop is StopReason.NON_FINITE and seen.held_out is None
    assert len(seen.readings) == len(seen.losses) - 1 < 49


def test_a_reading_that_is_no_number_is_told_as_such() -> None:
    training = make_training(val=make_batches(1, seed=5))
    seen = LiveSubstrate(training).trial(Trial(constant(1e38), 1, read_every=1))
    assert seen.stop is None and not (math.isfinite(seen.readings[0]) and seen.readings[0] < 1e6)


@pytest.mark.parametrize("evaluate", ["no", "average"])
def test_readings_of_a_trial_that_is_continued_stay_in_the_bill(evaluate: Any) -> None:
    def fly(**options: Any) -> Any:
        training = build()
        script = Listed((Trial(constant(0.1), 6, keep="a", evaluate=evaluate, **options), Continue("a"), LAST))
        return training, fit(training, script, total_steps=9, progress=False, continue_trials=True)

    (one, plain), (other, read) = fly(), fly(read_every=2)
    bill = read.cost - plain.cost
    assert (bill.forwards, bill.backwards, bill.evaluations, bill.trial_steps) == (3 * 0.5, 0, 3, 0)
    assert read.history.losses == plain.history.losses
    for mine, theirs in ((one.model, other.model), (one.raw_optimizer, other.raw_optimizer)):
        assert_equal(mine.state_dict(), theirs.state_dict())


def test_the_seconds_of_readings_are_a_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only passes move: a second each in training, a hundred in a reading."""
    now = 0.0

    def passing(model: Any, batch: Any) -> Tensor:
        nonlocal now
        now += 1.0 if model.training else 100.0
        return loss_fn(model, batch)

    monkeypatch.setattr("time.perf_counter", lambda: now)
    training = build(loss_fn=passing)
    substrate = LiveSubstrate(training)
    substrate.check()
    before = substrate.cost.seconds
    substrate.trial(Trial(constant(0.1), 6, keep="a", read_every=2))
    assert substrate.cost.seconds - before == 6 + 300
    assert substrate.continue_trial("a").cost.seconds == 6


LAST = Train(constant(0.05), 3)


@pytest.mark.parametrize("budget", [40.0, 55.0, 100.0])
def test_a_budget_pays_for_readings(budget: float) -> None:
    script = Listed((Trial(constant(0.1), 6, read_every=2), Train(constant(0.05), 1000)))
    result = fit(build(), script, budget=budget, progress=False)
    assert budget - 3 < result.total_compute <= budget and result.cost.evaluations == 3
