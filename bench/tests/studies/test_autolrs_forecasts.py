"""Forecasts of recorded loss series: the published form against the AutoLRS authors' implementation."""

import json
from typing import Any

import pytest

from lrpilot.maths.forecast import ForecastCode, forecast
from lrpilot_bench.studies.autolrs_series import HORIZON, RUNS, series
from lrpilot_bench.studies.checkout import RECORDS

RECORD: dict[str, Any] = json.loads((RECORDS / "autolrs_forecasts.json").read_text(encoding="utf-8"))
SERIES: list[dict[str, Any]] = RECORD["series"]


def name(entry: dict[str, Any]) -> str:
    return f"{entry['task']}-{entry['lr']:g}-{entry['kind']}-{len(entry['losses'])}"


@pytest.mark.parametrize("kind", ["training", "validation"])
@pytest.mark.parametrize("entry", SERIES, ids=name)
def test_the_published_form_agrees_wherever_theirs_returned_a_value(entry: dict[str, Any], kind: Any) -> None:
    ours = forecast(entry["losses"], horizon=entry["horizon"], form="paper", series=kind)
    assert ours.code is ForecastCode.OK, "where theirs fails too"
    for environment in RECORD["environments"]:
        theirs = entry["theirs"][environment][kind]
        if "value" not in theirs:
            continue
        # A straight line is an exponential whose a and -c are huge, and theirs has what rounding leaves of their sum.
        straight = abs(theirs["a"]) > 1e9
        rounding = 0.02 if straight and len(entry["losses"]) < 100 else 0.0
        assert ours.value == pytest.approx(theirs["value"], rel=1e-3, abs=rounding)
        assert straight or ours.b == pytest.approx(theirs["b"], rel=1e-6)


def test_the_record_is_what_it_says() -> None:
    long = [entry for entry in SERIES if len(entry["losses"]) >= 100]
    assert len(long) == 20 and RECORD["commit"] and "autolrs" in RECORD["source"]
    assert {(e["task"], e["family"], e["lr"]) for e in SERIES} == {
        (*key, lr) for key, lrs in RUNS.items() for lr in lrs
    }
    for entry in SERIES:
        assert entry["horizon"] == HORIZON * len(entry["losses"])
        assert series(entry["losses"]) == {"horizon": entry["horizon"], "losses": entry["losses"]}, "five digits"


def test_their_failures_are_on_record() -> None:
    def failures(environment: str, *, at_least: int) -> list[str]:
        results = [r for e in SERIES if len(e["losses"]) >= at_least for r in e["theirs"][environment].values()]
        return [result["failure"] for result in results if "failure" in result]

    assert failures("pinned", at_least=100) == []
    assert len(failures("current", at_least=100)) == 2
    short = len(SERIES) - 20
    assert len(failures("pinned", at_least=16)) == short, "16 training losses: no outlier a round selects them all"
