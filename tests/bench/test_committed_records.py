"""The committed records: tasks are frozen by their oracle, and no run is recorded twice."""

from pathlib import Path

import pytest

from lrpilot.bench.jobs import Job, plan
from lrpilot.bench.records import read_records
from lrpilot.bench.schema import ORACLE_KINDS
from lrpilot.bench.tasks.registry import tasks

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records" / "bench.jsonl"
JOB_FIELDS = Job.__dataclass_fields__.keys()

pytestmark = pytest.mark.skipif(not RECORDS.exists(), reason="nothing is recorded yet")


def test_the_code_of_a_task_is_frozen_by_its_oracle() -> None:
    """A task that must change is another task: rename it, or record its oracle anew in the same commit."""
    swept = [r for r in read_records(RECORDS) if r["method"] in ORACLE_KINDS and r["task"] in tasks()]
    assert swept
    changed = {r["task"] for r in swept if plan(Job(**{field: r[field] for field in JOB_FIELDS})).run != r["run"]}
    assert changed == set()


def test_no_run_is_recorded_twice() -> None:
    names = [record["run"] for record in read_records(RECORDS)]
    assert len(names) == len(set(names))
