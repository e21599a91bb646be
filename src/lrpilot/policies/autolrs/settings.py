"""What the published and the default AutoLRS have in common in their settings: ranges, the lrs allowed, lengths."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from lrpilot.core.settings import (
    Rule,
    among,
    is_positive,
    is_real,
    is_share,
    is_warmup,
    is_whole,
    or_none,
    refuse_open_horizon,
    steps_of,
)
from lrpilot.errors import SettingError

Length = int | float  # steps, or a part of the training
Lrs = tuple[float, float]  # from the smallest to the largest, natural units

# The lrs that are searched where no interval is given.
LOWEST, HIGHEST = 1e-7, 10.0
# Where step sampling has no suggestion: decades below and above the optimizer's own lr.
BELOW, ABOVE = 2.0, 1.0
# Where it is not asked: decades to each side of it with which the search begins.
AROUND = 1.0
# A search is never smaller: it would be a guess at a price.
LEAST_TRIALS = 3


def _is_length(value: object) -> bool:
    return is_whole(value, 1) or (isinstance(value, float) and is_share(value))


_LR = or_none(is_positive)
_STAGE = "an int >= 1 (steps) or a float in (0, 1] (a part)"
_WARMUP = "an int >= 0 (steps) or a float in [0, 1) (a part)"
_SCORES = "'raw', 'annealed', 'average' or None"
RULES = {
    "min_lr": Rule("finite and > 0", _LR, "Leave it None to have it found."),
    "max_lr": Rule("finite and > 0", _LR, "Leave it None to have it found."),
    "num_trials": Rule("an int >= 3", lambda value: is_whole(value, LEAST_TRIALS), "The paper's is 10."),
    "stage": Rule(_STAGE, _is_length, "The paper's is 1000."),
    "max_stage": Rule(_STAGE, or_none(_is_length), "The paper's is 8000."),
    "trial": Rule("in (0, 1]", is_share, "The paper's is 0.1."),
    "kappa": Rule(">= 0", lambda value: is_real(value) and 0 <= value < math.inf, "The default is 2; the paper's 1e6."),
    "score": Rule(_SCORES, among("raw", "annealed", "average", None), "The default is None."),
    "warmup": Rule(_WARMUP, is_warmup, "Use 0 for none."),
    "warmup_lr": Rule("finite and > 0", _LR, "Leave it None for the middle of the interval."),
    "final": Rule("'linear' or None", among("linear", None), "The default is 'linear'."),
    "overhead": Rule("finite and > 0", or_none(is_positive), "Leave it None for no limit."),
}


def check_order(stage: Length, max_stage: Length | None) -> None:
    """Raise where the first stage is longer than the longest, as far as both can be compared.

    Raises:
        SettingError: it is.
    """
    if max_stage is not None and isinstance(max_stage, float) == isinstance(stage, float) and max_stage < stage:
        raise SettingError(f"max_stage must be >= stage, got {max_stage} and {stage}. Leave it None for no limit.")


def require_horizon(remaining: int | None, lengths: Mapping[str, Length | None], *, falls: bool = False) -> None:
    """Raise where a setting is a part of a training whose horizon is open.

    Args:
        remaining: kept steps; None for an open horizon.
        lengths: settings by name.
        falls: whether the training is to end at zero.

    Raises:
        SettingError: a setting needs the horizon.
    """
    if remaining is not None:
        return
    needs = {name: isinstance(length, float) and length > 0 for name, length in lengths.items()}
    refuse_open_horizon("AutoLRS", needs | {"final": falls}, "stages and warmup in steps and final=None")


# -------------------------------------------------------------------- the interval


class GivenInterval(NamedTuple):
    """What is given of the interval, natural units; None for what is not."""

    min_lr: float | None
    max_lr: float | None

    @property
    def are_given(self) -> bool:
        """Whether both are."""
        return self.min_lr is not None and self.max_lr is not None

    @property
    def bounds(self) -> Lrs:
        """The lrs that no search leaves: those that are given, and else those of step sampling, or a decade beyond.

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
        """The interval within the allowed lrs, with what is given in place of its own."""
        lowest, highest = self.bounds
        low, high = self.min_lr or max(low, lowest), self.max_lr or min(high, highest)
        if low < high:
            return low, high
        # One lr is given, and the other lies beyond it.
        return (low, low * 10.0**AROUND) if self.min_lr else (high * 10.0**-AROUND, high)


# ------------------------------------------------------------------------- lengths


def doubled(stage: Length, max_stage: Length | None, doublings: int, total: int | None) -> int:
    """τ in steps after so many doublings: min(2ⁿ·stage, max_stage), >= 1."""
    steps: int = steps_of(stage, total) << min(doublings, 60)
    return steps if max_stage is None else min(steps, steps_of(max_stage, total))


def warmup_steps(warmup: Length, remaining: int | None) -> int:
    """Steps of the warmup, fewer than remain."""
    if not warmup:
        return 0
    return min(steps_of(warmup, remaining), remaining - 1) if remaining is not None else int(warmup)
