"""Landscapes: something to train on without a model, a data set or torch.

A landscape is pure functions of a state that is never changed in place, so that to keep a state is to
restore it.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import KW_ONLY
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from lrpilot.core.codec import record
from lrpilot.errors import SettingError

Vector = NDArray[np.float64]


class Landscape(Protocol):
    """What can be simulated. States and batches are the landscape's own, and opaque to everyone else."""

    def start(self) -> Any:
        """The untrained state."""

    def draw(self, rng: np.random.Generator) -> Any:
        """A batch: the noise of one step. The draw must not depend on any state."""

    def loss(self, state: Any, batch: Any) -> float:
        """Training loss of ``state`` on ``batch``; not finite where it diverged."""

    def step(self, state: Any, batch: Any, lr: float, momentum: float | None) -> Any:
        """The state after one optimizer step; ``momentum`` None is the landscape's own."""

    def held_out(self, state: Any) -> float:
        """Held-out loss of ``state``."""

    def mix(self, states: Sequence[Any], weights: Sequence[float]) -> Any:
        """The weighted sum of the weights of ``states``: a point of a Line, or an average.

        What a state holds beside its weights (a momentum buffer) is that of the last one. A landscape whose states
        have no weights says so by an attribute ``averages = False``: no averaged flight is flown on it then.
        """


class QuadraticState(NamedTuple):
    """Weights and momentum buffer in the eigenbasis, shape (n,) each."""

    weights: Vector
    buffer: Vector


@record
class NoisyQuadratic:
    """SGD on ½ Σ λ_i (θ_i − c_i)², where every batch has its own centre c_i ~ N(0, noise² / λ_i).

    The noise of the gradient then has the covariance noise²·H, as near an optimum of a likelihood (the noisy
    quadratic model of Wu et al., "Understanding Short-Horizon Bias in Stochastic Meta-Optimization"). A step diverges
    above :attr:`critical_lr`.

    Attributes:
        eigenvalues: λ_i of the Hessian, n numbers > 0.
        noise: >= 0; the held-out loss cannot fall below n·noise²/2.
        momentum: of SGD, in [0, 1); a Train that sets a momentum overrides it.
        start_at: every θ_i at the start.
    """

    eigenvalues: tuple[float, ...]
    _: KW_ONLY
    noise: float = 0.0
    momentum: float = 0.0
    start_at: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "eigenvalues", tuple(float(value) for value in self.eigenvalues))
        if not self.eigenvalues or not all(0 < value < math.inf for value in self.eigenvalues):
            raise SettingError(
                f"eigenvalues must be finite and > 0, got {self.eigenvalues}. Give for example (1.0, 0.1)."
            )
        if not 0 <= self.noise < math.inf:
            raise SettingError(f"noise must be finite and >= 0, got {self.noise}. Use 0 for none.")
        if not 0 <= self.momentum < 1:
            raise SettingError(f"momentum must be in [0, 1), got {self.momentum}. Use for example 0.9.")

    @classmethod
    def log_spaced(
        cls, num: int, *, condition: float, largest: float = 1.0, noise: float = 0.0, momentum: float = 0.0
    ) -> Self:
        """``num`` eigenvalues from ``largest`` down to ``largest / condition``, evenly in the logarithm."""
        if num < 2 or not condition >= 1:
            raise SettingError(f"num must be >= 2 and condition >= 1, got {num} and {condition}. Use 10 and 100.")
        eigenvalues = tuple(largest * condition ** (-i / (num - 1)) for i in range(num))
        return cls(eigenvalues, noise=noise, momentum=momentum)

    @property
    def critical_lr(self) -> float:
        """2 (1 + momentum) / λ_max: the lr above which training diverges."""
        return 2.0 * (1.0 + self.momentum) / max(self.eigenvalues)

    @property
    def _hessian(self) -> Vector:
        return np.array(self.eigenvalues)

    def start(self) -> QuadraticState:
        """All weights at ``start_at``, no momentum yet."""
        size = len(self.eigenvalues)
        return QuadraticState(np.full(size, float(self.start_at)), np.zeros(size))

    def draw(self, rng: np.random.Generator) -> Vector:
        """The centre of a batch, shape (n,)."""
        return rng.standard_normal(len(self.eigenvalues)) * self.noise / np.sqrt(self._hessian)

    def loss(self, state: QuadraticState, batch: Vector) -> float:
        """½ Σ λ_i (θ_i − c_i)²."""
        with np.errstate(all="ignore"):
            return float(0.5 * np.sum(self._hessian * (state.weights - batch) ** 2))

    def step(self, state: QuadraticState, batch: Vector, lr: float, momentum: float | None) -> QuadraticState:
        """One step of SGD as torch takes it: buffer = momentum·buffer + gradient, θ −= lr·buffer."""
        with np.errstate(all="ignore"):
            gradient = self._hessian * (state.weights - batch)
            buffer = (self.momentum if momentum is None else momentum) * state.buffer + gradient
            return QuadraticState(state.weights - lr * buffer, buffer)

    def held_out(self, state: QuadraticState) -> float:
        """The expected loss over batches."""
        with np.errstate(all="ignore"):
            excess = 0.5 * np.sum(self._hessian * state.weights**2)
        return float(excess) + 0.5 * len(self.eigenvalues) * self.noise**2

    def mix(self, states: Sequence[QuadraticState], weights: Sequence[float]) -> QuadraticState:
        """The weighted sum of the weights; the buffer of the last state."""
        with np.errstate(all="ignore"):
            mixed: Vector = sum((w * s.weights for s, w in zip(states, weights, strict=True)), np.zeros(()))
        return QuadraticState(mixed, states[-1].buffer)


@record
class RecordedCurve:
    """A finder's recorded curve: a Trial at an lr ends at the loss that was recorded there.

    The state is the largest lr run so far (0: untrained). The curve was recorded from the untrained state, so
    that it answers for Trials from there and knows nothing of training after training.

    Attributes:
        lrs: natural units, ascending, > 0.
        losses: held-out loss at each; not finite where the Trial diverged.
        start_loss: loss of the untrained state (lr -> 0).
    """

    averages: ClassVar[bool] = False  # there are no weights behind the losses

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    start_loss: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "lrs", tuple(float(lr) for lr in self.lrs))
        object.__setattr__(self, "losses", tuple(float(loss) for loss in self.losses))
        if not self.lrs or len(self.lrs) != len(self.losses):
            raise SettingError(f"A curve needs a loss for each lr, got {len(self.losses)} for {len(self.lrs)}.")
        if not (self.lrs[0] > 0 and self.lrs[-1] < math.inf and all(a < b for a, b in pairwise(self.lrs))):
            raise SettingError(f"lrs must be finite, > 0 and ascending, got {self.lrs}. Sort them, each once.")

    def loss_at(self, lr: float) -> float:
        """Loss at ``lr``: linear in log lr between finite neighbours, inf next to any other.

        ``start_loss`` at 0; the first loss below the curve; inf above it, where nobody has been.
        """
        if lr <= 0:
            return self.start_loss
        right = bisect_left(self.lrs, lr)
        if right == len(self.lrs):
            return math.inf
        left = right if right == 0 or self.lrs[right] == lr else right - 1
        low, high = self.losses[left], self.losses[right]
        if not (math.isfinite(low) and math.isfinite(high)):
            return math.inf
        if left == right:
            return high
        u = math.log(lr / self.lrs[left]) / math.log(self.lrs[right] / self.lrs[left])
        return low + (high - low) * u

    def start(self) -> float:
        """Untrained."""
        return 0.0

    def draw(self, rng: np.random.Generator) -> None:
        """No noise."""

    def loss(self, state: float, batch: None) -> float:
        """The recorded loss."""
        return self.loss_at(state)

    def step(self, state: float, batch: None, lr: float, momentum: float | None) -> float:
        """The largest lr so far."""
        return max(state, lr)

    def held_out(self, state: float) -> float:
        """The recorded loss."""
        return self.loss_at(state)

    def mix(self, states: Sequence[float], weights: Sequence[float]) -> float:
        """The weighted sum of lrs: on a Line from the untrained state, factor s stands for s times the lr."""
        return sum(w * s for s, w in zip(states, weights, strict=True))
