"""AutoWU: an exponential warmup until the loss rises, then a cosine to zero. An independent rewrite.

Source: Kim et al., "Automated Learning Rate Scheduler for Large-batch Training" (2021), and the documented
defaults of its authors' package. From there: the lr grows exponentially from 1e-5 towards 1, which it would reach
at half of the steps; from time to time a Gaussian process is fitted to the training losses so far; when three
tests in a row say that the loss now is higher than some loss before with a confidence of 95 % (the majority of
five fits to subsamples), the lr goes back to where the fitted loss was lowest and from there to zero in a cosine.
If they never do, the cosine begins at half of the steps.

Ours: a test every hundredth of the steps, where the paper tests every epoch of its long runs (ours last a few
epochs, and three tests would come too late); the process is scikit-learn's, of standardised losses, its variances
fitted anew by L-BFGS at every test (the authors' is GPyTorch's, of losses as they are, fitted by 100 steps of Adam
that go on from one test to the next); losses that are not finite are left out of it. The length scale is fixed, as
theirs is. The paper trains with AdamP and LAMB, we with the optimizer of the task.
"""

import math
import warnings
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.session import Session

START_LR = 1e-5
END_LR = 1.0
WARMUP_PART = 0.5  # of the steps, at most
TESTS = 100  # over all steps
PATIENCE = 3  # tests in a row
CONFIDENCE = 0.95
DRAWS = 5  # subsamples whose majority decides
FIT_POINTS = 100  # losses that the process's parameters are fitted to
POINTS = 500  # losses of a subsample that a prediction is made from
GRID = 500  # places at which the loss is predicted
LENGTH = 0.2  # length scale of the process, of the range of places
FEWEST_POINTS = 10


class AutoWarmup:
    """The lr of each step, decided by the losses of the steps before it.

    Args:
        steps: of the whole training.
        seed: of the subsamples.

    Attributes:
        losses: training losses of the warmup.
        peak: lr that the cosine begins at, natural units; None during the warmup.
        switched_at: number of steps taken before it.
        saw_rise: whether the cosine began because the loss rose.
    """

    def __init__(self, steps: int, *, seed: int) -> None:
        self.steps = steps
        self.losses: list[float] = []
        self.peak: float | None = None
        self.switched_at = 0
        self.saw_rise = False
        self._warmup = max(1, int(WARMUP_PART * steps))
        self._interval = max(1, round(steps / TESTS))
        self._verdicts: deque[bool] = deque(maxlen=PATIENCE)
        self._random = np.random.default_rng(seed)

    def lr(self, step: int) -> float:
        """The lr of a step; steps count from 0."""
        if self.peak is None:
            return self._warmup_lr(step)
        done = (step - self.switched_at) / (self.steps - self.switched_at)
        return self.peak * (1 + math.cos(math.pi * done)) / 2

    def tell(self, loss: float) -> None:
        """Note the training loss of the next step, and decide whether the warmup is over."""
        if self.peak is not None:
            return
        self.losses.append(loss)
        taken = len(self.losses)
        if taken >= self._warmup:
            self._switch(self._warmup_lr(taken))
        elif taken % self._interval == 0:
            self._test(taken)

    def _warmup_lr(self, step: float) -> float:
        return float(START_LR * (END_LR / START_LR) ** (step / self._warmup))

    def _switch(self, peak: float) -> None:
        self.peak, self.switched_at = peak, len(self.losses)

    def _test(self, taken: int) -> None:
        values = np.array(self.losses)
        usable = np.isfinite(values)
        if usable.sum() < FEWEST_POINTS:
            return
        places = np.arange(1, taken + 1)[usable] / taken
        risen, lowest = loss_has_risen(places, values[usable], self._random)
        self._verdicts.append(risen)
        if sum(self._verdicts) == PATIENCE:
            self.saw_rise = True
            self._switch(float(np.mean([self._warmup_lr(place * taken) for place in lowest])))


def loss_has_risen(
    places: NDArray[np.float64], losses: NDArray[np.float64], random: np.random.Generator
) -> tuple[bool, list[float]]:
    """Whether the loss at the end is confidently higher than some loss before, by majority over subsamples.

    Args:
        places: n times of the losses, ascending in (0, 1].
        losses: n finite losses.
        random: draws the subsamples.

    Returns:
        The verdict, and the place of the lowest fitted loss in each subsample.
    """
    scaled = (losses - losses.mean()) / (losses.std() or 1.0)
    kernel, noise = fitted_kernel(*_subsample(places, scaled, FIT_POINTS, random))
    grid = np.linspace(0.0, 1.0, GRID)
    votes, lowest = [], []
    for _ in range(DRAWS if len(losses) > POINTS else 1):  # subsamples of fewer are all the same
        mean, covariance = _posterior(kernel, noise, *_subsample(places, scaled, POINTS, random), grid)
        votes.append(rise_probability(mean, covariance) > CONFIDENCE)
        lowest.append(float(grid[np.argmin(mean)]))
    return sum(votes) > len(votes) / 2, lowest


def fitted_kernel(places: NDArray[np.float64], losses: NDArray[np.float64]) -> tuple[Any, float]:
    """The most likely Gaussian process behind noisy losses: its kernel, and the variance of the noise.

    Args:
        places: n times in [0, 1].
        losses: n standardised losses.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(LENGTH, "fixed") + WhiteKernel(0.1, (1e-4, 1e1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a variance at its bound is an answer too
        fitted = GaussianProcessRegressor(kernel, alpha=1e-10).fit(places[:, None], losses).kernel_
    return fitted.k1, float(fitted.k2.noise_level)


def _posterior(
    kernel: Any, noise: float, places: NDArray[np.float64], losses: NDArray[np.float64], at: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the loss without its noise, at k places."""
    from sklearn.gaussian_process import GaussianProcessRegressor

    process = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(places[:, None], losses)
    mean, covariance = process.predict(at[:, None], return_cov=True)
    return mean, covariance


def rise_probability(mean: NDArray[np.float64], covariance: NDArray[np.float64]) -> float:
    """The largest over i < k of P(X_i < X_k) for jointly normal X_1 ... X_k.

    Args:
        mean: k.
        covariance: k x k.
    """
    from scipy.special import ndtr

    variances = np.diag(covariance)
    spread = np.sqrt(np.maximum(variances[:-1] + variances[-1] - 2 * covariance[:-1, -1], 0.0) + 1e-4)
    return float(ndtr((mean[-1] - mean[:-1]) / spread).max())


def _subsample(
    places: NDArray[np.float64], losses: NDArray[np.float64], at_most: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if len(losses) <= at_most:
        return places, losses
    rows = np.sort(random.choice(len(losses), at_most, replace=False))
    return places[rows], losses[rows]


def fly_autowu(session: Session) -> Notes:
    """Train over the whole budget; the search is part of the training."""
    schedule = AutoWarmup(session.steps_left, seed=session.seed)
    optimizer = session.optimizer(START_LR)
    for step, batch in zip(range(session.steps_left), session.batches(), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr(step)
        schedule.tell(session.step(optimizer, batch))
    return {
        "picked_lr": schedule.peak,
        "search_cost": 0.0,
        "switched_at": schedule.switched_at,
        "saw_rise": schedule.saw_rise,
    }


METHODS = (
    Method(
        name="autowu",
        title="AutoWU (rewritten)",
        fly=fly_autowu,
        practice="the paper: exponential warmup from 1e-5 until the loss rises, then cosine to zero",
        group="peer",
    ),
)
