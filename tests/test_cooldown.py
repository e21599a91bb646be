"""The way down on request: from any step of any policy straight to zero; saved, resumed and refused."""

from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from lrpilot import AutoLRS, Budget, LRTuner, Pilot, Schedule, Training, WeightedFactors, fit
from lrpilot.core.actions import Average, Done, Line, Mark, Rewind, Train, Trial
from lrpilot.core.history import Event
from lrpilot.core.policy import Policy
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import SettingError, StateError, StepError
from small_training import Listed, loop_step, make_batches, make_model, make_training, own_loop, same_tensors, weights

A = Average(0.8, 1.0)
POLICIES: dict[str, Policy] = {
    "schedule": Schedule("constant", lr=0.1),
    "lr tuner": LRTuner(0.5, window=4, exploit="saturation", overhead=None),
    "weighted factors": WeightedFactors(window=3),
    "autolrs": AutoLRS.paper(1e-2, 0.5, tau=10, max_tau=20),
    "averaged": Listed((Train(constant(0.1), 1000, average=A, momentum=constant(0.0)),)),
    "held": Listed((Train(constant(0.1), 2),)),
}
OPEN = ("schedule", "averaged", "held")  # the others are laid out over a known horizon


def build() -> Training:
    return make_training(model=make_model(dropout=0.3, batch_norm=True), val=make_batches(2, seed=5))


def cooled(policy: Policy, *, total_steps: int | None, at: int, steps: int) -> tuple[Training, Pilot]:
    training = build()
    pilot = Pilot(training, policy, total_steps)
    torch.manual_seed(3)
    own_loop(training, pilot, at)
    pilot.cooldown(steps)
    return training, pilot


@pytest.mark.parametrize(
    ("name", "total_steps"), [*((name, 40) for name in POLICIES), *((name, None) for name in OPEN)]
)
def test_from_any_step_of_any_policy_the_lr_goes_straight_to_zero(name: str, total_steps: int | None) -> None:
    policy = POLICIES[name]
    training, pilot = cooled(policy, total_steps=total_steps, at=11, steps=5)
    lr, measured = float(pilot.get_last_lr()[0]), pilot.cost.trials + pilot.cost.lines
    assert pilot.steps_left == 5
    own_loop(training, pilot, 5, start=11)
    assert pilot.history.lrs[11:] == [lr + (0.0 - lr) * (i / 5) for i in range(5)]
    assert pilot.cost.trials + pilot.cost.lines == measured, "the policy is not asked again"
    assert pilot.steps_left == 0 and pilot.history.events[-1].phase == "cooldown"


def test_it_may_end_after_what_was_planned_or_before_it() -> None:
    for steps in (3, 30):
        training, pilot = cooled(Schedule("cosine", lr=0.1), total_steps=20, at=15, steps=steps)
        assert pilot.steps_left == steps
        own_loop(training, pilot, steps, start=15)
        assert len(pilot.history.lrs) == 15 + steps and pilot.history.lrs[-1] == pytest.approx(
            pilot.history.lrs[15] / steps
        )


def test_it_begins_at_the_lr_that_was_due_and_can_be_asked_for_again() -> None:
    training, pilot = cooled(Schedule("linear", lr=0.4), total_steps=8, at=4, steps=4)
    own_loop(training, pilot, 2, start=4)
    pilot.cooldown(5)
    assert pilot.steps_left == 5
    own_loop(training, pilot, 5, start=6)
    down = [0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02]
    assert pilot.history.lrs == pytest.approx(down) and pilot.steps_left == 0


def test_an_average_is_carried_on_and_lands_with_the_last_step() -> None:
    training, pilot = cooled(POLICIES["averaged"], total_steps=None, at=7, steps=6)
    own_loop(training, pilot, 5, start=7)
    assert training.average is not None and not pilot.driver.landed
    with pilot.averaged():
        before = weights(training.model)
    own_loop(training, pilot, 1, start=12)
    assert training.average is None and pilot.driver.landed
    assert not same_tensors(before, weights(training.model))
    assert training.raw_optimizer.param_groups[0]["momentum"] == 0.9

    # The same flight, told of its shape beforehand.
    twin = build()
    trains = (
        Train(constant(0.1), 7, average=A, momentum=constant(0.0)),
        Train(ramp(0.1, 0.0, 6), 6, average=A, momentum=constant(0.0)),
    )
    other = Pilot(twin, Listed(trains), 13)
    torch.manual_seed(3)
    own_loop(twin, other, 13)
    assert same_tensors(weights(twin.model), weights(training.model))
    assert same_tensors(list(twin.model.buffers()), list(training.model.buffers()))


def test_a_momentum_that_the_policy_has_set_is_held() -> None:
    moved = Listed((Train(constant(0.1), 50, momentum=ramp(0.9, 0.4, 10)),))
    training, pilot = cooled(moved, total_steps=None, at=4, steps=6)
    momenta = []
    for batch in islice(cycle(make_batches()), 4, 10):
        momenta.append(training.raw_optimizer.param_groups[0]["momentum"])
        pilot.step(loop_step(training, batch))
    assert momenta == [0.9 + (0.4 - 0.9) * 0.4] * 6


@pytest.mark.parametrize("name", ["schedule", "averaged", "weighted factors"])
@pytest.mark.parametrize("stop", [10, 12, 16])
def test_saved_inside_it_is_resumed_inside_bit_for_bit(name: str, stop: int) -> None:
    policy, total = POLICIES[name], 40 if name == "weighted factors" else None
    whole, uninterrupted = cooled(policy, total_steps=total, at=10, steps=6)
    own_loop(whole, uninterrupted, 6, start=10)

    first, pilot = cooled(policy, total_steps=total, at=10, steps=6)
    own_loop(first, pilot, stop - 10, start=10)
    saved, noise = pilot.state_dict(), torch.get_rng_state()
    second = build()
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    resumed = Pilot(second, policy, total)
    resumed.load_state_dict(saved)
    assert resumed.steps_left == 16 - stop
    torch.set_rng_state(noise)
    own_loop(second, resumed, 16 - stop, start=stop)
    assert resumed.history.lrs == uninterrupted.history.lrs and resumed.steps_left == 0
    assert same_tensors(weights(second.model), weights(whole.model))
    assert same_tensors(list(second.model.buffers()), list(whole.model.buffers()))


def test_one_checkpoint_serves_many_ways_down() -> None:
    policy, training = Schedule("constant", lr=0.1), build()
    pilot = Pilot(training, policy)
    own_loop(training, pilot, 10)
    saved = pilot.state_dict()
    pilot.cooldown(3)
    assert pilot.steps_left == 3
    pilot.load_state_dict(saved)
    assert pilot.steps_left is None, "back before the cooldown the end is open again"
    pilot.cooldown(7)
    assert pilot.steps_left == 7


def test_what_was_about_to_be_measured_is_dropped_with_its_marks() -> None:
    policy = Listed((Train(constant(0.1), 3), Mark("here"), Train(constant(0.2), 3), Line((0.5, 1.0)), Rewind("here")))
    for at in (4, 6):  # inside a Train, and where the next step is that of a Line
        training, pilot = cooled(policy, total_steps=None, at=at, steps=4)
        own_loop(training, pilot, 4, start=at)
        assert pilot.cost.lines == 0 and pilot.driver.substrate.marks == {}
        assert not any(isinstance(event.action, Rewind) for event in pilot.history.events)


def test_what_the_policy_found_is_not_forgotten() -> None:
    training = build()
    pilot = Pilot(training, Listed((Train(constant(0.1), 2), Done("found"))))
    own_loop(training, pilot, 4)
    assert pilot.done and pilot.result == "found"
    pilot.cooldown(3)
    assert not pilot.done and pilot.result == "found", "but the lr moves"


def test_losses_that_are_no_number_stop_nothing_of_it() -> None:
    training, pilot = cooled(Schedule("constant", lr=0.1), total_steps=None, at=2, steps=4)
    for batch in islice(make_batches(), 4):
        loop_step(training, batch)
        pilot.step(float("nan"))
    assert pilot.history.lrs[2:] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_the_event_says_so() -> None:
    seen: list[Event] = []
    training = build()
    pilot = Pilot(training, Schedule("constant", lr=0.1), on_event=seen.append)
    own_loop(training, pilot, 3)
    pilot.cooldown(4)
    words = "step 3: straight to zero from here, as asked for: train 4 steps, lr 0.1 to 0.025"
    assert seen[-1].message == words and not seen[-1].alarms


# ------------------------------------------------------------- refusals


@pytest.mark.parametrize("steps", [0, -1, 2.5, True, None])
def test_it_has_a_step(steps: Any) -> None:
    pilot = Pilot(build(), Schedule("constant"))
    with pytest.raises(SettingError, match="steps of a cooldown must be an int >= 1, got"):
        pilot.cooldown(steps)


def test_there_is_none_after_the_end() -> None:
    training = build()
    pilot = Pilot(training, Schedule("constant"), 3)
    own_loop(training, pilot, 3)
    with pytest.raises(StepError, match="before the training has ended, got one after its last step, 3"):
        pilot.cooldown(5)
    landed = Pilot(build(), Schedule("constant"))
    landed.land()
    with pytest.raises(StepError, match="must begin before the training has ended"):
        landed.cooldown(5)


def test_there_is_none_before_the_search_that_chooses_the_first_lr() -> None:
    training = build()
    pilot = Pilot(training, Listed((Trial(constant(0.2), 3), Train(constant(0.05), 20))))
    with pytest.raises(StepError, match=r"needs an lr to come down from, .* Call pilot.start\(\) before it"):
        pilot.cooldown(5)
    pilot.start()
    pilot.cooldown(5)
    own_loop(training, pilot, 5)
    assert pilot.history.lrs == pytest.approx([0.05, 0.04, 0.03, 0.02, 0.01])


def test_there_is_none_between_an_optimizer_step_and_its_account() -> None:
    training = build()
    pilot = Pilot(training, Schedule("constant"))
    loop_step(training, make_batches()[0])
    with pytest.raises(StepError, match=r"Move pilot.cooldown\(\) below pilot.step\(loss\)"):
        pilot.cooldown(5)


# ------------------------------------------------------------------ fit


def test_fit_cools_down_where_its_callback_asks_for_it(tmp_path: Path) -> None:
    def cool(pilot: Pilot, loss: Any) -> None:
        if pilot.last_epoch == 6:
            pilot.cooldown(4)

    asked = {"total_steps": 30, "checkpoint": tmp_path / "a.pt", "progress": False}
    result = fit(build(), Schedule("constant", lr=0.1), on_step=cool, **asked)
    assert result.steps == 10 and result.history.lrs[6:] == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert fit(build(), Schedule("constant", lr=0.1), resume=True, **asked).steps == 10


def test_fit_does_not_go_beyond_its_budget_for_it() -> None:
    def cool(pilot: Pilot, loss: Any) -> None:
        if pilot.last_epoch == 6:
            with pytest.raises(SettingError, match="must fit into the budget, got 5 steps and 4 left"):
                pilot.cooldown(5)
            pilot.cooldown(2)

    assert fit(build(), Schedule("constant", lr=0.1), budget=30, on_step=cool, progress=False).steps == 8


def test_a_budget_in_epochs_is_what_they_cost() -> None:
    by_epochs = fit(build(), Schedule("cosine", lr=0.1), budget=Budget(epochs=2.5), progress=False)
    assert by_epochs.steps == 15 and by_epochs.total_compute == 45, "batches: six an epoch"
    searching = fit(build(), AutoLRS.paper(1e-2, 0.5, tau=10, max_tau=20), budget=Budget(epochs=40), progress=False)
    assert searching.cost.trials > 0 and searching.total_compute <= 3 * 240


def test_a_budget_in_epochs_needs_their_length() -> None:
    endless = make_training(data=lambda: iter(make_batches()))
    with pytest.raises(SettingError, match="data that says how many batches it has, got one without a length and 2 ep"):
        fit(endless, Schedule("cosine", lr=0.1), budget=Budget(epochs=2), progress=False)
    with pytest.raises(SettingError, match=r"must pay for a step, got 0\.1 epochs of 6 steps"):
        fit(build(), Schedule("cosine", lr=0.1), budget=Budget(epochs=0.1), progress=False)


def test_a_cooldown_is_resumed_with_the_total_steps_it_was_begun_with() -> None:
    _, pilot = cooled(Schedule("constant", lr=0.1), total_steps=None, at=4, steps=6)
    with pytest.raises(StateError, match="total_steps"):
        Pilot(build(), Schedule("constant", lr=0.1), 30).load_state_dict(pilot.state_dict())
