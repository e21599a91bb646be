"""The committed records: every one is current, no run is there twice, and the README says what they say."""

from pathlib import Path

import pytest

from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.compare import all_rows, headlines
from lrpilot_bench.analysis.runs import load
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.protocol.ledger import is_current, read_runs
from lrpilot_bench.store.records import read_records

ROOT = Path(__file__).parents[2]
RUN_FILES = ("bench.jsonl", "lr_tuner.jsonl", "weighted_factors.jsonl", "autolrs.jsonl")
RECORDS = ROOT / "bench" / "records" / "bench.jsonl"
RUNS = sorted(path for path in RECORDS.parent.glob("*.jsonl") if path.name in RUN_FILES)

pytestmark = pytest.mark.skipif(not RECORDS.exists(), reason="nothing is recorded yet")


def test_every_file_of_runs_is_there() -> None:
    assert {path.name for path in RUNS} == set(RUN_FILES)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_record_is_of_the_run_that_its_job_has_today(path: Path) -> None:
    """A task that must change is another task: rename it, or record its oracle anew in the same commit.

    A method that must change has its version raised, and its runs are recorded anew in the same commit.
    """
    records = list(read_runs(path).values())
    assert len(records) > 50
    assert {(r["task"], r["method"]) for r in records if not is_current(r)} == set()


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_no_run_is_recorded_twice(path: Path) -> None:
    names = [record["run"] for record in read_records(path)]
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
