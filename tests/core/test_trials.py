"""The settings that finders share."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lrpilot.core.actions import HeldOut, Progress, TrialLosses
from lrpilot.core.policy import Policy
from lrpilot.core.trials import check_num_steps, check_range, expect_trial
from lrpilot.errors import PolicyError, SettingError
from lrpilot.policies.annealed_search import AnnealedSearch
from lrpilot.policies.range_test import RangeTest
from lrpilot.policies.step_sampling import StepSampling

FINDERS = (AnnealedSearch, StepSampling, RangeTest)


@pytest.mark.parametrize("finder", FINDERS)
@pytest.mark.parametrize("value", [20.5, 20.0, "20", True, None, math.nan])
def test_num_steps_must_be_a_whole_number(finder: Callable[..., Policy], value: Any) -> None:
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


def test_a_trial_is_expected() -> None:
    seen = TrialLosses(Progress(0, None), (1.0,), 1.0, None)
    assert expect_trial(seen, "mine") is seen
    with pytest.raises(PolicyError, match="mine must be told of what it asked for, a Trial, got HeldOut"):
        expect_trial(HeldOut(Progress(0, None), 1.0), "mine")
