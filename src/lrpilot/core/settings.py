"""Checks of settings: what a value must be, said as rule, value and remedy."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

from lrpilot.errors import SettingError, closest

Holds = Callable[[Any], bool]


class Rule(NamedTuple):
    """What one setting must keep.

    Attributes:
        must_be: the rule in words, after "must be".
        holds: whether a value keeps it.
        remedy: what to do about one that does not.
    """

    must_be: str
    holds: Holds
    remedy: str


def require_each(owner: object, rules: Mapping[str, Rule]) -> None:
    """Raise unless every setting of ``owner`` keeps its rule.

    Args:
        owner: has an attribute of each name.
        rules: by name of the setting.

    Raises:
        SettingError: the first that does not.
    """
    for name, rule in rules.items():
        value = getattr(owner, name)
        if not rule.holds(value):
            remedy = rule.holds.remedy_for(value) if isinstance(rule.holds, Among) else None
            raise SettingError(f"{name} must be {rule.must_be}, got {value!r}. {remedy or rule.remedy}")


# ---------------------------------------------------------------------- values


def is_real(value: object) -> bool:
    """Whether it is a real number, numpy's scalars included; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object, at_least: int) -> bool:
    """Whether it is a whole number, numpy's included, and so large; True and False are none."""
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= at_least


def is_bool(value: object) -> bool:
    """Whether it is True or False; a number or a word that may stand for one is not."""
    return isinstance(value, bool)


def is_between(value: Any, low: float, high: float) -> bool:
    """Whether it is a real number in the open interval."""
    return is_real(value) and low < value < high


def is_positive(value: Any) -> bool:
    """Whether it is a finite number > 0."""
    return is_between(value, 0.0, math.inf)


def is_share(value: Any) -> bool:
    """Whether it is a real number in (0, 1]."""
    return is_real(value) and 0 < value <= 1


def is_part(value: object) -> bool:
    """Whether it is a part of a training, a float in (0, 1). An int is a number of steps."""
    return isinstance(value, float) and 0 < value < 1


def is_window(value: object, at_least: int) -> bool:
    """Whether it is a number of steps (an int) or a part of the training (a float in (0, 1))."""
    return is_whole(value, at_least) or is_part(value)


def is_warmup(value: object) -> bool:
    """Whether it is a number of steps (an int >= 0) or a part of the training (a float in [0, 1))."""
    return is_window(value, 0) or (isinstance(value, float) and value == 0)


def or_none(holds: Holds) -> Holds:
    """The rule that lets None pass too."""
    return lambda value: value is None or holds(value)


@dataclass(frozen=True)
class Among:
    """The rule that allows some values only; for another word the closest one is offered.

    Attributes:
        values: that are allowed.
    """

    values: tuple[Any, ...]

    def __call__(self, value: Any) -> bool:
        """Whether it is one of them."""
        return value in self.values

    def remedy_for(self, value: Any) -> str | None:
        """What was meant, where that can be told."""
        close = closest(value, [one for one in self.values if isinstance(one, str)]) if isinstance(value, str) else []
        return f"Did you mean {' or '.join(map(repr, close))}?" if close else None


def among(*values: Any) -> Among:
    """The rule that allows these values only."""
    return Among(values)


# -------------------------------------------------------------- settings by name


def check_range(min_lr: float, max_lr: float) -> None:
    """Raise unless both are finite, positive and in order.

    Raises:
        SettingError: they are not, or are no numbers.
    """
    for name, lr in (("min_lr", min_lr), ("max_lr", max_lr)):
        if not is_positive(lr):
            raise SettingError(f"{name} must be a finite number > 0, got {lr!r}. The defaults are 1e-7 and 10.")
    if not min_lr < max_lr:
        raise SettingError(f"min_lr must be < max_lr, got {min_lr} and {max_lr}. Swap them, or widen the range.")


def check_start(lr: float, min_lr: float, max_lr: float) -> None:
    """Raise unless a training begins within the lrs that its policy allows.

    Raises:
        SettingError: it does not.
    """
    if not min_lr <= lr <= max_lr:
        raise SettingError(
            f"The optimizer's lr must lie in [{min_lr}, {max_lr}], got {lr}. Change it, or widen min_lr and max_lr."
        )


def check_whole(name: str, value: object, *, default: int) -> None:
    """Raise unless the setting ``name`` is a whole number, numpy's included; True and False are none.

    Raises:
        SettingError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise SettingError(f"{name} must be a whole number, got {value!r}. The default is {default}.")


def check_num_steps(num_steps: int, *, least: int = 1, default: int = 20) -> None:
    """Raise unless a Trial has a whole number of steps, at least ``least``.

    Raises:
        SettingError: it has not.
    """
    check_whole("num_steps", num_steps, default=default)
    if num_steps < least:
        raise SettingError(f"num_steps must be >= {least}, got {num_steps}. The default is {default}.")


# ------------------------------------------------------------- parts of a training


def steps_of(part: int | float, total: int | None, *, at_least: int = 1) -> int:
    """Steps that are given as such (an int) or as a part of a training (a float) of ``total`` steps.

    Args:
        part: which of both.
        total: must be known where a part is given.
        at_least: a part is never fewer steps.
    """
    if not isinstance(part, float):
        return int(part)
    assert total is not None  # an open horizon has been refused
    return max(at_least, round(part * total))


def refuse_open_horizon(name: str, settings: Mapping[str, bool], remedy: str) -> None:
    """Raise where the horizon is open and a setting needs its end.

    Args:
        name: of the policy.
        settings: which need it, by name.
        remedy: what to give instead, after "Give total_steps, or".

    Raises:
        SettingError: any of them does.
    """
    wrong = [setting for setting, needs in settings.items() if needs]
    if wrong:
        raise SettingError(
            f"{name} must know its last step for {', '.join(wrong)}, got an open horizon (total_steps=None). "
            f"Give total_steps, or {remedy}."
        )
