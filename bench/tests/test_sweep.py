"""A study's sweep survives kills and resumes: a run already recorded is never repeated."""

from pathlib import Path

import pytest

from lrpilot_bench.run.sweep import sweep
from lrpilot_bench.store.records import machine_facts, read_records

SETTINGS = [{"lr": lr, "seed": seed} for seed in (0, 1) for lr in (0.1, 0.0215)]


class FakeRun:
    """Counts its calls and may be killed at one of them."""

    def __init__(self, die_at: int | None = None) -> None:
        self.seen: list[dict[str, float]] = []
        self.die_at = die_at

    def __call__(self, job):
        if len(self.seen) == self.die_at:
            raise KeyboardInterrupt
        self.seen.append(dict(job))
        return {"loss": job["lr"] + job["seed"]}


def test_an_interrupted_sweep_resumes_without_repeating_a_run(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first, second = FakeRun(die_at=3), FakeRun()

    with pytest.raises(KeyboardInterrupt):
        sweep(path, SETTINGS, first)
    records = sweep(path, SETTINGS, second)

    assert first.seen + second.seen == SETTINGS
    assert [r["loss"] for r in records] == [0.1, 0.0215, 1.1, 1.0215]
    assert len(read_records(path)) == len(SETTINGS)
    third = FakeRun()
    assert sweep(path, SETTINGS, third) == records
    assert third.seen == []


def test_records_of_other_settings_do_not_count_as_done(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    sweep(path, SETTINGS, FakeRun())
    more = FakeRun()

    sweep(path, [*SETTINGS, {"lr": 0.1, "seed": 2}], more)

    assert more.seen == [{"lr": 0.1, "seed": 2}]


def test_records_carry_the_job_the_result_the_time_and_the_machine(tmp_path: Path) -> None:
    sweep(tmp_path / "new" / "records.jsonl", SETTINGS[:1], FakeRun())

    (record,) = read_records(tmp_path / "new" / "records.jsonl")
    assert record["lr"] == 0.1 and record["loss"] == 0.1
    assert record["seconds"] >= 0
    assert record["machine"] == machine_facts()
    assert record["machine"]["threads"] == 1


def test_progress_counts_only_what_was_missing(tmp_path: Path) -> None:
    said: list[str] = []
    sweep(tmp_path / "records.jsonl", SETTINGS[:1], FakeRun())

    sweep(tmp_path / "records.jsonl", SETTINGS, FakeRun(), say=said.append)

    assert [line.split(" done")[0] for line in said] == ["1/3", "2/3", "3/3"]
    assert all("min left" in line for line in said)
    assert "seed=1" in said[-1]
