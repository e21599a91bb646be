"""BeamSearch by hand and on landscapes."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import Action, Done, Mark, Moved, Observation, Progress, Rewind, Train, Trained
from lrpilot.core.policy import Context
from lrpilot.core.shape import constant
from lrpilot.core.stop import StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import simulate
from lrpilot.policies.beam_search import Beam, BeamSearch, BeamSearchState, keep_best
from lrpilot.policies.schedules.schedule import Schedule

QUADRATIC = NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1, momentum=0.5)


class World:
    """Answers a BeamSearch: a window at lr ends at the loss ``loss_of(lr)``."""

    def __init__(self, policy: BeamSearch, steps: int, losses: dict[float, float], lr: float = 0.1) -> None:
        self.policy, self.steps, self.step, self.losses = policy, steps, 0, losses
        self.state: BeamSearchState = policy.init(Context(lr, Progress(0, steps)))
        self.actions: list[Action] = []

    def fly(self, actions: int) -> list[Action]:
        """The next so many actions."""
        for _ in range(actions):
            action = self.policy.ask(self.state)
            self.actions.append(action)
            if isinstance(action, Done):
                break
            self.state = self.policy.tell(self.state, self.observe(action))
        return self.actions[-actions:]

    def observe(self, action: Action) -> Observation:
        if not isinstance(action, Train):
            assert isinstance(action, (Mark, Rewind))
            return Moved(Progress(self.step, self.steps - self.step), action.key)
        loss = self.losses.get(round(action.shape(0), 6), 5.0)
        took = action.steps if math.isfinite(loss) else 1
        self.step += took
        stop = None if math.isfinite(loss) else StopReason.NON_FINITE
        # A window's loss is its mean.
        losses = (loss - 0.5, loss + 0.5) if stop is None else (loss,)
        return Trained(Progress(self.step, self.steps - self.step), took, losses, None, True, stop)


def window(lr: float, steps: int = 10) -> Train:
    return Train(constant(lr), steps, observe_every=steps)


def test_two_rounds_by_hand() -> None:
    losses = {0.05: 3.0, 0.1: 2.0, 0.2: 1.0, 0.4: 0.5, 0.025: 4.0}
    world = World(BeamSearch(window=10), 1000, losses)
    assert world.fly(9) == [
        Mark("state 0"),
        window(0.05),  # the weights are there already
        Mark("state 1"),
        Rewind("state 0"),
        window(0.1),
        Mark("state 2"),
        Rewind("state 0"),
        window(0.2),
        Mark("state 1"),  # of the three the worst is forgotten
    ]
    assert world.state.beams == (Beam("state 1", 0.2, 1.0), Beam("state 2", 0.1, 2.0))
    # The weights are those of the last candidate, which happens to be the best: no Rewind.
    second = world.fly(14)
    assert second[:2] == [window(0.1), Mark("state 0")]
    trained = [(action.shape(0)) for action in second if isinstance(action, Train)]
    assert trained == pytest.approx([0.1, 0.2, 0.4, 0.05, 0.1, 0.2])
    assert [a.key for a in second if isinstance(a, Rewind)] == ["state 1", "state 1", "state 2", "state 2", "state 2"]
    # From the first state: 2, 1, 0.5; from the second: 3, 2, 1. The two best are kept.
    assert [(beam.lr, beam.loss) for beam in world.state.beams] == [(0.4, 0.5), (0.2, 1.0)]
    assert world.state.path == ((0.2, 1.0), (0.4, 0.5))


def test_a_lost_candidate_is_not_kept() -> None:
    world = World(BeamSearch(window=10), 1000, {0.05: math.inf, 0.1: 2.0, 0.2: math.nan})
    world.fly(7)
    assert [beam.lr for beam in world.state.beams] == [0.1]


def test_where_all_are_lost_the_kept_states_go_on_at_smaller_lrs() -> None:
    world = World(BeamSearch(window=10), 1000, dict.fromkeys((0.05, 0.1, 0.2, 0.025, 0.0125), math.inf))
    world.fly(6)
    assert [beam.lr for beam in world.state.beams] == [0.05] and world.state.beams[0].key == "state 0"
    assert [a.shape(0) for a in world.fly(6) if isinstance(a, Train)] == pytest.approx([0.025, 0.05, 0.1])


def test_what_is_left_is_trained_from_the_best_state() -> None:
    losses = {0.05: 3.0, 0.1: 1.0, 0.2: 2.0}
    world = World(BeamSearch(window=10), 35, losses)
    end = world.fly(20)
    assert end[-3:] == [Rewind("state 2"), Train(constant(0.1), 5), Done(((0.1, 1.0),))]


def test_a_rest_that_diverges_ends_in_the_best_state() -> None:
    losses = {0.05: 3.0, 0.1: 1.0, 0.2: 2.0}
    world = World(BeamSearch(window=10), 31, losses)
    while world.step < 30 or not isinstance(world.policy.ask(world.state), Train):
        world.fly(1)
    world.losses = {0.1: math.inf}
    assert world.fly(3) == [Train(constant(0.1), 1), Rewind("state 2"), Done(((0.1, 1.0),))]


def test_a_training_shorter_than_a_round_is_not_searched() -> None:
    world = World(BeamSearch(window=10), 29, {})
    assert world.fly(3) == [Mark("state 0"), Train(constant(0.1), 29), Done(())]


def test_limits_of_the_lr() -> None:
    world = World(BeamSearch(window=10, min_lr=0.06, max_lr=0.15), 1000, {})
    assert [a.shape(0) for a in world.fly(9) if isinstance(a, Train)] == pytest.approx([0.06, 0.1, 0.15])
    bounded = World(BeamSearch(window=10, max_lr=0.1), 1000, {})
    assert [a.shape(0) for a in bounded.fly(5) if isinstance(a, Train)] == pytest.approx([0.05, 0.1])


def test_without_losses_a_held_out_loss_judges() -> None:
    policy, there = BeamSearch(window=10), Progress(10, 990)
    world = World(policy, 1000, {})
    world.fly(1)
    state = policy.tell(world.state, Trained(there, 10, (), 0.7, True, None))
    assert state.survivors[0].loss == 0.7


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=12), st.integers(1, 4))
def test_keep_best_is_a_sort(losses: list[float], most: int) -> None:
    kept: tuple[Beam, ...] = ()
    for i, loss in enumerate(losses):
        kept = keep_best(kept, Beam(f"state {i}", 0.1, loss), most)
    finite = [(loss, i) for i, loss in enumerate(losses) if math.isfinite(loss)]
    assert [beam.key for beam in kept] == [f"state {i}" for _, i in sorted(finite)[:most]]


@pytest.mark.parametrize(("states", "factors"), [(1, (0.5, 1.0, 2.0)), (2, (0.5, 1.0, 2.0)), (3, (0.3, 1.0))])
def test_never_holds_more_marks_than_declared(states: int, factors: tuple[float, ...]) -> None:
    policy = BeamSearch(states, factors=factors, window=5)
    assert policy.max_marks == 2 * states
    result = simulate(policy, QUADRATIC, lr=0.1, total_steps=400)  # the flight counts them
    assert len(result.result) >= 400 // (5 * states * len(factors)) - 1


@pytest.mark.parametrize("lr", [1e-3, 0.1])
def test_improves_on_a_poor_lr(lr: float) -> None:
    searched = simulate(BeamSearch(), QUADRATIC, lr=lr, total_steps=3000)
    held = simulate(Schedule("constant", lr=lr), QUADRATIC, lr=lr, total_steps=3000 // 6)
    assert searched.final_loss < held.final_loss
    assert searched.cost.forward_equivalents == 0, "every step counts as one of the training"


def test_all_steps_are_kept_steps_and_the_best_state_is_the_last() -> None:
    result = simulate(BeamSearch(window=10), QUADRATIC, lr=0.1, total_steps=1000)
    assert len(result.history.lrs) == 1000
    rounds = [event for event in result.history.events if isinstance(event.action, Train)]
    assert [event.action.steps for event in rounds[:-1]] == [10] * (len(rounds) - 1)


def test_says_what_it_must_be_told() -> None:
    policy = BeamSearch(window=10)
    state = policy.init(Context(0.1, Progress(0, 100)))
    with pytest.raises(PolicyError, match="must be told of what it asked for, got Trained"):
        policy.tell(state, Trained(Progress(1, 99), 1, (), None, True, None))


def test_an_open_horizon_is_refused() -> None:
    with pytest.raises(SettingError, match="must know its last step"):
        BeamSearch().init(Context(0.1, Progress(0, None)))
    with pytest.raises(SettingError, match="must lie in"):
        BeamSearch(max_lr=0.01).init(Context(0.1, Progress(0, 100)))


@pytest.mark.parametrize(
    "setting",
    [
        {"states": 0},
        {"states": 1.5},
        {"factors": ()},
        {"factors": (1.0, 0.0)},
        {"factors": (1.0, 1.0)},
        {"window": 0},
        {"window": 1.0},
        {"window": 0.0},
        {"min_lr": 1.0, "max_lr": 0.1},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="got "):
        BeamSearch(**setting)
