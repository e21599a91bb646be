"""RangeTest: one exponential run and two picks."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lrpilot.core.actions import Done, Progress, Trial, TrialLosses
from lrpilot.core.codec import decode, encode
from lrpilot.core.found import FindCode
from lrpilot.core.policy import Context
from lrpilot.core.stop import StopReason, StopState, check_stop
from lrpilot.errors import SettingError
from lrpilot.found import FoundLR
from lrpilot.policies.finders.range_test import RangeTest

HERE = Progress(0, None)


def loss_at(lr: float) -> float:
    """A fall that is steepest at 3e-3, flat from 0.1, rising from 0.3."""
    return 2.3 - 1.7 / (1 + math.exp(-3.0 * (math.log10(lr) + 2.5))) + max(0.0, 3 * math.log10(lr / 0.3)) ** 4


def run(policy: RangeTest, loss: Callable[[float], float]) -> tuple[FoundLR, Trial]:
    state = policy.init(Context(0.1, HERE))
    trial = policy.ask(state)
    assert isinstance(trial, Trial)
    losses: list[float] = []
    rules, stop = StopState(), None
    while stop is None and len(losses) < trial.steps:
        losses.append(loss(trial.shape(len(losses))))
        rules, stop = check_stop(trial.stop, rules, losses[-1])
    state = decode(encode(policy.tell(state, TrialLosses(HERE, tuple(losses), None, stop))))
    done = policy.ask(state)
    assert isinstance(done, Done)
    return done.result, trial


def test_the_run_is_one_exponential_over_the_range() -> None:
    found, trial = run(RangeTest(num_steps=50), loss_at)
    lrs = np.array(trial.shape.first(50))
    assert (lrs[0], lrs[-1]) == pytest.approx((1e-7, 10.0))
    assert np.diff(np.log10(lrs)) == pytest.approx(np.full(49, 8 / 49))
    assert trial.evaluate == "no" and trial.steps == 50
    assert found.lrs == tuple(lrs[: len(found.lrs)])
    assert found.metric == "training loss" and found.method == "range_test" and found.target == "constant"


def test_the_picks() -> None:
    found, _ = run(RangeTest(), loss_at)
    assert found.code is FindCode.OK
    assert math.log10(found.suggestions["steepest"] or 0) == pytest.approx(-2.5, abs=0.1)
    # The minimum lies at 0.33; smoothing across the sharp rise behind it moves it down by a fifth of a decade.
    assert math.log10(found.suggestions["minimum_over_10"] or 0) == pytest.approx(-1.65, abs=0.2)
    assert found.lr == found.suggestions["steepest"]
    other, _ = run(RangeTest(pick="minimum_over_10"), loss_at)
    assert other.lr == found.suggestions["minimum_over_10"]


def test_noise_does_not_move_the_steepest_slope_up() -> None:
    picks = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found, _ = run(RangeTest(), lambda lr, rng=rng: loss_at(lr) + 0.05 * rng.standard_normal())  # type: ignore[misc]
        picks.append(math.log10(found.suggestions["steepest"] or math.nan))
    assert np.median(picks) == pytest.approx(-2.5, abs=0.2)


def test_the_run_ends_when_the_loss_explodes() -> None:
    found, trial = run(RangeTest(), loss_at)
    assert trial.stop.abort_rise == 4.0
    assert len(found.losses) < 100
    assert found.lrs[-1] < 2.0


@pytest.mark.parametrize("shift", [-2.3, -2.5, -100.0, 3.0])
def test_a_loss_of_any_sign_is_read_as_if_it_were_shifted(shift: float) -> None:
    rng = np.random.default_rng(0)
    noise = iter(rng.standard_normal(200).tolist())

    def noisy(lr: float) -> float:
        return loss_at(lr) + 0.05 * next(noise)

    plain, _ = run(RangeTest(), noisy)
    noise = iter(np.random.default_rng(0).standard_normal(200).tolist())
    shifted, _ = run(RangeTest(), lambda lr: noisy(lr) + shift)
    assert shifted.code is plain.code
    assert shifted.lr == plain.lr and shifted.suggestions == plain.suggestions


@pytest.mark.parametrize("tail", [math.nan, math.inf])
def test_a_run_that_ends_in_a_non_finite_loss(tail: float) -> None:
    found, _ = run(RangeTest(abort_rise=None), lambda lr: loss_at(lr) if lr < 0.6 else tail)
    assert found.code is FindCode.OK
    assert found.losses[-1] == math.inf
    assert math.log10(found.suggestions["steepest"] or 0) == pytest.approx(-2.5, abs=0.1)


def test_the_explosion_does_not_leak_into_the_picks() -> None:
    mild, wild = (run(RangeTest(), lambda lr, top=top: loss_at(lr) if lr < 0.1 else top)[0] for top in (9.0, 1e9))  # type: ignore[misc]
    assert mild.suggestions == wild.suggestions


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (lambda lr: 2.3, FindCode.FLAT),
        (lambda lr: 2.3 + lr, FindCode.RISING),
        (lambda lr: math.nan, FindCode.ALL_DIVERGED),
    ],
)
def test_no_suggestion_is_a_result(loss: Any, code: FindCode) -> None:
    found, _ = run(RangeTest(), loss)
    assert found.code is code
    assert found.lr is None and set(found.suggestions.values()) == {None}


def test_a_stop_before_the_first_loss_is_a_result_too() -> None:
    policy = RangeTest()
    state = policy.tell(policy.init(Context(0.1, HERE)), TrialLosses(HERE, (), None, StopReason.NON_FINITE))
    done = policy.ask(state)
    assert isinstance(done, Done) and done.result.code is FindCode.ALL_DIVERGED


@pytest.mark.parametrize(
    "setting",
    [
        {"min_lr": 0.0},
        {"min_lr": 1.0, "max_lr": 0.1},
        {"max_lr": math.inf},
        {"num_steps": 9},
        {"abort_rise": 0.0},
        {"pick": "valley"},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must .*got "):
        RangeTest(**setting)


def test_noisy_batches_do_not_hide_a_clear_fall() -> None:
    rng = np.random.default_rng(0)

    def loss(lr: float) -> float:
        fall = 3.3 - 3.2 / (1 + (0.01 / lr) ** 2)
        return max(0.0, fall + float(0.35 * rng.standard_normal()))

    found, _ = run(RangeTest(max_lr=1.0), loss)
    assert found.code.has_lr
    assert found.suggestions["steepest"] == pytest.approx(0.01, rel=2.0)
