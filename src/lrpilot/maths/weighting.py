"""From the losses of candidate factors to one factor: normalise, score, weighted geometric mean.

Source: "Automated learning rate scheduling with in-training information", Algorithm 1 and section 3.1. The paper
writes "Normalize" and "exponential score function" and gives no formula; what is written here was chosen for it.

Notation, for candidates i = 1 ... N:

    f_i   factor of the lr, > 0
    L_i   loss of the step taken at f_i times the lr
    x_i   normalised loss
    w_i   score
"""

import math
from collections.abc import Sequence

from lrpilot.core.codec import record

# A mean of single-precision losses is known to about this share of itself: what differs less is equal.
ROUNDING = 1e-6


def powers_of_two(num: int) -> tuple[float, ...]:
    """f_i = 2^j for the ``num`` (odd) whole j around 0, ascending (section 3.1).

    Seven are (0.125, 0.25, 0.5, 1, 2, 4, 8). An odd number always has 1 among them.
    """
    half = num // 2
    return tuple(2.0**j for j in range(-half, half + 1))


def normalise(losses: Sequence[float]) -> tuple[float, ...]:
    """x_i = (L_i − mean) / spread over the finite losses (Algorithm 1, line 7).

    The spread is the standard deviation with divisor n, so that the x_i have mean 0 and mean square 1, whatever the
    unit and the zero of the loss. Equal losses are all 0. A loss that is not finite becomes inf: the worst there is.
    """
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return (math.inf,) * len(losses)
    # Halves, because the difference of two finite numbers may overflow; over the range, because a square may.
    low, half_range = 0.5 * min(finite), 0.5 * max(finite) - 0.5 * min(finite)
    if half_range == 0:
        return tuple(0.0 if math.isfinite(loss) else math.inf for loss in losses)
    relative = [(0.5 * loss - low) / half_range for loss in finite]
    mean = math.fsum(relative) / len(relative)
    spread = math.sqrt(math.fsum((u - mean) ** 2 for u in relative) / len(relative))
    normalised = iter([(u - mean) / spread for u in relative])
    return tuple(next(normalised) if math.isfinite(loss) else math.inf for loss in losses)


def exponential_scores(normalised: Sequence[float]) -> tuple[float, ...]:
    """w_i = exp(−x_i) (Algorithm 1, line 9): a loss of one spread less counts e times as much, inf nothing."""
    return tuple(math.exp(-x) for x in normalised)


def weighted_geometric_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """(Π f_i^w_i)^(1 / Σ w_i) (Algorithm 1, line 11), never outside the range of ``values``.

    Args:
        values: n numbers > 0.
        weights: n finite numbers >= 0, not all 0.
    """
    total = math.fsum(weights)
    # fsum, so that equal weights of f and 1/f cancel exactly.
    mean = math.exp2(math.fsum(w * math.log2(f) for f, w in zip(values, weights, strict=True)) / total)
    return min(max(mean, min(values)), max(values))


def combine_factors(factors: Sequence[float], losses: Sequence[float]) -> float | None:
    """The factor by which the lr changes (Algorithm 1, lines 7 to 11).

    The same for losses L and a·L + b with a > 0. Never outside the range of the factors whose loss is finite, and 1
    where the factors are :func:`powers_of_two` and all losses equal.

    Args:
        factors: f_i, n numbers > 0.
        losses: L_i, n numbers; one that is not finite counts nothing.

    Returns:
        The factor, None where no loss is finite.
    """
    if not any(map(math.isfinite, losses)):
        return None
    return weighted_geometric_mean(factors, exponential_scores(normalise(losses)))


@record
class Candidates:
    """Factors of one step, read against no step at all.

    Attributes:
        no_step: mean loss before the step.
        factors: f_i, n numbers > 0, any order.
        losses: L_i, n mean losses on the same batches.
    """

    no_step: float
    factors: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def flat(self) -> bool:
        """Whether no loss differs from no step's, beyond rounding: a line without slope says nothing of the lr."""
        return all(abs(loss - self.no_step) <= ROUNDING * abs(self.no_step) for loss in self.losses)

    @property
    def any_helps(self) -> bool:
        """Whether a factor ends below no step, beyond rounding; a loss that is not finite helps nobody."""
        return any(math.isfinite(loss) and loss < self.no_step - ROUNDING * abs(self.no_step) for loss in self.losses)

    @property
    def smallest_is_best(self) -> bool:
        """Whether still smaller factors might be better: the smallest has the lowest loss, or none helps."""
        if not self.any_helps:
            return True
        best = min(
            (loss, factor) for loss, factor in zip(self.losses, self.factors, strict=True) if math.isfinite(loss)
        )
        return best[1] == min(self.factors)

    def loss_at(self, factor: float) -> float:
        """Mean loss of one of the factors."""
        return self.losses[self.factors.index(factor)]

    def extended(self, other: "Candidates") -> "Candidates":
        """With further factors of the same step."""
        return Candidates(self.no_step, self.factors + other.factors, self.losses + other.losses)

    def combine(self) -> float:
        """Algorithm 1 over the factors that end no higher than no step; over all where none does.

        1 where the line is flat, or no loss is finite.
        """
        if self.flat:
            return 1.0
        harmless = [loss if loss <= self.no_step else math.inf for loss in self.losses]
        return combine_factors(self.factors, harmless) or combine_factors(self.factors, self.losses) or 1.0
