"""AutoLRS while it trains a stage: what counts as sound, what is taken back, and what bad data does."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lrpilot.core.actions import HeldOut, Mark, Moved, Progress, Rewind, Train, Trained, Trial, TrialLosses
from lrpilot.core.policy import Context
from lrpilot.core.stop import StopReason
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import simulate
from lrpilot.policies.autolrs import AutoLRS, StageCode
from lrpilot.policies.autolrs.state import AutoLRSState, TrainingStage
from lrpilot.policies.autolrs.watch import MOST_REWINDS
from lrpilot.policies.guard import Health

TOTAL = 1000
BEGIN = Progress(0, TOTAL)
POLICY = AutoLRS(1e-3, 1.0)
NAN = math.nan


def at(step: int) -> Progress:
    return Progress(step, TOTAL - step)


def fell(trial: Trial, *, train_from: float = 3.0, above: float = 0.0) -> TrialLosses:
    """A Trial that is best at lr 0.1, with training losses so far above the held-out ones."""
    loss = 1.0 + (math.log10(trial.shape(0)) + 1.0) ** 2
    return TrialLosses(BEGIN, tuple(np.linspace(train_from, loss + above, trial.steps)), loss, None)


def stopped(*losses: float) -> Callable[[Trial], TrialLosses]:
    return lambda trial: TrialLosses(BEGIN, losses, None, StopReason.NON_FINITE)


def searched(
    seen: Callable[[Trial], TrialLosses] = fell, *, policy: AutoLRS = POLICY, level: float = 3.0
) -> AutoLRSState:
    """After the first search."""
    state = policy.tell(policy.init(Context(0.1, BEGIN)), HeldOut(BEGIN, level))
    while isinstance(trial := policy.ask(state), Trial):
        state = policy.tell(state, seen(trial))
    return state


def training(seen: Callable[[Trial], TrialLosses] = fell, **settings: Any) -> AutoLRSState:
    """Where the first stage is about to be trained."""
    state = searched(seen, **settings)
    assert isinstance(POLICY.ask(state), Mark)
    return POLICY.tell(state, Moved(BEGIN, "stage"))


def look(state: AutoLRSState, step: int, losses: Sequence[float], *, finished: bool = False) -> AutoLRSState:
    stop = None if math.isfinite(losses[-1]) else StopReason.NON_FINITE
    return POLICY.tell(state, Trained(at(step), step, tuple(losses), None, finished or stop is not None, stop))


def first_look(state: AutoLRSState, losses: Sequence[float]) -> AutoLRSState:
    """At losses of which the first is that of the untrained weights, as the Trials read it."""
    return look(state, 36, [3.0, *losses[1:]])


def healthy(state: AutoLRSState, health: Health) -> AutoLRSState:
    return replace(state, watch=replace(state.watch, guard=replace(state.watch.guard, health=health)))


# ------------------------------------------------------------------ soundness


@pytest.mark.parametrize("above", [-0.9, 0.0, 2.0, 30.0])
def test_training_losses_are_compared_with_training_losses(above: float) -> None:
    # An auxiliary loss or MixUp lifts them, dropout too: the held-out losses say nothing of where they should be.
    state = training(lambda trial: fell(trial, train_from=3.0 + above, above=above))
    falling = np.linspace(2.9, 1.2, 143) + above
    assert isinstance(POLICY.ask(look(state, 143, falling, finished=True)), Trial | Train)
    dead = look(state, 143, np.full(143, 3.0 + above), finished=True)
    assert POLICY.ask(dead) == Rewind("stage")


def test_without_losses_a_finite_held_out_loss_tells_of_a_wreck_and_is_paid_for() -> None:
    policy = AutoLRS(1e-3, 1.0)
    state = policy.tell(policy.init(Context(0.1, BEGIN)), HeldOut(BEGIN, 3.0, cost=4.0))
    while isinstance(trial := policy.ask(state), Trial):
        state = policy.tell(state, fell(trial))
    state, spent = policy.tell(state, Moved(BEGIN, "stage")), state.bill.spent
    for i, held_out in enumerate((1.5, 1.2), start=1):
        state = policy.tell(state, Trained(at(36 * i), 36 * i, (), held_out, False, None))
        assert isinstance(policy.ask(state), Train) and state.bill.spent == spent + 4.0 * i
    state = policy.tell(state, Trained(at(108), 108, (), 2.9, False, None))
    assert policy.ask(state) == Rewind("stage")


def test_what_was_sound_for_the_sake_of_noise_stays_sound() -> None:
    state = healthy(training(), Health(2.3, 2.0, 0.15))
    rng = np.random.default_rng(0)
    for step in (36, 72):
        state = look(state, step, 2.15 + 0.01 * rng.standard_normal(36))
        assert isinstance(POLICY.ask(state), Train)


def test_the_gain_is_measured_from_where_the_training_began() -> None:
    # The first look is at 1.2, late in the fall: a quarter of all that was gained is 0.45, and not of nothing.
    state = first_look(training(), [1.2] * 36)
    health = state.watch.guard.health
    assert health is not None and health.start == 3.0
    assert isinstance(POLICY.ask(look(state, 72, [1.4] * 36)), Train)
    assert POLICY.ask(look(state, 72, [1.8] * 36)) == Rewind("stage")


def test_a_rewind_goes_back_to_the_health_of_the_mark() -> None:
    state = look(first_look(training(), [1.5] * 36), 72, [2.9] * 36)
    assert POLICY.ask(state) == Rewind("stage") and state.watch.guard.health is None
    again = POLICY.tell(state, Moved(at(72), "stage"))
    assert isinstance(POLICY.ask(look(again, 107, [2.5] * 35)), Train), "the loss of the mark is no wreck"


def test_a_stage_is_taken_back_so_often_and_no_oftener() -> None:
    state = look(training(), 36, [1.5] * 36)
    for _ in range(MOST_REWINDS):
        state = look(healthy(state, Health(3.0, 1.5, 0.0)), 72, [2.9] * 36)
        assert POLICY.ask(state) == Rewind("stage")
        state = POLICY.tell(state, Moved(at(72), "stage"))
    state = look(healthy(state, Health(3.0, 1.5, 0.0)), 107, [2.9] * 35)
    assert isinstance(POLICY.ask(state), Train)


def test_no_later_search_goes_above_what_wrecked_the_training() -> None:
    state = look(first_look(training(), [1.5] * 36), 72, [2.9] * 36)
    ceiling = state.lr
    state = POLICY.tell(state, Moved(at(72), "stage"))
    state = look(state, 143, [1.5] * 71, finished=True)
    upwards = 0
    while isinstance(trial := POLICY.ask(state), Trial):
        assert trial.shape(0) <= ceiling * (1 + 1e-9)
        losses = tuple(np.linspace(1.5, 1.4 - trial.shape(0), trial.steps))  # the larger the better
        state, upwards = POLICY.tell(state, TrialLosses(at(143), losses, 1.4 - trial.shape(0), None)), upwards + 1
    assert upwards >= 3 and state.stages[-1].lr <= ceiling * (1 + 1e-9)


def test_the_stage_says_which_lr_it_went_on_with() -> None:
    state = training()
    chosen = state.stages[-1].lr
    state = look(look(state, 36, [1.5] * 36), 72, [2.9] * 36)
    assert state.stages[-1].lr == pytest.approx(chosen / 10**0.5) == pytest.approx(state.lr)


@pytest.mark.parametrize("losses", [(4.7, 19.8, 3.1), (3.2, 3.3, 3.2)])
def test_a_first_stage_that_rises_above_its_start_is_taken_back_at_once(losses: tuple[float, ...]) -> None:
    state = training()
    assert POLICY.ask(first_look(state, [losses[i % 3] for i in range(36)])) == Rewind("stage")
    noisy = [3.0 + 0.3 * (-1) ** i for i in range(36)]
    assert isinstance(POLICY.ask(look(state, 36, noisy)), Train), "it scatters, and has not risen"


def test_where_every_trial_diverged_a_part_that_is_above_the_start_throughout_is_taken_back() -> None:
    state = searched(stopped(3.0, 40.0, 700.0, 1e5, NAN))
    assert state.stages[-1].code is StageCode.ALL_DIVERGED
    state = POLICY.tell(state, Moved(BEGIN, "stage"))
    assert isinstance(POLICY.ask(look(state, 36, [2.9, *[40.0] * 35])), Train)
    assert POLICY.ask(look(state, 36, [36.0, *[80.0] * 35])) == Rewind("stage")


def test_what_was_gained_first_must_still_be_there_at_the_end_of_the_first_stage() -> None:
    state = healthy(first_look(training(), [2.6] * 36), Health(3.0, 2.6, 1.0))  # noise hides what follows
    assert POLICY.ask(look(state, 143, [2.95] * 36, finished=True)) == Rewind("stage")
    assert POLICY.ask(look(state, 143, [2.2] * 36, finished=True)) != Rewind("stage")


def test_the_last_part_of_a_stage_is_long_enough_to_be_looked_at() -> None:
    for steps in range(1, 200):
        state = replace(training(), phase=TrainingStage(steps))
        train = POLICY.ask(state)
        assert isinstance(train, Train) and train.observe_every is not None
        last = (steps - 1) % train.observe_every + 1
        assert last >= min(steps, 7) and -(-steps // train.observe_every) <= 4


# ------------------------------------------------------------------ bad data


def test_a_loss_that_is_no_number_after_sound_ones_is_not_the_lrs_fault() -> None:
    state = training()
    lr = state.lr
    state = look(state, 20, [*np.linspace(3.0, 1.5, 19), NAN])
    assert POLICY.ask(state) == Rewind("stage") and state.lr == lr and state.watch.guard.ceiling == math.inf
    reason = POLICY.explain(training(), Moved(BEGIN, ""), state)
    assert reason is not None and reason.code == "bad_data"


def test_a_loss_that_rose_before_it_was_no_number_is_the_lrs_fault() -> None:
    state = look(training(), 36, [1.5] * 36)
    lr = state.lr
    state = look(state, 44, [1.5, 2.0, 4.0, 20.0, 300.0, 1e5, 1e9, NAN])
    assert POLICY.ask(state) == Rewind("stage") and state.lr == pytest.approx(lr / 10**0.5) == state.watch.guard.ceiling


def test_after_a_bad_batch_every_sound_part_is_marked_and_the_decay_goes_on() -> None:
    policy = AutoLRS(1e-3, 1.0, stage=1.0)  # a single stage, which falls to zero
    state = policy.tell(searched(policy=policy), Moved(BEGIN, "stage"))
    state = policy.tell(state, Trained(at(20), 20, (*np.linspace(3, 1.5, 19), NAN), None, True, StopReason.NON_FINITE))
    state = policy.tell(state, Moved(at(20), "stage"))
    train = policy.ask(state)
    assert isinstance(train, Train) and train.steps == 980 and train.observe_every == 125
    state = policy.tell(state, Trained(at(145), 125, (1.2,) * 125, None, False, None))
    assert policy.ask(state) == Mark("stage")
    state = policy.tell(state, Moved(at(145), "stage"))
    rest = policy.ask(state)
    assert isinstance(rest, Train) and rest.steps == 855
    assert [rest.shape(i) for i in (0, 400, 854)] == pytest.approx([train.shape(i) for i in (125, 525, 979)])


def test_trials_begin_after_a_batch_that_gives_no_number() -> None:
    def seen(trial: Trial) -> TrialLosses:
        return stopped(3.0, 2.9, 2.8, NAN)(trial) if trial.first <= 3 else fell(trial)

    state = searched(seen)
    search = state.stages[-1].scouts or state.stages[-1].search
    assert search is not None and search.first == 4 and state.watch.first == 4
    assert state.stages[-1].code is StageCode.OK and math.inf not in search.scores


def test_an_lr_that_blows_up_on_any_batch_has_diverged() -> None:
    def seen(trial: Trial) -> TrialLosses:
        return stopped(3.0, NAN)(trial) if trial.shape(0) > 0.3 else fell(trial)

    state = searched(seen)
    stage = state.stages[-1]
    assert math.inf in (stage.scouts or stage.search).scores  # type: ignore[union-attr]
    assert stage.code is StageCode.OK and stage.lr < 0.3


def test_where_only_the_held_out_losses_are_no_number_the_present_lr_is_kept() -> None:
    state = searched(lambda trial: replace(fell(trial), held_out=NAN), level=NAN)
    assert state.stages[-1].code is StageCode.NO_NUMBER and state.lr == 0.1


@pytest.mark.parametrize("losses", [(NAN,), (3.0, 2.9, NAN)])
def test_where_every_lr_fails_at_the_same_step_the_data_is_named(losses: tuple[float, ...]) -> None:
    state = searched(stopped(*losses), policy=AutoLRS(1e-4, 1.0))
    assert state.stages[-1].code is StageCode.NO_NUMBER and state.lr == 0.1
    reason = POLICY.explain(POLICY.init(Context(0.1, BEGIN)), Moved(BEGIN, ""), state)
    assert reason is not None and reason.alarms and "data" in reason.sentence


def test_a_held_out_loss_that_is_no_number_before_the_first_step_disables_nothing() -> None:
    state = searched(level=NAN)
    assert state.stages[-1].code is StageCode.OK and state.lr == pytest.approx(0.1, rel=0.5)


# ------------------------------------------------------------------ the search


def test_no_lr_beyond_those_that_were_tried_is_chosen() -> None:
    def seen(trial: Trial) -> TrialLosses:  # the larger the better, or the smaller the better
        held_out = 2.0 - 0.01 * sign * math.log10(trial.shape(0))
        return TrialLosses(BEGIN, (3.0,) * trial.steps, held_out, None, cost=trial.steps)

    for sign in (1, -1):
        stage = searched(seen, policy=AutoLRS(max_lr=1e99, overhead=0.1)).stages[-1]
        tried = stage.lrs if stage.scouts is None else (*stage.scouts.lrs, *stage.lrs)
        if sign == 1:
            assert stage.code is StageCode.UNBRACKETED and stage.lr <= max(tried) / 10**0.5 * (1 + 1e-9)
        else:
            assert min(tried) / 10**0.26 <= stage.lr <= max(tried)


def test_every_decision_has_its_reason() -> None:
    result = simulate(
        AutoLRS(1e-3, 1.0), NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1), lr=0.1, total_steps=1400
    )
    reasons = [event.reason for event in result.history.events if event.reason is not None]
    assert [reason.code for reason in reasons] == [stage.code.name.lower() for stage in result.result]
    assert all(f"for {stage.steps} steps" in r.sentence for stage, r in zip(result.result, reasons, strict=True))


# ------------------------------------------------------------------ its price


@pytest.mark.parametrize("evaluation", [0.3, 5.0, 60.0])
def test_searches_cost_no_more_than_the_overhead_whatever_a_held_out_loss_takes(evaluation: float) -> None:
    spent, state = evaluation, POLICY.tell(POLICY.init(Context(0.1, BEGIN)), HeldOut(BEGIN, 3.0, evaluation))
    while isinstance(trial := POLICY.ask(state), Trial):
        cost = trial.steps + evaluation
        state, spent = POLICY.tell(state, replace(fell(trial), cost=cost)), spent + cost
    assert spent <= 0.3 * TOTAL and state.bill.spent == pytest.approx(spent)
    assert (state.stages[-1].code is StageCode.NOT_SEARCHED) == (evaluation == 60.0)


def test_a_search_ends_where_the_surrogate_is_certain() -> None:
    policy = AutoLRS(1e-3, 1.0, num_trials=30, overhead=None)
    state = searched(policy=policy)
    tried = (state.stages[-1].scouts or state.stages[-1].search).candidates  # type: ignore[union-attr]
    assert 5 <= len(tried) < 30


def test_a_later_search_ends_where_the_lrs_cannot_be_told_apart() -> None:
    policy = AutoLRS(1e-3, 1.0, num_trials=20, overhead=None)
    state = policy.tell(searched(policy=policy), Moved(BEGIN, "stage"))
    state = policy.tell(state, Trained(at(143), 143, tuple(np.linspace(3.0, 1.2, 143)), None, True, None))
    flat = 0
    while isinstance(trial := policy.ask(state), Trial):
        losses = tuple(1.2 + 0.1 * (-1) ** i for i in range(trial.steps))
        state, flat = policy.tell(state, TrialLosses(at(143), losses, 1.2, None)), flat + 1
    assert flat <= 4 and state.stages[-1].code is StageCode.FLAT
    assert state.lr == state.stages[0].lr


def test_a_score_above_the_loss_of_no_training_is_a_wreck_to_the_surrogate() -> None:
    def seen(trial: Trial) -> TrialLosses:
        wrecked = trial.shape(0) > 0.3
        loss = 30.0 if wrecked else 1.0 + (math.log10(trial.shape(0)) + 1.0) ** 2
        return TrialLosses(BEGIN, tuple(np.linspace(3.0, loss, trial.steps)), loss, None)

    stage = searched(seen).stages[-1]
    assert stage.lr == pytest.approx(0.1, rel=0.5), "a loss of 30 does not bend the curve between the sound ones"
