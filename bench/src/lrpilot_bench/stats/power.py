"""How many seeds it takes to tell two methods apart.

Notation: n seeds, d the true mean log-ratio, s its standard deviation over seeds, c the two-sided critical
value of Student's t with n - 1 degrees of freedom.
"""

import math
import statistics
from collections.abc import Sequence

from lrpilot.errors import SettingError
from lrpilot_bench.stats.intervals import critical_t

MOST_SEEDS = 1_000_000  # nobody runs more


def seeds_needed(
    log_ratios: Sequence[float], *, power: float = 0.8, confidence: float = 0.95, difference: float | None = None
) -> int | None:
    """Seeds at which the paired t test finds a difference with the given power.

    Under d the t statistic is noncentral t with n - 1 degrees of freedom and noncentrality sqrt(n) d / s;
    the n returned is the smallest whose :func:`power_at` reaches ``power``, found by bisection.

    Args:
        log_ratios: measured, at least two; their standard deviation is taken for the true one (so with few
            seeds the answer is rough).
        power: chance to find it, in (0, 1).
        confidence: of the two-sided test, in (0, 1).
        difference: true mean log-ratio to be found (0.05 for 5 %); None for the measured mean.

    Returns:
        The smallest such number of seeds, at least 2; None where there is no telling (fewer than two
        log-ratios, a failure among them, a difference of 0, or one that takes more than a million seeds).

    Raises:
        SettingError: a power or confidence out of range.
    """
    for name, value in (("power", power), ("confidence", confidence)):
        if not 0.0 < value < 1.0:
            raise SettingError(f"A {name} must be in (0, 1), got {value!r}.")
    if len(log_ratios) < 2 or not all(math.isfinite(value) for value in log_ratios):
        return None
    effect = abs(statistics.fmean(log_ratios) if difference is None else difference)
    deviation = statistics.stdev(log_ratios)
    if effect == 0.0:
        return None
    if deviation == 0.0:
        return 2
    return _smallest(effect / deviation, power, confidence)


def _smallest(effect: float, power: float, confidence: float) -> int | None:
    low, high = 1, 2  # low is too few
    while power_at(high, effect, confidence=confidence) < power:
        low, high = high, 2 * high
        if high > MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if power_at(middle, effect, confidence=confidence) < power:
            low = middle
        else:
            high = middle
    return high


def power_at(seeds: int, effect: float, *, confidence: float = 0.95) -> float:
    """Chance that the two-sided paired t test on ``seeds`` seeds finds a true effect.

    Args:
        seeds: n, at least 2.
        effect: d / s, above 0.
        confidence: of the test.
    """
    from scipy.stats import nct

    freedom, shift = seeds - 1, effect * math.sqrt(seeds)
    critical = critical_t(freedom, confidence)
    return float(nct.sf(critical, freedom, shift) + nct.cdf(-critical, freedom, shift))
