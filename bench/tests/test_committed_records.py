"""The committed records: every one is current, no run is there twice, and the README says what they say."""

from pathlib import Path

import pytest

from lrpilot_bench.analysis.autopilot import by_side
from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.compare import all_rows, headlines
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.protocol.ledger import is_current, read_runs
from lrpilot_bench.report.findings import find
from lrpilot_bench.report.pages import markdown_page
from lrpilot_bench.report.reading import read_bench
from lrpilot_bench.store.records import read_records

ROOT = Path(__file__).parents[2]
RUN_FILES = ("bench.jsonl", "lr_tuner.jsonl", "weighted_factors.jsonl", "autolrs.jsonl")
RECORDS = ROOT / "bench" / "records" / "bench.jsonl"
RUNS = sorted(path for path in RECORDS.parent.glob("*.jsonl") if path.name in RUN_FILES)

# Two runs at the papers' size (an hour and a half each) are those of the version before; the others are all current.
AWAITED = {"lr_tuner"}

pytestmark = pytest.mark.skipif(not RECORDS.exists(), reason="nothing is recorded yet")


def test_every_file_of_runs_is_there() -> None:
    assert {path.name for path in RUNS} == set(RUN_FILES)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_record_is_of_the_run_that_its_job_has_today(path: Path) -> None:
    """A task that must change is another task: rename it, or record its oracle anew in the same commit.

    A method that must change has its version raised, and its runs are recorded anew in the same commit; those that have
    yet to be stand in AWAITED, count for nothing, and are told of by ``lrpilot bench status``.
    """
    records = list(read_runs(path).values())
    assert len(records) > 50
    assert {r["method"] for r in records if not is_current(r)} <= AWAITED


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_no_run_is_recorded_twice(path: Path) -> None:
    names = [record["run"] for record in read_records(path)]
    assert len(names) == len(set(names))


def test_the_readme_says_what_the_records_say() -> None:
    bench = load(read_records(RECORDS), registered(), current_run=run_of)
    lines = {line.method: line for line in headlines(all_rows(bench))}
    readme = (ROOT / "README.md").read_text()

    def row(beginning: str) -> str:
        (found,) = [line for line in readme.splitlines() if line.startswith(f"| {beginning}")]
        return found

    def says(beginning: str, method: str) -> bool:
        return f"| {lines[method].finished_regret:.3f}" in row(beginning)

    whole = [line for line in lines.values() if line.equal_compute and not line.missing and not line.failures]
    assert min(whole, key=lambda line: line.regret or 0.0).method == "autopilot"
    assert says("`Autopilot()`", "autopilot")
    for side, found in by_side(bench, all_rows(bench)).items():
        (own,) = [line for line in found if line.method == "autopilot"]
        assert f"{own.regret:.3f} on {side} tasks" in row("`Autopilot()`") and not own.missing
    assert says("`LRTuner()`", "lr_tuner") and says("`AutoLRS()`", "autolrs")
    assert says("`WeightedFactors()`", "weighted_factors") and says("`Schedule(", "wsd")
    assert says("`find_lr(effort", "find_decay_linear_free") and says("*Prodigy, cosine*", "prodigy_cosine")
    for beginning, method in (("`LRTuner.paper()`", "lr_tuner_paper"), ("*schedule-free*", "schedule_free")):
        failed = f", {lines[method].failures} of {lines[method].runs} failed"
        assert says(beginning, method) and failed in row(beginning)
    assert says("`AutoLRS.paper()`", "autolrs_paper") and not lines["autolrs_paper"].failures
    for method in ("autopilot", "lr_tuner", "autolrs", "weighted_factors", "wsd", "prodigy_cosine"):
        assert not lines[method].failures
    spent = lines["find_decay_linear"]
    assert f"{spent.failures} of {spent.runs} runs had nothing left to train with" in row("`find_lr(effort")


def test_the_page_of_the_docs_is_made_from_the_records() -> None:
    assert markdown_page(find(*read_bench(RECORDS))) == (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
