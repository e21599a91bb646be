"""What no setting may be: each is tried, and must be refused when the policy is made, or flown soundly."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from lrpilot.core.policy import Policy
from lrpilot.errors import SettingError
from lrpilot.testing.flights import fly, require_sound_lrs

WORD = "no such word"
# Never a number. Of the others any may mean something (an infinite limit, no steps of warmup), so a policy may take it,
# and then flies with it.
NEVER: tuple[object, ...] = (math.nan, WORD)
NEVER_BOOL: tuple[object, ...] = (WORD, 3)
PERHAPS: tuple[object, ...] = (math.inf, -math.inf, -1, 0, True)


def check_refuses_bad_settings(policy: Policy, *, bad: Mapping[str, Iterable[object]] | None = None) -> None:
    """Settings refuse what they cannot be; numbers that they take are flown with, at finite lrs > 0.

    Each field that is declared as an int or a float is set to NaN, to a word, to infinities, -1, 0 and True; each that
    is declared as a Literal, to another word; each that is declared as a bool, to a word and to 3. A refusal is a
    :class:`~lrpilot.errors.SettingError` of the class; for infinities and small numbers also one of ``init``, where
    what is allowed depends on the training.

    Args:
        policy: a sound one, of which one setting at a time is changed.
        bad: more values that the class must refuse, by name of the setting: ``{"factors": [(), (0.5, -1.0)]}``.
    """
    declared = _declared(policy)
    numbers = [name for name, members in declared.items() if _is_number(members)]
    never = [(name, value) for name in numbers for value in NEVER]
    never += [(name, WORD) for name, members in declared.items() if _is_choice(members)]
    never += [(name, value) for name, members in declared.items() if members == (bool,) for value in NEVER_BOOL]
    never += [(name, value) for name, values in (bad or {}).items() for value in values]
    for name, value in never:
        assert _changed(policy, name, value) is None, f"{name}={value!r} must raise a SettingError, but it is accepted"
    for name in numbers:
        for value in PERHAPS:
            changed = _changed(policy, name, value)
            if changed is not None:
                _require_sound(changed, f"{name}={value!r} is neither refused with a SettingError nor flown soundly")


def _declared(policy: Any) -> dict[str, tuple[Any, ...]]:
    """What each setting may be, as its class declares it."""
    assert is_dataclass(policy), "a policy is a @record that holds its settings"
    hints = get_type_hints(type(policy))
    return {field.name: _members(hints[field.name]) for field in fields(policy) if field.init}


def _members(hint: Any) -> tuple[Any, ...]:
    """What a declaration allows, None apart."""
    allowed = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return tuple(one for one in allowed if one is not NoneType)


def _is_number(members: tuple[Any, ...]) -> bool:
    return bool(members) and all(one in (int, float) for one in members)


def _is_choice(members: tuple[Any, ...]) -> bool:
    return bool(members) and all(get_origin(one) is Literal for one in members)


def _changed(policy: Policy, name: str, value: object) -> Policy | None:
    """The policy with another value of one setting; None where that is refused."""
    try:
        return replace(policy, **{name: value})  # type: ignore[type-var]  # a dataclass, which has been asserted
    except SettingError:
        return None
    except Exception as error:
        raise AssertionError(f"{name}={value!r} must raise a SettingError, but it raised {error!r}") from error


def _require_sound(policy: Policy, otherwise: str) -> None:
    try:
        require_sound_lrs(fly(policy))
    except SettingError:
        return
    except Exception as error:
        raise AssertionError(f"{otherwise}: {error!r}") from error
