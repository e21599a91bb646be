"""What Autopilot takes beside the training: how it is counted, and what is on record."""

import json
import math
from typing import Any

import pytest

from lrpilot.flight.substrate import STEP
from lrpilot_bench.studies import probe_cost
from lrpilot_bench.studies.autopilot_price import RECORD, SHARE_LIMITS, memory, share, tables


def test_a_share_is_all_that_is_no_kept_step() -> None:
    row = share("ordinary", 150)
    assert 0 < row["search_steps"] <= 150 / 3 and row["trials"] > 0
    assert row["kept_steps"] + row["search_steps"] <= 150
    total = STEP * row["kept_steps"] / (1 - row["share"])
    assert total == pytest.approx(STEP * (row["kept_steps"] + row["search_steps"]), rel=0.01)


def test_copies_are_whole_ones_and_the_averaged_way_holds_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_cost, "WIDTH", 512)  # the copy of a batch must be small beside it
    averaged, ordinary = memory(100)
    # A mark of AdamW is three copies; an average two more, and two in its mark.
    assert (ordinary["flight"], averaged["flight"]) == (pytest.approx(3, abs=0.3), pytest.approx(7, abs=0.3))
    assert ordinary["trials"] < averaged["trials"] <= 7.3


def test_a_limit_that_is_not_kept_is_said() -> None:
    row = {"steps": 350, "arm": "averaged", "kept_steps": 250, "share": 0.3}
    assert "does not hold" in tables({"shares": [row]})
    assert "does not hold" not in tables({"shares": [row | {"share": 0.2}]})


@pytest.mark.skipif(not RECORD.is_file(), reason="not measured yet")
def test_on_record_the_search_keeps_its_shares() -> None:
    seen: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    assert {row["steps"] for row in seen["shares"]} == set(SHARE_LIMITS)
    assert all(row["share"] <= SHARE_LIMITS[row["steps"]] for row in seen["shares"])
    assert all(math.isfinite(value) for row in seen["memory"] for value in (row["trials"], row["flight"]))
