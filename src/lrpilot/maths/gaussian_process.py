"""Gaussian process over one coordinate, for about ten noisy readings: the regression behind the surrogate.

Notation: z = f(x) + noise at n places x; f has an unknown constant mean and the covariance A·K, with K the Matern-5/2
correlation of length scale ℓ; the noise has the variance A·ρ. C = K + ρ·I.

Matern-5/2: losses against log lr are smooth, but not as smooth as the squared exponential would have it. ℓ and ρ are
averaged over a fixed grid by their evidence, with mean and amplitude A in closed form. They are not fitted: with ten
points the evidence has several peaks, and an optimizer that lands on another one with the last point makes the search
jump. There is no randomness anywhere.

Why not scikit-learn's ``GaussianProcessRegressor``: it has neither an unknown mean nor an average over settings. It
would have to be fitted once a setting, each time with its checks around a product of ten numbers. Here all settings
are one batch, and nothing is loaded. The tests hold every setting to that regressor: mean, standard deviation and
evidence. Nor is there a thread to keep from the training: matrices of ten rows are too small for BLAS to wake one
(lrpilot_bench.studies.surrogate_minima measures it, and the time of a fit).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LENGTHS = np.geomspace(0.5, 6.0, 7)  # ℓ, in units of x
NOISES = np.array([1e-6, 1e-4, 1e-3, 1e-2, 5e-2])  # ρ
# Prior of the length scale: log-normal, this median and this spread of its natural logarithm.
LENGTH_MEDIAN, LENGTH_SPREAD = 2.0, 0.7
# The prior of the amplitude counts as this many readings at a variance of 1.
AMPLITUDE_WEIGHT = 0.1


@dataclass(frozen=True)
class Posterior:
    """What is believed of f at m places.

    Attributes:
        mean: expected f, shape (m,).
        std: its standard deviation, shape (m,), without the noise of a reading.
        noise: standard deviation of a reading about f.
    """

    mean: Vector
    std: Vector
    noise: float


def regress(x: Vector, z: Vector, at: Vector) -> Posterior:
    """The posterior, averaged over all settings of length scale and noise.

    Args:
        x: places of the readings, shape (n,), n >= 1.
        z: the readings, shape (n,), of magnitude 1.
        at: places to look at, shape (m,).
    """
    log_weight, amplitude, mean, variance = each_setting(x, z, at)
    weight = np.exp(log_weight - np.max(log_weight))
    weight /= np.sum(weight)
    average = np.einsum("lr,lrm->m", weight, mean)
    spread = np.einsum("lr,lrm->m", weight, variance + (mean - average) ** 2)
    return Posterior(average, np.sqrt(spread), math.sqrt(float(np.sum(weight * amplitude * NOISES))))


def each_setting(x: Vector, z: Vector, at: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    """The regression at every length scale and noise, as arrays over (ℓ, ρ) or (ℓ, ρ, places).

    With 1 the vector of ones and r = z − μ·1: μ = (1ᵀC⁻¹z) / (1ᵀC⁻¹1), A = rᵀC⁻¹r / n, and the evidence is
    −½·n·log A − ½·log det C, where the prior of A adds to n and to rᵀC⁻¹r.

    Args:
        x: shape (n,).
        z: shape (n,).
        at: shape (m,).

    Returns:
        (log of evidence times prior, A, mean, variance of f).
    """
    root = np.linalg.cholesky(_correlation(x, x) + NOISES[:, None, None] * np.eye(len(x)))
    whiten = np.linalg.inv(root)  # C⁻¹ = whitenᵀ·whiten
    ones, values = np.sum(whiten, axis=-1), whiten @ z
    level = np.sum(ones * values, axis=-1) / np.sum(ones**2, axis=-1)
    rest = values - level[..., None] * ones
    count = len(x) + AMPLITUDE_WEIGHT
    amplitude = (np.sum(rest**2, axis=-1) + AMPLITUDE_WEIGHT) / count
    half_log_det = np.sum(np.log(np.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
    prior = -0.5 * (np.log(LENGTHS / LENGTH_MEDIAN) / LENGTH_SPREAD) ** 2
    log_weight = prior[:, None] - 0.5 * count * np.log(amplitude) - half_log_det

    across = whiten @ _correlation(x, at)
    mean = level[..., None] + np.einsum("lrnm,lrn->lrm", across, rest)
    known = np.sum(across**2, axis=-2)  # the share of f's variance that the readings take away
    return log_weight, amplitude, mean, amplitude[..., None] * np.maximum(1.0 - known, 0.0)


def _correlation(a: Vector, b: Vector) -> Vector:
    """Matern-5/2 at every length scale: shape (ℓ, 1, len(a), len(b))."""
    r = math.sqrt(5.0) * np.abs(a[:, None] - b[None]) / LENGTHS[:, None, None, None]
    correlation: Vector = (1.0 + r + r**2 / 3.0) * np.exp(-r)
    return correlation
