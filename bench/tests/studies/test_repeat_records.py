"""Repeating committed runs: which, whether the same is seen as the same, and whether anything else is seen."""

from pathlib import Path
from typing import Any

import pytest

import lrpilot_bench.studies.repeat_records as study
from lrpilot_bench.plugins import PLUGINS_VARIABLE
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.pool import InlinePool, Outcome
from lrpilot_bench.run.workers import attempt
from lrpilot_bench.store.records import append_record, read_records
from lrpilot_bench.studies.repeat_records import chosen, main


def line(task: str, method: str, seconds: float, **changes: Any) -> dict[str, Any]:
    ended = {"status": "finished", "kept_steps": 8, "run": f"{task}{method}{seconds}"}
    return {"task": task, "method": method, "seconds": seconds, **ended, **changes}


def test_every_task_in_turn_gives_the_cheapest_of_a_method_not_seen_yet() -> None:
    records = [
        *(line("a", "x", 3.0), line("a", "x", 1.0), line("a", "y", 2.0), line("a", "z", 0.5, status="crashed")),
        *(line("b", "x", 0.1), line("b", "w", 9.0)),
        *(line("b", "v", 0.2, kept_steps=0), line("c", "v", 61.0)),
    ]
    picks = [(one["task"], one["method"], one["seconds"]) for one in chosen(records, 10)]
    assert picks == [("a", "x", 1.0), ("b", "w", 9.0), ("a", "y", 2.0), ("b", "x", 0.1)]
    assert chosen(list(reversed(records)), 3) == chosen(records, 3) == chosen(records, 10)[:3]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLUGINS_VARIABLE, "fake_bench")
    monkeypatch.setattr(study, "ProcessPool", lambda processes, run: InlinePool(run))
    for job in (Job("fake", "fake_plain", seed=1), Job("fake", "cosine")):
        made = attempt(job, device="cpu").record
        assert made is not None
        append_record(tmp_path / "records.jsonl", made)
    return tmp_path / "records.jsonl"


def test_the_same_code_makes_the_same_weights_and_bill(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = path.with_name("again.jsonl")
    assert main(["--out", str(out), str(path)]) == 0
    assert {one["weights"] for one in read_records(out)} == {one["weights"] for one in read_records(path)}
    said = capsys.readouterr().out
    assert "2 of 2 committed records are current" in said
    assert "2 of 2 runs came to the same weights and the same bill" in said


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("weights", "0" * 16, "differs: weights"),
        ("counted", {"forwards": 1, "backwards": 1}, "differs: counted"),
        ("run", "another", "1 of 2 committed records are current"),
    ],
)
def test_a_difference_is_seen(
    field: str, value: Any, said: str, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = read_records(path)
    for record in ({**first, field: value}, second):
        append_record(tmp_path / "changed.jsonl", record)
    assert main([str(tmp_path / "changed.jsonl")]) == 1
    assert said in capsys.readouterr().out


def test_a_run_that_cannot_be_made_is_no_proof(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(study, "attempt", lambda job, *, device: Outcome(job, reason="no data"))
    assert main([str(path)]) == 1
    assert "not made: no data" in capsys.readouterr().out


def test_a_list_runs_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(study, "ProcessPool", None)
    assert main(["--list", "--many", "1", str(path)]) == 0
    said = capsys.readouterr().out
    assert "1 of them, which took" in said and said.count("\n") == 4
