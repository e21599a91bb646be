"""A flight that is resumed with more or fewer steps than it was planned for: what goes on, how, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from lrpilot import AutoLRS, LRTuner, Pilot, Schedule, Training, WeightedFactors, fit
from lrpilot.core.actions import Action, Average, Done, Line, Mark, Observation, Progress, Train, Trained, Trial
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy
from lrpilot.core.shape import annealed, constant, ramp
from lrpilot.errors import StateError
from small_training import (
    Listed,
    assert_equal,
    loop_step,
    make_batches,
    make_model,
    make_training,
    own_loop,
    same_tensors,
    untouched,
    weights,
)


def build() -> Training:
    return make_training(model=make_model(), val=make_batches(2, seed=5))


def resumed(policy: Policy, before: int | None, at: int, after: int | None) -> tuple[Training, Pilot]:
    """Flown under one horizon, saved, and loaded elsewhere under another."""
    first, second = build(), build()
    pilot = Pilot(first, policy, before)
    own_loop(first, pilot, at)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    again = Pilot(second, policy, after)
    again.load_state_dict(pilot.state_dict())
    return second, again


SAME_UNTIL_HERE = [
    (Schedule("constant", lr=0.1, warmup=3), 20, 11, 30),
    (Schedule("constant", lr=0.1), 20, 11, 14),
    (Schedule("constant", lr=0.1), 20, 20, 30),
    (Schedule("constant", lr=0.1), None, 7, 12),
    (Schedule("constant", lr=0.1), 12, 7, None),
    (Schedule("wsd", lr=0.1, warmup=4), 20, 12, 40),
    (Schedule("wsd", lr=0.1, warmup=4), 40, 12, 20),
    (Schedule("step", lr=0.1, step_size=6), 20, 13, 31),
    (Schedule("exponential", lr=0.1, gamma=0.9), 20, 13, 31),
    (Schedule("inverse_sqrt", lr=0.1, warmup=5), 20, 13, 31),
    (Schedule("cosine", lr=0.1), 20, 0, 31),
]


@pytest.mark.parametrize(("policy", "before", "at", "after"), SAME_UNTIL_HERE)
def test_a_schedule_goes_on_as_if_it_had_been_planned_so(
    policy: Schedule, before: int | None, at: int, after: int | None
) -> None:
    steps = after or 25
    whole = build()
    planned = Pilot(whole, policy, after)
    own_loop(whole, planned, steps)
    training, pilot = resumed(policy, before, at, after)
    assert pilot.steps_left == (None if after is None else after - at)
    own_loop(training, pilot, steps - at, start=at)
    assert pilot.history.lrs == pytest.approx(planned.history.lrs, rel=1e-12)
    for mine, theirs in zip(weights(training.model), weights(whole.model), strict=True):
        assert mine.allclose(theirs, atol=1e-6)


OTHER_UNTIL_HERE = [
    (Schedule("cosine", lr=0.1), 20, 5, 30),
    (Schedule("linear", lr=0.1), 20, 5, 15),
    (Schedule("wsd", lr=0.1), 20, 18, 40),
    (Schedule("wsd", lr=0.1), 40, 18, 20),
    (Schedule("constant", lr=0.1, warmup=0.5), 20, 5, 40),
    (Schedule("one_cycle", lr=0.1), 20, 5, 40),
]


@pytest.mark.parametrize(("policy", "before", "at", "after"), OTHER_UNTIL_HERE)
def test_a_schedule_that_would_have_been_another_is_refused_and_nothing_is_written(
    policy: Schedule, before: int, at: int, after: int
) -> None:
    first, second = build(), build()
    pilot = Pilot(first, policy, before)
    own_loop(first, pilot, at)
    again = Pilot(second, policy, after)
    untold = again.state_dict()
    words = rf"saved was {before}, got {after}, or be one .* would have had other lrs in the {at} steps .* Construct"
    with untouched(second.model, second.raw_optimizer), pytest.raises(StateError, match=words):
        again.load_state_dict(pilot.state_dict())
    assert_equal(again.state_dict(), untold)


def test_what_is_measured_or_trained_goes_on_where_the_policy_asks_for_the_same() -> None:
    actions = (
        Train(ramp(0.1, 0.05, 8), 8),
        Trial(annealed(0.2, 3), 3),
        Mark("a"),
        Line((0.5, 1.0)),
        Train(constant(0.1), 9),
    )
    for at in (3, 8, 9):
        policy = Indifferent(actions)
        whole = build()
        planned = Pilot(whole, policy, 18)
        own_loop(whole, planned, 18)
        training, pilot = resumed(policy, 30, at, 18)
        own_loop(training, pilot, 18 - at, start=at)
        assert pilot.history.lrs == planned.history.lrs
        assert same_tensors(weights(training.model), weights(whole.model))
        assert (pilot.cost.trials, pilot.cost.lines) == (planned.cost.trials, planned.cost.lines)
        assert [event.step for event in pilot.history.events if event.phase == "replan"] == [at]


@record
class Indifferent(Listed):
    """Does not care how long it flies."""

    def replan(self, state: int, progress: Progress) -> int:
        return state


@record
class Landing(Policy):
    """Flies averaged or not, to the end; under another horizon, the other way."""

    def init(self, context: Context) -> dict[str, Any]:
        return {"left": context.progress.remaining, "averaged": True}

    def ask(self, state: dict[str, Any]) -> Action:
        if state["left"] == 0:
            return Done()
        average = Average(0.8) if state["averaged"] else None
        return Train(constant(0.1), state["left"], average=average)

    def tell(self, state: dict[str, Any], observation: Observation) -> dict[str, Any]:
        return {**state, "left": observation.progress.remaining}

    def replan(self, state: dict[str, Any], progress: Progress) -> dict[str, Any]:
        return {"left": progress.remaining, "averaged": not state["averaged"]}


def test_a_policy_may_change_the_way_it_flies() -> None:
    training, pilot = resumed(Landing(), 20, 6, 12)
    assert training.average is None, "landed, as by a Train without an average"
    own_loop(training, pilot, 6, start=6)
    assert pilot.steps_left == 0 and pilot.history.legs[-1].first == 6
    first, _ = resumed(Landing(), 20, 6, 20)
    assert first.average is not None, "not so under its own horizon"


def test_a_landed_flight_is_over() -> None:
    training = build()
    pilot = Pilot(training, Landing(), 6)
    own_loop(training, pilot, 6)
    assert pilot.driver.landed
    with pytest.raises(StateError, match="the flight is over"):
        Pilot(build(), Landing(), 12).load_state_dict(pilot.state_dict())


@pytest.mark.parametrize("total", [3, 5])
def test_a_step_must_be_left(total: int) -> None:
    with pytest.raises(StateError, match=f"more total_steps than have been taken, got {total} after 5"):
        resumed(Schedule("constant", lr=0.1), 20, 5, total)


def test_by_default_a_policy_refuses() -> None:
    for policy in (WeightedFactors(window=4), Listed((Train(constant(0.1), 40),)), LRTuner.paper("mnist")):
        with pytest.raises(StateError, match="has laid out its flight over another horizon"):
            resumed(policy, 40, 5, 50)


def test_a_cooldown_ends_where_it_was_to_end() -> None:
    first = build()
    pilot = Pilot(first, Schedule("constant", lr=0.1))
    own_loop(first, pilot, 5)
    pilot.cooldown(6)
    own_loop(first, pilot, 2, start=5)
    with pytest.raises(StateError, match="Its cooldown has begun"):
        Pilot(build(), Schedule("constant", lr=0.1), 20).load_state_dict(pilot.state_dict())
    for total in (None, 11):
        again = Pilot(build(), Schedule("constant", lr=0.1), total)
        again.load_state_dict(pilot.state_dict())
        assert again.steps_left == 4


# ---------------------------------------------------- methods that search


def test_autolrs_lays_the_stages_that_follow_out_anew() -> None:
    policy = AutoLRS(1e-2, 0.5)
    for at, after in ((10, 120), (25, 45)):
        training, pilot = resumed(policy, 60, at, after)
        own_loop(training, pilot, after - at, start=at)
        stages = pilot.result
        assert stages[0].begin + sum(stage.steps for stage in stages) == after and stages[-1].decays
        peak = max(pilot.history.lrs[stages[-1].begin :])
        assert pilot.history.lrs[-1] == pytest.approx(peak / stages[-1].steps), "to zero at the new end"


@pytest.mark.parametrize(
    ("at", "after", "words"),
    [
        (55, 90, "has begun its last stage"),
        (60, 90, "has begun its last stage"),
        (1, 90, "is in a warmup of 3 steps"),
        (10, 12, "has begun a stage that ends after"),
    ],
)
def test_autolrs_does_not_plan_anew_what_it_has_begun(at: int, after: int, words: str) -> None:
    with pytest.raises(StateError, match=words):
        resumed(AutoLRS(1e-2, 0.5), 60, at, after)


@pytest.mark.parametrize("after", [130, 90])
def test_lr_tuner_explores_on_and_goes_to_zero_at_the_new_end(after: int) -> None:
    policy = LRTuner(0.5, window=4, overhead=None)
    training, pilot = resumed(policy, 100, 11, after)
    own_loop(training, pilot, after - 11, start=11)
    explored = -(-after // 2)
    falls = pilot.history.lrs[explored:]
    assert falls[-1] == pytest.approx(falls[0] / len(falls)) and len(falls) >= after // 2 - 4
    assert pilot.done


@pytest.mark.parametrize(("at", "after"), [(80, 130), (11, 20), (100, 130)])
def test_lr_tuner_on_its_way_to_zero_is_refused(at: int, after: int) -> None:
    with pytest.raises(StateError, match="LRTuner has begun its way to zero, or would have"):
        resumed(LRTuner(0.5, window=4, overhead=None), 100, at, after)


# ------------------------------------------------------------------ fit


def test_fit_resumes_with_more_steps(tmp_path: Path) -> None:
    policy = Schedule("wsd", lr=0.1, decay_fraction=0.5)
    whole = build()
    planned = fit(whole, policy, total_steps=30, progress=False)

    class StoppedError(Exception):
        pass

    def stop(pilot: Pilot, loss: Any) -> None:
        if pilot.last_epoch == 8:
            raise StoppedError

    training, place = build(), tmp_path / "run.pt"
    with pytest.raises(StoppedError):
        fit(training, policy, total_steps=20, checkpoint=place, on_step=stop, progress=False)
    again = build()
    result = fit(again, policy, total_steps=30, checkpoint=place, resume=True, progress=False)
    assert result.steps == 30 and result.history.lrs == pytest.approx(planned.history.lrs, rel=1e-12)
    for mine, theirs in zip(weights(again.model), weights(whole.model), strict=True):
        assert mine.allclose(theirs, atol=1e-6)


def test_the_knots_of_a_flight_go_on_wherever_they_are() -> None:
    training, pilot = build(), None
    pilot = Pilot(training, Schedule("cosine", lr=0.1), 20)
    own_loop(training, pilot, 20)
    frozen = pilot.as_schedule()
    again, flown = resumed(frozen, 20, 7, 15)
    own_loop(again, flown, 8, start=7)
    assert flown.history.lrs == pytest.approx(pilot.history.lrs[:15], rel=1e-12)


def test_a_flight_that_is_told_so_is_told_of_the_steps_that_are_left() -> None:
    told: list[int | None] = []

    @record
    class Told(Indifferent):
        def tell(self, state: int, observation: Observation) -> int:
            told.append(observation.progress.remaining)
            return state if isinstance(observation, Trained) and not observation.finished else state + 1

    first = build()
    policy = Told((Train(constant(0.1), 4), Train(constant(0.1), 40)))
    pilot = Pilot(first, policy, 20)
    own_loop(first, pilot, 2)
    again = Pilot(first, policy, 12)
    again.load_state_dict(pilot.state_dict())
    for batch in make_batches()[2:4]:
        again.step(loop_step(first, batch))
    assert told[-1] == 8
