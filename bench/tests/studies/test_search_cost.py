"""What a search takes: how it is measured, and what is on record."""

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest

from lrpilot import AutoLRS
from lrpilot.policies.autolrs import PublishedAutoLRS
from lrpilot_bench.studies import search_cost
from lrpilot_bench.studies.markdown import render
from lrpilot_bench.studies.search_cost import LEAST_STEP_MS, LIMIT, RECORD, ROWS, WARM, measure
from lrpilot_bench.studies.search_cost_page import holds, reading, search_numbers
from small_training import make_batches, make_training

SEEN: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))


def test_what_is_on_record_is_what_the_script_measures() -> None:
    rows = [(row["setting"], row["steps"]) for row in SEEN["rows"]]
    assert rows == list(ROWS)
    assert SEEN["limit"] == LIMIT == 1.1
    assert all(row["step_ms"]["cpu"] >= LEAST_STEP_MS == 15 for row in SEEN["rows"]), "what the limit is stated for"


def test_on_record_trials_without_a_reading_cost_little_more_than_their_steps() -> None:
    for row in SEEN["rows"]:
        if row["setting"] != "default":
            assert 0.97 < row["ratio"]["cpu"] < LIMIT and 0.97 < row["median"]["cpu"] < LIMIT
        assert row["shares"]["decisions"]["cpu"] < 0.05
        assert row["ratio_of_work"]["cpu"] < LIMIT


def test_the_page_says_of_every_row_whether_it_keeps_the_limit() -> None:
    words = render("search", {"search": search_numbers()})
    rows = [line for line in words.splitlines() if line.startswith(("| default", "| published"))]
    assert len(rows) == len(SEEN["rows"])
    for line, row in zip(rows, SEEN["rows"], strict=True):
        assert line.endswith("| holds |") is holds(SEEN, row)


def test_the_price_of_a_reading_by_hand() -> None:
    assert reading({"ratio": {"cpu": 1.5}, "trial_steps": 40, "trials": 3}) == pytest.approx(5.0)


def test_after_every_trial_come_as_many_plain_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions: list[Any] = []
    plain_steps = []

    def make_session(steps: int) -> Any:
        training = make_training()
        session = SimpleNamespace(
            optimizer=lambda lr: None,
            training=lambda optimizer: training,
            batches=lambda: map(note, itertools.cycle(make_batches())),
        )
        sessions.append(session)
        return session

    def note(batch: Any) -> Any:
        plain_steps.append(batch)
        return batch

    tells = AutoLRS.tell, PublishedAutoLRS.tell
    monkeypatch.setattr(search_cost, "make_session", make_session)
    row = measure("published", 60)
    assert len(sessions) == 2 and (row["trials"], row["trial_steps"]) == (10, 60)
    assert len(plain_steps) == WARM + row["trial_steps"]
    assert row["shares"]["decisions"]["cpu"] >= row["shares"]["surrogate"]["cpu"] + row["shares"]["forecast"]["cpu"] > 0
    assert row["ratio_of_work"]["cpu"] == pytest.approx(row["ratio"]["cpu"] * 60 / row["work"], rel=1e-3)
    assert (AutoLRS.tell, PublishedAutoLRS.tell) == tells, "what was timed is as it was"
