"""Geometric means and performance profiles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.errors import SettingError
from lrpilot_bench.stats.aggregates import geometric_mean, performance_profiles

POSITIVE = st.lists(st.floats(0.01, 100), min_size=1, max_size=9)
COSTS = st.dictionaries(
    st.sampled_from("abc"),
    st.dictionaries(
        st.sampled_from(["t", "u", "v", "w"]), st.one_of(st.floats(0.1, 50), st.just(math.inf)), min_size=1
    ),
    min_size=1,
)


def test_geometric_mean_by_hand() -> None:
    assert geometric_mean([1.0, 4.0, 16.0]) == pytest.approx(4.0)
    assert geometric_mean([2.0]) == pytest.approx(2.0)
    assert geometric_mean([0.5, math.inf]) == math.inf


@given(POSITIVE, st.floats(0.01, 100))
def test_geometric_mean_scales_and_lies_between(values: list[float], unit: float) -> None:
    mean = geometric_mean(values)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert geometric_mean([value * unit for value in values]) == pytest.approx(mean * unit)
    assert geometric_mean([1 / value for value in values]) == pytest.approx(1 / mean)
    assert geometric_mean(values[::-1]) == pytest.approx(mean)


@pytest.mark.parametrize("values", [[], [0.0, 1.0], [-1.0], [math.nan]])
def test_geometric_mean_of_what_has_none(values: list[float]) -> None:
    with pytest.raises(SettingError, match="above 0"):
        geometric_mean(values)


def test_profile_by_hand() -> None:
    profile = performance_profiles({"a": {"t": 1.0, "u": 1.5, "v": math.inf, "w": 1.0}})["a"]
    assert (profile.taus, profile.rhos, profile.count) == ((1.0, 1.5), (0.5, 0.75), 4)
    assert [profile.at(tau) for tau in (0.99, 1.0, 1.49, 1.5, 1e9, math.inf)] == [0.0, 0.5, 0.5, 0.75, 0.75, 0.75]


def test_profile_of_failures_only_and_of_nothing() -> None:
    profiles = performance_profiles({"a": {"t": math.inf}, "b": {}})
    assert profiles["a"].at(1e9) == 0.0 and profiles["a"].count == 1
    assert "b" not in profiles
    with pytest.raises(SettingError, match="NaN"):
        performance_profiles({"a": {"t": math.nan}})


@given(COSTS, st.lists(st.floats(0.1, 60), min_size=1))
def test_profiles_count(ratios: dict[str, dict[str, float]], taus: list[float]) -> None:
    for method, profile in performance_profiles(ratios).items():
        mine = list(ratios[method].values())
        seen = [profile.at(tau) for tau in sorted(taus)]
        assert seen == [sum(ratio <= tau for ratio in mine) / len(mine) for tau in sorted(taus)]
        assert seen == sorted(seen)
