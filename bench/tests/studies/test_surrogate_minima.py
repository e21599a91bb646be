"""The surrogate's search for the minimum of random curves: what is on record, and a few curves of each kind again."""

import json
import math
from typing import Any

import numpy as np
import pytest

from lrpilot_bench.studies.surrogate_minima import (
    CURVES,
    FAILS_ABOVE,
    HIGH,
    KINDS,
    LOW,
    NOISE,
    RECORD,
    WITHIN,
    errors,
    random_curve,
    shares,
)

SEEN: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_aims_hold_on_record() -> None:
    assert (SEEN["curves"], SEEN["evaluations"], SEEN["within"]) == (500, 10, 0.1)
    assert SEEN["shares"]["noiseless"]["all"] >= 0.9
    assert SEEN["shares"]["noisy"]["all"] >= 0.7
    assert SEEN["shares"]["failing"]["all"] > SEEN["shares"]["walled"]["all"] + 0.1


def test_no_thread_is_woken_by_a_fit_on_record() -> None:
    assert SEEN["cost"]["fit"]["other_threads"] < 0.01 < 1 < SEEN["cost"]["product"]["other_threads"]
    assert SEEN["cost"]["fit"]["wall_ratio"] < 1.1


@pytest.mark.parametrize(
    ("conditions", "at_least"), [({}, 0.9), ({"noise": NOISE}, 0.7), ({"fails_above": FAILS_ABOVE}, 0.7)]
)
def test_minima_are_found_in_ten_evaluations(conditions: dict[str, float], at_least: float) -> None:
    # Ten lrs spread evenly would come within a tenth of a decade of two in five.
    assert shares(errors(40, **conditions))["all"] >= at_least


def test_errors_of_a_few_are_those_of_many() -> None:
    assert CURVES > 40 and errors(6)[:3] == errors(3), "a curve depends on its number alone"


@pytest.mark.parametrize("kind", KINDS)
def test_curves_have_one_minimum_where_they_say(kind: str) -> None:
    low, high = math.log10(LOW), math.log10(HIGH)
    places = np.linspace(low, high, 2001)
    for seed in range(10):
        best, curve = random_curve(np.random.default_rng(seed), kind)
        heights = np.array([curve(x) for x in places])
        assert low + 0.2 < best < high - 0.2 and curve(best) == pytest.approx(0.0, abs=1e-12)
        assert np.median(heights) == pytest.approx(1.0, rel=0.01)
        assert np.all(np.diff(heights[places < best]) <= 0) and np.all(np.diff(heights[places > best]) >= 0)


def test_shares_by_hand() -> None:
    found = shares([0.0, WITHIN, 0.2, 0.3, 0.05])
    assert found == {"all": 0.6, "parabola": 1.0, "skewed": 1.0, "slow": 0.0, "well": 0.0, "cliff": 1.0}
