"""PairedSearch on made-up trainings: the pick, the price, and what it says where it does not know."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot import simulate
from lrpilot.core.actions import Done, HeldOut, Progress, Trial, TrialLosses
from lrpilot.core.codec import decode, encode
from lrpilot.core.found import FindCode
from lrpilot.core.history import Event
from lrpilot.core.policy import Context, Facts
from lrpilot.core.stop import StopReason, StopState, check_stop
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.found import FoundLR
from lrpilot.policies.finders.paired_search import METRIC, PairedSearch
from lrpilot.policies.peak_search.prior import expected
from lrpilot.policies.peak_search.search import FEWEST_STEPS

HERE = Progress(0, None)
LEAST = 3.0 * FEWEST_STEPS + 1.0  # three Trials of the fewest steps, and the check
START = 2.3
SGD = Facts(averages=True, optimizer="sgd")
ADAM = Facts(averages=True, optimizer="adam", momentum=0.9)
Curve = Callable[[float], float]  # peak lr -> training loss at the end of a Trial


@dataclass
class Flown:
    found: FoundLR
    trials: list[Trial] = field(default_factory=list)
    spent: float = 1.0  # the check
    reasons: list[Any] = field(default_factory=list)


def peak_of(trial: Trial) -> float:
    return max(trial.shape(step) for step in range(trial.steps))


def observe(
    trial: Trial, end: float, batches: np.ndarray, moved: Callable[[float], float] = lambda loss: loss
) -> TrialLosses:
    """Losses on a straight line to their end, plus what the batches differ by, which is the same for every Trial."""
    if not math.isfinite(end):
        # What an lr drives apart rises first, and the sooner the larger it is.
        half = tuple(moved(START + i) for i in range(4 + round(-2 * math.log10(peak_of(trial))) % 5))
        return TrialLosses(HERE, (*half, math.nan), None, StopReason.NON_FINITE, cost=len(half) + 1)
    losses, rules = [], StopState()
    for i in range(trial.steps):
        losses.append(moved(START + (end - START) * min(1.0, 1.5 * i / trial.steps) + batches[i]))
        rules, stop = check_stop(trial.stop, rules, losses[-1])
        if stop is not None:
            return TrialLosses(HERE, tuple(losses), None, stop, cost=len(losses))
    return TrialLosses(HERE, tuple(losses), None, None, cost=len(losses))


def fly(
    policy: PairedSearch, curve: Curve, *, facts: Facts = ADAM, noise: float = 0.0, through_json: bool = False
) -> Flown:
    batches = noise * np.random.default_rng(0).standard_normal(1000)

    def saved(state: Any) -> Any:
        return decode(json.loads(json.dumps(encode(state)))) if through_json else state

    state = policy.init(Context(0.1, HERE, facts=facts))
    run = Flown(found=None)  # type: ignore[arg-type]
    for _ in range(100):
        state = saved(state)
        action = policy.ask(state)
        if isinstance(action, Done):
            run.found = action.result
            return run
        assert isinstance(action, Trial) and action.evaluate == "no" and action.read_every is None
        seen = observe(action, curve(peak_of(action)), batches)
        run.trials.append(action)
        run.spent += len(seen.losses)
        before, state = state, policy.tell(state, seen)
        run.reasons.append(policy.explain(before, seen, state))
    raise AssertionError("the finder does not end")


def valley(best: float, *, cliff: float = 30.0) -> Curve:
    """A plateau, a broad valley, and a cliff at ``cliff`` times its bottom."""

    def loss(lr: float) -> float:
        x = math.log10(lr / best)
        if x >= math.log10(cliff):
            return math.inf
        return START - (math.exp(-((x / 1.1) ** 2)) if x < 0 else 1 - 0.8 * x**2)

    return loss


def decades(a: float | None, b: float) -> float:
    assert a is not None
    return math.log10(a / b)


# ------------------------------------------------------------------- the pick


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("best", [1e-3, 6e-3, 0.02, 0.2])
def test_it_finds_the_best_lr_of_the_trials_within_its_budget(best: float, noise: float) -> None:
    run = fly(PairedSearch(), valley(best), noise=noise)
    found = run.found
    assert found.code is FindCode.OK and found.target == "decay" and found.method == "paired_search"
    assert abs(decades(found.suggestions["trial_best"], best)) < 0.12
    assert run.spent <= 150
    low, high = found.interval  # type: ignore[misc]
    assert low < found.lr < high < 30 * low  # type: ignore[operator]
    assert found.metric == METRIC and found.start_loss == pytest.approx(START, abs=1.0)


def test_the_pick_lies_between_what_was_expected_and_what_the_trials_say() -> None:
    expectation = expected(ADAM, 0.9).lr
    for best in (expectation / 30, expectation * 30):
        found = fly(PairedSearch(), valley(best)).found
        assert found.suggestions["expected"] == expectation and found.suggestions["paired"] == found.lr
        assert min(best, expectation) < found.lr < max(best, expectation)  # type: ignore[operator]


def test_pretrained_weights_and_sgd_begin_elsewhere() -> None:
    first = {}
    for facts in (SGD, ADAM, Facts(optimizer="sgd", momentum=0.9), Facts(optimizer="adam", pretrained=True)):
        first[facts] = peak_of(fly(PairedSearch(), valley(0.01), facts=facts).trials[0])
        assert first[facts] == pytest.approx(expected(facts, facts.momentum).lr)
    assert len(set(first.values())) == 4


def test_batches_scatter_far_more_than_neighbours_differ_by_and_do_no_harm() -> None:
    """The Trials are compared batch by batch: unpaired, noise of 0.3 would bury differences of some hundredths."""
    quiet, noisy = (fly(PairedSearch(), valley(0.01), noise=noise).found for noise in (0.0, 0.3))
    assert noisy.lr == pytest.approx(quiet.lr, rel=0.02)


def test_the_result_keeps_every_trial() -> None:
    run = fly(PairedSearch(), valley(0.01))
    found = run.found
    assert found.lrs == tuple(sorted(map(peak_of, run.trials))) == found.lengths[0].lrs
    assert found.losses == found.lengths[0].losses and found.lengths[0].num_steps == 29
    assert found.lengths[0].lr == found.suggestions["trial_best"]
    assert found.window is not None and found.window[0] <= found.lr <= found.window[1]  # type: ignore[operator]


@given(log_best=st.floats(-5.0, 0.5), budget=st.floats(LEAST, 600.0), noise=st.sampled_from([0.0, 0.1]))
def test_no_budget_is_ever_exceeded_and_no_lr_leaves_the_range(log_best: float, budget: float, noise: float) -> None:
    run = fly(PairedSearch(budget=budget), valley(10.0**log_best), noise=noise)
    assert run.spent <= budget and run.found.code.has_lr == (run.found.lr is not None)
    assert all(1e-7 * (1 - 1e-9) <= lr <= 10 * (1 + 1e-9) for lr in run.found.lrs)
    assert run.found.lr is None or 1e-7 <= run.found.lr <= 10


def test_a_larger_budget_makes_longer_trials_and_num_steps_more_of_them() -> None:
    assert {trial.steps for trial in fly(PairedSearch(budget=501), valley(0.01)).trials} == {100}
    assert {trial.steps for trial in fly(PairedSearch(budget=LEAST), valley(0.01)).trials} == {FEWEST_STEPS}
    far = fly(PairedSearch(num_steps=10), valley(10.0, cliff=3.0))
    assert {trial.steps for trial in far.trials} == {10} and len(far.trials) > 5


@given(st.floats(-4, 1), st.sampled_from([1e-3, 7.0, 1e4]), st.sampled_from([0.0, -50.0, 3.0]))
def test_scale_and_shift_of_the_loss_change_nothing(log_best: float, scale: float, shift: float) -> None:
    policy = PairedSearch()

    def flown(scale: float, shift: float) -> FoundLR:
        state = policy.init(Context(0.1, HERE, facts=ADAM))
        while isinstance(action := policy.ask(state), Trial):
            # Every third batch is a hard one, so that nothing is read off a straight line.
            end, batches = valley(10.0**log_best)(peak_of(action)), np.tile([0.0, 0.1, 0.4], 50)
            state = policy.tell(state, observe(action, end, batches, lambda loss: scale * (loss + shift)))
        result = action.result  # type: ignore[union-attr]
        assert isinstance(result, FoundLR)
        return result

    plain, moved = flown(1.0, 0.0), flown(scale, shift)
    assert moved.code is plain.code and moved.lrs == plain.lrs
    assert (moved.lr is None) == (plain.lr is None) == (not plain.code.has_lr)
    if plain.lr is not None:
        assert moved.lr == pytest.approx(plain.lr, rel=1e-4)
        assert moved.interval == pytest.approx(plain.interval, rel=1e-4)


def test_a_saved_state_goes_on_as_one_that_was_not() -> None:
    assert fly(PairedSearch(), valley(0.01), noise=0.1, through_json=True) == fly(
        PairedSearch(), valley(0.01), noise=0.1
    )


def test_on_a_quadratic_the_pick_trains_nearly_as_well_as_the_best_of_a_sweep() -> None:
    """End to end through the flight: what the pick costs when a whole run is flown at it, on a schedule to zero."""
    from lrpilot import Schedule

    landscape = NoisyQuadratic.log_spaced(20, condition=100.0, noise=0.3)

    def final(lr: float) -> float:
        schedule = Schedule("linear", lr=lr, warmup=0.05)
        return fmean(simulate(schedule, landscape, lr=lr, total_steps=300, seed=s).final_loss for s in range(3))

    floor = final(1e-9)
    best = min(final(10.0 ** (k / 4)) for k in range(-12, 2))
    events: list[Event] = []
    for seed in range(3):
        result = simulate(PairedSearch(), landscape, lr=0.1, seed=seed, on_event=events.append)
        found = result.result
        assert isinstance(found, FoundLR) and found.lr is not None
        assert result.cost.steps <= 149
        assert final(found.lr) < best + 0.05 * (floor - best)
    assert all(event.reason is not None for event in events if event.phase == "end")


# --------------------------------------------------------- where it does not know


def test_an_edge_of_the_range_is_said_and_the_interval_reaches_beyond_it() -> None:
    high = fly(PairedSearch(max_lr=0.02), valley(1.0)).found
    low = fly(PairedSearch(min_lr=2e-3), valley(5e-4)).found
    assert (high.code, low.code) == (FindCode.AT_UPPER_EDGE, FindCode.AT_LOWER_EDGE)
    assert high.lr is not None and high.lr <= 0.02 and high.interval[1] > 0.02  # type: ignore[index]
    assert low.lr is not None and low.lr >= 2e-3 and low.interval[0] < 2e-3  # type: ignore[index]
    assert high.window[1] == 0.02 and low.window[0] == 2e-3  # type: ignore[index]


def test_a_budget_that_ends_too_soon_gives_an_lr_a_wider_interval_and_the_remedy() -> None:
    short = fly(PairedSearch(budget=LEAST), valley(1.0, cliff=3.0))
    found = short.found
    assert found.code is FindCode.NOT_BRACKETED and found.lr is not None and "Raise the budget" in found.status
    assert found.code.has_lr and short.reasons[-1].code == "not_bracketed" and short.reasons[-1].alarms
    whole = fly(PairedSearch(budget=250, num_steps=FEWEST_STEPS), valley(1.0, cliff=3.0)).found
    assert whole.code is FindCode.OK
    low, high = found.interval  # type: ignore[misc]
    assert high / found.lr > 1.5 * whole.interval[1] / whole.lr  # type: ignore[operator]
    assert high / found.lr > 1.5 * found.lr / low, "wider on the side that was not seen"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("curve", "noise", "code"),
    [
        (lambda lr: math.inf, 0.0, FindCode.ALL_DIVERGED),
        (lambda lr: START, 0.0, FindCode.FLAT),
        (lambda lr: START, 0.3, FindCode.FLAT),
        (lambda lr: START + 0.4, 0.1, FindCode.RISING),
    ],
    ids=["diverged", "flat", "flat_noisy", "rising"],
)
def test_it_says_when_it_does_not_know(curve: Curve, noise: float, code: FindCode) -> None:
    run = fly(PairedSearch(), curve, noise=noise)
    found = run.found
    assert found.code is code and found.lr is None and found.interval is None and found.window is None
    assert found.suggestions == {"paired": None, "trial_best": None, "expected": expected(ADAM, 0.9).lr}
    assert found.lrs and len(found.lrs) == len(found.losses) == len(run.trials), "the evidence stays"
    assert run.reasons[-1].alarms and run.reasons[-1].code == code.name.lower()
    assert run.spent <= 150


def test_differences_of_chance_are_no_gain() -> None:
    """Masks or rounding that differ between lrs, and nothing else: no Trial is certainly better than another."""
    policy, rng = PairedSearch(), np.random.default_rng(1)
    state = policy.init(Context(0.1, HERE, facts=ADAM))
    while isinstance(action := policy.ask(state), Trial):
        losses = tuple(START + 0.1 * rng.standard_normal(action.steps))
        state = policy.tell(state, TrialLosses(HERE, losses, None, None, cost=float(action.steps)))
    found = action.result  # type: ignore[union-attr]
    assert found.code is FindCode.WITHIN_NOISE and found.lr is None and "larger batches" in found.status
    expected = found.suggestions["expected"]
    assert f"begin with lr {expected:.2g}, which is expected" in found.status


def test_a_small_gain_on_the_same_batches_is_a_gain() -> None:
    """Fine-tuning in small batches: far below the scatter of batches, and yet certain, batch by batch."""
    found = fly(PairedSearch(), lambda lr: START - 0.03 * math.exp(-(math.log10(lr / 0.02) ** 2)), noise=0.3).found
    assert found.code is FindCode.OK and found.lr is not None


def test_a_first_loss_that_is_no_number_is_no_lr() -> None:
    policy = PairedSearch()
    state = policy.init(Context(0.1, HERE, facts=ADAM))
    while isinstance(action := policy.ask(state), Trial):
        state = policy.tell(state, TrialLosses(HERE, (math.nan,), None, StopReason.NON_FINITE, cost=1.0))
    assert action.result.code is FindCode.ALL_DIVERGED  # type: ignore[union-attr]


def test_data_that_is_bad_at_any_lr_is_no_lr_and_no_crash() -> None:
    """Sound losses, and then none: the batch is to blame, and is left out until too many are."""
    policy = PairedSearch()
    state = policy.init(Context(0.1, HERE, facts=ADAM))
    while isinstance(action := policy.ask(state), Trial):
        seen = TrialLosses(HERE, (START,) * 6 + (math.nan,), None, StopReason.NON_FINITE, cost=7.0)
        before, state = state, policy.tell(state, seen)
        assert policy.explain(before, seen, state).sentence
    found = action.result  # type: ignore[union-attr]
    assert found.lr is None and found.code is FindCode.ALL_DIVERGED and "check the data" in found.status


def test_it_takes_no_other_observation() -> None:
    policy = PairedSearch()
    with pytest.raises(PolicyError, match="paired_search must be told of what it asked for, a Trial, got HeldOut"):
        policy.tell(policy.init(Context(0.1, HERE)), HeldOut(HERE, 1.0))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": 0.0}, r"budget must be a finite number of training steps > 0, got 0\.0"),
        ({"budget": 24.9}, rf"budget must be >= {LEAST:g} for 3 trials of {FEWEST_STEPS} steps .* got 24\.9"),
        ({"num_steps": 7}, rf"num_steps must be >= {FEWEST_STEPS}, got 7"),
        ({"num_steps": 60}, r"budget must be >= 181 for 3 trials of 60 steps"),
        ({"min_lr": 1.0, "max_lr": 0.1}, r"min_lr must be < max_lr"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        PairedSearch(**settings)
