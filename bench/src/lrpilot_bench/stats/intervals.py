"""Intervals over paired seeds, and what may be called a win.

Notation: a log-ratio is ln(loss of the method ÷ loss of what it is compared with) of one seed, so that a
method is better where it is negative; +inf stands for a run of the method that failed, -inf for one of
the other's.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from lrpilot.errors import SettingError

Verdict = Literal["win", "tie", "loss"]
Standing = Literal["win", "tie", "loss", "maybe-win", "maybe-tie", "maybe-loss", "unknown"]
PROVISIONAL: dict[Verdict, Standing] = {"win": "maybe-win", "tie": "maybe-tie", "loss": "maybe-loss"}

CLAIM_SEEDS = 5  # the protocol's least for a claim
CLOSE_SEEDS = 10  # and for one about less than CLOSE
CLOSE = 0.1


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: the estimate.
        low: lower end.
        high: upper end.
        count: seeds it stands on.
    """

    mean: float
    low: float
    high: float
    count: int


def t_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean of n values.

    One value says nothing about the spread: its interval is infinite. Infinite values are taken as the
    limit of ever larger ones of one size: among n values, k infinite ones make the mean infinite, but an
    end of the interval only where k of n is more than chance (4 of 5 are, 2 of 3 are not).

    Args:
        values: n numbers, infinite ones allowed.
        confidence: in (0, 1).

    Raises:
        SettingError: no value, a NaN, or a confidence out of range.
    """
    if not values or any(math.isnan(value) for value in values):
        raise SettingError(f"An interval needs at least one value and no NaN, got {list(values)!r}.")
    if not 0.0 < confidence < 1.0:
        raise SettingError(f"A confidence must be in (0, 1), got {confidence!r}. The usual one is 0.95.")
    if any(math.isinf(value) for value in values):
        return _with_failures(values, confidence)
    mean, half = statistics.fmean(values), _half_width(values, confidence)
    return Interval(mean, mean - half, mean + half, len(values))


def _half_width(values: Sequence[float], confidence: float) -> float:
    count = len(values)
    if count == 1:
        return math.inf
    return critical_t(count - 1, confidence) * statistics.stdev(values) / math.sqrt(count)


@cache
def critical_t(freedom: int, confidence: float) -> float:
    """Two-sided critical value of Student's t; a report asks for the same few thousands of times."""
    from scipy.stats import t

    return float(t.ppf((1.0 + confidence) / 2.0, freedom))


def _with_failures(values: Sequence[float], confidence: float) -> Interval:
    """The limit M -> inf with M for an infinite value: all that is left of the finite ones is 0 x M."""
    signs = [math.copysign(1.0, value) if math.isinf(value) else 0.0 for value in values]
    mean, half = statistics.fmean(signs), _half_width(signs, confidence)
    finite = sum(value for value in values if math.isfinite(value)) / len(values)
    return Interval(
        mean * math.inf if mean else finite,
        math.inf if mean - half > 0.0 else -math.inf,
        -math.inf if mean + half < 0.0 else math.inf,
        len(values),
    )


def paired_interval(log_ratios: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean log-ratio over seeds; :func:`t_interval` says what failures do.

    Args:
        log_ratios: one for each seed; see the module.
        confidence: in (0, 1).

    Raises:
        SettingError: no seed, a NaN, or a confidence out of range.
    """
    return t_interval(log_ratios, confidence=confidence)


def ratio_interval(log_ratios: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The same as ratios: geometric mean and exp of the ends of :func:`paired_interval`."""
    logs = paired_interval(log_ratios, confidence=confidence)
    return Interval(exp(logs.mean), exp(logs.low), exp(logs.high), logs.count)


def exp(value: float) -> float:
    """Natural exponential of ``value``, inf where that is too large for a float."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def verdict(interval: Interval) -> Verdict:
    """What an interval of log-ratios says about the method.

    Returns:
        "win" where all of it is below 0, "loss" where all of it is above, "tie" where it holds 0.
    """
    if interval.high < 0.0:
        return "win"
    return "loss" if interval.low > 0.0 else "tie"


def standing(ratio: Interval, said: Verdict) -> Standing:
    """A verdict as it may be called: the verdict itself, or what it is until there are seeds enough for a claim.

    A claim needs 5 seeds, one about a difference under 10 % needs 10; ties too, or a method would collect them
    by having few seeds.

    Args:
        ratio: the interval of ratios that the verdict is about; its mean is the difference.
        said: the verdict.

    Returns:
        "maybe-..." where the seeds are too few, "unknown" where there is but one, which has no interval.
    """
    if ratio.count < 2:
        return "unknown"
    needed = CLOSE_SEEDS if abs(ratio.mean - 1.0) < CLOSE else CLAIM_SEEDS
    return said if ratio.count >= needed else PROVISIONAL[said]
