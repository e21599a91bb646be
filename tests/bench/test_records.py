"""Records survive kills and resume: a run already recorded is never repeated."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.bench.records import append_record, finite, machine_facts, read_records, run_missing, thinned
from lrpilot.errors import DataError

JOBS = [{"lr": lr, "seed": seed} for seed in (0, 1) for lr in (0.1, 0.0215)]


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
        run_missing(path, JOBS, first)
    records = run_missing(path, JOBS, second)

    assert first.seen + second.seen == JOBS
    assert [r["loss"] for r in records] == [0.1, 0.0215, 1.1, 1.0215]
    assert len(read_records(path)) == len(JOBS)
    third = FakeRun()
    assert run_missing(path, JOBS, third) == records
    assert third.seen == []


def test_records_of_other_settings_do_not_count_as_done(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    run_missing(path, JOBS, FakeRun())
    more = FakeRun()

    run_missing(path, [*JOBS, {"lr": 0.1, "seed": 2}], more)

    assert more.seen == [{"lr": 0.1, "seed": 2}]


def test_records_carry_the_job_the_result_the_time_and_the_machine(tmp_path: Path) -> None:
    run_missing(tmp_path / "new" / "records.jsonl", JOBS[:1], FakeRun())

    (record,) = read_records(tmp_path / "new" / "records.jsonl")
    assert record["lr"] == 0.1 and record["loss"] == 0.1
    assert record["seconds"] >= 0
    assert record["machine"] == machine_facts()
    assert record["machine"]["threads"] == 1


def test_progress_counts_only_what_was_missing(tmp_path: Path) -> None:
    said: list[str] = []
    run_missing(tmp_path / "records.jsonl", JOBS[:1], FakeRun())

    run_missing(tmp_path / "records.jsonl", JOBS, FakeRun(), say=said.append)

    assert [line.split(" done")[0] for line in said] == ["1/3", "2/3", "3/3"]
    assert all("min left" in line for line in said)
    assert "seed=1" in said[-1]


@pytest.mark.parametrize("torn", ['{"lr": 0.1, "se', '{"lr": 0.1, "seed": 0, "loss": 1}'])
def test_a_half_written_line_is_dropped(torn: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, {"whole": 1})
    path.write_text(path.read_text() + torn)

    assert read_records(path) == [{"whole": 1}]
    append_record(path, {"next": 2})

    assert read_records(path) == [{"whole": 1}, {"next": 2}]


@pytest.mark.parametrize("line", ["not json", "[1, 2]"])
def test_a_damaged_whole_line_is_reported_with_its_place(line: str, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(f'{{"fine": 1}}\n{line}\n')

    with pytest.raises(DataError, match="line 2"):
        read_records(path)


def test_non_finite_numbers_never_reach_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_record(tmp_path / "records.jsonl", {"loss": float("nan")})

    assert not (tmp_path / "records.jsonl").exists()
    assert [finite(x) for x in (1.5, float("nan"), float("inf"), None)] == [1.5, None, None, None]


@given(st.integers(0, 400), st.integers(2, 60))
def test_thinning_keeps_both_ends_and_the_order(count: int, at_most: int) -> None:
    kept = thinned([float(i) for i in range(count)], at_most)

    assert len(kept) == min(count, at_most)
    assert all(value == index for index, value in kept)
    assert [i for i, _ in kept] == sorted({i for i, _ in kept})
    if count:
        assert kept[0][0] == 0 and kept[-1][0] == count - 1
    json.dumps(kept, allow_nan=False)
