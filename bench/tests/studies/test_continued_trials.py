"""What going on from Trials saves: what is on record is what the page says."""

import json
from pathlib import Path
from typing import Any

import pytest

from lrpilot_bench.studies.continued_trials import LIMITS, RECORD, SEEDS, run, summary

PAGE = Path(__file__).parents[3] / "docs" / "trial-methods.md"
SEEN: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
KEPT, COMPUTE = LIMITS


def test_the_page_says_what_is_on_record() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    without, with_them = (summary(SEEN[KEPT][key]) for key in ("without", "with"))
    assert f"{len(SEEN[KEPT]['with'])} seeds: {with_them['anew']:.0f} steps are trained anew instead of 990" in text
    assert (
        f"{with_them['thrown_away']:.0f} steps of Trials are thrown away instead of {without['thrown_away']:,.0f}"
        in text
    )
    assert f"falls from {without['compute']:,.0f} to {with_them['compute']:,.0f} forward passes" in text
    at_equal = [summary(SEEN[COMPUTE][key]) for key in ("without", "with")]
    assert f"{at_equal[1]['kept']:.0f} steps are kept instead of {at_equal[0]['kept']:.0f}" in text
    for one, other in ((without, with_them), at_equal):
        assert f"{one['loss']:.3f} without and {other['loss']:.3f} with it in the median" in text
        assert f"{one['mean']:.3f} and {other['mean']:.3f} in the mean" in text
        assert f"deviation {one['deviation']:.2f} and {other['deviation']:.2f}" in text


def test_every_setting_has_the_same_seeds_on_record() -> None:
    counts = {len(runs) for of_limit in SEEN.values() for runs in of_limit.values()}
    assert counts == {len(SEEDS)} == {12}


@pytest.mark.parametrize("continues", [False, True])
def test_steps_are_counted_once(continues: bool) -> None:
    found = run(0, {"total_steps": 60}, continues=continues)
    assert found["kept"] == 60 and (found["anew"] < 60) is continues
    assert found["compute"] >= 3 * (found["anew"] + found["thrown_away"] + (found["kept"] - found["anew"]))


def test_a_summary_by_hand() -> None:
    assert summary([{"loss": 1.0}, {"loss": 3.0}, {"loss": 5.0}]) == {"loss": 3.0, "mean": 3.0, "deviation": 2.0}
