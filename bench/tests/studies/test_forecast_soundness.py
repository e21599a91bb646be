"""The forecast never fails: what is on record of 10,000 series, and some more of them here."""

import json
import math
from typing import Any

import pytest

from lrpilot.maths.forecast import Forecast, ForecastCode
from lrpilot_bench.studies.forecast_soundness import FORMS, RECORD, check, fault, generated

SEEN: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))


def test_nothing_on_record_is_unsound() -> None:
    assert SEEN["unsound"] == [] and SEEN["series"] == 10_000
    assert [sum(codes.values()) for codes in SEEN["codes"].values()] == [10_000] * len(FORMS)
    seen = {name for codes in SEEN["codes"].values() for name in codes}
    assert seen == set(ForecastCode.__members__), "the series reach every way that a forecast can come about"


def test_some_series_that_are_not_on_record() -> None:
    found = check(range(SEEN["series"], SEEN["series"] + 250))
    assert found["unsound"] == []


def test_series_are_those_of_their_seed() -> None:
    assert all(generated(seed).tobytes() == generated(seed).tobytes() for seed in range(20))


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Forecast(2.0, 0.0, 1.0, ForecastCode.TOO_SHORT), "interval"),
        (Forecast(math.nan, 0.0, 1.0, ForecastCode.TOO_SHORT), "interval"),
        (Forecast(0.5, 0.0, 1.0, ForecastCode.OK), "decay"),
        (Forecast(0.5, 0.0, 1.0, ForecastCode.CONSTANT, a=1.0, b=-1.0, c=0.0, tail=1.0), "decay"),
    ],
)
def test_faults_are_seen(seen: Forecast, words: str) -> None:
    assert words in (fault(seen) or "")


def test_what_is_raised_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Forecast:
        raise ZeroDivisionError("one divided by none")

    monkeypatch.setattr("lrpilot_bench.studies.forecast_soundness.forecast", broken)
    assert len(check([7])["unsound"]) == len(FORMS) and "one divided" in check([7])["unsound"][0]["fault"]
