"""What the published and the default AutoLRS have in common in their settings: ranges, and lengths in steps."""

import math
from collections.abc import Mapping

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


def doubled(stage: Length, max_stage: Length | None, doublings: int, total: int | None) -> int:
    """τ in steps after so many doublings: min(2ⁿ·stage, max_stage), >= 1."""
    steps: int = steps_of(stage, total) << min(doublings, 60)
    return steps if max_stage is None else min(steps, steps_of(max_stage, total))


def warmup_steps(warmup: Length, remaining: int | None) -> int:
    """Steps of the warmup, fewer than remain."""
    if not warmup:
        return 0
    return min(steps_of(warmup, remaining), remaining - 1) if remaining is not None else int(warmup)
