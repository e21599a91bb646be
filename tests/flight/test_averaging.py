"""Averaged flight without torch: the arithmetic on a landscape, what is asked of a substrate, what is refused."""

import json
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import (
    Action,
    Average,
    Continue,
    Done,
    Drop,
    Evaluate,
    HeldOut,
    Line,
    Mark,
    Observation,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import decode, encode, record
from lrpilot.core.policy import Context, Policy
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import PolicyError
from lrpilot.flight.averaging import SimulatedState, flown, stepped
from lrpilot.flight.landscape import NoisyQuadratic, RecordedCurve
from lrpilot.flight.simulation import SimulatedSubstrate, simulate

NOISY = NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1, momentum=0.5)
A = Average(0.8, 1.0)
NONE = constant(0.0)


@record
class AveragedScript(Policy):
    """Asks for its actions one after the other, then for Done."""

    actions: tuple[Any, ...]
    max_marks: ClassVar[int] = 1
    max_ends: ClassVar[int] = 1

    def init(self, context: Context) -> int:
        return 0

    def ask(self, state: int) -> Action:
        return self.actions[state] if state < len(self.actions) else Done()

    def tell(self, state: int, observation: Observation) -> int:
        return state + (not isinstance(observation, Trained) or observation.finished)


def told(policy: Policy, landscape: Any, **options: Any) -> list[Observation | None]:
    return [event.observation for event in simulate(policy, landscape, lr=0.1, **options).history.events]


def averaged(steps: int, lr: float = 0.3, average: Average = A) -> Train:
    return Train(constant(lr), steps, momentum=NONE, average=average)


def run(lrs: list[float], average: Average, landscape: NoisyQuadratic = NOISY) -> list[SimulatedState]:
    """The states of an averaged flight, the first before any step."""
    rng = np.random.default_rng(0)
    states = [flown(landscape, SimulatedState(landscape.start(), 0.0), average)]
    for lr in lrs:
        states.append(stepped(landscape, states[-1], landscape.draw(rng), lr))
    return states


@given(
    lrs=st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=12),
    mix=st.floats(0.0, 0.99),
    power=st.floats(0.0, 3.0),
)
def test_the_average_is_the_weighted_mean_of_the_bases(lrs: list[float], mix: float, power: float) -> None:
    states = run(lrs, Average(mix, power))
    largest = np.maximum.accumulate(lrs)
    weights = (1.0 + np.arange(len(lrs))) ** power * largest**2
    bases = [state.averaged.base.weights for state in states[1:]]
    np.testing.assert_allclose(states[-1].judged.weights, np.average(bases, axis=0, weights=weights), rtol=1e-9)
    placed = (1 - mix) * bases[-1] + mix * states[-1].judged.weights
    np.testing.assert_allclose(states[-1].weights.weights, placed, rtol=1e-9, atol=1e-15)


def test_two_steps_by_hand() -> None:
    """On ½ θ² from 1 at lr 0.5 and mix 0.5: z = x = 0.5; then y = 0.5, z = 0.25, x = 0.375, y = 0.3125."""
    first, second = run([0.5, 0.5], Average(0.5), NoisyQuadratic((1.0,)))[1:]
    assert [float(s.weights[0]) for s in (first.weights, second.weights, second.judged)] == [0.5, 0.3125, 0.375]


def test_without_a_mix_it_trains_as_ever_and_judges_the_mean() -> None:
    plain = simulate(AveragedScript((Train(constant(0.3), 40, momentum=NONE),)), NOISY, lr=0.1, total_steps=40)
    mean = simulate(AveragedScript((averaged(40, average=Average(0.0)),)), NOISY, lr=0.1, total_steps=40)
    np.testing.assert_allclose(mean.history.losses, plain.history.losses, rtol=1e-9)
    assert mean.final_loss != plain.final_loss


def test_at_a_good_lr_the_average_ends_nearer_to_the_floor() -> None:
    plain = simulate(AveragedScript((Train(constant(0.5), 400, momentum=NONE),)), NOISY, lr=0.1, total_steps=400)
    average = simulate(AveragedScript((averaged(400, 0.5),)), NOISY, lr=0.1, total_steps=400)
    assert average.final_loss < plain.final_loss


def test_what_is_judged_is_the_average() -> None:
    held_out = told(AveragedScript((averaged(9), Evaluate())), NOISY, total_steps=9)[-1]
    final = simulate(AveragedScript((averaged(9),)), NOISY, lr=0.1, total_steps=9).final_loss
    assert isinstance(held_out, HeldOut) and held_out.loss == final


def test_a_landing_leaves_the_average_at_the_landscapes_own_momentum() -> None:
    substrate = SimulatedSubstrate(NOISY)
    substrate.fly(A)
    for _ in range(3):
        substrate.step(0.3, 0.0)
    judged = substrate.judged
    substrate.fly(None)
    assert substrate.average is None and substrate.state is judged
    after = NOISY.step(judged, batch := np.zeros(10), 0.3, 0.5)
    np.testing.assert_array_equal(stepped(NOISY, substrate._flown, batch, 0.3).weights.weights, after.weights)


def test_a_momentum_of_none_leaves_it_alone() -> None:
    """As an optimizer does: a Train that says nothing goes on at the momentum of the one before."""
    one = AveragedScript((Train(constant(0.1), 3, momentum=NONE), Train(constant(0.1), 3)))
    two = AveragedScript((Train(constant(0.1), 6, momentum=NONE),))
    assert simulate(one, NOISY, lr=0.1, total_steps=6).history.losses == (
        simulate(two, NOISY, lr=0.1, total_steps=6).history.losses
    )


@pytest.mark.parametrize("flying", [True, False])
@pytest.mark.parametrize("average", [A, Average(0.3), None])
def test_a_trial_leaves_no_trace(average: Average | None, flying: bool) -> None:
    trial = Trial(constant(0.2), 5, evaluate="end", average=average, momentum=NONE, read_every=2)
    begin = averaged(4) if flying else Train(constant(0.3), 4)
    with_trial, without = (AveragedScript((begin, *between, averaged(6))) for between in ((trial,), ()))
    assert simulate(with_trial, NOISY, lr=0.1, total_steps=10).history.losses == (
        simulate(without, NOISY, lr=0.1, total_steps=10).history.losses
    )


def test_an_averaged_trial_is_the_averaged_training() -> None:
    """Carried on from the average in place, on the Trial's own batches; one without begins where it would land."""
    substrate = SimulatedSubstrate(NOISY)
    substrate.fly(A)
    substrate.step(0.3, 0.0)
    began = substrate._flown
    for average, state in ((Average(0.5), flown(NOISY, began, Average(0.5))), (None, flown(NOISY, began, None))):
        rng, losses = substrate._probe_rng(), []
        for _ in range(4):
            batch = NOISY.draw(rng)
            losses.append(NOISY.loss(state.weights, batch))
            state = stepped(NOISY, state, batch, 0.2)
        seen = substrate.trial(Trial(constant(0.2), 4, evaluate="end", average=average))
        assert list(seen.losses) == losses and seen.held_out == NOISY.held_out(state.judged)


def test_marks_and_continued_trials_carry_it() -> None:
    kept = Trial(constant(0.2), 3, average=A, momentum=NONE, keep="a")
    policy = AveragedScript((averaged(3), Mark("m"), Train(constant(0.3), 3), Rewind("m"), Drop("m"), averaged(4)))
    straight = AveragedScript((averaged(3), averaged(4)))
    marked = simulate(policy, NoisyQuadratic((1.0, 0.1)), lr=0.1, total_steps=10)
    assert marked.final_loss == simulate(straight, NoisyQuadratic((1.0, 0.1)), lr=0.1, total_steps=7).final_loss
    quiet = NoisyQuadratic((1.0, 0.1), momentum=0.5)
    gone_on = simulate(
        AveragedScript((kept, Continue("a"), averaged(4, 0.2))), quiet, lr=0.1, total_steps=7, continue_trials=True
    )
    assert gone_on.final_loss == simulate(AveragedScript((averaged(7, 0.2),)), quiet, lr=0.1, total_steps=7).final_loss


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("action", [averaged(3), Trial(constant(0.1), 3, average=A)])
def test_a_curve_of_losses_cannot_be_averaged_and_says_so_before(action: Any) -> None:
    curve = RecordedCurve((0.1, 1.0), (0.5, 0.2), 1.0)
    assert not SimulatedSubstrate(curve).facts().averages and SimulatedSubstrate(NOISY).facts().averages
    with pytest.raises(PolicyError, match=r"weights can be averaged, got RecordedCurve.*Context\.facts\.averages"):
        simulate(AveragedScript((action,)), curve, lr=0.1, total_steps=3)


def test_no_line_is_read_in_an_averaged_flight() -> None:
    with pytest.raises(PolicyError, match="AveragedScript asked for one in an averaged flight"):
        simulate(AveragedScript((averaged(2), Line((1.0,)))), NOISY, lr=0.1, total_steps=9)
    landed = AveragedScript((averaged(2), Train(constant(0.1), 1), Line((1.0,)), averaged(2)))
    simulate(landed, NOISY, lr=0.1, total_steps=9)


def test_a_flight_that_coasts_goes_on_averaged() -> None:
    policy = AveragedScript((averaged(3), Trial(constant(0.1), 500)))
    coasting = simulate(policy, NOISY, lr=0.1, budget=60)
    assert coasting.coasts_from == 3
    straight = simulate(AveragedScript((averaged(20),)), NOISY, lr=0.1, total_steps=20)
    assert (coasting.history.losses, coasting.final_loss) == (straight.history.losses, straight.final_loss)


def test_trial_losses_of_an_averaged_trial_are_read_where_gradients_are_taken() -> None:
    (seen,) = told(
        AveragedScript((Trial(constant(0.5), 2, average=Average(0.5), momentum=NONE),)), NoisyQuadratic((1.0,))
    )
    assert isinstance(seen, TrialLosses) and seen.losses == (0.5, 0.125)


def test_a_ramp_weighs_by_the_largest_lr_so_far() -> None:
    states = run(ramp(0.4, 0.1, 3).first(4), Average(0.0))
    bases = [state.averaged.base.weights for state in states[1:]]
    np.testing.assert_allclose(states[-1].judged.weights, np.mean(bases, axis=0), rtol=1e-12)


def test_actions_are_plain_data_with_their_average() -> None:
    for action in (averaged(3), Trial(constant(0.1), 3, average=A, momentum=NONE)):
        plain = json.loads(json.dumps(encode(action)))
        assert decode(plain) == action
        del plain["average"]
        assert decode(plain).average is None, "of an earlier version"
