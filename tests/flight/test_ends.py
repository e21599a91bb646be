"""Trials that are kept and continued: what becomes of the steps, what is counted, and what is refused."""

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import (
    Action,
    Continue,
    Drop,
    Evaluate,
    Mark,
    Moved,
    Observation,
    Progress,
    Rewind,
    Train,
    Trial,
)
from lrpilot.core.codec import decode, encode, record
from lrpilot.core.cost import Cost
from lrpilot.core.history import Event
from lrpilot.core.policy import Context
from lrpilot.core.shape import constant, ramp
from lrpilot.core.stop import Stop
from lrpilot.errors import PolicyError, StateError
from lrpilot.flight.flight import Flight
from lrpilot.flight.landscape import NoisyQuadratic, QuadraticState
from lrpilot.flight.simulation import SimulatedSubstrate, simulate
from small_training import Listed

EXACT = NoisyQuadratic((1.0, 0.25), momentum=0.5)
NOISY = NoisyQuadratic.log_spaced(5, condition=20.0, noise=0.1, momentum=0.5)
STOPPED = Trial(constant(0.1), 3, stop=Stop(abort_above=-1.0), keep="a")


@record
class EndsScript(Listed):
    """Asks for its actions one after the other, with a single mark."""

    max_marks: ClassVar[int] = 1


def kept(key: str = "a", steps: int = 3, lr: float = 0.5, **options: Any) -> Trial:
    return Trial(constant(lr), steps, keep=key, **options)


def train(steps: int, lr: float = 0.1) -> Train:
    return Train(constant(lr), steps)


def flown(*actions: Action, total: int = 20, landscape: NoisyQuadratic = EXACT, continues: bool = True) -> Flight:
    substrate = SimulatedSubstrate(landscape)
    flight = Flight(
        EndsScript(actions), substrate, lr=0.2, horizon=lambda step: max(0, total - step), continues=continues
    )
    flight.start()
    while flight.step < total and not flight.done:
        flight.kept(substrate.step(flight.lr))
    return flight


def weights(flight: Flight) -> list[float]:
    state: QuadraticState = flight.substrate.state  # type: ignore[attr-defined]
    return [*state.weights, *state.buffer]


# ------------------------------------------------------------ what it does


def test_the_steps_of_a_continued_trial_are_kept_steps() -> None:
    trial = Trial(ramp(0.5, 0.2, 3), 3, evaluate="average", keep="a")
    flight = flown(train(2), trial, Continue("a"), train(15))
    plain = flown(train(2), Train(ramp(0.5, 0.2, 3), 3), train(15))
    assert flight.history.lrs == plain.history.lrs and flight.history.losses == plain.history.losses
    assert weights(flight) == weights(plain), "from the weights at its end, which were averaged only to be judged"
    assert flight.step == 20 == plain.step
    (moved,) = [e for e in flight.history.events if isinstance(e.action, Continue)]
    assert moved.observation == Moved(Progress(5, 15), "a") and moved.message == "step 5: continue 'a' -> done"
    # The evaluation was a measurement and stays one; the Trial was flown, its steps are no measurement any more.
    assert flight.substrate.cost == Cost(forwards=1, trials=1, evaluations=1)


def test_a_kept_trial_that_is_not_continued_leaves_no_trace() -> None:
    measured = flown(train(2), kept("a"), kept("b", evaluate="end"), train(18), landscape=NOISY)
    rewound = flown(train(2), kept("a"), kept("b", evaluate="end"), train(18), landscape=NOISY)
    alone = flown(train(20), landscape=NOISY, continues=False)
    assert measured.history.losses == alone.history.losses == rewound.history.losses
    assert weights(measured) == weights(alone)


def test_the_training_holds_the_last_lr_of_what_it_went_on_from() -> None:
    flight = flown(kept(steps=2, lr=0.3), Continue("a"), Evaluate(), total=2)
    assert flight.lr == 0.3 and flight.progress == Progress(2, 0) and flight.done


def test_of_two_ends_the_one_that_is_named_is_taken() -> None:
    for key, lr in (("a", 0.5), ("b", 0.25)):
        flight = flown(kept("a", lr=0.5), kept("b", lr=0.25), Continue(key), total=3)
        assert flight.history.lrs == [lr] * 3


def test_a_later_trial_under_the_same_key_takes_its_place() -> None:
    assert flown(kept("a", lr=0.5), kept("a", lr=0.25), Continue("a"), total=3).history.lrs == [0.25] * 3


def test_trials_go_on_from_a_continued_one() -> None:
    flight = flown(kept(steps=2), Continue("a"), kept(steps=3), Continue("a"), total=5)
    plain = flown(train(5, 0.5), total=5)
    assert weights(flight) == weights(plain) and flight.history.losses == plain.history.losses


def test_after_it_the_noise_of_trials_is_new() -> None:
    flight = flown(kept(), Continue("a"), kept(), Continue("a"), landscape=NOISY, total=6)
    again = flown(kept(), kept("b"), Continue("a"), landscape=NOISY, total=3)
    first, second = flight.history.losses[:3], flight.history.losses[3:]
    assert first == again.history.losses and not np.allclose(first, second)


def test_a_training_that_ends_with_it_is_at_its_end() -> None:
    result = simulate(EndsScript((kept(steps=7), Continue("a"))), EXACT, lr=0.1, total_steps=7, continue_trials=True)
    assert len(result.history.lrs) == 7 and result.cost.trial_steps == 0


# ------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ((Continue("a"),), r"must be kept before it is continued, got 'a', held are \[\]"),
        ((kept("a"), Continue("b")), r"got 'b', held are \['a'\]"),
        ((STOPPED, Continue("a")), "not where its Trial was stopped"),
        ((kept("a"), STOPPED, Continue("a")), r"held are \[\]"),
        ((kept("a"), train(1), Continue("a")), r"held are \[\]"),
        ((kept("a"), kept("b"), Continue("a"), Continue("b")), r"held are \[\]"),
        ((kept("a"), Continue("a"), Continue("a")), r"held are \[\]"),
        ((kept("a"), Drop("a"), Continue("a")), r"held are \[\]"),
        ((Mark("m"), kept("a"), Rewind("m"), Continue("a")), r"held are \[\]"),
        ((kept("a"), kept("b"), kept("c")), r"may keep the ends of 2 Trials, got 'c' on top of \['a', 'b'\]"),
        ((Mark("a"), kept("a")), "need different keys, got 'a'"),
        ((kept("a"), Mark("a")), "need different keys, got 'a'"),
        ((train(15), kept("a", steps=6)), "must fit into the steps that are left, got 6 steps and 5 left"),
    ],
)
def test_what_is_not_held_or_may_not_be_is_refused(actions: tuple[Action, ...], words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        flown(*actions)


def test_a_drop_makes_room() -> None:
    assert flown(kept("a"), kept("b"), Drop("a"), kept("c", lr=0.25), Continue("c"), total=3).history.lrs == [0.25] * 3


def test_where_it_is_not_granted_no_trial_is_kept() -> None:
    with pytest.raises(PolicyError, match=r"asked to keep one as 'a'. Ask for Trial\(keep=...\) only where it is true"):
        flown(kept("a"), continues=False)
    with pytest.raises(PolicyError, match="must be kept before it is continued"):
        flown(Continue("a"), continues=False)
    with pytest.raises(PolicyError, match="asked to keep one"):
        simulate(EndsScript((kept("a"),)), EXACT, lr=0.1, total_steps=10)


def test_the_policy_is_told_whether_it_is_granted() -> None:
    seen: list[bool] = []

    class Listener(EndsScript):
        def init(self, context: Context) -> int:
            seen.append(context.continues)
            return 0

    for continues in (False, True):
        Flight(Listener(()), SimulatedSubstrate(EXACT), lr=0.1, horizon=lambda step: 1, continues=continues)
    assert seen == [False, True]


# --------------------------------------------------------------------- state


def test_actions_from_before_there_was_it_are_read() -> None:
    old = encode(Trial(constant(0.1), 3))
    del old["keep"]
    assert decode(old) == Trial(constant(0.1), 3)


def test_a_flight_without_it_says_so_in_its_state() -> None:
    for continues in (False, True):
        state = flown(train(5), total=3, continues=continues).state_dict()["state"]
        assert state["continues"] is continues and state["ends"] == [] and state["end_taken"] is False


@pytest.mark.parametrize("damaged", ["history", "cost"])
def test_what_cannot_be_read_leaves_the_ends_that_are_held(damaged: str) -> None:
    actions = (kept("a"), Continue("a"), train(17))
    substrate = SimulatedSubstrate(EXACT)
    flight = Flight(EndsScript(actions), substrate, lr=0.2, horizon=lambda step: 20 - step, continues=True)
    saved = flight.state_dict()

    def die(event: Event) -> None:
        if event.phase == "begin" and isinstance(event.action, Continue):
            raise DiedError

    flight.on_event = die
    with pytest.raises(DiedError):
        flight.start()
    unknown = {"$record": "no such record"}
    saved[damaged] = unknown if damaged == "cost" else saved["history"] | {"events": [[0, unknown, None]]}
    with pytest.raises(StateError):
        flight.load_state_dict(saved)
    assert flight.state.ends == ("a",)
    flight.on_event = None
    flight.start()
    assert flight.step == 3


@pytest.mark.parametrize("continues", [False, True])
def test_a_flight_is_not_resumed_with_the_other_rule(continues: bool) -> None:
    saved = flown(train(5), total=3, continues=continues).state_dict()
    other = Flight(
        EndsScript((train(5),)), SimulatedSubstrate(EXACT), lr=0.1, horizon=lambda s: 20 - s, continues=not continues
    )
    with pytest.raises(StateError, match=f"with its own continue_trials, saved was {continues}, got {not continues}"):
        other.load_state_dict(saved)
    assert other.step == 0


SEARCH = (train(2), kept("a"), kept("b", lr=0.3), kept("a", lr=0.2), Mark("m"), Continue("b"), kept("a"), train(12))


class DiedError(Exception):
    pass


@pytest.mark.parametrize("phase", ["begin", "end"])
@pytest.mark.parametrize("at", range(1, 7))
def test_interrupted_in_a_search_it_goes_on_with_what_it_holds(at: int, phase: str) -> None:
    whole = flown(*SEARCH, landscape=NOISY, total=17)
    substrate = SimulatedSubstrate(NOISY)

    def flight() -> Flight:
        return Flight(EndsScript(SEARCH), substrate, lr=0.2, horizon=lambda step: 17 - step, continues=True)

    count = 0

    def die(event: Any) -> None:
        nonlocal count
        count += event.phase == phase and not isinstance(event.action, Train)
        if count == at:
            raise DiedError

    running = flight()
    running.on_event = die
    with pytest.raises(DiedError):
        while running.step < 17:
            running.kept(substrate.step(running.lr))
    resumed = flight()
    resumed.load_state_dict(json.loads(json.dumps(running.state_dict())))
    resumed.start()
    while resumed.step < 17:
        resumed.kept(substrate.step(resumed.lr))
    assert resumed.history.to_plain() == whole.history.to_plain()
    assert weights(resumed) == weights(whole) and substrate.cost == whole.substrate.cost


@pytest.mark.parametrize("saved", [False, True])
def test_a_policy_that_fails_when_it_is_told_is_told_again_and_no_step_counts_twice(saved: bool) -> None:
    failing = True

    @record
    class EndsFailing(EndsScript):
        def tell(self, state: int, observation: Observation) -> int:
            if failing and isinstance(observation, Moved):
                raise DiedError
            return super().tell(state, observation)

    policy, substrate = EndsFailing((kept("a"), Continue("a"), train(9))), SimulatedSubstrate(NOISY)

    def flight() -> Flight:
        return Flight(policy, substrate, lr=0.2, horizon=lambda step: 20 - step, continues=True)

    running = flight()
    with pytest.raises(DiedError):
        running.start()
    failing = False
    if saved:
        state = json.loads(json.dumps(running.state_dict()))
        running = flight()
        running.load_state_dict(state)
    running.start()
    assert running.step == 3 == len(running.history.lrs) == len(running.history.losses)
    assert substrate.cost == Cost(trials=1) and isinstance(running.action, Train)


def test_a_kept_trial_that_never_had_room_is_the_policys_mistake_after_a_resume_too() -> None:
    """One that lost its room is left out instead, and what tells them apart is what the policy was told."""
    substrate = SimulatedSubstrate(EXACT)

    def flight(**options: Any) -> Flight:
        policy = EndsScript((train(15), kept("a", steps=6)))
        return Flight(policy, substrate, lr=0.2, horizon=lambda step: 20 - step, continues=True, **options)

    def die(event: Any) -> None:
        if event.phase == "begin":
            raise DiedError

    running = flight(on_event=die)
    with pytest.raises(DiedError):
        while True:
            running.kept(substrate.step(running.lr))
    resumed = flight()
    resumed.load_state_dict(json.loads(json.dumps(running.state_dict())))
    for one in (resumed, running):
        one.on_event = None
        with pytest.raises(PolicyError, match="must fit into the steps that are left, got 6 steps and 5 left"):
            one.start()


# ------------------------------------------------------------------ counting

asked = st.one_of(
    st.builds(kept, st.sampled_from("ab"), st.integers(1, 5), evaluate=st.sampled_from(["no", "end", "average"])),
    st.builds(lambda steps: Trial(constant(0.2), steps), st.integers(1, 5)),
    st.builds(Continue, st.sampled_from("ab")),
    st.builds(train, st.integers(1, 4)),
    st.just(Evaluate()),
)


@given(st.lists(asked, max_size=12))
def test_every_pass_is_counted_once(actions: list[Action]) -> None:
    """As a training step or as a measurement, whatever is kept, continued and thrown away."""
    held: set[str] = set()
    allowed: list[Action] = []
    for action in actions:
        if isinstance(action, Continue) and action.key not in held:
            continue
        allowed.append(action)
        if isinstance(action, (Train, Continue)):
            held = set()
        elif isinstance(action, Trial) and action.keep is not None:
            held.add(action.keep)
    flight = flown(*allowed, total=100, landscape=NOISY)
    trained = sum(a.steps for a in allowed if isinstance(a, Train))
    tried = sum(a.steps for a in allowed if isinstance(a, Trial))
    evaluated = sum(isinstance(a, Evaluate) or (isinstance(a, Trial) and a.evaluate != "no") for a in allowed)
    cost = flight.substrate.cost
    assert 3 * flight.step + cost.forward_equivalents == 3 * (trained + tried) + evaluated
    assert flight.step + cost.trial_steps == trained + tried == len(flight.history.lrs) + cost.trial_steps
    assert len(flight.history.losses) == flight.step
