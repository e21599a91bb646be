"""Landscapes: numbers by hand, torch's own SGD, and where training diverges."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.errors import SettingError
from lrpilot.flight.landscape import NoisyQuadratic, RecordedCurve

NAN, INF = math.nan, math.inf


def held_out_after(landscape: NoisyQuadratic, lr: float, steps: int, seed: int = 0) -> float:
    rng, state = np.random.default_rng(seed), landscape.start()
    for _ in range(steps):
        state = landscape.step(state, landscape.draw(rng), lr, None)
    return landscape.held_out(state)


# -------------------------------------------------------------- quadratic


def test_a_quadratic_by_hand() -> None:
    landscape = NoisyQuadratic((2.0, 1.0))
    state = landscape.start()
    centre = landscape.draw(np.random.default_rng(0))
    assert landscape.held_out(state) == landscape.loss(state, centre) == 1.5
    state = landscape.step(state, centre, 0.25, None)
    assert state.weights.tolist() == [0.5, 0.75]
    assert landscape.held_out(state) == 0.5 * (2 * 0.25 + 0.5625)


def test_its_steps_are_torchs() -> None:
    landscape = NoisyQuadratic((3.0, 1.0, 0.2), noise=0.5, momentum=0.9)
    rng, state = np.random.default_rng(3), landscape.start()
    weights = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.1, momentum=0.9)
    for _ in range(30):
        centre = landscape.draw(rng)
        loss = 0.5 * (torch.tensor(landscape.eigenvalues) * (weights - torch.from_numpy(centre)) ** 2).sum()
        assert landscape.loss(state, centre) == pytest.approx(loss.item(), rel=1e-6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = landscape.step(state, centre, 0.1, None)
    assert state.weights == pytest.approx(weights.detach().numpy(), rel=1e-6)


def test_a_momentum_that_is_given_replaces_its_own() -> None:
    plain, heavy = NoisyQuadratic((1.0,)), NoisyQuadratic((1.0,), momentum=0.9)
    one, other = plain.start(), heavy.start()
    for _ in range(5):
        one = plain.step(one, np.zeros(1), 0.1, 0.9)
        other = heavy.step(other, np.zeros(1), 0.1, None)
    assert one.weights == other.weights and one.buffer == other.buffer


@given(st.floats(0.1, 10.0), st.floats(0.0, 0.95), st.floats(0.02, 0.3))
def test_it_diverges_above_its_critical_lr_and_not_below(largest: float, momentum: float, margin: float) -> None:
    landscape = NoisyQuadratic((largest, largest / 7), momentum=momentum)
    start = landscape.held_out(landscape.start())
    assert held_out_after(landscape, landscape.critical_lr * (1 - margin), 500) < start
    after = held_out_after(landscape, landscape.critical_lr * (1 + margin), 500)
    assert not after < 1e6 * start


def test_divergence_is_a_loss_that_is_not_finite_and_no_warning() -> None:
    assert not math.isfinite(held_out_after(NoisyQuadratic((1.0, 0.5), noise=0.1, momentum=0.5), 100.0, 500))


def test_the_held_out_loss_is_the_mean_over_batches() -> None:
    landscape = NoisyQuadratic((4.0, 1.0), noise=0.3)
    rng, state = np.random.default_rng(0), landscape.start()
    losses = [landscape.loss(state, landscape.draw(rng)) for _ in range(20_000)]
    assert landscape.held_out(state) == 2.5 + 0.5 * 2 * 0.09
    assert np.mean(losses) == pytest.approx(landscape.held_out(state), abs=5 * np.std(losses) / math.sqrt(20_000))


def test_the_noise_of_the_gradient_is_the_hessian() -> None:
    landscape = NoisyQuadratic((4.0, 0.25), noise=0.5)
    rng = np.random.default_rng(0)
    centres = np.array([landscape.draw(rng) for _ in range(20_000)])
    assert np.var(centres * [4.0, 0.25], axis=0) == pytest.approx([0.25 * 4.0, 0.25 * 0.25], rel=0.05)


def test_a_state_is_never_changed_in_place() -> None:
    landscape = NoisyQuadratic((1.0, 0.1), momentum=0.9)
    state = landscape.start()
    landscape.step(state, np.ones(2), 0.1, None)
    landscape.mix([state, state], [0.5, 0.5])
    assert state.weights.tolist() == [1.0, 1.0] and state.buffer.tolist() == [0.0, 0.0]


def test_log_spaced_by_hand() -> None:
    landscape = NoisyQuadratic.log_spaced(3, condition=100.0, largest=2.0, noise=0.1)
    assert landscape.eigenvalues == pytest.approx((2.0, 0.2, 0.02)) and landscape.noise == 0.1
    assert landscape.critical_lr == 1.0
    assert decode(encode(landscape)) == landscape


# ------------------------------------------------------------------ curve

CURVE = RecordedCurve((1e-3, 1e-2, 1e-1, 1.0, 10.0), (2.0, 1.0, 0.5, NAN, 3.0), 2.5)


@pytest.mark.parametrize(
    ("lr", "loss"),
    [
        (0.0, 2.5),
        (1e-9, 2.0),
        (1e-3, 2.0),
        (10**-2.5, 1.5),
        (1e-2, 1.0),
        (10**-1.25, 0.625),
        (0.1, 0.5),
        (0.11, INF),
        (1.0, INF),
        (5.0, INF),
        (10.0, 3.0),
        (10.1, INF),
    ],
)
def test_a_curve_by_hand(lr: float, loss: float) -> None:
    assert CURVE.loss_at(lr) == pytest.approx(loss)


def test_training_walks_the_curve_and_a_line_scales_its_lr() -> None:
    state = CURVE.start()
    for lr in (1e-3, 1e-2, 1e-3):
        state = CURVE.step(state, None, lr, None)
    assert CURVE.held_out(state) == 1.0, "the largest lr so far"
    assert CURVE.held_out(CURVE.mix([0.0, 1e-2], [1 - 10.0, 10.0])) == pytest.approx(0.5)


@given(st.lists(st.floats(0.1, 10.0), min_size=2, max_size=8), st.floats(0, 1))
def test_between_its_points_a_curve_stays_between_their_losses(losses: list[float], u: float) -> None:
    lrs = tuple(10.0 ** (i / 2 - 3) for i in range(len(losses)))
    curve = RecordedCurve(lrs, tuple(losses), 20.0)
    assert [curve.loss_at(lr) for lr in lrs] == losses
    between = curve.loss_at(lrs[0] ** (1 - u) * lrs[1] ** u)
    assert min(losses[:2]) - 1e-9 <= between <= max(losses[:2]) + 1e-9


# -------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoisyQuadratic(()), "eigenvalues must be finite and > 0"),
        (lambda: NoisyQuadratic((1.0, 0.0)), "eigenvalues must be finite and > 0"),
        (lambda: NoisyQuadratic((INF,)), "eigenvalues must be finite and > 0"),
        (lambda: NoisyQuadratic((1.0,), noise=-0.1), "noise must be finite and >= 0, got -0.1"),
        (lambda: NoisyQuadratic((1.0,), momentum=1.0), "momentum must be in"),
        (lambda: NoisyQuadratic.log_spaced(1, condition=10.0), "num must be >= 2 and condition >= 1, got 1 and 10.0"),
        (lambda: NoisyQuadratic.log_spaced(3, condition=0.5), "condition >= 1, got 3 and 0.5"),
        (lambda: RecordedCurve((), (), 1.0), "a loss for each lr"),
        (lambda: RecordedCurve((0.1, 0.2), (1.0,), 1.0), "got 1 for 2"),
        (lambda: RecordedCurve((0.2, 0.1), (1.0, 2.0), 1.0), "ascending"),
        (lambda: RecordedCurve((0.0, 0.1), (1.0, 2.0), 1.0), "ascending"),
    ],
)
def test_bad_landscapes(make: object, message: str) -> None:
    with pytest.raises(SettingError) as error:
        make()  # type: ignore[operator]
    assert message in str(error.value)
