"""The quantities of the protocol, each a pure function of a few numbers."""

import math
import statistics
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lrpilot.errors import SettingError
from lrpilot_bench.stats.intervals import Interval, paired_interval, t_interval, verdict


@dataclass(frozen=True)
class Measured:
    """A number, or why there is none.

    Attributes:
        value: may be inf (a failure, a miss); None where it is undefined or not measured.
        reason: a few words where ``value`` is None, else "".
        interval: of the value, over seeds; None where it is not known.
    """

    value: float | None
    reason: str = ""
    interval: Interval | None = None


def log_regrets(losses: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """ln(loss ÷ reference loss) of the seeds that both have, ascending by seed.

    A seed on which both failed compares nothing and is left out.

    Args:
        losses: final loss by seed; inf where the run failed.
        reference: the same of what it is compared with (the oracle, another method).

    Raises:
        SettingError: a loss that is not above 0.
    """
    seeds = sorted(losses.keys() & reference.keys())
    pairs = {seed: (losses[seed], reference[seed]) for seed in seeds}
    for seed, pair in pairs.items():
        if not min(pair) > 0.0:
            raise SettingError(f"A ratio of losses needs losses above 0, got {pair} for seed {seed}.")
    return {seed: math.log(a) - math.log(b) for seed, (a, b) in pairs.items() if math.isfinite(min(a, b))}


def gap_closed(
    losses: Mapping[int, float], oracle: Mapping[int, float], default: Mapping[int, float], *, confidence: float = 0.95
) -> Measured:
    """(L - L_oracle) ÷ (L_default - L_oracle), of means over the seeds that all three have.

    0 is the oracle, 1 is the default: lower is better. Adding a constant to all losses leaves it alone. Its
    interval is that of a ratio of paired means g = mean a ÷ mean b: the t interval of the seeds' a - g b, ÷ mean b
    (linearised; the noise test keeps b away from 0). A failure makes it infinite and leaves it without interval.

    Args:
        losses: final loss by seed; inf where the run failed.
        oracle: the same of the oracle.
        default: the same of what a user who does nothing gets.
        confidence: of the interval; the default must lose against the oracle at it for the ratio to be defined.
    """
    log_ratios = log_regrets(default, oracle)
    if not log_ratios:
        return Measured(None, "the default and the oracle share no seed")
    if any(math.isinf(value) for value in log_ratios.values()):
        return Measured(None, "the default or the oracle failed on a seed")
    if verdict(paired_interval(list(log_ratios.values()), confidence=confidence)) != "loss":
        return Measured(None, "the default is not worse than the oracle beyond the noise of the seeds")
    seeds = sorted(losses.keys() & log_ratios.keys())
    if not seeds:
        return Measured(None, "no seed in common with the default and the oracle")
    mean, bar, start = (statistics.fmean(each[seed] for seed in seeds) for each in (losses, oracle, default))
    if start <= bar:  # worse over its own seeds, not over these
        return Measured(None, "the default is not worse than the oracle on these seeds")
    if math.isinf(mean):
        return Measured(math.inf)
    gap, width = (mean - bar) / (start - bar), start - bar
    residuals = [losses[seed] - oracle[seed] - gap * (default[seed] - oracle[seed]) for seed in seeds]
    around = t_interval(residuals, confidence=confidence)  # of mean 0
    return Measured(gap, interval=Interval(gap, gap + around.low / width, gap + around.high / width, len(seeds)))


def time_to_target(compute: Sequence[float], val_loss: Sequence[float | None], target: float) -> float:
    """Compute at the first point whose loss is at most ``target``; inf where none is.

    Args:
        compute: of each point of a curve, ascending.
        val_loss: of each point; None where it was not finite.
        target: a loss.
    """
    points = zip(compute, val_loss, strict=True)
    return next((spent for spent, loss in points if loss is not None and loss <= target), math.inf)


def interpolated_loss(lrs: Sequence[float], losses: Sequence[float], lr: float) -> Measured:
    """The loss a sweep would have had at an lr between its points: linear in log lr and log loss.

    Linear and not a parabola: between neighbours it can neither overshoot nor beat the better of the two,
    so that no pick is credited with a loss that nothing has reached.

    Args:
        lrs: of the sweep, natural units, ascending.
        losses: of the sweep, positive; inf where the run failed.
        lr: natural units.

    Returns:
        None outside the grid, and between a point that finished and one that failed; inf between two
        that failed.

    Raises:
        SettingError: the lrs do not ascend, or lrs and losses differ in number.
    """
    if len(lrs) != len(losses) or any(a >= b for a, b in pairwise(lrs)):
        raise SettingError(f"A sweep needs ascending lrs with a loss each, got {len(losses)} losses at {list(lrs)}.")
    if not lrs or not lrs[0] <= lr <= lrs[-1]:
        return Measured(None, f"{lr:.3g} is outside of what was swept")
    right = bisect_left(lrs, lr)
    if lrs[right] == lr:
        return Measured(losses[right])
    low, high = losses[right - 1], losses[right]
    if math.isinf(low) != math.isinf(high):
        return Measured(None, f"{lr:.3g} lies between an lr that finished and one that failed")
    if math.isinf(low):
        return Measured(math.inf)
    share = math.log(lr / lrs[right - 1]) / math.log(lrs[right] / lrs[right - 1])
    return Measured(math.exp((1.0 - share) * math.log(low) + share * math.log(high)))
