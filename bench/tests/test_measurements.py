"""A study's measurements survive kills and resume: what is recorded is never measured again."""

from pathlib import Path

import pytest

from lrpilot_bench.run.measurements import measure_missing
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


def test_an_interrupted_study_resumes_without_repeating_a_run(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first, second = FakeRun(die_at=3), FakeRun()

    with pytest.raises(KeyboardInterrupt):
        measure_missing(path, SETTINGS, first)
    records = measure_missing(path, SETTINGS, second)

    assert first.seen + second.seen == SETTINGS
    assert [r["loss"] for r in records] == [0.1, 0.0215, 1.1, 1.0215]
    assert len(read_records(path)) == len(SETTINGS)
    third = FakeRun()
    assert measure_missing(path, SETTINGS, third) == records
    assert third.seen == []


def test_records_of_other_settings_do_not_count_as_done(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    measure_missing(path, SETTINGS, FakeRun())
    more = FakeRun()

    measure_missing(path, [*SETTINGS, {"lr": 0.1, "seed": 2}], more)

    assert more.seen == [{"lr": 0.1, "seed": 2}]


def test_records_carry_the_job_the_result_the_time_and_the_machine(tmp_path: Path) -> None:
    measure_missing(tmp_path / "new" / "records.jsonl", SETTINGS[:1], FakeRun())

    (record,) = read_records(tmp_path / "new" / "records.jsonl")
    assert record["lr"] == 0.1 and record["loss"] == 0.1
    assert record["seconds"] >= 0
    assert record["machine"] == machine_facts()
    assert record["machine"]["threads"] == 1


def test_progress_counts_only_what_was_missing(tmp_path: Path) -> None:
    said: list[str] = []
    measure_missing(tmp_path / "records.jsonl", SETTINGS[:1], FakeRun())

    measure_missing(tmp_path / "records.jsonl", SETTINGS, FakeRun(), say=said.append)

    assert [line.split(" done")[0] for line in said] == ["1/3", "2/3", "3/3"]
    assert all("min left" in line for line in said)
    assert "seed=1" in said[-1]
