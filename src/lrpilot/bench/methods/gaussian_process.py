"""A Gaussian process over a curve of noisy losses: the smoother of AutoWU.

Model: y(x) = m + f(x) + e, with f a zero-mean process of covariance s² exp(-(x - x')² / (2 l²)) and independent
noise e of variance n². m is the mean of the data; losses are divided by their standard deviation first, so that
the starting values fit any loss. Rasmussen and Williams, "Gaussian Processes for Machine Learning", chapter 2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

START_LENGTH = 0.2  # of the range of x, as in AutoWU
# ln of (length, signal variance, noise variance), within which they are fitted
BOUNDS = ((np.log(0.05), np.log(5.0)), (np.log(1e-3), np.log(1e2)), (np.log(1e-4), np.log(1e1)))


@dataclass(frozen=True)
class GaussianProcess:
    """The process's parameters; variances are of standardised losses.

    Attributes:
        length: l, in units of x.
        signal: s².
        noise: n².
    """

    length: float
    signal: float
    noise: float

    def kernel(self, one: Vector, other: Vector) -> Matrix:
        """Covariance of f between every two places, len(one) x len(other)."""
        return np.asarray(self.signal * np.exp(-0.5 * np.square((one[:, None] - other[None, :]) / self.length)))

    def predict(self, x: Vector, y: Vector, at: Vector) -> tuple[Vector, Matrix]:
        """Posterior of f, given data, in standardised units: noise is not part of it.

        Args:
            x: n places of the data.
            y: n losses.
            at: k places to predict at.

        Returns:
            Mean (k) and covariance (k x k).
        """
        from scipy.linalg import cho_factor, cho_solve

        factor = cho_factor(self.kernel(x, x) + self.noise * np.eye(len(x)), lower=True)
        between = self.kernel(x, at)
        mean = between.T @ cho_solve(factor, standardised(y))
        return mean, self.kernel(at, at) - between.T @ cho_solve(factor, between)

    def surprise(self, x: Vector, y: Vector) -> float:
        """Minus the log marginal likelihood of standardised losses, a constant left out."""
        from scipy.linalg import cho_factor, cho_solve

        factor = cho_factor(self.kernel(x, x) + self.noise * np.eye(len(x)), lower=True)
        return float(0.5 * y @ cho_solve(factor, y) + np.log(np.diag(factor[0])).sum())


def standardised(y: Vector) -> Vector:
    """Mean 0 and standard deviation 1; a constant becomes 0."""
    spread = float(y.std())
    return np.asarray((y - y.mean()) / (spread if spread > 0 else 1.0))


def fit_process(x: Vector, y: Vector) -> GaussianProcess:
    """The most likely process within :data:`BOUNDS`, found from one start by L-BFGS.

    Args:
        x: n places.
        y: n finite losses.
    """
    from scipy.optimize import minimize

    scaled = standardised(y)
    start = np.log([START_LENGTH, 1.0, 0.5])
    found = minimize(lambda logs: GaussianProcess(*np.exp(logs)).surprise(x, scaled), start, bounds=BOUNDS)
    return GaussianProcess(*np.exp(found.x).tolist())
