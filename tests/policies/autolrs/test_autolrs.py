"""AutoLRS on landscapes and on made-up losses."""

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpilot.core.actions import (
    Action,
    Done,
    Evaluate,
    HeldOut,
    Mark,
    Moved,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import decode, encode, record
from lrpilot.core.policy import Context, Policy
from lrpilot.core.shape import constant
from lrpilot.core.stop import StopReason
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.flight import Flight
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulatedSubstrate, SimulationResult, simulate
from lrpilot.maths.forecast import ForecastCode, forecast
from lrpilot.maths.surrogate import fit_surrogate
from lrpilot.policies.autolrs import AutoLRS, LRSearch, LRStage, PublishedAutoLRS, StageCode, candidates
from lrpilot.policies.autolrs.candidates import reading_interval
from lrpilot.policies.autolrs.state import AutoLRSState, FindingInterval, Phase, ReadingLevel, Searching, WarmingUp
from lrpilot.policies.finders.step_sampling import StepSampling
from lrpilot.policies.schedules.schedule import Schedule

QUADRATIC = NoisyQuadratic.log_spaced(10, condition=100.0, noise=0.1, momentum=0.5)  # diverges from lr 3 on
FLOOR = 10 * 0.1**2 / 2


@record
class Decay:
    """The loss itself is the state: it falls exponentially to a floor of the lr, at a rate that grows with the lr.

    The floor is lowest at ``best``; an lr from ``cliff`` on diverges at once.
    """

    best: float = 1e-2
    rate: float = 0.3
    cliff: float = math.inf
    flat: bool = False

    def floor(self, lr: float) -> float:
        return 0.1 + 0.2 * math.log10(lr / self.best) ** 2

    def start(self) -> float:
        return 3.0

    def draw(self, rng: np.random.Generator) -> None:
        return None

    def loss(self, state: float, batch: None) -> float:
        return state

    def step(self, state: float, batch: None, lr: float, momentum: float | None) -> float:
        if lr >= self.cliff:
            return math.nan
        if self.flat:
            return state
        return self.floor(lr) + (state - self.floor(lr)) * math.exp(-self.rate * lr**0.5)

    def held_out(self, state: float) -> float:
        return state

    def mix(self, states: Any, weights: Any) -> float:
        return float(sum(w * s for w, s in zip(weights, states, strict=True)))


@pytest.fixture(autouse=True)
def fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are pure functions, and these tests ask for the same ones again and again."""
    monkeypatch.setattr(candidates, "forecast", cached_forecast)
    monkeypatch.setattr(candidates, "fit_surrogate", cached_surrogate)


cached_forecast, cached_surrogate = cache(forecast), cache(fit_surrogate)


def trials(result: SimulationResult) -> list[list[Trial]]:
    """The Trials before each stage."""
    found: list[list[Trial]] = [[]]
    for event in result.history.events:
        if isinstance(event.action, Trial):
            found[-1].append(event.action)
        elif isinstance(event.action, Train) and found[-1]:
            found.append([])
    return [one for one in found if one]


def trains(result: SimulationResult) -> list[Train]:
    seen = [e for e in result.history.events if isinstance(e.observation, Trained)]
    return [e.action for e in seen if e.observation.finished]  # type: ignore[union-attr,misc]


def stages(result: SimulationResult) -> tuple[LRStage, ...]:
    assert result.result, "the flight came to its end"
    return result.result


# ------------------------------------------------------------- as published


def test_stages_and_trials_of_the_published_setting() -> None:
    published = AutoLRS.paper()
    assert (published.stage, published.max_stage, published.trial) == (1000, 8000, 0.1)
    result = simulate(AutoLRS.paper(1e-4, 1e-1, tau=100, max_tau=800), Decay(), lr=0.5, total_steps=3200)
    # 1 + 2 + 4 + 8 + 8 + 8 hundred are 31, and the rest is a stage of its own.
    assert [train.steps for train in trains(result)] == [100, 200, 400, 800, 800, 800, 100]
    assert [[trial.steps for trial in search] for search in trials(result)] == [
        [steps] * 10 for steps in (10, 20, 40, 80, 80, 80, 10)
    ]
    assert {trial.evaluate for search in trials(result) for trial in search} == {"no"}
    assert [{trial.read_every for trial in search} for search in trials(result)] == [{None}] * 4 + [{5}, {5}, {1}]
    assert all(trial.shape == constant(trial.shape(0)) for search in trials(result) for trial in search)
    assert all(train.shape == constant(train.shape(0)) for train in trains(result))
    assert result.cost.trial_steps == 3200, "as many steps as training"


def test_published_searches_fill_the_interval() -> None:
    for search in trials(simulate(AutoLRS.paper(1e-4, 1e-1, tau=300), Decay(), lr=0.5, total_steps=600)):
        log_lrs = [math.log10(trial.shape(0)) for trial in search]
        assert log_lrs[0] == pytest.approx(-2.5), "the middle comes first"
        assert min(log_lrs) == pytest.approx(-4) and max(log_lrs) == pytest.approx(-1)
        gaps = np.diff(sorted(log_lrs))
        assert gaps.min() >= 0.15 and gaps.max() < 0.5


def test_published_stages_train_at_the_lowest_forecast_not_at_the_lowest_loss() -> None:
    landscape = Decay(rate=0.1)  # in the 100 steps of a Trial large lrs are far ahead
    policy = AutoLRS.paper(1e-4, 1.0)
    result = simulate(policy, landscape, lr=0.5, total_steps=1000)
    (search,) = trials(result)
    ends = {e.action.shape(0): e.observation.losses[-1] for e in result.history.events if isinstance(e.action, Trial)}
    (stage,) = stages(result)

    def loss_after(lr: float, steps: int) -> float:
        return landscape.floor(lr) + (3.0 - landscape.floor(lr)) * math.exp(-landscape.rate * lr**0.5 * steps)

    best = min((trial.shape(0) for trial in search), key=lambda lr: loss_after(lr, 1000))
    assert stage.lr == best != min(ends, key=lambda lr: ends[lr])


def told(policy: Policy, state: AutoLRSState, observation: Callable[[Trial], Observation]) -> AutoLRSState:
    """A whole search, every Trial of which sees what it is given."""
    while isinstance(action := policy.ask(state), Trial):
        state = policy.tell(state, observation(action))
    return state


def exponential(trial: Trial, level: float = 1.0) -> list[float]:
    lr = trial.shape(0)
    rate = 0.1 * (lr / 1e-2) ** 0.5
    return [level * (0.2 + 0.8 * math.exp(-rate * i)) for i in range(trial.steps)]


def held_out_search(
    first_loss: float, change: Callable[[Trial, tuple[float, ...]], tuple[float, ...]] = lambda t, seen: seen
) -> LRSearch:
    """The second search of a published training with τ at its greatest from the start: held-out losses count."""
    policy = AutoLRS.paper(1e-3, 1e-1, tau=1000, max_tau=1000)
    here = Progress(0, 3000)
    state = policy.init(Context(0.1, here))
    state = told(policy, state, lambda t: TrialLosses(here, (first_loss, *exponential(t)[1:]), None, None))
    for step in (1000,):
        there = Progress(step, 3000 - step)
        state = policy.tell(state, Trained(there, 1000, (), None, True, None))
    assert isinstance(state.phase, Searching) and state.phase.search.validating
    state = told(
        policy, state, lambda t: TrialLosses(there, tuple(exponential(t)), None, None, readings=change(t, readings(t)))
    )
    search = state.stages[-1].search
    assert search is not None
    return search


def readings(trial: Trial) -> tuple[float, ...]:
    """Held-out losses, 0.05 above the training losses."""
    every = trial.read_every
    assert every is not None and trial.evaluate == "no"
    return tuple(0.05 + loss for loss in exponential(trial)[every - 1 :: every])


def test_in_the_validation_phase_the_readings_are_forecast_to_the_end_of_the_stage() -> None:
    search = held_out_search(first_loss=3.0)
    assert len(search.candidates) == 10
    for one in search.candidates:
        seen = readings(Trial(constant(one.lr), 100, read_every=6))
        assert len(seen) == 16
        # The first reading comes after 6 steps, so that after 1,000 is the 165 2/3rd after it.
        ahead = forecast(seen, horizon=1000 / 6 - 1, series="validation", form="paper")
        assert one.forecast == ahead and (one.lower, one.score, one.upper) == (ahead.lower, ahead.value, ahead.upper)
    best = min(search.candidates, key=lambda one: one.score)
    assert best.forecast is not None and best.score < min(readings(Trial(constant(best.lr), 100, read_every=6)))


def test_a_reading_that_reaches_the_first_loss_makes_the_last_one_count() -> None:
    # The first reading of a Trial is below 1.05; a training loss of 1 is no reading.
    for first_loss, counts in ((1.06, False), (1.0, True)):
        search = held_out_search(first_loss, change=lambda t, seen: (1.0, *seen[1:]))
        for one in search.candidates:
            last = readings(Trial(constant(one.lr), 100, read_every=6))[-1]
            assert (one.score == one.lower == one.upper == last) is counts
            assert one.forecast is not None, "it is on record though it did not count"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", [0, 7, 15])
def test_a_reading_that_is_no_number_is_a_divergence(bad: float, at: int) -> None:
    # Whatever the others are, and though it counts as reaching the first loss.
    search = held_out_search(0.5, change=lambda t, seen: (*seen[:at], bad, *seen[at + 1 :]))
    assert all(one.tried.diverged and one.score == math.inf for one in search.candidates)


def test_too_few_readings_for_a_forecast_stand_for_their_level() -> None:
    search = held_out_search(3.0, change=lambda t, seen: seen[:2])
    for one in search.candidates:
        assert one.forecast is not None and one.forecast.code is ForecastCode.TOO_SHORT
        assert one.score == np.median(readings(Trial(constant(one.lr), 100, read_every=6))[:2])


@pytest.mark.parametrize("steps, every, many", [(1, 1, 1), (7, 1, 7), (24, 2, 12), (100, 6, 16), (800, 50, 16)])
def test_a_trial_of_any_length_is_read(steps: int, every: int, many: int) -> None:
    assert reading_interval(steps) == every and steps // every == many


def test_every_forecast_is_on_record_and_loads_with_weights_only() -> None:
    result = simulate(AutoLRS.paper(1e-3, 1e-1, tau=300, max_tau=300), Decay(cliff=0.05), lr=0.5, total_steps=700)
    assert {stage.search.validating for stage in stages(result) if stage.search} == {False, True}
    for stage in stages(result):
        assert stage.search is not None
        for one in stage.search.candidates:
            assert (one.forecast is None) == one.tried.diverged
            assert one.forecast is None or one.score == one.forecast.value
    saved = io.BytesIO()
    torch.save(encode(stages(result)), saved)
    saved.seek(0)
    assert decode(torch.load(saved, weights_only=True)) == stages(result)


def validating_from(total: int, *, charged: bool, **settings: Any) -> list[bool]:
    """Whether held-out losses count in each search; every Trial diverges at once, and is paid for where charged."""
    policy = AutoLRS.paper(1e-3, 1e-1, **settings)
    step, left = 0, total
    state, counts = policy.init(Context(0.1, Progress(0, total))), []
    while not isinstance(action := policy.ask(state), Done):
        if isinstance(action, Trial):
            assert isinstance(state.phase, Searching)
            search = state.phase.search
            counts = [*counts, search.validating] if not search.candidates else counts
            left -= action.steps if charged else 0
            seen: Observation = TrialLosses(Progress(step, left), (math.nan,), None, StopReason.NON_FINITE)
        else:
            assert isinstance(action, Train)
            step, left = step + action.steps, left - action.steps
            seen = Trained(Progress(step, left), action.steps, (1.0,), None, True, None)
        state = policy.tell(state, seen)
    return counts


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(200, 2000),
    lengths=st.sampled_from([(0.075, 0.3), (0.05, 0.4), (0.1, 0.1), (0.07, 0.3), (30, 120), (30, 100), (30, 0.3)]),
    charged=st.booleans(),
)
def test_validation_begins_after_the_first_stage_of_the_greatest_length(
    total: int, lengths: tuple[float, float], charged: bool
) -> None:
    tau, max_tau = lengths
    counts = validating_from(total, charged=charged, tau=tau, max_tau=max_tau)
    if isinstance(tau, float) == isinstance(max_tau, float):
        # Decimal, so that 0.075 doubled twice is 0.3.
        shorter = sum(Decimal(str(tau)) * 2**n < Decimal(str(max_tau)) for n in range(10))
        assert counts == [n > shorter for n in range(len(counts))]
    else:
        assert counts == sorted(counts) and not counts[0]


def test_a_training_whose_stages_are_rounded_is_validated_in_time() -> None:
    # Stages of 75, 151 and 302 steps: 75 doubled twice is 300.
    assert validating_from(1006, charged=False, tau=0.075, max_tau=0.3) == [False, False, False, True, True]


def test_a_narrow_interval_is_searched_at_ten_lrs_too() -> None:
    for low, high in ((0.1, 0.12), (0.1, 0.101), (0.01, 0.1)):
        (search,) = trials(simulate(AutoLRS.paper(low, high, tau=100), Decay(), lr=0.5, total_steps=100))
        assert len({trial.shape(0) for trial in search}) == 10
        assert all(low <= trial.shape(0) <= high for trial in search)


def test_warmup_comes_before_the_first_search() -> None:
    policy = AutoLRS.paper(1e-3, 1e-1, tau=50, max_tau=50, warmup=10)
    result = simulate(policy, Decay(), lr=0.5, total_steps=110)
    kinds = [type(event.action) for event in result.history.events]
    assert kinds[:2] == [Train, Trial]
    # A straight line to the middle of the interval.
    assert result.history.lrs[:10] == pytest.approx([0.01 * (i + 1) / 10 for i in range(10)])
    assert simulate(replace(policy, warmup_lr=0.07), Decay(), lr=0.5, total_steps=60).history.lrs[9] == pytest.approx(
        0.07
    )


def test_a_published_training_that_diverges_is_trained_on_without_searches() -> None:
    policy = AutoLRS.paper(1e-3, 1e-1, tau=50, max_tau=50)
    here = Progress(0, 100)
    state = told(
        policy, policy.init(Context(0.1, here)), lambda t: TrialLosses(here, tuple(exponential(t)), None, None)
    )
    state = policy.tell(state, Trained(Progress(7, 93), 7, (math.nan,), None, True, StopReason.NON_FINITE))
    assert policy.ask(state) == Train(constant(state.lr), 93)
    assert state.stages[-1].code is StageCode.LOST
    state = policy.tell(state, Trained(Progress(100, 0), 93, (1.0,), None, True, None))
    assert isinstance(policy.ask(state), Done)


@pytest.mark.parametrize(("policy", "phase"), [(AutoLRS.paper(), ReadingLevel()), (AutoLRS(), WarmingUp(3))])
def test_a_phase_of_the_other_setting_is_no_end_of_the_training(policy: Policy, phase: Phase) -> None:
    state = replace(policy.init(Context(0.1, Progress(0, 100))), phase=phase)
    with pytest.raises(PolicyError, match=f"{policy.name} must be in a phase of its own, got {type(phase).__name__}"):
        policy.ask(state)


# ----------------------------------------------------------------- default


def test_stages_of_the_default_are_parts_of_the_training_and_the_last_ends_at_zero() -> None:
    result = simulate(AutoLRS(1e-3, 1.0), QUADRATIC, lr=0.1, total_steps=1400)
    assert not any(stage.rewinds for stage in stages(result))
    assert [(stage.begin, stage.steps, stage.decays) for stage in stages(result)] == [
        (0, 200, False),
        (200, 400, False),
        (600, 800, True),
    ]
    lrs = result.history.lrs
    assert lrs[-1] == pytest.approx(lrs[600] / 800)
    assert lrs[600:] == pytest.approx([lrs[600] * (1 - i / 800) for i in range(800)])
    assert all(trial.shape == constant(trial.shape(0)) for search in trials(result) for trial in search)
    assert {trial.evaluate for search in trials(result) for trial in search} == {"average"}


@pytest.mark.parametrize("total_steps", [200, 300, 1000, 1400, 5000])
@pytest.mark.parametrize("interval", [(None, None), (1e-4, 1.0)])
def test_searches_cost_what_they_may(total_steps: int, interval: tuple[float | None, float | None]) -> None:
    result = simulate(AutoLRS(*interval), QUADRATIC, lr=0.1, total_steps=total_steps)
    assert result.cost.steps <= 0.3 * total_steps
    assert total_steps < 300 or result.cost.trials >= 3


def test_no_search_where_none_can_be_paid_for() -> None:
    result = simulate(AutoLRS(), QUADRATIC, lr=0.1, total_steps=50)
    assert result.cost.trials == 0
    assert {stage.code for stage in stages(result)} == {StageCode.NOT_SEARCHED}
    assert {stage.lr for stage in stages(result)} == {0.1}


def test_ends_near_the_best_constant_lr() -> None:
    def excess(policy: Any, lr: float) -> float:
        runs = [simulate(policy, QUADRATIC, lr=lr, total_steps=1000, seed=seed) for seed in range(3)]
        return float(np.mean([run.final_loss for run in runs])) - FLOOR

    best = min(excess(Schedule("constant", lr=lr), lr) for lr in np.geomspace(1e-2, 1.0, 7))
    assert excess(AutoLRS(final=None), 0.1) < 3 * best + 0.001
    assert excess(AutoLRS(), 0.1) < best, "a decay at the end is worth more"
    assert excess(AutoLRS.paper(1e-3, 1.0, tau=1 / 15, max_tau=8 / 15), 0.1) < 3 * best + 0.001


@pytest.mark.parametrize("lr", [1e-6, 1e-4, 0.1, 10.0])
def test_a_start_far_off_changes_little(lr: float) -> None:
    result = simulate(AutoLRS(), QUADRATIC, lr=lr, total_steps=1400)
    assert 0.03 < stages(result)[0].lr < 3.0
    assert result.final_loss < FLOOR + 0.005


@pytest.mark.parametrize("score", ["raw", "annealed", "average"])
def test_every_score_finds_a_good_lr(score: Any) -> None:
    result = simulate(AutoLRS(1e-4, 1.0, score=score, overhead=2.0), QUADRATIC, lr=0.1, total_steps=1400)
    assert 0.01 < stages(result)[0].lr <= 1.0
    kinds = {(t.evaluate, t.shape == constant(t.shape(0))) for search in trials(result) for t in search}
    assert kinds == {{"raw": ("no", True), "annealed": ("end", False), "average": ("average", True)}[score]}


def test_later_searches_look_about_the_present_lr_and_first_only_upwards() -> None:
    _, second, third = trials(simulate(AutoLRS(1e-4, 1.0, overhead=5.0), Decay(), lr=0.1, total_steps=1400))
    present = [second[0].shape(0), third[0].shape(0)]
    assert len(second) <= 4 >= len(third), "half as many"
    assert min(t.shape(0) for t in second) == present[0], "no decrease in the first half"
    assert max(t.shape(0) for t in second) <= present[0] * 10**0.5 * (1 + 1e-9)


def test_a_bracket_that_was_not_given_grows_towards_the_best_lr() -> None:
    assert stages(simulate(AutoLRS(), Decay(best=1e-4, rate=30.0), lr=0.1, total_steps=1000))[0].lr < 1e-3
    bounded = stages(simulate(AutoLRS(1e-2, 1.0), Decay(best=1e-4, rate=30.0), lr=0.1, total_steps=1000))[0]
    assert bounded.lr == pytest.approx(1e-2) and bounded.code is StageCode.AT_LOWER_EDGE
    upper = stages(simulate(AutoLRS(1e-6, 1e-4), Decay(best=1e-2), lr=0.1, total_steps=1000))[0]
    assert upper.lr == pytest.approx(1e-4) and upper.code is StageCode.AT_UPPER_EDGE


def falling(best_at: Callable[[int], float]) -> tuple[list[Trial], LRStage]:
    """The first search of the default where the best lr of a Trial depends on its length, and the stage after it."""
    policy, here, seen = AutoLRS(1e-4, 10.0), Progress(0, 2000), []
    state = policy.tell(policy.init(Context(0.1, here)), HeldOut(here, 2.3))

    def observe(trial: Trial) -> Observation:
        seen.append(trial)
        loss = 1.0 + 0.5 * math.log10(trial.shape(0) / best_at(trial.steps)) ** 2
        return TrialLosses(here, tuple(np.linspace(2.3, min(loss, 2.3), trial.steps)), loss, None)

    state = told(policy, state, observe)
    return seen, state.stages[0]


def test_short_trials_scout_for_longer_ones_and_a_falling_best_lr_is_followed_once_more() -> None:
    seen, stage = falling(lambda steps: 0.3 * (14 / steps) ** 0.75)
    assert stage.scouts is not None and stage.search is not None
    short, long = stage.scouts.steps, stage.search.steps
    assert [trial.steps for trial in seen] == [short] * len(stage.scouts.lrs) + [long] * len(stage.search.lrs)
    assert long >= 2 * short and len(stage.search.lrs) >= 3
    at_long = math.log10(0.3 * (14 / long) ** 0.75)
    assert at_long - 0.35 < math.log10(stage.lr) < at_long - 0.1


def test_a_best_lr_that_does_not_fall_or_rises_is_taken_as_it_is() -> None:
    for best_at in (lambda steps: 0.05, lambda steps: 0.01 * (steps / 14) ** 0.5):
        _, stage = falling(best_at)
        assert stage.search is not None
        assert abs(math.log10(stage.lr / best_at(stage.search.steps))) < 0.2


def test_without_a_decay_at_the_end_no_score_looks_beyond_one() -> None:
    assert [AutoLRS().scoring, AutoLRS(final=None).scoring] == ["average", "raw"]
    assert AutoLRS(final=None, score="annealed").scoring == "annealed"


def test_warmup_of_the_default_leads_to_the_lr_that_was_found() -> None:
    result = simulate(AutoLRS(1e-3, 1.0, warmup=0.02), Decay(), lr=0.1, total_steps=1000)
    found = stages(result)[0].lr
    assert simulate(AutoLRS(1e-3, 1.0, warmup=0), Decay(), lr=0.1, total_steps=1000).history.lrs[0] == found
    assert result.history.lrs[:20] == pytest.approx([found * (i + 1) / 21 for i in range(20)])
    assert result.history.lrs[20] == found
    whole = simulate(AutoLRS(1e-3, 1.0, warmup=20, stage=1.0), Decay(), lr=0.1, total_steps=1000)
    assert whole.history.lrs[20] == stages(whole)[0].lr
    assert whole.history.lrs[-1] == pytest.approx(whole.history.lrs[20] / 980)


# ---------------------------------------------------------------- interval


def test_the_interval_is_the_window_of_step_sampling() -> None:
    found = simulate(StepSampling.paper(), QUADRATIC, lr=0.1).result
    result = simulate(AutoLRS.paper(tau=100), QUADRATIC, lr=0.1, total_steps=100)
    lrs = [t.shape(0) for t in trials(result)[0][-10:]]
    assert (min(lrs), max(lrs)) == pytest.approx(found.window)
    half_given = simulate(AutoLRS.paper(1e-5, tau=100), QUADRATIC, lr=0.1, total_steps=100)
    lrs = [t.shape(0) for t in trials(half_given)[0][-10:]]
    assert (min(lrs), max(lrs)) == pytest.approx((1e-5, found.window[1]))


def test_a_long_default_training_samples_steps_too_and_searches_a_decade_beyond() -> None:
    policy = AutoLRS()

    def after_level(total_steps: int, evaluation: float) -> type:
        here = Progress(0, total_steps)
        return type(policy.tell(policy.init(Context(0.1, here)), HeldOut(here, 2.3, evaluation)).phase)

    assert [after_level(total, 5.0) for total in (14_000, 15_000)] == [Searching, FindingInterval]
    assert after_level(15_000, 50.0) is Searching, "its price is what a held-out loss takes"
    result = simulate(AutoLRS(overhead=5.0), QUADRATIC, lr=0.1, total_steps=15_000)
    finder = simulate(StepSampling(tolerance=0.5, max_trials=17), QUADRATIC, lr=0.1).result
    first = [t.shape(0) for t in trials(result)[0] if t.evaluate == "average"]
    low, high = math.log10(finder.window[0]), math.log10(finder.window[1]) + 1
    assert math.log10(first[0]) == pytest.approx(0.5 * (low + high))


def test_without_a_window_the_interval_lies_about_the_optimizers_lr() -> None:
    result = simulate(AutoLRS.paper(tau=100), Decay(flat=True), lr=0.1, total_steps=100)
    (stage,) = stages(result)
    assert min(stage.lrs) == pytest.approx(1e-3) and max(stage.lrs) == pytest.approx(1.0)


# ------------------------------------------------------- bad input and faults


@pytest.mark.parametrize("policy", [AutoLRS(1e-2, 1.0), AutoLRS.paper(1e-2, 1.0, tau=100)])
def test_where_every_lr_diverges_a_smaller_one_is_kept(policy: Policy) -> None:
    result = simulate(policy, Decay(cliff=1e-3), lr=0.1, total_steps=1000)
    first = stages(result)[0]
    assert first.code is StageCode.ALL_DIVERGED and "min_lr" in first.code.value
    assert set(first.scores) == {math.inf} and min(first.lrs) == pytest.approx(1e-2)
    assert first.lr < 0.4 * min(first.lrs)
    assert all(math.isfinite(lr) and lr > 0 for lr in result.history.lrs)


def test_the_default_comes_down_to_an_lr_that_trains() -> None:
    # Everything that may be searched diverges. The stage is taken back until an lr does not.
    result = simulate(AutoLRS(1e-2, 1.0), Decay(best=1e-6, cliff=1e-5, rate=100.0), lr=0.1, total_steps=1000)
    assert stages(result)[0].rewinds > 1
    assert result.final_loss < 2.0


@pytest.mark.parametrize("policy", [AutoLRS(1e-2, 1.0), AutoLRS()])
def test_where_nothing_moves_the_present_lr_is_kept(policy: AutoLRS) -> None:
    result = simulate(policy, Decay(flat=True), lr=0.1, total_steps=1000)
    assert {stage.code for stage in stages(result)} <= {StageCode.FLAT, StageCode.NOT_SEARCHED}
    assert {stage.lr for stage in stages(result)} == {0.1}


def test_candidates_that_diverge_are_cut_and_kept_away_from() -> None:
    result = simulate(AutoLRS(1e-4, 1.0), Decay(best=0.2, cliff=0.1), lr=0.1, total_steps=1400)
    cut = [e for e in result.history.events if isinstance(e.observation, TrialLosses) and e.observation.stop]
    assert cut and all(len(e.observation.losses) == 2 for e in cut), "the first loss that is no number ends them"
    assert min(e.action.shape(0) for e in cut) >= 0.1
    first = stages(result)[0]
    lowest = min(lr for lr, score in zip(first.lrs, first.scores, strict=True) if score == math.inf)
    assert 0.005 < first.lr <= lowest / 10**0.5 * (1 + 1e-9)
    above = [lr for lr in first.lrs if lr > lowest]
    assert len(above) <= 1, "an lr above one that diverged diverges too"


def test_a_stage_that_wrecks_the_model_is_taken_back() -> None:
    policy = AutoLRS(1e-3, 1.0)
    here = Progress(0, 1000)

    def seen(trial: Trial) -> Observation:
        loss = 1.0 + (math.log10(trial.shape(0)) + 0.5) ** 2
        return TrialLosses(here, tuple(np.linspace(3.0, loss, trial.steps)), loss, None)

    state = policy.tell(policy.init(Context(0.1, here)), HeldOut(here, 3.0))
    state = told(policy, state, seen)
    assert isinstance(policy.ask(state), Mark)
    state = policy.tell(state, Moved(here, "stage"))
    train = policy.ask(state)
    assert isinstance(train, Train) and train.observe_every == 36 and train.steps == 143
    found = state.lr
    # It gains, then most of the gain is gone: back, to half a decade below, for what is left of the stage.
    state = policy.tell(state, Trained(Progress(36, 964), 36, (1.5,) * 36, None, False, None))
    assert policy.ask(state) == train
    state = policy.tell(state, Trained(Progress(72, 928), 72, (2.9,) * 36, None, False, None))
    assert policy.ask(state) == Rewind("stage")
    state = policy.tell(state, Moved(Progress(72, 928), "stage"))
    again = policy.ask(state)
    assert isinstance(again, Train) and again.steps == 71
    assert again.shape(0) == pytest.approx(found / 10**0.5)
    assert state.stages[-1].rewinds == 1 and state.watch.guard.ceiling == again.shape(0)


def test_a_slow_death_does_not_hide_in_the_scatter_of_single_losses() -> None:
    policy, here = AutoLRS(1e-3, 1.0), Progress(0, 1000)
    state = policy.tell(policy.init(Context(0.1, here)), HeldOut(here, 2.3))
    state = told(
        policy, state, lambda t: TrialLosses(here, tuple(np.linspace(2.3, 1.0, t.steps)), 1.0 + t.shape(0), None)
    )
    state = policy.tell(state, Moved(here, "stage"))
    for mean, action in ((0.9, Train), (1.1, Train), (1.5, Rewind)):
        noisy = tuple(mean + 0.5 * (-1) ** i for i in range(36))
        state = policy.tell(state, Trained(here, 36, noisy, None, False, None))
        assert isinstance(policy.ask(state), action), mean


def test_a_stage_that_gains_nothing_of_what_its_trial_did_is_taken_back() -> None:
    policy, here = AutoLRS(1e-3, 1.0), Progress(0, 1000)
    state = policy.tell(policy.init(Context(0.1, here)), HeldOut(here, 2.3))
    state = told(
        policy, state, lambda t: TrialLosses(here, tuple(np.linspace(2.3, 1.0, t.steps)), 1.0 + t.shape(0), None)
    )
    state = policy.tell(state, Moved(here, "stage"))
    dead = tuple(2.3 + 0.01 * (-1) ** i for i in range(36))
    state = policy.tell(state, Trained(Progress(36, 964), 36, dead, None, False, None))
    assert isinstance(policy.ask(state), Train), "it may be warming up"
    state = policy.tell(state, Trained(Progress(143, 857), 143, dead, None, True, None))
    assert policy.ask(state) == Rewind("stage")


def test_without_losses_the_held_out_loss_tells_of_a_wreck() -> None:
    policy, here = AutoLRS(overhead=None, min_lr=1e-3, max_lr=1.0), Progress(0, 1000)
    state = policy.tell(policy.init(Context(0.1, here)), HeldOut(here, 2.3))
    state = told(
        policy, state, lambda t: TrialLosses(here, tuple(np.linspace(2.3, 1.0, t.steps)), 1.0 + t.shape(0), None)
    )
    state = policy.tell(state, Moved(here, "stage"))
    state = policy.tell(state, Trained(Progress(36, 964), 36, (), math.nan, False, None))
    assert policy.ask(state) == Rewind("stage")


# ------------------------------------------------------------------- budget


class Charged:
    """A flight whose measurements are paid for out of the steps, as under ``fit(budget=...)``."""

    def __init__(self, policy: Policy, budget: int, *, lr: float = 0.1, evaluation: float = 5.0) -> None:
        self.substrate = SimulatedSubstrate(QUADRATIC)
        self.budget, self.evaluation = budget, evaluation
        self.refused: list[Action] = []
        self.flight = Flight(policy, self.substrate, lr=lr, horizon=self.left, affords=self.affords)

    @property
    def spent(self) -> float:
        cost = self.substrate.cost
        return cost.trial_steps + self.evaluation * cost.evaluations

    def left(self, step: int) -> int:
        return max(0, int(self.budget - self.spent - step))

    def affords(self, action: Action, step: int) -> bool:
        due = {Trial: getattr(action, "steps", 0) + self.evaluation, Evaluate: self.evaluation}.get(type(action), 0.0)
        if due > self.budget - self.spent - step:
            self.refused.append(action)
        return due <= self.budget - self.spent - step

    def fly(self) -> None:
        self.flight.start()
        while self.left(self.flight.step) > 0:
            self.flight.kept(self.substrate.step(self.flight.lr, self.flight.momentum))


@pytest.mark.parametrize("budget", [200, 1000, 3000])
@pytest.mark.parametrize(
    "policy", [AutoLRS(), AutoLRS(1e-4, 1.0), AutoLRS.paper(1e-3, 1.0, tau=1 / 15, max_tau=8 / 15)], ids=str
)
def test_a_budget_that_pays_for_its_searches_is_laid_out_anew(policy: Policy, budget: int) -> None:
    charged = Charged(policy, budget)
    charged.fly()
    assert charged.refused == [], "it asks for nothing that it cannot pay for"
    assert charged.spent + charged.flight.step == pytest.approx(budget, abs=1)
    published = isinstance(policy, PublishedAutoLRS)
    share = charged.spent / charged.flight.step
    # A published Trial is a tenth of its stage rounded up, which weighs more where stages are short.
    assert share <= (0.31 if not published else 1.25 if budget > 200 else 1.5)
    if not published:
        assert charged.flight.history.lrs[-1] < 0.02 * max(charged.flight.history.lrs), "and still ends at zero"


def test_a_published_stage_longer_than_the_budget_leaves_as_much_for_training_as_for_searching() -> None:
    charged = Charged(AutoLRS.paper(1e-3, 1.0), 1000)
    charged.fly()
    assert charged.flight.step >= 450


# -------------------------------------------------------------------- state

POLICIES = {
    "default": AutoLRS(1e-3, 1.0, overhead=3.0),
    "paper": AutoLRS.paper(1e-3, 1.0, tau=20, max_tau=40),
    "interval": AutoLRS.paper(tau=20, max_tau=40, warmup=5),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_resumed_at_any_measurement_it_ends_the_same(policy: Policy) -> None:
    """Killed at random moments, inside searches too, and begun again from the state of the last kept step."""

    def flight() -> Flight:
        return Flight(policy, SimulatedSubstrate(QUADRATIC), lr=0.1, horizon=lambda step: 100 - step)

    class KilledError(Exception):
        pass

    whole = flight()
    whole.start()
    while whole.step < 100:
        whole.kept(whole.substrate.step(whole.lr))  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for _ in range(5):
        left = int(rng.integers(1, 50))

        def kill(event: Any) -> None:
            nonlocal left
            left -= event.phase == "begin"
            if left == 0:
                raise KilledError

        running = flight()
        running.on_event = kill
        saved = json.dumps(running.state_dict())
        try:
            running.start()
            while running.step < 100:
                running.account(running.substrate.step(running.lr))  # type: ignore[attr-defined]
                saved = json.dumps(running.state_dict())
                running.start()
        except KilledError:
            substrate = running.substrate
            running = flight()
            running.load_state_dict(json.loads(saved))
            running.substrate = substrate  # the landscape's own state is not the flight's to save
            running.start()
            while running.step < 100:
                running.kept(substrate.step(running.lr))  # type: ignore[attr-defined]
        assert running.history.lrs == whole.history.lrs
        assert [e.action for e in running.history.events] == [e.action for e in whole.history.events]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_the_events_of_a_flight_give_every_state_back(policy: Policy) -> None:
    result = simulate(policy, QUADRATIC, lr=0.1, total_steps=100)
    state = policy.init(Context(0.1, Progress(0, 100)))
    searches = set()
    for event in result.history.events:
        state = policy.tell(state, event.observation)  # type: ignore[arg-type]
        assert decode(json.loads(json.dumps(encode(state)))) == state
        ended = [stage.search for stage in state.stages if stage.search is not None]
        for search in (*ended[-1:], *([state.phase.search] if isinstance(state.phase, Searching) else [])):
            searches.add((search.begin, len(search.candidates)))
            if search.candidates and any(map(math.isfinite, search.scores)):
                assert search.surrogate is not None and len(search.surrogate.mean) > 5
    assert state.stages == result.result
    tried = [len(stage.lrs) for stage in state.stages]
    assert {count for _, count in searches} >= set(range(1, max(tried) + 1)), "every trial is seen as it is added"
    for before, after in pairwise(state.stages):
        assert after.begin == before.begin + before.steps


def test_says_what_it_must_be_told() -> None:
    policy, here = AutoLRS(1e-3, 1.0), Progress(0, 1000)
    with pytest.raises(PolicyError, match="must be told of what it asked for, got Trained"):
        policy.tell(policy.init(Context(0.1, here)), Trained(here, 1, (), None, True, None))


# ----------------------------------------------------------------- settings


def test_an_open_horizon_needs_stages_in_steps() -> None:
    with pytest.raises(SettingError, match="must know its last step for stage, warmup, final"):
        AutoLRS().init(Context(0.1, Progress(0, None)))
    policy = AutoLRS(1e-3, 1.0, stage=40, max_stage=80, warmup=5, final=None)
    flight = Flight(policy, SimulatedSubstrate(QUADRATIC), lr=0.1, horizon=lambda step: None)
    flight.start()
    while flight.step < 300:
        flight.kept(flight.substrate.step(flight.lr))  # type: ignore[attr-defined]
    assert [s.steps for s in flight.state.policy_state.stages] == [40, 80, 80, 80, 80]


@pytest.mark.parametrize(
    "setting",
    [
        {"min_lr": 0.0},
        {"min_lr": 1.0, "max_lr": 0.1},
        {"max_lr": math.nan},
        {"num_trials": 2},
        {"stage": 0},
        {"stage": 1.5},
        {"max_stage": 0.0},
        {"stage": 100, "max_stage": 50},
        {"trial": 0.0},
        {"trial": 2},
        {"kappa": -1.0},
        {"kappa": math.inf},
        {"score": "best"},
        {"warmup": 1.0},
        {"warmup": -1},
        {"final": "cosine"},
        {"overhead": 0.0},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must .*got "):
        AutoLRS(**setting)


@pytest.mark.parametrize(
    "setting",
    [
        {"min_lr": 0.0},
        {"min_lr": 1.0, "max_lr": 0.1},
        {"num_trials": 2},
        {"stage": 0},
        {"stage": 100, "max_stage": 50},
        {"trial": 0.0},
        {"kappa": math.inf},
        {"warmup": -1},
        {"warmup_lr": 0.0},
    ],
)
def test_published_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must .*got "):
        PublishedAutoLRS(**setting)


def test_what_means_nothing_for_a_rule_is_no_setting_of_it() -> None:
    for setting in ("score", "final", "overhead"):
        with pytest.raises(TypeError, match=setting):
            PublishedAutoLRS(**{setting: None})
    with pytest.raises(TypeError, match="warmup_lr"):
        AutoLRS(warmup_lr=0.1)  # type: ignore[call-arg]


def test_the_published_setting_is_that_of_the_published_class() -> None:
    assert AutoLRS.paper() == PublishedAutoLRS()
    assert AutoLRS.paper(1e-3, 1.0, tau=10, max_tau=20, warmup=5, warmup_lr=0.1) == PublishedAutoLRS(
        1e-3, 1.0, stage=10, max_stage=20, warmup=5, warmup_lr=0.1
    )
    assert (AutoLRS().name, AutoLRS.paper().name) == ("autolrs", "autolrs_paper")
