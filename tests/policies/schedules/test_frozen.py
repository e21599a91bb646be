"""A flight frozen into a schedule: lr by lr on landscapes, and bit for bit on live weights."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrpilot import AutoLRS, LRTuner, Pilot, Schedule, Training, WeightedFactors, simulate
from lrpilot.core.actions import Average, Continue, Done, Line, Mark, Progress, Rewind, Train, Trained, Trial
from lrpilot.core.codec import decode, encode
from lrpilot.core.history import History
from lrpilot.core.policy import Context, Policy
from lrpilot.core.shape import constant, ramp
from lrpilot.core.stop import StopReason
from lrpilot.errors import SettingError, StateError
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.policies.schedules.frozen import frozen
from lrpilot.testing.flights import STEPS, fly, make_flight
from small_training import Listed, make_batches, make_model, make_training, own_loop, same_tensors, weights

A, B = Average(0.8, 1.0), Average(0.9)
NONE = constant(0.0)
FLIGHTS: dict[str, Policy] = {
    "cosine": Schedule("cosine", lr=0.3, warmup=7),
    "one cycle": Schedule("one_cycle", lr=0.1),
    "lr tuner": LRTuner(0.5, overhead=None, window=5),
    "weighted factors": WeightedFactors(7, window=4, batches=3),
    "autolrs": AutoLRS.paper(1e-3, 1.0, tau=10, max_tau=20),
    "averaged, then not, then again": Listed(
        (
            Train(ramp(0.01, 0.1, 5), 5),
            Train(constant(0.1), 9, average=A, momentum=NONE),
            Trial(constant(0.3), 3),
            Train(constant(0.1), 9, average=B),
            Train(constant(0.05), 8, momentum=ramp(0.9, 0.5, 8)),
            Line((0.5, 1.0)),
            Train(constant(0.05), 6, average=A, momentum=NONE),
        )
    ),
    "a search first": Listed((Trial(constant(0.2), 3), Train(ramp(0.2, 0.01, 40), 40))),
    "rewound": Listed(
        (
            Mark("a"),
            Train(constant(0.3), 11),
            Rewind("a"),
            Train(constant(0.1), 12),
            Rewind("a"),
            Train(ramp(0.1, 0.0, 9), 9),
        )
    ),
}


@pytest.mark.parametrize("policy", FLIGHTS.values(), ids=FLIGHTS.keys())
def test_it_reproduces_every_lr_of_any_policy(policy: Policy) -> None:
    flown = fly(policy)
    schedule = frozen(flown.history)
    again = fly(schedule)
    assert again.history.lrs == flown.history.lrs
    assert again.substrate.cost.forward_equivalents == 0
    assert frozen(again.history) == schedule, "and frozen again it is the same"


@pytest.mark.parametrize("policy", FLIGHTS.values(), ids=FLIGHTS.keys())
def test_it_is_plain_data(policy: Policy) -> None:
    schedule = frozen(fly(policy).history)
    assert decode(json.loads(json.dumps(encode(schedule)))) == schedule


def test_what_was_held_is_one_piece_and_so_is_a_curve() -> None:
    curve = frozen(fly(Schedule("cosine", lr=0.1)).history)
    assert [train.steps for train in curve.pieces or ()] == [STEPS]
    held = Listed(tuple(Train(constant(0.1), 5) for _ in range(8)))
    assert frozen(fly(held).history).pieces == (Train(constant(0.1), STEPS),), "what follows Done included"
    cut = Listed(tuple(Train(ramp(0.1, 0.0, 64).later(at), 8) for at in range(0, 56, 8)))
    held_after = constant(ramp(0.1, 0.0, 64)(55))
    assert frozen(fly(cut).history).pieces == (Train(ramp(0.1, 0.0, 64), 56), Train(held_after, 4)), (
        "and a straight line"
    )
    assert len(frozen(fly(FLIGHTS["averaged, then not, then again"]).history).pieces or ()) == 7


@given(
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    ends=st.lists(st.floats(1e-6, 1.0), min_size=7, max_size=7),
    observed=st.booleans(),
)
def test_shapes_that_are_cut_anywhere_are_reproduced(cuts: list[int], ends: list[float], observed: bool) -> None:
    trains = tuple(
        Train(ramp(a, b, 30, "exponential"), steps, observe_every=3 if observed else None)
        for steps, a, b in zip(cuts, ends, ends[1:], strict=False)
    )
    flown = fly(Listed(trains))
    assert fly(frozen(flown.history)).history.lrs == flown.history.lrs


def test_a_continued_trial_is_part_of_it() -> None:
    policy = Listed(
        (Trial(ramp(0.3, 0.1, 4), 4, keep="x"), Continue("x"), Train(constant(0.1), 5), Train(constant(0.2), 70))
    )
    flown = fly(policy, continues=True)
    schedule = frozen(flown.history)
    assert flown.history.lrs[:4] == ramp(0.3, 0.1, 4).first(4)
    assert fly(schedule).history.lrs == flown.history.lrs


def test_longer_it_holds_its_last_lr_shorter_it_is_cut() -> None:
    schedule = frozen(simulate(Schedule("linear", lr=0.4), NoisyQuadratic((1.0,)), lr=0.1, total_steps=4).history)
    for steps in (1, 3, 4):
        flown = lrs_of(schedule, steps)
        assert flown == pytest.approx([0.4, 0.3, 0.2, 0.1][:steps])
    state = schedule.init(Context(1.0, Progress(0, None)))
    state = schedule.tell(state, Trained(Progress(4, None), 4, (), None, True, None))
    assert schedule.ask(state) == Done()


def lrs_of(schedule: Schedule, steps: int) -> list[float]:
    action = schedule.ask(schedule.init(Context(1.0, Progress(0, steps))))
    assert isinstance(action, Train) and action.steps == steps
    return action.shape.first(steps)


def test_after_a_loss_that_is_no_number_it_goes_on_where_it_was() -> None:
    schedule = Schedule("knots", pieces=(Train(ramp(0.4, 0.0, 8), 8, momentum=ramp(0.0, 0.8, 8)),))
    state = schedule.init(Context(1.0, Progress(0, 8)))
    state = schedule.tell(state, Trained(Progress(3, 5), 3, (), None, True, StopReason.NON_FINITE))
    action = schedule.ask(state)
    assert isinstance(action, Train) and action.momentum is not None
    assert action.shape.first(5) == pytest.approx([0.25, 0.2, 0.15, 0.1, 0.05]) and action.steps == 5
    assert action.momentum.first(2) == pytest.approx([0.3, 0.4])


def test_another_peak_is_the_same_shape() -> None:
    schedule = frozen(fly(Schedule("cosine", lr=0.1, warmup=6)).history)
    doubled = fly(replace(schedule, lr=0.2)).history.lrs
    peak = max(fly(schedule).history.lrs)
    assert doubled == pytest.approx([lr * 0.2 / peak for lr in fly(schedule).history.lrs])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "knots"}, "needs pieces and has no warmup, got pieces=None"),
        ({"kind": "knots", "pieces": ()}, "pieces must be Trains, at least one"),
        ({"kind": "knots", "pieces": (0.1,)}, "pieces must be Trains, at least one"),
        ({"kind": "knots", "pieces": (Train(NONE, 1),), "warmup": 3}, "has no warmup, got .* warmup=3"),
        ({"kind": "knots", "pieces": (Train(NONE, 1),), "gamma": 0.5}, "A 'knots' schedule takes pieces, got gamma"),
        ({"kind": "cosine", "pieces": (Train(NONE, 1),)}, "A 'cosine' schedule takes min_factor, got pieces"),
    ],
)
def test_what_it_cannot_be_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Schedule(**settings)


def test_nothing_is_frozen_before_the_first_step() -> None:
    with pytest.raises(StateError, match="Take at least one step first"):
        frozen(make_flight(Schedule("constant")).history)
    with pytest.raises(StateError, match="got 2 steps whose shapes are not known"):
        frozen(History([0.1, 0.1], [1.0, 1.0]))


# --------------------------------------------------------- on live weights


def build() -> Training:
    model = make_model(dropout=0.3, batch_norm=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return make_training(model=model, optimizer=optimizer, val=make_batches(2, seed=5))


def flown(policy: Policy, total: int | None, steps: int) -> tuple[Training, Pilot]:
    training = build()
    pilot = Pilot(training, policy, total)
    torch.manual_seed(3)
    own_loop(training, pilot, steps)
    return training, pilot


LIVE = [
    "one cycle",
    "lr tuner",
    "weighted factors",
    "autolrs",
    "averaged, then not, then again",
    "a search first",
]


@pytest.mark.parametrize("name", LIVE)
def test_on_the_same_training_it_gives_the_same_weights(name: str) -> None:
    training, pilot = flown(FLIGHTS[name], 48, 48)
    assert not any(isinstance(event.action, Rewind) for event in pilot.history.events)
    twin, other = flown(pilot.as_schedule(), 48, 48)
    assert other.history.lrs == pilot.history.lrs
    assert same_tensors(weights(twin.model), weights(training.model))
    assert same_tensors(list(twin.model.buffers()), list(training.model.buffers()))
    assert twin.average is None and training.average is None


def test_a_flight_with_an_open_end_and_a_cooldown_is_frozen_with_it() -> None:
    training, pilot = flown(Listed((Train(constant(0.1), 1000, average=A, momentum=NONE),)), None, 12)
    pilot.cooldown(8)
    own_loop(training, pilot, 8, start=12)
    twin, _ = flown(pilot.as_schedule(), 20, 20)
    assert same_tensors(weights(twin.model), weights(training.model))
    assert same_tensors(list(twin.model.buffers()), list(training.model.buffers()))


def test_of_a_resumed_flight_the_whole_is_frozen() -> None:
    _, pilot = flown(FLIGHTS["one cycle"], 48, 48)
    first, begun = flown(FLIGHTS["one cycle"], 48, 17)
    resumed = Pilot(first, FLIGHTS["one cycle"], 48)
    resumed.load_state_dict(begun.state_dict())
    own_loop(first, resumed, 31, start=17)
    assert resumed.as_schedule() == pilot.as_schedule()
