"""Policies flown without torch: nothing is disturbed, all is counted, and training does what it should."""

import math
import subprocess
import sys
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import (
    Action,
    Continue,
    Done,
    Drop,
    Evaluate,
    HeldOut,
    Line,
    LineLosses,
    Mark,
    Observation,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.history import Event
from lrpilot.core.policy import Context, Policy
from lrpilot.core.shape import annealed, constant
from lrpilot.core.stop import Stop, StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.horizon import Budget
from lrpilot.flight.landscape import NoisyQuadratic, RecordedCurve
from lrpilot.flight.simulation import SimulatedSubstrate, simulate
from lrpilot.policies.registry import get_policy
from lrpilot.policies.schedules.schedule import Schedule

NOISY = NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1, momentum=0.5)


@record
class SimulatedScript(Policy):
    """Asks for its actions one after the other, then for Done."""

    actions: tuple[Any, ...]
    max_marks: ClassVar[int] = 1

    def init(self, context: Context) -> int:
        return 0

    def ask(self, state: int) -> Action:
        return self.actions[state] if state < len(self.actions) else Done("the end")

    def tell(self, state: int, observation: Observation) -> int:
        return state + (not isinstance(observation, Trained) or observation.finished)


def told(policy: Policy, landscape: Any, **options: Any) -> list[Observation | None]:
    return [event.observation for event in simulate(policy, landscape, lr=0.1, **options).history.events]


# --------------------------------------------------------------- training


def test_a_run_by_hand() -> None:
    result = simulate(Schedule("linear", lr=0.5), NoisyQuadratic((2.0,)), lr=7.0, total_steps=2)
    # θ: 1, then 1 − 0.5·2·1 = 0, then 0
    assert result.history.lrs == [0.5, 0.25]
    assert result.history.losses == [1.0, 0.0]
    assert result.final_loss == 0.0 and result.result is None and result.cost == Cost()


def test_a_decay_ends_nearer_to_the_floor_than_a_constant_lr() -> None:
    def excess(kind: str) -> float:
        runs = [simulate(Schedule(kind, lr=0.5), NOISY, lr=0.1, total_steps=500, seed=s) for s in range(5)]
        return float(np.mean([run.final_loss for run in runs])) - 10 * 0.1**2 / 2

    assert 0 < excess("cosine") < 0.5 * excess("constant")
    assert 0 < excess("linear") < 0.5 * excess("constant")


def test_the_lr_that_is_too_large_diverges_and_the_run_goes_on() -> None:
    result = simulate(Schedule("constant", lr=2 * NOISY.critical_lr), NOISY, lr=0.1, total_steps=1500)
    assert len(result.history.lrs) == 1500 and not math.isfinite(result.final_loss)


def test_one_cycle_moves_the_momentum_of_the_landscape() -> None:
    own, other = (
        simulate(Schedule("one_cycle"), NoisyQuadratic((1.0,), momentum=m), lr=0.1, total_steps=50) for m in (0.0, 0.7)
    )
    assert own == other


@given(st.integers(0, 2**32))
def test_a_seed_gives_one_run(seed: int) -> None:
    once, again, other = (
        simulate(Schedule("cosine"), NOISY, lr=0.3, total_steps=20, seed=s) for s in (seed, seed, seed + 1)
    )
    assert once == again
    assert once.history.losses != other.history.losses


# ----------------------------------------------------------- measurements


def test_every_action_by_hand() -> None:
    events: list[Event] = []
    script = SimulatedScript(
        (
            Evaluate(),
            Train(constant(0.5), 2),
            Mark("a"),
            Trial(constant(0.5), 4, evaluate="end"),
            Trial(constant(0.5), 4, evaluate="average"),
            Line((0.0, 1.0, 2.0), batches=2),
            Line((0.5,)),
            Rewind("a"),
            Evaluate(),
            Drop("a"),
            Train(constant(1.0), 100, stop=Stop(patience=1)),
        )
    )
    result = simulate(script, NoisyQuadratic((1.0,)), lr=0.1, on_event=events.append)
    seen = [event.observation for event in result.history.events]
    # θ halves at lr 0.5: 1, 1/2, 1/4 (mark), 1/8 (line), back to 1/4; lr 1 goes to 0 at once
    assert [o.loss for o in seen if isinstance(o, HeldOut)] == [0.5, 0.5 / 16]
    trials = [o for o in seen if isinstance(o, TrialLosses)]
    assert [t.losses for t in trials] == [tuple(0.5 / 4**i for i in range(2, 6))] * 2
    assert trials[0].held_out == 0.5 / 4**6
    assert trials[1].held_out == 0.5 * ((1 / 32 + 1 / 64) / 2) ** 2
    lines = [o for o in seen if isinstance(o, LineLosses)]
    assert lines[0].losses == ((0.5 / 16, 0.5 / 64, 0.0),) * 2
    assert lines[1].losses == ((0.5 * (3 / 16) ** 2,),)
    assert isinstance(seen[-1], Trained) and seen[-1].stop is StopReason.PATIENCE
    assert result.history.lrs == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert result.result == "the end" and result.final_loss == 0.0
    assert result.cost == Cost(forwards=8 + 4 + 6 + 1, backwards=8, trials=2, trial_steps=8, evaluations=4, lines=2)
    assert len(events) == 2 * 9 + 2


def test_measurements_leave_the_training_bitwise_as_it_was() -> None:
    measured = SimulatedScript(
        (
            Train(constant(0.2), 10),
            Trial(annealed(0.5, 20), 20, evaluate="average"),
            Evaluate(),
            Trial(constant(1e9), 20),
            Train(constant(0.2), 1),
            Line((0.0, 0.5, 3.0), batches=4),
            Trial(constant(0.1), 3),
            Train(constant(0.2), 9),
        )
    )
    alone = simulate(SimulatedScript((Train(constant(0.2), 21),)), NOISY, lr=0.1, seed=5)
    probed = simulate(measured, NOISY, lr=0.1, seed=5)
    assert probed.history.losses == alone.history.losses
    assert probed.final_loss == alone.final_loss


def test_a_trial_keeps_state_and_noise_even_when_it_fails() -> None:
    substrate = SimulatedSubstrate(NOISY, seed=1)
    substrate.step(0.1)
    before, weights = substrate.state, substrate.state.weights.tobytes()
    substrate.trial(Trial(constant(0.3), 20, evaluate="end"))

    def fail(step: float) -> float:
        raise KeyboardInterrupt

    trial = Trial(constant(0.3), 20)
    object.__setattr__(trial, "shape", fail)
    with pytest.raises(KeyboardInterrupt):
        substrate.trial(trial)
    assert substrate.state is before and before.weights.tobytes() == weights
    other = SimulatedSubstrate(NOISY, seed=1)
    other.step(0.1)
    assert substrate.step(0.1) == other.step(0.1)


def test_candidates_are_paired() -> None:
    same, twice, other, _, later = told(
        SimulatedScript(
            (
                Trial(constant(0.1), 5),
                Trial(constant(0.1), 5),
                Trial(constant(0.2), 5),
                Train(constant(1e-12), 1),
                Trial(constant(0.1), 5),
            )
        ),
        NoisyQuadratic((1.0,), noise=1.0),
    )
    assert same == twice
    assert isinstance(same, TrialLosses) and isinstance(other, TrialLosses) and isinstance(later, TrialLosses)
    assert same.losses[0] == other.losses[0] and same.losses[1:] != other.losses[1:]
    assert abs(same.losses[0] - later.losses[0]) > 1e-3, "after a kept step the noise is new"


def test_a_trial_that_diverges_stops_and_is_not_evaluated() -> None:
    (seen,) = told(SimulatedScript((Trial(constant(1e200), 50, evaluate="end"),)), NOISY)
    assert isinstance(seen, TrialLosses)
    assert seen.stop is StopReason.NON_FINITE and seen.held_out is None and len(seen.losses) < 50


def test_readings_of_a_trial_change_nothing_else_and_cost_a_pass_each() -> None:
    def fly(**options: Any) -> tuple[Any, Cost]:
        substrate = SimulatedSubstrate(NOISY, seed=3)
        return substrate.trial(Trial(constant(0.1), 7, evaluate="end", **options)), substrate.cost

    (plain, cheap), (read, dear) = fly(), fly(read_every=3)
    assert plain.readings == () and read == plain._replace(readings=read.readings)
    assert dear - cheap == Cost(forwards=2, evaluations=2)
    prefix = [SimulatedSubstrate(NOISY, seed=3).trial(Trial(constant(0.1), n, evaluate="end")) for n in (3, 6)]
    assert read.readings == tuple(one.held_out for one in prefix)


def test_a_stopped_trial_keeps_the_readings_that_it_has() -> None:
    trial = Trial(constant(1e200), 50, read_every=1)
    (seen,) = told(SimulatedScript((trial,)), NOISY)
    assert isinstance(seen, TrialLosses) and seen.stop is StopReason.NON_FINITE
    assert len(seen.readings) == len(seen.losses) - 1


def test_a_line_is_read_on_the_same_batches_for_every_factor() -> None:
    _, line = told(SimulatedScript((Train(constant(0.1), 1), Line((0.0, 0.5, 1.0), batches=3))), NOISY)
    assert isinstance(line, LineLosses)
    assert len({row[0] for row in line.losses}) == 3, "batches differ"
    for before, middle, after in line.losses:
        assert after < middle < before, "and the noise of a batch is common to its row"


def test_an_index_names_the_same_batch_of_a_line_throughout() -> None:
    read = (
        Train(constant(1e-12), 1),
        Line((0.0,), batches=4),
        Line((1.0,), batches=2, first=2),
        Trial(constant(0.1), 3),
        Train(constant(1e-12), 5),
        Line((1.0,), batches=1, first=3),
    )
    seen = told(SimulatedScript(read), NOISY)
    whole, part, later = [o.losses for o in seen if isinstance(o, LineLosses)]
    assert part == (pytest.approx(whole[2]), pytest.approx(whole[3]))
    assert later == (pytest.approx(whole[3]),), "after other steps and measurements too"


def test_a_line_before_its_step_is_refused() -> None:
    with pytest.raises(PolicyError, match="needs a kept step after it was armed"):
        SimulatedSubstrate(NOISY).line(Line((1.0,)))


# ---------------------------------------------------------------- finders


def test_a_recorded_curve_answers_trials() -> None:
    curve = RecordedCurve((1e-3, 1e-1, 1.0), (2.0, 1.0, math.inf), 2.5)
    script = SimulatedScript(
        (
            Evaluate(),
            Trial(constant(1e-1), 20, evaluate="end"),
            Trial(annealed(1e-2, 20), 20, evaluate="end"),
            Trial(constant(0.5), 20, evaluate="end"),
        )
    )
    start, best, middle, diverged = told(script, curve)
    assert isinstance(start, HeldOut) and start.loss == 2.5
    assert isinstance(best, TrialLosses) and best.held_out == 1.0
    assert isinstance(middle, TrialLosses) and middle.held_out == pytest.approx(1.5)
    assert isinstance(diverged, TrialLosses) and diverged.stop is StopReason.NON_FINITE


@pytest.mark.parametrize("name", ["step_sampling", "annealed_search"])
def test_finders_end_on_a_quadratic_below_where_it_diverges(name: str) -> None:
    result = simulate(get_policy(name), NOISY, lr=0.1)
    assert 0.01 < result.result.lr < NOISY.critical_lr
    assert result.cost.trials > 5 and result.history.lrs == []


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize("budget", [31.0, 100.0, 250.0, 1000.0, 3000.0])
@pytest.mark.parametrize(
    "policy",
    [
        Schedule("cosine"),
        get_policy("weighted_factors"),
        get_policy("weighted_factors_paper"),
        get_policy("lr_tuner"),
        get_policy("lr_tuner_paper"),
        get_policy("autolrs"),
        get_policy("autolrs_paper", tau=20, max_tau=40),
        get_policy("beam_search"),
    ],
    ids=lambda policy: policy.name,
)
@pytest.mark.parametrize("continue_trials", [False, True])
def test_no_policy_spends_more_than_its_budget_nor_a_step_less(
    policy: Policy, budget: float, continue_trials: bool
) -> None:
    result = simulate(policy, NOISY, lr=0.1, budget=budget, continue_trials=continue_trials)
    assert budget - 3 < result.total_compute <= budget
    assert result.total_compute == 3 * len(result.history.lrs) + result.cost.forward_equivalents


def test_what_the_budget_cannot_pay_for_is_left_out_and_the_lr_held() -> None:
    script = SimulatedScript((Train(constant(0.2), 5), Trial(annealed(0.3, 40), 40), Train(constant(0.5), 1000)))
    events: list[Event] = []
    result = simulate(script, NOISY, lr=0.1, budget=60, on_event=events.append)
    assert result.coasts_from == 5 and result.cost == Cost() and result.history.lrs == [0.2] * 20
    assert [event.phase for event in events] == ["end", "skip"]
    paid = simulate(script, NOISY, lr=0.1, budget=Budget(forward_equivalents=600))
    assert paid.coasts_from is None and paid.cost.trial_steps == 40 and paid.history.lrs == [0.2] * 5 + [0.5] * 155


def test_a_finder_may_have_a_budget() -> None:
    whole = simulate(get_policy("step_sampling"), NOISY, lr=0.1)
    enough = simulate(get_policy("step_sampling"), NOISY, lr=0.1, budget=whole.total_compute)
    assert enough.result == whole.result and enough.coasts_from is None
    short = simulate(get_policy("step_sampling"), NOISY, lr=0.1, budget=whole.total_compute - 1)
    assert short.result is None and short.coasts_from == 0 and short.total_compute < whole.total_compute


measured = st.one_of(
    st.builds(Line, st.tuples(st.floats(0, 2), st.floats(0, 2)), st.integers(1, 3)),
    st.builds(
        Trial,
        st.just(constant(0.1)),
        st.integers(3, 9),
        st.sampled_from(["no", "end", "average"]),
        keep=st.none() | st.just("a"),
        read_every=st.none() | st.integers(1, 3),
    ),
    st.builds(Evaluate, st.booleans()),
    st.just(Mark("m")),
)


@given(st.lists(measured, max_size=6))
def test_the_price_of_a_measurement_is_what_it_costs(actions: list[Action]) -> None:
    substrate = SimulatedSubstrate(NOISY)
    substrate.arm_line()
    substrate.step(0.1)
    for action in actions:
        before, due = substrate.cost, substrate.price(action)
        match action:
            case Line():
                substrate.line(action)
            case Trial():
                substrate.trial(action)
                assert action.keep is None or substrate.price(Continue(action.keep)) == 0.0
            case Evaluate():
                substrate.evaluate(action)
        assert (substrate.cost - before).forward_equivalents == due


# -------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ({"budget": 30, "total_steps": 10}, "total_steps or a budget, not both, got total_steps=10, budget=30"),
        ({"budget": 0}, "one finite number > 0"),
        ({"budget": "lots"}, "a number of forward-equivalents or a Budget, got 'lots'"),
        ({"budget": Budget(seconds=3.0)}, "must be in forward-equivalents, got Budget"),
    ],
)
def test_a_budget_that_is_none_is_refused(length: Any, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        simulate(Schedule("constant"), NOISY, lr=0.1, **length)


def test_without_an_end_a_simulation_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrpilot.flight.simulation.MAX_OPEN_STEPS", 50)
    with pytest.raises(PolicyError, match=r"Schedule\('constant'\) trained for 50 steps. Give total_steps"):
        simulate(Schedule("constant"), NOISY, lr=0.1)
    with pytest.raises(SettingError, match="must know its last step"):
        simulate(Schedule("linear"), NOISY, lr=0.1)


@pytest.mark.parametrize("lr", [0.0, -1.0, math.inf, math.nan])
def test_the_lr_must_be_positive(lr: float) -> None:
    with pytest.raises(SettingError, match="lr must be finite and > 0"):
        simulate(Schedule("constant"), NOISY, lr=lr, total_steps=1)


def test_total_steps_must_be_positive() -> None:
    with pytest.raises(SettingError, match="total_steps must be >= 1, got 0"):
        simulate(Schedule("constant"), NOISY, lr=0.1, total_steps=0)


def test_a_simulation_needs_no_torch() -> None:
    code = (
        "import sys; from lrpilot import simulate, Schedule; from lrpilot.flight.landscape import NoisyQuadratic;"
        "simulate(Schedule('cosine'), NoisyQuadratic((1.0,)), lr=0.1, total_steps=5); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
