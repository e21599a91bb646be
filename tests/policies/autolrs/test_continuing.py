"""AutoLRS where Trials may be continued: which stages go on from one, and that nothing but the bill changes by it."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from lrpilot.core.actions import Continue, Mark, Moved, Progress, Train, Trained, Trial, TrialLosses
from lrpilot.core.policy import Context, Policy
from lrpilot.core.stop import StopReason
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulationResult, simulate
from lrpilot.maths.forecast import forecast
from lrpilot.maths.surrogate import fit_surrogate
from lrpilot.policies.autolrs import AutoLRS, LRStage, PublishedAutoLRS, StageCode, candidates
from lrpilot.policies.autolrs.state import (
    KEYS,
    NEAR,
    AutoLRSState,
    ContinuingTrial,
    KeptTrial,
    SearchBill,
    Searching,
    TrainingStage,
)

EXACT = NoisyQuadratic.log_spaced(10, condition=100.0, momentum=0.5)  # no noise: a Trial is the training to come
NOISY = replace(EXACT, noise=0.1)  # diverges from lr 3 on
PAPER = AutoLRS.paper(1e-3, 1.0, tau=40, max_tau=80)
POLICIES = {
    "paper": PAPER,
    "paper_warmup": AutoLRS.paper(1e-3, 1.0, tau=40, max_tau=80, warmup=10),
    "default": AutoLRS(1e-3, 1.0, overhead=3.0),
    "default_held": AutoLRS(1e-3, 1.0, overhead=3.0, final=None, warmup=0),
    "default_raw": AutoLRS(1e-3, 1.0, overhead=3.0, score="raw", warmup=0),
}


@pytest.fixture(autouse=True)
def fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are pure functions, and these tests ask for the same ones again and again."""
    monkeypatch.setattr(candidates, "forecast", cached_forecast)
    monkeypatch.setattr(candidates, "fit_surrogate", cached_surrogate)


cached_forecast, cached_surrogate = cache(forecast), cache(fit_surrogate)


def flown(policy: Policy, landscape: Any = EXACT, *, granted: bool = True, steps: int = 280) -> SimulationResult:
    return simulate(policy, landscape, lr=0.1, total_steps=steps, continue_trials=granted)


def stages(result: SimulationResult) -> tuple[LRStage, ...]:
    assert result.result
    return result.result  # type: ignore[no-any-return]


def actions(result: SimulationResult, kind: type[Any]) -> list[Any]:
    return [event.action for event in result.history.events if isinstance(event.action, kind)]


# ------------------------------------------------------------ which stages


@pytest.mark.parametrize("steps", [280, 333])
def test_without_noise_published_training_is_the_same_and_only_cheaper(steps: int) -> None:
    one, other = flown(PAPER, steps=steps), flown(PAPER, steps=steps, granted=False)
    assert one.history.lrs == other.history.lrs and one.history.losses == other.history.losses
    assert one.final_loss == other.final_loss
    saved = [stage.search.steps for stage in stages(one) if stage.search is not None]
    assert [stage.continued for stage in stages(one)] == saved and len(saved) == len(actions(one, Continue))
    assert other.cost.trial_steps - one.cost.trial_steps == sum(saved)
    assert [replace(stage, continued=0) for stage in stages(one)] == list(stages(other))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_it_goes_on_only_from_the_lr_that_the_stage_begins_with_and_holds(policy: Policy) -> None:
    result = flown(policy, NOISY)
    lrs = result.history.lrs
    assert len(lrs) == 280
    for stage in stages(result):
        if stage.continued:
            assert stage.lr in stage.lrs and not stage.decays
            assert lrs[stage.begin : stage.begin + stage.continued] == [stage.lr] * stage.continued
            assert lrs[stage.begin + stage.continued] == stage.lr, "and the rest holds it"
            assert stage.search is not None and stage.continued == stage.search.steps
        elif isinstance(policy, PublishedAutoLRS):
            raise AssertionError("every published stage does")
    assert sum(stage.steps for stage in stages(result)) == 280 - stages(result)[0].begin


@pytest.mark.parametrize("name", ["default_held", "default_raw"])
def test_the_default_goes_on_where_the_choice_is_a_candidate(name: str) -> None:
    assert any(stage.continued for stage in stages(flown(POLICIES[name])))


def test_a_stage_that_begins_with_a_ramp_or_falls_at_once_is_trained_from_its_beginning() -> None:
    result = flown(POLICIES["default"], NOISY, steps=700)
    first, *_, last = stages(result)
    assert len(stages(result)) == 3 and first.continued == 0 == last.continued
    kept = {trial.keep is not None for trial in actions(result, Trial)}
    begins = {event.step for event in result.history.events if isinstance(event.action, Trial) and event.action.keep}
    assert kept == {True, False} and begins == {stages(result)[1].begin}, "and none of its Trials is kept"


def test_trials_that_fall_to_zero_are_never_kept() -> None:
    policy = AutoLRS(1e-3, 1.0, overhead=3.0, score="annealed", warmup=0, final=None)
    assert {trial.keep for trial in actions(flown(policy), Trial)} == {None}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_where_it_is_not_granted_nothing_is_kept(policy: Policy) -> None:
    result = flown(policy, granted=False)
    assert {trial.keep for trial in actions(result, Trial)} == {None} and not actions(result, Continue)
    assert {stage.continued for stage in stages(result)} == {0}


# ---------------------------------------------------------------- the search


@pytest.mark.parametrize("policy", [PAPER, POLICIES["default_held"]], ids=["paper", "default"])
def test_what_it_would_go_on_from_is_never_lost_and_no_third_end_is_held(policy: Policy) -> None:
    """Replayed from the events: what is held under each key; published, the best lr of the search so far is."""
    result, checked = flown(policy, NOISY), 0
    state: AutoLRSState = policy.init(Context(0.1, Progress(0, 280), continues=True))
    held: dict[str, float] = {}
    for event in result.history.events:
        action = policy.ask(state)
        assert action == event.action
        if isinstance(action, Trial) and action.keep is not None:
            held[action.keep] = action.shape(0)
        elif isinstance(action, Continue):
            assert held[action.key] == state.lr, "it goes on from the Trial of its own lr"
            held = {}
            checked += 1
        elif isinstance(action, Train):
            held = {}
        state = policy.tell(state, event.observation)  # type: ignore[arg-type]
        phase = state.phase
        if isinstance(phase, Searching) and phase.kept is not None and phase.search.candidates:
            search = phase.search
            assert held[phase.kept.key] == phase.kept.lr
            if isinstance(policy, PublishedAutoLRS):
                assert phase.kept.lr == search.lrs[search.scores.index(min(search.scores))]
        assert len(held) <= policy.max_ends == 2
    assert checked >= 1


def test_a_trial_that_was_stopped_is_not_gone_on_from() -> None:
    here = Progress(0, 400)
    state = PAPER.init(Context(0.1, here, continues=True))
    seen: list[float] = []
    while isinstance(trial := PAPER.ask(state), Trial):
        seen.append(trial.shape(0))
        losses = tuple(math.exp(-0.1 * i) for i in range(trial.steps)) if len(seen) == 3 else (1.0, math.nan)
        stop = None if len(seen) == 3 else StopReason.NON_FINITE
        state = PAPER.tell(state, TrialLosses(here, losses, None, stop))
        assert isinstance(state.phase, Searching | ContinuingTrial)
        assert (state.phase.kept is None) == (len(seen) < 3)
    assert isinstance(state.phase, ContinuingTrial)
    assert PAPER.ask(state) == Continue(state.phase.kept.key) and state.lr == seen[2]


def test_where_every_lr_diverges_there_is_nothing_to_go_on_from() -> None:
    result = flown(AutoLRS.paper(1e100, 1e110, tau=40, max_tau=80), NOISY)
    assert stages(result)[0].code is StageCode.ALL_DIVERGED and stages(result)[0].continued == 0


@pytest.mark.parametrize(
    ("choice", "kept_lr"), [(0.1, 0.1), (0.2, 0.2), (0.14, 0.1), (0.15, 0.2), (1e-3, 0.1), (5.0, 0.2)]
)
def test_of_two_trials_the_one_nearer_to_the_choice_is_held(choice: float, kept_lr: float) -> None:
    here, held = Progress(0, 280), KeptTrial(KEYS[0], 0.1)
    searching = POLICIES["default_held"].init(Context(0.1, here, continues=True)).phase
    assert isinstance(searching, Searching)
    searching = replace(searching, kept=held)
    key = searching.key(here.remaining)
    seen = TrialLosses(here, (1.0, 0.9), 0.9, None)
    kept = searching.keeping(key, seen, lr=0.2, choice=choice).kept
    assert kept == (held if kept_lr == 0.1 else KeptTrial(KEYS[1], 0.2))
    stopped = replace(seen, stop=StopReason.NON_FINITE)
    assert searching.keeping(key, stopped, lr=0.2, choice=0.2).kept == held, "which was not held at all"
    assert searching.keeping(None, seen, lr=0.2, choice=0.2).kept == held, "nor was that"


@pytest.mark.parametrize(("decades", "taken"), [(0.0, True), (0.9 * NEAR, True), (-0.9 * NEAR, True), (0.03, False)])
def test_a_choice_beside_the_lr_that_is_held_takes_that(decades: float, taken: bool) -> None:
    searching = PAPER.init(Context(0.1, Progress(0, 100))).phase
    assert isinstance(searching, Searching)
    lr = 0.05 * 10.0**decades
    assert replace(searching, kept=KeptTrial("a", 0.05)).held_lr(lr) == (0.05 if taken else lr)
    assert searching.held_lr(lr) == lr


# ----------------------------------------------------------------- the stage


def test_the_mark_of_a_stage_is_taken_before_its_first_steps() -> None:
    result = flown(POLICIES["default_held"])
    order = [e.action for e in result.history.events if isinstance(e.action, (Mark, Continue, Train))]
    for before, action, after in zip(order, order[1:], order[2:], strict=False):
        if isinstance(action, Continue):
            assert isinstance(before, Mark) and isinstance(after, Train)


def test_a_wreck_goes_back_to_before_the_steps_of_the_trial() -> None:
    policy = POLICIES["default_held"]
    phase = ContinuingTrial(KeptTrial("a", 0.1))
    state = AutoLRSState(phase, 0.1, 100, 180, continues=True, interval=(1e-3, 1.0), bill=SearchBill(spent=50.0))
    state = replace(state, stages=(LRStage(100, 60, 0.1, StageCode.OK),))
    state = policy.tell(state, Moved(Progress(110, 170), "a"))
    assert policy.ask(state) == Train(policy.ask(state).shape, 50, observe_every=13)  # type: ignore[union-attr]
    assert state.stages[-1].continued == 10 and state.bill.spent == 40.0
    wrecked = policy.tell(state, Trained(Progress(120, 160), 10, (math.nan,), None, False, None))
    back = policy.tell(wrecked, Moved(Progress(120, 160), "a"))
    assert isinstance(train := policy.ask(back), Train) and train.steps == 40, "the stage ends where it was to end"


@pytest.mark.parametrize("steps", [160, 170])
def test_a_trial_as_long_as_its_stage_is_all_of_it(steps: int) -> None:
    policy = replace(PAPER, trial=1.0, stage=20, max_stage=40)
    result = flown(policy, steps=steps)
    assert len(result.history.lrs) == steps and not actions(result, Train)
    assert [stage.steps for stage in stages(result)] == [stage.continued for stage in stages(result)]
    assert result.history.losses == flown(policy, steps=steps, granted=False).history.losses


def test_the_last_stage_of_a_budget_has_what_its_trial_gives_back() -> None:
    phase = ContinuingTrial(KeptTrial("a", 0.1))
    state = AutoLRSState(phase, 0.1, 100, 60, continues=True, interval=(1e-3, 1.0))
    last = replace(state, stages=(LRStage(100, 60, 0.1, StageCode.OK),))
    told = PAPER.tell(last, Moved(Progress(108, 60), "a"))
    assert told.phase == TrainingStage(60) and told.stages[-1].steps == 68
    middle = replace(state, stages=(LRStage(100, 40, 0.1, StageCode.OK),))
    told = PAPER.tell(middle, Moved(Progress(108, 60), "a"))
    assert told.phase == TrainingStage(32) and told.stages[-1].steps == 40
