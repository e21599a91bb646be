"""StepSampling on made-up curves."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrpilot.core.found import FindCode
from lrpilot.core.shape import constant
from lrpilot.errors import SettingError
from lrpilot.policies.finders.step_sampling import StepSampling

START = 2.3
FlyFinder = Callable[..., Any]
pure_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def training(best: float, *, noise: float = 0.0, seed: int = 0, cliff: float = 10.0) -> Callable[[float, int], float]:
    """Losses that fall by 1.7 up to lr ``best`` and explode at ``cliff`` times it."""
    rng = np.random.default_rng(seed)

    def loss(lr: float, steps: int) -> float:
        u = lr / best
        if u >= cliff:
            return math.inf
        return START - 1.7 * (1 - math.exp(-3 * u)) + 0.3 * max(0.0, u - 1) ** 2 + noise * float(rng.standard_normal())

    return loss


def decades(lr: float | None) -> float:
    assert lr is not None
    return math.log10(lr)


@pytest.mark.parametrize("best", [1e-5, 1e-3, 0.03, 1.0])
def test_finds_the_window(fly_finder: FlyFinder, best: float) -> None:
    found = fly_finder(StepSampling(), training(best)).found
    assert found.code is FindCode.OK
    assert found.target == "constant" and found.method == "step_sampling"
    # 1.7 (1 - e^{-3u}) is half of its largest value at u = 0.23, and the minimum is a little beyond 1.
    assert decades(found.suggestions["half_drop"]) == pytest.approx(math.log10(0.22 * best), abs=0.05)
    assert decades(found.suggestions["minimum"]) == pytest.approx(math.log10(1.13 * best), abs=0.1)
    low, high = found.window
    assert found.lr == found.suggestions["log_midpoint"] == pytest.approx(math.sqrt(low * high))
    assert 0.04 * best < low < 0.12 * best
    assert found.start_loss == START


def test_a_gain_below_the_scatter_of_batches_is_no_suggestion_but_in_the_papers_setting(fly_finder: FlyFinder) -> None:
    def shallow(lr: float, steps: int) -> float:
        return 2.3 - 1e-3 * (1 - (math.log10(lr) + 4) ** 2)

    assert fly_finder(StepSampling(), shallow, batch_noise=1e-4).found.code is FindCode.OK
    found = fly_finder(StepSampling(), shallow, batch_noise=0.05).found
    assert found.code is FindCode.WITHIN_NOISE and found.lr is None
    assert fly_finder(StepSampling.paper(), shallow, batch_noise=0.05).found.lr is not None


def test_the_first_lrs_are_half_a_decade_apart_and_every_trial_is_constant(fly_finder: FlyFinder) -> None:
    run = fly_finder(StepSampling(num_steps=7), training(1.0))
    assert run.lrs[:15] == pytest.approx([10.0 ** (-7 + i / 2) for i in range(15)])
    assert {trial.steps for trial in run.trials} == {7}
    assert all(trial.shape == constant(trial.shape(0)) for trial in run.trials)


def test_refines_until_every_point_is_known(fly_finder: FlyFinder) -> None:
    run = fly_finder(StepSampling(), training(0.03))
    known = np.sort(np.log10(run.lrs))
    points = [math.log10(lr) for name, lr in run.found.suggestions.items() if name != "log_midpoint"]
    for point in [*points, math.log10(run.found.window[0])]:
        below, above = known[known < point - 1e-9].max(), known[known > point + 1e-9].min()
        assert point - below <= 0.1 + 1e-9 and above - point <= 0.1 + 1e-9
    # Never a dense grid: a tenth of a decade over the whole range would be 81 trials.
    assert len(run.trials) < 35


def test_a_finer_tolerance_costs_trials_and_moves_little(fly_finder: FlyFinder) -> None:
    coarse = fly_finder(StepSampling(tolerance=0.5), training(0.03))
    fine = fly_finder(StepSampling(tolerance=0.02), training(0.03))
    usual = fly_finder(StepSampling(), training(0.03))
    assert len(coarse.trials) < len(usual.trials) < len(fine.trials) <= 60
    assert decades(usual.found.lr) == pytest.approx(decades(fine.found.lr), abs=0.05)


def test_the_grid_stops_beyond_the_cliff(fly_finder: FlyFinder) -> None:
    run = fly_finder(StepSampling(), training(1e-5))
    assert sum(loss == math.inf for loss in run.found.losses) == 2
    assert max(run.lrs) < 1e-3


def test_the_grid_stops_where_trials_only_do_harm(fly_finder: FlyFinder) -> None:
    run = fly_finder(StepSampling(), lambda lr, steps: min(9.0, training(1e-4, cliff=math.inf)(lr, steps)))
    assert max(run.lrs) < 0.02
    assert run.found.code is FindCode.OK


def test_hopeless_trials_end_early_and_change_nothing(fly_finder: FlyFinder) -> None:
    def exploding(lr: float, steps: int) -> float:
        return training(0.03)(lr, steps) if lr < 0.2 else 1e6

    def diverging(lr: float, steps: int) -> float:
        return training(0.03)(lr, steps) if lr < 0.2 else math.inf

    first, second = (fly_finder(StepSampling(), curve) for curve in (exploding, diverging))
    assert first.found.suggestions == second.found.suggestions
    assert first.steps < 20 * len(first.trials)


@pytest.mark.parametrize(
    ("curve", "code", "trials"),
    [
        (lambda lr, steps: START, FindCode.FLAT, 17),
        (lambda lr, steps: START + lr, FindCode.RISING, 17),
        (lambda lr, steps: math.inf, FindCode.ALL_DIVERGED, 2),
        (lambda lr, steps: START if lr < 1e-3 else math.nan, FindCode.RISING, 10),
    ],
)
def test_no_suggestion_is_a_result(fly_finder: FlyFinder, curve: Any, code: FindCode, trials: int) -> None:
    run = fly_finder(StepSampling(), curve)
    assert run.found.code is code
    assert run.found.lr is None and run.found.window is None
    assert set(run.found.suggestions.values()) == {None}
    assert len(run.trials) == trials


def test_a_broken_start_ends_at_once(fly_finder: FlyFinder) -> None:
    run = fly_finder(StepSampling(), training(0.03), start=math.nan)
    assert run.found.code is FindCode.ALL_DIVERGED and run.trials == []


def test_a_best_lr_at_the_edge_is_said(fly_finder: FlyFinder) -> None:
    found = fly_finder(StepSampling(max_lr=0.01), training(1.0)).found
    assert found.code is FindCode.AT_UPPER_EDGE
    assert found.suggestions["minimum"] == 0.01


@pure_fixture
@given(st.floats(-3, 3), st.floats(-100, 100))
def test_scale_and_shift_of_the_loss_change_nothing(fly_finder: FlyFinder, log_scale: float, shift: float) -> None:
    def moved(loss: float) -> float:
        return 10.0**log_scale * (loss + shift)

    before = fly_finder(StepSampling(), training(0.03))
    after = fly_finder(StepSampling(), lambda lr, steps: moved(training(0.03)(lr, steps)), start=moved(START))
    assert after.found.code == before.found.code
    assert decades(after.found.lr) == pytest.approx(decades(before.found.lr), abs=1e-6)
    assert len(after.trials) == len(before.trials)


def test_one_per_cent_of_noise_moves_the_pick_by_less_than_a_third_of_a_decade(fly_finder: FlyFinder) -> None:
    exact = decades(fly_finder(StepSampling(), training(0.03)).found.lr)
    noisy = [decades(fly_finder(StepSampling(), training(0.03, noise=0.017, seed=seed)).found.lr) for seed in range(30)]
    assert max(abs(x - exact) for x in noisy) < 0.3
    assert np.std(noisy) < 0.12


def test_a_narrow_range_around_the_answer_still_answers(fly_finder: FlyFinder) -> None:
    wide = fly_finder(StepSampling(), training(0.03)).found
    narrow = fly_finder(StepSampling(min_lr=1e-3, max_lr=0.1), training(0.03)).found
    assert narrow.code is FindCode.OK
    assert decades(narrow.lr) == pytest.approx(decades(wide.lr), abs=0.15)
    assert min(narrow.lrs) == 1e-3 and max(narrow.lrs) == 0.1


def test_wittmanns_rule_is_the_minimum(fly_finder: FlyFinder) -> None:
    found = fly_finder(StepSampling(pick="minimum"), training(0.03)).found
    assert found.method == "wittmann"
    assert found.lr == found.suggestions["minimum"]
    assert found.suggestions == fly_finder(StepSampling(), training(0.03)).found.suggestions


@pytest.mark.parametrize("best", [1e-5, 0.03])
def test_a_saved_search_goes_on_the_same(fly_finder: FlyFinder, best: float) -> None:
    plain = fly_finder(StepSampling(), training(best, noise=0.01))
    saved = fly_finder(StepSampling(), training(best, noise=0.01), through_json=True)
    assert saved.trials == plain.trials
    assert saved.found == plain.found


@pytest.mark.parametrize(
    "setting",
    [
        {"min_lr": 0.0},
        {"min_lr": -1.0},
        {"min_lr": math.nan},
        {"max_lr": math.inf},
        {"min_lr": 1.0, "max_lr": 1.0},
        {"min_lr": 1.0, "max_lr": 0.1},
        {"num_steps": 0},
        {"tolerance": 0.0},
        {"tolerance": math.nan},
        {"tolerance": 0.6},
        {"max_trials": 5},
        {"pick": "best"},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must .*got "):
        StepSampling(**setting)
