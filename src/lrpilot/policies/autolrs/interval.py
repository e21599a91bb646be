"""The interval of lrs that AutoLRS searches: what is given of it, found by step sampling, or taken about an lr."""

from dataclasses import replace
from typing import NamedTuple

from lrpilot.core.actions import Done, Observation
from lrpilot.found import FoundLR
from lrpilot.policies.autolrs.state import FindingInterval

# The lrs that are searched where no interval is given.
LOWEST, HIGHEST = 1e-7, 10.0
# Where step sampling has no suggestion: decades below and above the optimizer's own lr.
BELOW, ABOVE = 2.0, 1.0
# Where it is not asked: decades to each side of it with which the search begins.
AROUND = 1.0

Lrs = tuple[float, float]  # from the smallest to the largest, natural units


class Ends(NamedTuple):
    """The ends of the interval that are given, natural units; None for one that is not."""

    min_lr: float | None
    max_lr: float | None

    @property
    def are_given(self) -> bool:
        """Whether both are."""
        return self.min_lr is not None and self.max_lr is not None

    @property
    def bounds(self) -> Lrs:
        """The lrs that no search leaves: the ends that are given, and else those of step sampling, or a decade beyond.

        They may be in the wrong order where the settings have not been checked.
        """
        low, high = self.min_lr, self.max_lr
        return low or min(LOWEST, (high or HIGHEST) / 10.0), high or max(HIGHEST, 10.0 * (low or LOWEST))

    def around(self, lr: float) -> Lrs:
        """The interval that is given; where it is not, what lies about the optimizer's own lr."""
        low, high = self.bounds
        lr = min(max(lr, low), high)
        return self._put_in(lr * 10.0**-AROUND, lr * 10.0**AROUND)

    def within(self, window: Lrs | None, lr: float, *, room: float = 0.0) -> Lrs:
        """The interval that is given, and the window of step sampling for what is not.

        Args:
            window: of step sampling; None where it has no suggestion.
            lr: the optimizer's own, about which the interval lies then.
            room: decades above the window that belong to the interval too.
        """
        if window is None:
            return self._put_in(lr * 10.0**-BELOW, lr * 10.0**ABOVE)
        return self._put_in(window[0], window[1] * 10.0**room)

    def _put_in(self, low: float, high: float) -> Lrs:
        """The interval within the allowed lrs, with the ends that are given in place of its own."""
        lowest, highest = self.bounds
        low, high = self.min_lr or max(low, lowest), self.max_lr or min(high, highest)
        if low < high:
            return low, high
        # One end is given, and the other lies beyond it.
        return (low, low * 10.0**AROUND) if self.min_lr else (high * 10.0**-AROUND, high)


def sampled(phase: FindingInterval, observation: Observation) -> FindingInterval | FoundLR:
    """One more measurement of step sampling; what it has found where it is done."""
    found = phase.finder.tell(phase.found, observation)
    action = phase.finder.ask(found)
    if not isinstance(action, Done):
        return replace(phase, found=found)
    result: FoundLR = action.result
    return result
