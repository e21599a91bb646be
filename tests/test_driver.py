"""The driver under both faces: what it does by itself, and that a face adds nothing to it."""

from typing import Any

import pytest
import torch

from lrpilot import Pilot, Training
from lrpilot.core.actions import Evaluate, Line, Train, Trial
from lrpilot.core.shape import constant, ramp
from lrpilot.driver import NEGLIGIBLE, Driver
from lrpilot.errors import StepError
from lrpilot.flight.horizon import StepHorizon, WorkHorizon
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import Listed, assert_equal, loop_step, make_batches, make_model, make_training, untouched, weights

POLICY = Listed(
    (
        Trial(constant(0.2), 3, evaluate="end"),
        Train(ramp(0.1, 0.05, 3), 3),
        Line((0.0, 0.5, 1.0)),
        Evaluate(),
        Train(constant(0.05), 20),
    )
)


def drive(training: Training, total_steps: int | None = 12, **options: Any) -> Driver:
    return Driver(training, POLICY, horizon=lambda _: StepHorizon(total_steps), **options)


def test_construction_measures_nothing_and_writes_nothing() -> None:
    training = make_training()
    with untouched(training.model):
        driver = drive(training)
    assert training.raw_optimizer.param_groups[0]["lr"] == 0.1 and driver.substrate.cost.forwards == 0
    driver.write_lr()
    assert training.raw_optimizer.param_groups[0]["lr"] == 0.1 * NEGLIGIBLE, "a search is due"


def test_a_step_is_accounted_for_without_a_measurement() -> None:
    training = make_training()
    driver = drive(training)
    driver.write_lr()
    assert not driver.account(1.0), "no optimizer step yet"
    loss = loop_step(training, make_batches()[0])
    assert driver.account(loss) and driver.flight.step == 1 and driver.substrate.cost.trials == 0
    assert not driver.account(loss), "the same step once"
    driver.start()
    assert driver.substrate.cost.trials == 1 and training.raw_optimizer.param_groups[0]["lr"] == 0.1


def test_a_face_adds_nothing() -> None:
    def fly(*, face: bool) -> list[Any]:
        training = make_training(model=make_model(dropout=0.2))
        driver = drive(training)
        pilot = Pilot.of(driver) if face else None
        torch.manual_seed(0)
        driver.write_lr()
        driver.start()
        for batch in make_batches():
            loss = loop_step(training, batch)
            if pilot is not None:
                pilot.step(loss)
            elif driver.account(loss):
                driver.start()
        history = driver.flight.history
        return [weights(training.model), history.lrs, history.losses, [event.message for event in history.events]]

    assert_equal(fly(face=True), fly(face=False))


def test_a_pilot_is_the_face_of_its_driver() -> None:
    training = make_training()
    pilot = Pilot(training, POLICY, 12)
    driver = pilot.driver
    assert pilot.training is training is driver.training and pilot.policy is POLICY is driver.policy
    pilot.start()
    assert pilot.history is driver.flight.history and pilot.cost == driver.substrate.cost
    pilot.step(loop_step(training, make_batches()[0]))
    pilot.last_epoch = pilot._step_count = 99  # as a wrapper that counts for itself may do
    assert (pilot.last_epoch, pilot._step_count) == (1, 2), "it is the driver that counts"
    assert_equal(pilot.state_dict(), driver.state_dict())
    assert not hasattr(pilot, "total_steps"), "Accelerate would stop stepping it"


def test_a_state_is_refused_between_a_step_and_its_account() -> None:
    training = make_training()
    driver = drive(training)
    driver.write_lr()
    loss = loop_step(training, make_batches()[0])
    with pytest.raises(StepError, match=r"below pilot\.step"):
        driver.state_dict()
    driver.account(loss)
    assert driver.state_dict()["flight"]["state"]["step"] == 1


def test_the_horizon_is_made_on_the_substrate_that_is_flown() -> None:
    made: list[LiveSubstrate] = []

    def horizon(substrate: LiveSubstrate) -> WorkHorizon:
        made.append(substrate)
        return WorkHorizon(100.0, substrate)

    training = make_training()
    driver = Driver(training, POLICY, horizon=horizon)
    assert made == [driver.substrate] and driver.horizon(0) == 33
    driver.start()
    assert driver.horizon(0) == int((100.0 - driver.substrate.cost.forward_equivalents) // 3) < 33


def test_a_driver_that_nobody_holds_watches_no_optimizer() -> None:
    training = make_training()
    optimizer = training.raw_optimizer
    driver = drive(training)
    assert optimizer._optimizer_step_pre_hooks and optimizer._optimizer_step_post_hooks
    del driver
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
