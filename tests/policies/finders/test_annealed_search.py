"""AnnealedSearch on made-up curves."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrpilot.core.found import FindCode
from lrpilot.core.shape import annealed
from lrpilot.errors import SettingError
from lrpilot.policies.finders.annealed_search import AnnealedSearch

START = 2.3
FlyFinder = Callable[..., Any]
pure_fixture = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


def landscape(
    peak: float, *, slope: float = 0.0, noise: float = 0.0, seed: int = 0, cliff: float = 30.0
) -> Callable[[float, int], float]:
    """A plateau, a broad valley, a cliff at ``cliff`` times the best lr.

    The best lr is ``peak`` at 100 steps and moves by ``slope`` decades per decade of steps; longer trials
    reach lower losses.
    """
    rng = np.random.default_rng(seed)

    def loss(lr: float, steps: int) -> float:
        x = math.log10(lr / peak) - slope * math.log10(steps / 100)
        if x >= math.log10(cliff):
            return math.inf
        depth = 1.0 + 0.4 * math.log10(steps / 20)
        shape = math.exp(-((x / 1.1) ** 2)) if x < 0 else 1 - 0.8 * x**2
        return START - depth * shape + noise * float(rng.standard_normal())

    return loss


def decades(lr: float | None) -> float:
    assert lr is not None
    return math.log10(lr)


@pytest.mark.parametrize("peak", [3e-6, 1e-3, 0.013, 0.1, 1.5])
def test_finds_the_peak(fly_finder: FlyFinder, peak: float) -> None:
    run = fly_finder(AnnealedSearch(), landscape(peak))
    assert run.found.code is FindCode.OK
    assert run.found.target == "decay" and run.found.method == "annealed_search"
    assert decades(run.found.lr) == pytest.approx(math.log10(peak), abs=0.08)
    low, high = run.found.interval
    assert low < peak < high < 10 * low
    assert run.found.start_loss == START


def shallow(lr: float, steps: int) -> float:
    """A clear minimum at 1e-6, a thousandth deep: what noise does in the first steps of a fine-tuning."""
    return START - 1e-3 * (1 - (math.log10(lr) + 6) ** 2)


def test_a_gain_below_the_scatter_of_batches_is_no_suggestion(fly_finder: FlyFinder) -> None:
    assert fly_finder(AnnealedSearch(), shallow, batch_noise=1e-4).found.lr == pytest.approx(1e-6, rel=0.1)
    found = fly_finder(AnnealedSearch(), shallow, batch_noise=0.05).found
    assert found.code is FindCode.WITHIN_NOISE and "num_steps" in found.status
    assert found.lr is None and found.interval is None and set(found.suggestions.values()) == {None}
    assert found.lengths and found.lrs, "the evidence stays"


def test_a_real_gain_is_one_through_any_scatter_of_batches(fly_finder: FlyFinder) -> None:
    quiet, noisy = (fly_finder(AnnealedSearch(), landscape(0.01), batch_noise=noise).found for noise in (0.0, 0.3))
    assert noisy.lr == quiet.lr


def test_every_trial_is_annealed_and_lengths_follow_each_other(fly_finder: FlyFinder) -> None:
    run = fly_finder(AnnealedSearch(), landscape(0.1))
    lengths = [trial.steps for trial in run.trials]
    assert lengths == sorted(lengths) and set(lengths) == {20, 50, 100}
    assert all(trial.shape == annealed(trial.shape(0), trial.steps) for trial in run.trials)
    assert run.lrs[0] == pytest.approx(1e-3), "the middle of the range"
    first = [lr for lr, steps in zip(run.lrs, lengths, strict=True) if steps == 20]
    assert np.log10(first[:4]) == pytest.approx([-3, -2, -1, 0])


@pytest.mark.parametrize("peak", [1e-3, 0.01, 0.1])
def test_stays_within_its_budget(fly_finder: FlyFinder, peak: float) -> None:
    run = fly_finder(AnnealedSearch(), landscape(peak))
    assert len(run.trials) <= 20
    assert run.steps <= 1000


def test_the_result_keeps_every_length(fly_finder: FlyFinder) -> None:
    run = fly_finder(AnnealedSearch(), landscape(0.1, slope=-0.2))
    found = run.found
    assert [pick.num_steps for pick in found.lengths] == [20, 50, 100]
    assert sum(len(pick.lrs) for pick in found.lengths) == len(run.trials)
    assert (found.lrs, found.losses) == (found.lengths[-1].lrs, found.lengths[-1].losses)
    assert list(found.suggestions) == ["annealed", "annealed_20", "annealed_50", "annealed_100"]
    for pick in found.lengths:
        assert found.suggestions[f"annealed_{pick.num_steps}"] == pick.lr
        assert list(pick.lrs) == sorted(pick.lrs)
        assert decades(pick.lr) == pytest.approx(-1 - 0.2 * math.log10(pick.num_steps / 100), abs=0.08)
    assert found.window[0] <= found.lr <= found.window[1]


def test_lengths_may_be_chosen(fly_finder: FlyFinder) -> None:
    run = fly_finder(AnnealedSearch(num_steps=30, stretch=(1.0,), start_lr=0.05), landscape(0.1))
    assert {trial.steps for trial in run.trials} == {30}
    assert run.lrs[0] == pytest.approx(0.05)
    assert list(run.found.suggestions) == ["annealed", "annealed_30"]
    assert decades(run.found.lr) == pytest.approx(-1, abs=0.15)


def test_a_start_beside_the_answer_is_cheaper(fly_finder: FlyFinder) -> None:
    far = fly_finder(AnnealedSearch(), landscape(1e-6))
    near = fly_finder(AnnealedSearch(start_lr=1e-6), landscape(1e-6))
    assert decades(near.found.lr) == pytest.approx(decades(far.found.lr), abs=0.1)
    assert len(near.trials) < len(far.trials)


def test_noise_moves_the_pick_little(fly_finder: FlyFinder) -> None:
    picks = [
        decades(fly_finder(AnnealedSearch(), landscape(0.1, noise=0.01, seed=seed)).found.lr) for seed in range(30)
    ]
    assert max(abs(x + 1) for x in picks) < 0.3
    assert np.std(picks) < 0.12


def test_stays_below_a_cliff(fly_finder: FlyFinder) -> None:
    # The losses fall all the way to the cliff at lr 0.4.
    found = fly_finder(AnnealedSearch(), lambda lr, steps: START - lr**0.3 if lr < 0.4 else math.inf).found
    lowest_diverged = min(
        lr for p in found.lengths for lr, loss in zip(p.lrs, p.losses, strict=True) if math.isinf(loss)
    )
    assert found.lr <= lowest_diverged * 10**-0.5 * (1 + 1e-9)
    assert found.interval[1] <= lowest_diverged * 10**-0.5 * (1 + 1e-9)
    assert found.lr > 0.1


@pytest.mark.parametrize("dead", [START, START - 0.001, math.inf])
def test_a_longer_trial_that_kills_the_model_sends_the_search_down(fly_finder: FlyFinder, dead: float) -> None:
    # At 100 steps everything above 0.15 dies, and a dead model is back at its start loss, or a little below it.
    def dying(lr: float, steps: int) -> float:
        if steps == 100 and lr > 0.15:
            return START - 0.02 * lr if lr > 0.5 else dead
        return landscape(0.3)(lr, steps)

    found = fly_finder(AnnealedSearch(), dying).found
    assert found.code is FindCode.OK
    assert 0.05 < found.lr < 0.16


def test_hopeless_trials_end_early_and_change_nothing(fly_finder: FlyFinder) -> None:
    def broken(loss: float) -> Callable[[float, int], float]:
        return lambda lr, steps: landscape(0.1)(lr, steps) if lr < 0.2 else loss

    exploding, diverging = (fly_finder(AnnealedSearch(), broken(loss)) for loss in (1e6, math.inf))
    assert exploding.found.suggestions == diverging.found.suggestions
    assert exploding.steps < sum(trial.steps for trial in exploding.trials) - 100


def test_a_length_without_a_survivor_leaves_the_shorter_picks(fly_finder: FlyFinder) -> None:
    found = fly_finder(
        AnnealedSearch(), lambda lr, steps: math.inf if steps == 100 else landscape(0.1)(lr, steps)
    ).found
    assert [pick.num_steps for pick in found.lengths] == [20, 50]
    assert found.suggestions["annealed_100"] is None
    assert decades(found.lr) == pytest.approx(-1, abs=0.1)


def test_a_plateau_at_the_start_needs_longer_trials(fly_finder: FlyFinder) -> None:
    found = fly_finder(AnnealedSearch(), lambda lr, steps: START if steps == 20 else landscape(0.1)(lr, steps)).found
    assert found.code is FindCode.OK
    assert [pick.num_steps for pick in found.lengths] == [50, 100]
    assert decades(found.lr) == pytest.approx(-1, abs=0.1)


@pytest.mark.parametrize(
    ("curve", "code"),
    [
        (lambda lr, steps: START, FindCode.FLAT),
        (lambda lr, steps: START + lr, FindCode.RISING),
        (lambda lr, steps: math.inf, FindCode.ALL_DIVERGED),
    ],
)
def test_no_suggestion_is_a_result(fly_finder: FlyFinder, curve: Any, code: FindCode) -> None:
    run = fly_finder(AnnealedSearch(), curve)
    assert run.found.code is code
    assert run.found.lr is None and run.found.interval is None and run.found.lengths == ()
    assert set(run.found.suggestions.values()) == {None}
    assert len(run.trials) <= 40


def test_a_broken_start_ends_at_once(fly_finder: FlyFinder) -> None:
    run = fly_finder(AnnealedSearch(), landscape(0.1), start=math.inf)
    assert run.found.code is FindCode.ALL_DIVERGED and run.trials == []


@pytest.mark.parametrize(
    ("bounds", "code"),
    [((1e-7, 1e-2), FindCode.AT_UPPER_EDGE), ((1.0, 10.0), FindCode.AT_LOWER_EDGE), ((1e-2, 1.0), FindCode.OK)],
)
def test_a_best_lr_at_the_edge_is_said(fly_finder: FlyFinder, bounds: tuple[float, float], code: FindCode) -> None:
    low, high = bounds
    run = fly_finder(AnnealedSearch(min_lr=low, max_lr=high), landscape(0.1))
    assert run.found.code is code
    assert low <= min(run.lrs) and max(run.lrs) <= high
    assert low <= run.found.lr <= high


def test_a_range_narrower_than_the_lattice(fly_finder: FlyFinder) -> None:
    run = fly_finder(AnnealedSearch(min_lr=0.09, max_lr=0.11), landscape(0.1))
    assert 0.09 <= run.found.lr <= 0.11


@pure_fixture
@given(st.floats(-3, 3), st.floats(-100, 100), st.floats(-4, 0))
def test_scale_and_shift_of_the_loss_change_nothing(
    fly_finder: FlyFinder, log_scale: float, shift: float, log_peak: float
) -> None:
    def moved(loss: float) -> float:
        return 10.0**log_scale * (loss + shift)

    curve = landscape(10.0**log_peak)
    before = fly_finder(AnnealedSearch(), curve)
    after = fly_finder(AnnealedSearch(), lambda lr, steps: moved(curve(lr, steps)), start=moved(START))
    assert after.lrs == before.lrs
    assert decades(after.found.lr) == pytest.approx(decades(before.found.lr), abs=1e-6)


@pure_fixture
@given(st.floats(-3, 3))
def test_a_range_and_a_landscape_moved_together_move_the_pick_along(fly_finder: FlyFinder, move: float) -> None:
    factor = 10.0**move
    before = fly_finder(AnnealedSearch(), landscape(0.02))
    after = fly_finder(AnnealedSearch(min_lr=1e-7 * factor, max_lr=10 * factor), landscape(0.02 * factor))
    assert decades(after.found.lr) == pytest.approx(decades(before.found.lr) + move, abs=1e-6)


@pytest.mark.parametrize("peak", [1e-4, 0.1])
def test_a_saved_search_goes_on_the_same(fly_finder: FlyFinder, peak: float) -> None:
    plain = fly_finder(AnnealedSearch(), landscape(peak, noise=0.01))
    saved = fly_finder(AnnealedSearch(), landscape(peak, noise=0.01), through_json=True)
    assert saved.trials == plain.trials
    assert saved.found == plain.found


@pytest.mark.parametrize(
    "setting",
    [
        {"min_lr": 0.0},
        {"max_lr": math.nan},
        {"min_lr": 1.0, "max_lr": 0.1},
        {"num_steps": 0},
        {"stretch": ()},
        {"stretch": (2.0, 1.0)},
        {"stretch": (1.0, 1.01)},
        {"stretch": (0.01,)},
        {"start_lr": 100.0},
        {"start_lr": math.nan},
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must .*got "):
        AnnealedSearch(**setting)
