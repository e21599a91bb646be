"""The committed records: tasks are frozen by their oracle, no run is there twice, and the docs say what they say."""

from pathlib import Path

import pytest

from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.compare import all_rows, headlines
from lrpilot_bench.analysis.runs import load
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.report.findings import find
from lrpilot_bench.report.pages import markdown_page
from lrpilot_bench.report.reading import read_bench
from lrpilot_bench.store.records import read_records
from lrpilot_bench.store.schema import ORACLE_KINDS, run_of
from lrpilot_bench.tasks.registry import tasks

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "bench" / "records" / "bench.jsonl"
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


def test_the_readme_says_what_the_records_say() -> None:
    bench = load(read_records(RECORDS), registered(), current_run=run_of)
    lines = {line.method: line for line in headlines(all_rows(bench))}
    readme = " ".join((ROOT / "README.md").read_text().split())

    def above(method: str, digits: int = 1) -> str:
        return f"{100 * ((lines[method].finished_regret or 0.0) - 1):.{digits}f} % above"

    whole = [line for line in lines.values() if line.equal_compute and not line.missing and not line.failures]
    assert min(whole, key=lambda line: line.regret or 0.0).method == "lr_tuner"
    assert f"its loss is {above('lr_tuner')} the oracle's" in readme
    assert above("prodigy_cosine") == above("wsd") and f"a WSD schedule at the default lr are {above('wsd')}" in readme
    assert (
        lines["schedule_free"].failures == 1
        and f"Schedule-free, a different optimizer, is {above('schedule_free')}" in readme
    )
    searched = lines["find_decay_linear_free"]
    assert f"a linear decay after it are {above('find_decay_linear_free')} where the search comes on top" in readme
    assert f"at {searched.compute:.1f} times the compute" in readme
    spent = lines["find_decay_linear"]
    assert f"nothing left to train with in {spent.failures} runs of {spent.runs}" in readme
    assert lines["autolrs"].failures == 0 and f"`AutoLRS()` is {above('autolrs', 0)}, without a failed run" in readme


def test_the_page_of_the_docs_is_made_from_the_records() -> None:
    assert markdown_page(find(*read_bench(RECORDS))) == (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
