"""Rules of settings, and the settings that finders share."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.policy import Policy
from lrpilot.core.settings import (
    Rule,
    among,
    check_num_steps,
    check_range,
    check_start,
    is_part,
    is_positive,
    is_real,
    is_share,
    is_warmup,
    is_whole,
    is_window,
    or_none,
    refuse_open_horizon,
    require_each,
    steps_of,
)
from lrpilot.errors import SettingError
from lrpilot.policies.finders.annealed_search import AnnealedSearch
from lrpilot.policies.finders.paired_search import PairedSearch
from lrpilot.policies.finders.range_test import RangeTest
from lrpilot.policies.finders.step_sampling import StepSampling

FINDERS = (AnnealedSearch, PairedSearch, StepSampling, RangeTest)


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("value", [20.5, 20.0, "20", True, None, math.nan])
def test_num_steps_must_be_a_whole_number(finder: Callable[..., Policy], value: Any) -> None:
    if value is None and finder is PairedSearch:
        assert finder().trial_steps == 29, "None is what the budget allows"
        return
    with pytest.raises(SettingError, match=rf"num_steps must be a whole number, got {value!r}\. The default is"):
        finder(num_steps=value)


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("name", ["min_lr", "max_lr"])
@pytest.mark.parametrize("value", ["1e-7", True, None, 1j, math.inf, 0])
def test_lrs_must_be_numbers(finder: Callable[..., Policy], name: str, value: Any) -> None:
    with pytest.raises(SettingError) as error:
        finder(**{name: value})
    assert f"{name} must be a finite number > 0, got {value!r}. The defaults are" in str(error.value)


@pytest.mark.parametrize(
    ("finder", "setting"),
    [
        (AnnealedSearch, {"start_lr": "0.1"}),
        (AnnealedSearch, {"stretch": ("1", "2")}),
        (StepSampling, {"max_trials": 60.0}),
        (StepSampling, {"tolerance": "0.1"}),
    ],
)
def test_other_settings_must_be_numbers_too(finder: Callable[..., Policy], setting: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must .*got "):
        finder(**setting)


def test_numpy_scalars_are_numbers() -> None:
    check_num_steps(np.int64(20))  # type: ignore[arg-type]
    check_range(np.float32(1e-7), np.float64(10))  # type: ignore[arg-type]


def test_the_remedy_for_too_wide_a_range_is_one_that_find_lr_has() -> None:
    with pytest.raises(SettingError, match=r"got 60\. Narrow min_lr and max_lr, or raise max_trials"):
        StepSampling(min_lr=1e-30)


WHOLES = (2, 7, np.int64(2), np.uint8(9))
NO_NUMBERS = (True, False, None, "2", 1j)


@pytest.mark.parametrize("value", [*WHOLES, 2.0, 0.5, math.nan, math.inf, -math.inf, 0, -1, *NO_NUMBERS])
def test_what_a_value_is(value: Any) -> None:
    number = not isinstance(value, (bool, str, complex, type(None)))
    whole = any(value is one for one in (*WHOLES, 0, -1))
    assert is_real(value) == number
    assert is_whole(value, 0) == (whole and value >= 0)
    assert is_whole(value, 2) == (whole and value >= 2)
    assert is_positive(value) == (number and 0 < value < math.inf)
    assert is_share(value) == (number and 0 < value <= 1)
    assert is_window(value, 2) == (is_whole(value, 2) or (isinstance(value, float) and 0 < value < 1))
    assert is_warmup(value) == (is_whole(value, 0) or (isinstance(value, float) and 0 <= value < 1))


def test_a_part_is_a_float() -> None:
    assert is_part(0.5)
    assert not any(map(is_part, (0.0, 1.0, 1, math.nan)))
    assert is_warmup(0.0)
    assert not is_window(0.0, 0)


def test_each_setting_keeps_its_rule() -> None:
    rules = {
        "lr": Rule("finite and > 0", or_none(is_positive), "Leave it None."),
        "kind": Rule("'a' or 'b'", among("a", "b"), "Use 'a'."),
    }
    require_each(SimpleNamespace(lr=None, kind="a"), rules)
    with pytest.raises(SettingError, match=r"^lr must be finite and > 0, got 0\. Leave it None\.$"):
        require_each(SimpleNamespace(lr=0, kind="c"), rules)
    with pytest.raises(SettingError, match=r"^kind must be 'a' or 'b', got 'c'\. Use 'a'\.$"):
        require_each(SimpleNamespace(lr=0.1, kind="c"), rules)


@given(st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 10**6), st.integers(1, 5))
def test_a_part_of_a_training_is_steps_of_it(part: float, total: int, least: int) -> None:
    steps = steps_of(part, total, at_least=least)
    assert steps >= least
    assert steps == least or abs(steps - part * total) <= 0.5


@given(st.integers(1, 10**6))
def test_steps_are_steps(steps: int) -> None:
    assert steps_of(steps, None) == steps == steps_of(np.int64(steps), 10)  # type: ignore[arg-type]


def test_an_open_horizon_is_refused_for_what_needs_its_end() -> None:
    refuse_open_horizon("Mine", {"window": False, "final": False}, "a window in steps")
    with pytest.raises(SettingError, match=r"^Mine must know its last step for window, final, got an open horizon"):
        refuse_open_horizon("Mine", {"window": True, "lr": False, "final": True}, "a window in steps")


@pytest.mark.parametrize("lr", [1e-3, 1e-2, 1.0])
def test_a_training_may_begin_anywhere_inside(lr: float) -> None:
    check_start(lr, 1e-3, 1.0)


@pytest.mark.parametrize("lr", [9e-4, 1.1, math.nan])
def test_a_training_begins_inside(lr: float) -> None:
    with pytest.raises(SettingError, match=r"The optimizer's lr must lie in \[0\.001, 1\.0\], got"):
        check_start(lr, 1e-3, 1.0)


def test_a_word_that_is_not_among_the_values_is_answered_with_the_closest() -> None:
    rules = {"end": Rule("'linear', 'held' or None", among("linear", "held", None), "The default is 'linear'.")}
    for fine in ("linear", None):
        require_each(SimpleNamespace(end=fine), rules)
    with pytest.raises(
        SettingError, match=r"^end must be 'linear', 'held' or None, got 'linar'\. Did you mean 'linear'\?$"
    ):
        require_each(SimpleNamespace(end="linar"), rules)
    for other in ("xyzzy", 3):
        with pytest.raises(SettingError, match=rf"got {other!r}\. The default is 'linear'\.$"):
            require_each(SimpleNamespace(end=other), rules)
