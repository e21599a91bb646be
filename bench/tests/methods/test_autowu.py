"""AutoWU: its smoother, its test by hand and on made losses, its lrs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.methods.autowu import (
    END_LR,
    LENGTH,
    START_LR,
    AutoWarmup,
    fitted_kernel,
    loss_has_risen,
    rise_probability,
)

# ------------------------------------------------------------------ the smoother


def test_the_noise_of_a_smooth_curve_is_recovered() -> None:
    random = np.random.default_rng(0)
    x = np.linspace(0, 1, 100)
    kernel, noise = fitted_kernel(x, np.cos(3 * x) + 0.3 * random.standard_normal(100))
    assert noise == pytest.approx(0.09, rel=0.4)
    assert kernel.k2.length_scale == LENGTH, "fixed, as the authors'"


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_verdict_does_not_depend_on_the_units_of_the_loss(scale: float) -> None:
    x = np.linspace(0.005, 1, 80)
    y = 4 * (x - 0.6) ** 2 + 0.1 * np.random.default_rng(1).standard_normal(80)
    one, other = (loss_has_risen(x, losses, np.random.default_rng(2)) for losses in (y, scale * y - 7.0))
    assert one[0] == other[0] and one[1] == pytest.approx(other[1], abs=0.01)


def test_a_constant_loss_has_not_risen() -> None:
    assert not loss_has_risen(np.linspace(0.01, 1, 50), np.ones(50), np.random.default_rng(0))[0]


# ------------------------------------------------------------------ has the loss risen?


def test_the_probability_of_a_rise_by_hand() -> None:
    # X_1 ~ N(0, 1/2), X_2 ~ N(1, 1/2), independent: X_2 - X_1 ~ N(1, 1), P(X_1 < X_2) = Phi(1)
    assert rise_probability(np.array([0.0, 1.0]), np.diag([0.5, 0.5])) == pytest.approx(0.8413, abs=1e-4)
    # fully dependent: the difference is certain (but for the 1e-4 that keeps it finite)
    assert rise_probability(np.array([0.0, 1.0]), np.full((2, 2), 0.5)) == pytest.approx(1.0)
    assert rise_probability(np.array([1.0, 0.0]), np.full((2, 2), 0.5)) == pytest.approx(0.0)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6), st.floats(-9, 9))
def test_the_probability_of_a_rise_ignores_a_shift(mean: list[float], shift: float) -> None:
    covariance = np.eye(len(mean))
    expected = rise_probability(np.array(mean), covariance)
    assert rise_probability(np.array(mean) + shift, covariance) == pytest.approx(expected, abs=1e-9)
    assert 0 <= expected <= 1


@pytest.mark.parametrize("seed", range(5))
def test_a_rise_is_told_from_a_fall_through_noise(seed: int) -> None:
    random = np.random.default_rng(seed)
    x = np.linspace(0.005, 1, 200)
    noise = 0.1 * random.standard_normal(200)
    valley = 4 * (x - 0.7) ** 2 + noise  # up by 0.36 at the end
    risen, lowest = loss_has_risen(x, valley, random)
    assert risen and lowest[0] == pytest.approx(0.7, abs=0.1)
    assert not loss_has_risen(x, 2 - 2 * x + noise, random)[0]


def test_many_losses_are_judged_by_five_subsamples() -> None:
    random = np.random.default_rng(0)
    x = np.linspace(0.001, 1, 600)
    risen, lowest = loss_has_risen(x, 4 * (x - 0.6) ** 2 + 0.1 * random.standard_normal(600), random)
    assert risen and len(lowest) == 5


# ------------------------------------------------------------------ the lrs


def flown(steps: int, loss: object, seed: int = 0) -> tuple[AutoWarmup, list[float]]:
    schedule, random = AutoWarmup(steps, seed=seed), np.random.default_rng(seed)
    lrs = []
    for step in range(steps):
        lrs.append(schedule.lr(step))
        schedule.tell(loss(lrs[-1]) + 0.05 * random.standard_normal())
    return schedule, lrs


def rises_beyond(lr: float) -> float:
    """Least at 1e-2, a parabola in log lr: what a range test sees."""
    return 1 + 0.2 * (math.log10(lr) + 2) ** 2


def test_the_warmup_ends_where_the_loss_rises_and_goes_back_to_where_it_was_lowest() -> None:
    schedule, lrs = flown(1000, rises_beyond)

    assert schedule.saw_rise and schedule.peak == pytest.approx(1e-2, rel=0.6)
    assert lrs[0] == START_LR
    assert lrs[100] == pytest.approx(START_LR * 10)  # 5 decades in 500 steps
    assert schedule.switched_at % 10 == 0, "a test every hundredth"
    assert max(lrs) == lrs[schedule.switched_at - 1] > schedule.peak
    half_way = (schedule.switched_at + 1000) / 2
    assert lrs[schedule.switched_at] == schedule.peak
    assert lrs[round(half_way)] == pytest.approx(schedule.peak / 2, rel=0.01)
    assert 0 < lrs[-1] < 1e-5 * schedule.peak


def test_without_a_rise_the_warmup_ends_at_half_of_the_steps() -> None:
    schedule, lrs = flown(200, lambda lr: 2 - 0.3 * math.log10(lr))

    assert not schedule.saw_rise and schedule.switched_at == 100
    assert schedule.peak == pytest.approx(END_LR) and lrs[100] == pytest.approx(END_LR)


def test_losses_that_are_not_finite_are_left_out() -> None:
    schedule = AutoWarmup(400, seed=0)
    for step in range(400):
        loss = math.nan if step % 7 == 3 else rises_beyond(schedule.lr(step))
        schedule.tell(loss)
    assert schedule.saw_rise and schedule.peak == pytest.approx(1e-2, rel=0.6)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_shortest_trainings_have_an_lr_for_every_step(steps: int) -> None:
    _, lrs = flown(steps, lambda lr: 1.0)
    assert len(lrs) == steps and all(0 < lr <= END_LR for lr in lrs)
