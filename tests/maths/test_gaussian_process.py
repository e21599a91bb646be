"""The regression behind the surrogate: against scikit-learn's regressor, by hand, and its symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpilot.maths import gaussian_process as module
from lrpilot.maths.gaussian_process import Vector, each_setting, regress

AT = np.linspace(-6.0, -1.0, 26)
SEEDS = st.integers(0, 10_000)


def readings(n: int = 8, *, seed: int = 0) -> tuple[Vector, Vector]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-6, -1, n)
    return x, (x + 3) ** 2 / 3 + 0.05 * rng.standard_normal(n)


@pytest.mark.parametrize("n", [1, 2, 8, 20])
def test_every_setting_is_the_librarys_regressor(n: int) -> None:
    """The library takes mean and amplitude as given: they are found here by explicit inverses."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    (x, z), weight = readings(n), module.AMPLITUDE_WEIGHT
    log_weight, amplitude, mean, variance = each_setting(x, z, AT)
    off = []
    for i, length in enumerate(module.LENGTHS):
        for j, ratio in enumerate(module.NOISES):
            inverse = np.linalg.inv(Matern(length, nu=2.5)(x[:, None]) + ratio * np.eye(n))
            level = np.sum(inverse @ z) / np.sum(inverse)
            size = ((z - level) @ inverse @ (z - level) + weight) / (n + weight)
            assert amplitude[i, j] == pytest.approx(size, rel=1e-4)

            kernel = ConstantKernel(size, "fixed") * Matern(length, nu=2.5)
            library = GaussianProcessRegressor(kernel, alpha=size * ratio, optimizer=None).fit(x[:, None], z - level)
            follows, std = library.predict(AT[:, None], return_std=True)
            assert mean[i, j] == pytest.approx(level + follows, abs=1e-5)
            assert np.sqrt(variance[i, j]) == pytest.approx(std, abs=1e-4)

            of_size = -0.5 * weight * (math.log(size) + 1 / size)  # so many readings more, of variance 1
            of_length = -0.5 * (math.log(length / module.LENGTH_MEDIAN) / module.LENGTH_SPREAD) ** 2
            off.append(log_weight[i, j] - library.log_marginal_likelihood_value_ - of_size - of_length)
    assert np.ptp(off) < 1e-4, "the same, but for a constant"


def test_the_average_is_that_of_the_settings() -> None:
    """Law of total variance, setting by setting."""
    x, z = readings()
    log_weight, amplitude, mean, variance = (a.reshape(35, -1) for a in each_setting(x, z, AT))
    weights = [math.exp(one) for one in log_weight[:, 0]]
    total, seen = sum(weights), regress(x, z, AT)
    average = sum(w / total * m for w, m in zip(weights, mean, strict=True))
    second = sum(w / total * (v + m**2) for w, v, m in zip(weights, variance, mean, strict=True))
    noise = sum(w / total * a * r for w, a, r in zip(weights, amplitude[:, 0], 7 * [*module.NOISES], strict=True))
    assert seen.mean == pytest.approx(average, abs=1e-9)
    assert seen.std == pytest.approx(np.sqrt(second - average**2), abs=1e-6)
    assert seen.noise == pytest.approx(math.sqrt(noise))


def test_a_single_reading_by_hand() -> None:
    seen = regress(np.array([-3.0]), np.array([0.7]), np.array([-3.0, 1e6]))
    assert seen.mean == pytest.approx([0.7, 0.7], abs=1e-9)
    # The mean goes through the reading, so that nothing but the prior speaks of the amplitude: 0.1 / 1.1.
    assert seen.std[1] == pytest.approx(math.sqrt(1 / 11)) and seen.std[0] < 0.1


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(-10, 10), st.floats(-10, 10))
def test_it_moves_with_places_and_level(seed: int, move: float, level: float) -> None:
    x, z = readings(seed=seed)
    seen, moved = regress(x, z, AT), regress(x + move, z + level, AT + move)
    assert moved.mean == pytest.approx(seen.mean + level, abs=1e-6)
    assert moved.std == pytest.approx(seen.std, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.permutations(range(8)))
def test_order_is_of_no_account(seed: int, order: list[int]) -> None:
    x, z = readings(seed=seed)
    seen, other = regress(x, z, AT), regress(x[order], z[order], AT)
    assert other.mean == pytest.approx(seen.mean, abs=1e-6)
    assert (other.std, other.noise) == (pytest.approx(seen.std, abs=1e-6), pytest.approx(seen.noise, abs=1e-9))


def test_places_read_many_times_over_are_no_trouble() -> None:
    seen = regress(np.full(30, -3.0), np.linspace(0, 1, 30), AT)
    assert np.isfinite([seen.mean, seen.std]).all()
    assert seen.mean[np.argmin(np.abs(AT + 3))] == pytest.approx(0.5, abs=0.01)
    assert seen.noise > 0.1
