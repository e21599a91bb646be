"""The page of the experiments on made-up records: whole without any, and every run that is wanted is in it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_attempts import seeming_record
from lrpilot_bench.analysis.compare import all_rows, headlines
from lrpilot_bench.analysis.oracle import oracle
from lrpilot_bench.protocol.experiments import STEP_FACTORS, lr_tuner_jobs, weighted_factors_jobs
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.protocol.wanted import oracle_sweep
from lrpilot_bench.store.records import append_record
from lrpilot_bench.studies.line_claims import gather
from lrpilot_bench.studies.line_experiments import (
    FRESH_METHODS,
    accuracy,
    cells,
    on_common_seeds,
    page,
    read,
    spread,
    three,
)
from lrpilot_bench.tasks.registry import get_task

CLAIMED = ("lr_tuner_paper", "lr_tuner_paper_free", "weighted_factors", "weighted_factors_paper")
CURVE = {
    "compute": [0.0, 1.0, 2.0],
    "train_loss": [None, 0.5, 0.25],
    "val_loss": [2.3, 0.4, 0.3],
    "lr": [None, 0.1, 0.005],
}


def fake(job: Job, **changes: Any) -> dict[str, Any]:
    planned = plan(job)
    return seeming_record(job, planned.run, family=planned.kind, lr=planned.lr, curve=CURVE, **changes)


def recorded(path: Path, jobs: list[Job], **changes: Any) -> Path:
    for job in jobs:
        append_record(path, fake(job, **changes))
    return path


def with_fresh_seeds(path: Path, tasks: tuple[str, ...]) -> Path:
    """What the table of fresh seeds needs besides: oracles and the methods, on five seeds."""
    recorded(path, [job for task in tasks for job in oracle_sweep(get_task(task))])
    bars = [oracle(read(path), task) for task in tasks]
    winners = [Job(bar.task, bar.kind or "", lr=bar.lr) for bar in bars]
    methods = [Job(task, method) for task in tasks for method in FRESH_METHODS]
    return recorded(path, [replace(job, seed=seed) for job in (*winners, *methods) for seed in range(5)])


def test_without_records_every_row_says_so(tmp_path: Path) -> None:
    empty = read(tmp_path / "none.jsonl")
    words = page(empty, empty, empty)
    rows = [line for line in words.splitlines() if line.startswith("| ") and "---" not in line]
    assert sum("not run" in row for row in rows) == len(rows) - 11, "all but the headers"


def test_with_all_records_no_row_lacks_one(tmp_path: Path) -> None:
    tuner = read(recorded(tmp_path / "a.jsonl", list(lr_tuner_jobs((0, 1)))))
    factors = read(recorded(tmp_path / "b.jsonl", list(weighted_factors_jobs((0, 1)))))
    tasks = ("fashion_bn", "char_kjv", "diamonds")
    jobs = [Job(t, m) for t in tasks for m in dict.fromkeys(("lr_tuner", "lr_tuner_saturation", *CLAIMED))]
    judged = read(with_fresh_seeds(recorded(tmp_path / "c.jsonl", jobs), (*tasks, "fashion_plain")))
    words = page(tuner, factors, judged)
    assert "not run" not in words
    assert len(re.findall(r"\| 0\.25 ± 0 \|", words)) > 20, "the mean training loss at the end"


def test_failures_are_counted_and_not_averaged(tmp_path: Path) -> None:
    job = Job("factors_fashion", "weighted_factors", lr=0.005)
    path = recorded(tmp_path / "a.jsonl", [job])
    nothing = dict.fromkeys(("val_loss", "val_score", "test_loss", "test_score"))
    append_record(
        path, fake(Job("factors_fashion", "weighted_factors", lr=0.005, seed=1), status="diverged", final=nothing)
    )
    runs = read(path).runs("factors_fashion", "weighted_factors", lr=0.005)
    assert cells(runs) == ("0.25", "0.5", "90.00", "1.00 ± 0.00", "2, 1 failed")
    assert accuracy([]) == "not run"
    assert accuracy(runs.values()) == "90.00 (1 failed)"
    assert cells({1: runs[1]})[0] == accuracy([runs[1]]) == "all 1 failed"


def test_the_default_is_compared_with_its_ablations_on_their_seeds(tmp_path: Path) -> None:
    ablations = [Job("fashion_bn", f"lr_tuner_factor_{factor:g}", seed=s) for factor in STEP_FACTORS for s in (0, 1)]
    bench = read(recorded(tmp_path / "a.jsonl", ablations))
    judged = read(recorded(tmp_path / "b.jsonl", [Job("fashion_bn", "lr_tuner", seed=seed) for seed in (3, 1, 0, 2)]))
    runs = judged.runs("fashion_bn", "lr_tuner")
    assert on_common_seeds(runs, bench, "fashion_bn") == [runs[0], runs[1]]
    assert on_common_seeds(runs, bench, "diamonds") == []


@pytest.mark.parametrize("values, words", [([2.0], "2"), ([1.0, 3.0], "2 ± 1.41"), ([], "not run")])
def test_spread_by_hand(values: list[float], words: str) -> None:
    assert spread(values, three) == words


def test_what_a_row_of_the_claims_says_by_hand(tmp_path: Path) -> None:
    lrs = {0: [None, 0.1, 0.2, 0.01, 0.03], 1: [None, 0.2, 0.2, 0.15, 0.06], 2: [None, 0.1, 0.004, 0.002, 0.001]}
    path = tmp_path / "a.jsonl"
    for seed, curve in lrs.items():
        job = Job("fashion_bn", "lr_tuner", seed=seed)
        planned = plan(job)
        points = CURVE | {"compute": [0.0, 1.0, 2.0], "lr": curve}
        append_record(path, seeming_record(job, planned.run, family="sgd", lr=planned.lr, curve=points))
    bench = read(path)
    facts = gather(bench, "lr_tuner", headlines(all_rows(bench)))
    assert facts is not None and facts.tasks == 1
    # Of peaks 0.2, 0.2 and 0.1: below a tenth for good after 4, 4 and 1 of 4 points.
    assert facts.tenth_after == 1.0 and facts.end == pytest.approx(0.15)
    assert facts.seeds_differ == pytest.approx(60.0)
    assert gather(bench, "weighted_factors", headlines(all_rows(bench))) is None
