"""Over tasks: geometric means and performance profiles."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lrpilot.errors import SettingError
from lrpilot_bench.stats.intervals import exp


@dataclass(frozen=True)
class Profile:
    """The performance profile of one method: a step function, right-continuous, 0 before its first step.

    Attributes:
        taus: ratios at which it rises, ascending, finite.
        rhos: share of the tasks solved within each of ``taus``; the last is the share that did not fail.
        count: tasks it stands on.
    """

    taus: tuple[float, ...]
    rhos: tuple[float, ...]
    count: int

    def at(self, tau: float) -> float:
        """Share of the tasks with a ratio of at most ``tau``."""
        steps = bisect_right(self.taus, tau)
        return self.rhos[steps - 1] if steps else 0.0


def geometric_mean(values: Iterable[float]) -> float:
    """Geometric mean of positive numbers; inf where one is inf.

    Raises:
        SettingError: no value, or one that is not above 0.
    """
    numbers = list(values)
    if not numbers or not all(number > 0.0 for number in numbers):
        raise SettingError(f"A geometric mean needs numbers above 0, at least one, got {numbers!r}.")
    return exp(math.fsum(math.log(number) for number in numbers) / len(numbers))


def performance_profiles(ratios: Mapping[str, Mapping[str, float]]) -> dict[str, Profile]:
    """rho_m(tau): the share of tasks on which method m's ratio is at most tau.

    Source: Dolan and Moré, "Benchmarking optimization software with performance profiles", 2002.

    Args:
        ratios: by method, then by task; inf for a failure. The paper's are to the best of each task; regrets
            are to the oracle. A method stands on the tasks it has, and is left out without any.
    """
    return {method: _profile(list(by_task.values())) for method, by_task in ratios.items() if by_task}


def _profile(ratios: list[float]) -> Profile:
    if any(math.isnan(ratio) for ratio in ratios):
        raise SettingError("A profile needs a ratio for each task, inf for a failure, got NaN.")
    taus = sorted({ratio for ratio in ratios if math.isfinite(ratio)})
    rhos = [sum(ratio <= tau for ratio in ratios) / len(ratios) for tau in taus]
    return Profile(tuple(taus), tuple(rhos), len(ratios))
