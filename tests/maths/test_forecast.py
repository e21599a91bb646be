"""The forecast whatever it is given: codes, non-finite and rising series, settings, and that it never fails."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrpilot.core.codec import decode, encode
from lrpilot.errors import SettingError
from lrpilot.maths.forecast import Forecast, ForecastCode, forecast

FORMS = ("default", "paper")
KINDS = ("training", "validation")


def falling(n: int = 100, *, noise: float = 0.05, seed: int = 0) -> Any:
    """exp(-3x/n) + 1 and noise."""
    return 1 + np.exp(-3 * np.arange(n) / n) + noise * np.random.default_rng(seed).standard_normal(n)


def ahead(losses: Any, **settings_: Any) -> Forecast:
    return forecast(losses, horizon=10.0 * max(1, len(losses)), **settings_)


def is_sound(seen: Forecast) -> bool:
    ordered = seen.lower <= seen.value <= seen.upper
    fitted = [seen.a, seen.b, seen.c, seen.tail]
    return ordered and all((x is not None) == seen.code.from_model for x in fitted)


# ------------------------------------------------------------------ a plain series


@pytest.mark.parametrize("form", FORMS)
def test_a_falling_series(form: Any) -> None:
    seen = ahead(falling(), form=form)
    assert seen.code is ForecastCode.OK and is_sound(seen)
    assert seen.value == pytest.approx(1.0, abs=0.2) and seen.lower <= 1.0 <= seen.upper
    assert seen.b is not None and seen.b < 0


def test_the_published_interval_holds_the_published_value() -> None:
    straight = 10 - 0.05 * np.arange(100) + 0.1 * np.random.default_rng(0).standard_normal(100)
    seen, ours = ahead(straight, form="paper"), ahead(straight)
    assert seen.lower == min(seen.value, ours.lower) and seen.upper == max(seen.value, ours.upper)


def test_the_kind_of_series_matters_to_the_published_form_alone() -> None:
    losses = falling()
    losses[20] += 5
    assert len(ahead(losses, form="paper").dropped) > len(ahead(losses, form="paper", series="validation").dropped) == 1
    assert ahead(losses) == ahead(losses, series="validation")


def test_steps_are_the_unit_of_the_horizon_and_the_rate() -> None:
    losses = falling()
    plain = ahead(losses)
    spaced = forecast(losses, horizon=5_050.0, steps=[50.0 + 5 * i for i in range(100)])
    assert plain.b is not None and spaced.b is not None
    assert (spaced.value, 5 * spaced.b) == pytest.approx((plain.value, plain.b), rel=1e-6)


def test_it_is_plain_data() -> None:
    for losses in (falling(), [math.nan], []):
        assert decode(encode(ahead(losses))) == ahead(losses)


# ------------------------------------------------------------------- what cannot be forecast


@pytest.mark.parametrize("form", FORMS)
def test_a_training_that_diverged_is_forecast_as_very_bad(form: Any) -> None:
    for bad in (math.nan, math.inf, -math.inf, 1e101):
        seen = ahead([*falling(), bad], form=form)
        assert seen.code is ForecastCode.DIVERGED
        assert (seen.value, seen.lower, seen.upper) == (math.inf, math.inf, math.inf)


def test_a_few_losses_that_are_not_finite_are_left_out() -> None:
    losses = falling()
    holes = losses.copy()
    holes[[3, 50]] = math.nan, math.inf
    assert {3, 50} <= set(ahead(holes).dropped)
    assert ahead(holes).value == pytest.approx(ahead(losses).value, abs=0.05)
    assert ahead(holes, form="paper").code is ForecastCode.DIVERGED, "as published"
    holes[20:31] = math.nan
    assert ahead(holes).code is ForecastCode.DIVERGED, "more than a tenth"


def test_positions_are_those_of_all_readings() -> None:
    losses = falling(noise=0.01)
    losses[10], losses[40] = math.nan, 9.0
    assert {10, 40} <= set(ahead(losses).dropped)


def test_too_few_readings_say_so() -> None:
    seen = ahead([5.0, 4.0, 3.0, 2.5, 2.0, 1.5, 1.0])
    assert seen.code is ForecastCode.TOO_SHORT and "at least 30" in seen.status
    assert seen.value == 2.0, "the median of the last five"
    assert (seen.lower, seen.upper) == (-2.0, 6.0), "as far again as the readings range"
    assert ahead(falling(29)).code is ForecastCode.TOO_SHORT
    assert ahead(falling(30)).code.from_model
    assert ahead(falling(16), form="paper").code is ForecastCode.OK
    assert ahead([2.0, 1.0], form="paper").code is ForecastCode.TOO_SHORT


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_forecast_from_nothing(form: Any) -> None:
    assert ahead([], form=form) == Forecast(math.inf, -math.inf, math.inf, ForecastCode.EMPTY)


@pytest.mark.parametrize("level", [0.0, 2.5, -1e-300, 1e99])
def test_a_constant_is_itself(level: float) -> None:
    seen = ahead([level] * 50)
    assert seen == Forecast(level, level, level, ForecastCode.CONSTANT)
    assert ahead([level] * 50, form="paper").value == pytest.approx(level, rel=1e-6)


# --------------------------------------------------------------------------- rising


def rising_shapes() -> dict[str, Any]:
    x = np.arange(100) / 100
    return {
        "straight": x,
        "saturating": 1 - np.exp(-5 * x),
        "exploding": np.exp(9 * x),
        "falls, then rises": np.exp(-20 * x) + np.maximum(0.0, x - 0.5),
        "a step up": np.where(x < 0.75, 0.0, 1.0) + 0.01 * np.sin(1e3 * x),
        "a long fall, then a rise": 10 * (x - 0.7) ** 2,
    }


@pytest.mark.parametrize("name", rising_shapes())
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_rise_is_never_forecast_to_fall(name: str, noise: float) -> None:
    losses = rising_shapes()[name] + noise * np.random.default_rng(1).standard_normal(100)
    seen = ahead(losses)
    assert seen.code is ForecastCode.RISING and is_sound(seen)
    assert seen.value >= np.median(losses[-10:])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_a_fall_is_not_called_a_rise(seed: int) -> None:
    assert ahead(falling(noise=0.02, seed=seed)).code is ForecastCode.OK


# ---------------------------------------------------------------- it never fails


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60),
    st.sampled_from(FORMS),
    st.sampled_from(KINDS),
)
def test_any_floats(losses: list[float], form: Any, series: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert is_sound(ahead(losses, form=form, series=series))


# ----------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizon": 98}, r"not be before the last step 99, got 98\. Raise it"),
        ({"horizon": math.inf}, "horizon must be a finite number, got inf"),
        ({"horizon": "1000"}, "horizon must be a finite number, got '1000'"),
        ({"horizon": True}, "horizon must be a finite number, got True"),
        ({"series": "test"}, "series must be 'training' or 'validation', got 'test'"),
        ({"form": "ours"}, "form must be 'default' or 'paper', got 'ours'"),
        ({"form": "paper", "steps": range(100)}, "takes no steps"),
        ({"steps": range(99)}, "got 99 steps and 100 losses"),
        ({"steps": [0.0] * 100}, "must be finite and ascend"),
        ({"steps": [*range(99), math.nan]}, "must be finite and ascend"),
        ({"steps": [-1e308, *range(98), 1e308], "horizon": 1.5e308}, "must be finite and ascend"),
        ({"losses": ["a"]}, "losses must be numbers"),
        ({"losses": [[1.0, 2.0]]}, "a flat list of numbers, got one of 2 dimensions"),
        ({"losses": 3.0}, "a flat list of numbers, got one of 0 dimensions"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"losses": falling(), "horizon": 1000, **changes}
    with pytest.raises(SettingError, match=message):
        forecast(**arguments)


def test_any_horizon_from_the_last_step_on() -> None:
    losses = falling()
    assert forecast(losses, horizon=99).value == pytest.approx(1 + math.exp(-3), abs=0.1)
    for horizon in (200, 1e6, 1e300):
        seen = forecast(losses, horizon=horizon)
        assert is_sound(seen) and seen.value == pytest.approx(1.0, abs=0.2)
