"""The page of AutoLRS' experiment on made-up records: whole without any, and every number by hand."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fake_attempts import seeming_record
from lrpilot_bench.protocol.experiments import AUTOLRS_HORIZON, autolrs_jobs
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.protocol.wanted import oracle_sweep
from lrpilot_bench.store.records import append_record
from lrpilot_bench.studies.line_experiments import read
from lrpilot_bench.studies.time_to_loss import Speedup, in_words, speedup, spent
from lrpilot_bench.studies.trial_claims import TrialFacts, claim_rows, over_tasks, trial_facts, why
from lrpilot_bench.studies.trial_claims import default as default_reasons
from lrpilot_bench.studies.trial_claims import published_free as free_reasons
from lrpilot_bench.studies.trial_experiments import (
    aim_rows,
    best_schedule,
    page,
    schedules,
    score_rows,
    speed_rows,
    sweep_rows,
    tuned,
)
from lrpilot_bench.tasks.registry import get_task

CURVE = {
    "steps": [0, 1000, 2000, 4000],
    "compute": [0.0, 3000.0, 6000.0, 12000.0],
    "val_loss": [2.3, 0.8, 0.6, 0.5],
    "train_loss": [None, 0.9, 0.7, 0.6],
    "lr": [None, 0.1, 0.1, 0.05],
}
CLAIMED = ("autolrs_paper_free", "autolrs_paper", "autolrs", "beam_search")
FASHION = ("fashion_bn", "sgd")


def final(loss: float) -> dict[str, float]:
    return {"val_loss": loss, "val_score": 0.9, "test_loss": loss + 0.1, "test_score": 0.9}


def put(path: Path, job: Job, **changes: Any) -> None:
    planned = plan(job)
    sizes = {"steps": planned.steps, "kept_steps": planned.steps, "curve": CURVE}
    append_record(path, seeming_record(job, planned.run, family=planned.kind, lr=planned.lr, **(sizes | changes)))


def job(method: str, *, seed: int = 0, lr: float | None = None, training: tuple[str, str] = FASHION) -> Job:
    return Job(training[0], method, seed=seed, family=training[1], lr=lr, horizon=AUTOLRS_HORIZON)


def whole(path: Path, seeds: tuple[int, ...] = (0, 1)) -> Path:
    """All that the suite wants; the best of every sweep is its middle."""
    kept: dict[Job, Mapping[str, Any]] = {}
    while missing := [one for one in dict.fromkeys(autolrs_jobs(seeds, kept.get)) if one not in kept]:
        for one in missing:
            middle = get_task(one.task).family(one.family).oracle_lrs[5]
            loss = 0.5 if one.lr is None else 0.5 + abs(math.log(one.lr / middle))
            kept[one] = {"final": final(loss), "status": "finished"}
            put(path, one, final=final(loss))
    return path


def rows_of(words: str) -> list[str]:
    return [line for line in words.splitlines() if line.startswith("| ") and "---" not in line]


# ------------------------------------------------------------------ the page


def test_without_records_every_row_says_so(tmp_path: Path) -> None:
    empty = read(tmp_path / "none.jsonl")
    rows = rows_of(page(empty, empty))
    assert sum("not run" in row for row in rows) == len(rows) - 10, "all but the headers"


def test_with_all_records_no_row_lacks_one(tmp_path: Path) -> None:
    judged = tmp_path / "judged.jsonl"
    for one in (Job(task, method) for task in ("fashion_bn", "char_kjv") for method in (*CLAIMED, "clr", "sgdr")):
        put(judged, one)
    words = page(read(whole(tmp_path / "autolrs.jsonl")), read(judged))
    assert "not run" not in words and "at the edge" not in words
    assert "here constant" in words, "of equal schedules the first"
    assert words.count("| 0.5 ± 0 | 0.6 ± 0 |") == 3 * 7, "validation and test loss of every row"


def test_an_unfinished_sweep_is_a_best_at_the_edge(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for lr, loss in ((0.0158, 0.5), (0.05, 0.6), (0.158, 0.7)):
        put(path, job("constant", lr=lr), final=final(loss))
    found = tuned(read(path), *FASHION, "constant")
    assert (found.lr, found.lrs, found.inside) == (0.0158, (0.0158, 0.05, 0.158), False)
    row = next(sweep_rows(read(path)))
    assert row[1] == "0.0158 (of 3, 0.0158 to 0.158, **at the edge**)" and row[2] == "not run"
    assert row[-1] == "0.001 to 0.1"


def test_a_best_lr_outside_of_the_published_interval_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    put(path, job("constant", lr=0.158), final=final(0.4))
    assert next(sweep_rows(read(path)))[-1] == "0.001 to 0.1; the best constant lr lies above"


def test_the_schedule_of_the_best_mean_wins_among_those_with_all_seeds(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for method, losses in (("constant", (0.5, 0.7)), ("cosine", (0.55, 0.6)), ("clr", (0.3,))):
        for seed, loss in enumerate(losses):
            put(path, job(method, lr=0.05, seed=seed), final=final(loss))
    assert best_schedule(schedules(read(path), *FASHION)) == "cosine"
    assert best_schedule({}) is None


def test_a_run_of_another_horizon_is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    put(path, Job("fashion_bn", "constant", lr=0.05, family="sgd"), final=final(0.1))
    assert tuned(read(path), *FASHION, "constant").runs == {}


# ------------------------------------------------------------- time to a loss


def test_how_soon_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    slow = CURVE | {"steps": [0, 500, 1000, 2000], "val_loss": [2.3, 0.7, 0.5, 0.55]}
    late = CURVE | {"val_loss": [2.3, 0.9, 0.8, 0.7]}
    for seed in (0, 1, 2):
        put(path, job("cosine", lr=0.05, seed=seed), final=final(0.5))
    put(path, job("autolrs", seed=0), curve=slow, final=final(0.55))
    put(path, job("autolrs", seed=1), curve=late, final=final(0.7))
    nothing = dict.fromkeys(("val_loss", "val_score", "test_loss", "test_score"))
    put(path, job("autolrs", seed=2), curve=slow, final=nothing, status="diverged")
    bench = read(path)
    runs = bench.runs("fashion_bn", "autolrs", family="sgd", horizon=AUTOLRS_HORIZON)
    base = tuned(bench, *FASHION, "cosine").runs
    # The baseline is there after 4,000 steps and 12,000 forwards, seed 0 after 1,000 and 6,000; the others never.
    assert speedup(runs, base) == Speedup(3, 1, pytest.approx(4.0), pytest.approx(2.0))
    assert spent(runs[2], 0.8, "steps") == math.inf, "a run that failed reaches nothing"
    assert speedup(base, base) == Speedup(3, 3, 1.0, 1.0)
    rows = {row[0]: row[1:] for row in speed_rows(bench, *FASHION)}
    assert rows["AutoLRS"] == ("4.00 (1 of 3 seeds)", "2.00 (1 of 3 seeds)", "not run", "not run")
    assert rows["cosine, tuned (0.05)"][:2] == ("1.00", "1.00")


def test_words_of_a_ratio() -> None:
    assert in_words(Speedup(0, 0, None, None), None) == "not run"
    assert in_words(Speedup(3, 0, None, None), None) == "never (3 seeds)"
    assert in_words(Speedup(3, 3, 1.25, 0.5), 0.5) == "0.50"


# ------------------------------------------------------------ aim and scores


@pytest.mark.parametrize("loss, kept, says", [(0.45, 3200, "holds"), (0.55, 3200, "not"), (0.45, 3000, "not")])
def test_the_aim_needs_both(tmp_path: Path, loss: float, kept: int, says: str) -> None:
    path = tmp_path / "a.jsonl"
    put(path, job("autolrs"), final=final(loss), kept_steps=kept)
    put(path, job("autolrs_paper"), final=final(0.5), kept_steps=2000)
    row = next(aim_rows(read(path)))
    assert row[1:4] == ("2.00", f"{4000 / kept:.2f}", f"{loss / 0.5:.3f}")
    assert row[-1] == ("holds" if says == "holds" else "**does not hold**")


def test_a_score_is_compared_over_equal_seeds_once_all_trainings_are_there(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    for training in (FASHION, ("fashion_bn", "adamw"), ("char_kjv", "adamw")):
        put(path, job("autolrs", training=training), final=final(0.5))
        put(path, job("autolrs", training=training, seed=1), final=final(0.1))
        put(path, job("autolrs_raw", training=training), final=final(0.6))
    put(path, job("autolrs_annealed"), final=final(0.6))
    rows = {row[0]: row[1:] for row in score_rows(read(path))}
    assert rows["raw"] == ("0.6", "0.6", "0.6", "1.200")
    assert rows["annealed"] == ("0.6", "not run", "not run", "not run")


# ---------------------------------------------------------------- the claims


def judged_by(path: Path, **changes: Any) -> TrialFacts:
    for one in oracle_sweep(get_task("fashion_bn")):
        put(path, one, final=final(0.4 if one.lr == 0.05 and one.method == "linear" else 0.5))
    for seed in (0, 1):
        put(path, Job("fashion_bn", "linear", lr=0.05, seed=seed), final=final(0.4))
        put(path, Job("fashion_bn", "clr", seed=seed))
        put(path, Job("fashion_bn", "autolrs_paper_free", seed=seed), **changes)
    found = trial_facts(read(path), "autolrs_paper_free")
    assert found is not None
    return found


def test_reasons_are_given_as_far_as_their_facts_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    found = judged_by(path, compute=2.0, final=final(0.5))
    assert found.first_trials == (8, 8) and found.overhead == pytest.approx(2.0)
    assert found.sooner["clr"] == Speedup(2, 2, pytest.approx(1.0), pytest.approx(1.0))
    words = why(found, free_reasons)
    assert "have 8 steps to forecast from" in words and "the last lr is 0.5 of the peak" in words
    assert "differ" not in words, "the seeds end at one lr"
    assert over_tasks(read(path), "autolrs_paper_free", "sgdr").seeds == 0
    row = next(" ".join(row) for row in claim_rows(read(path)) if "probes free" in row[0])
    assert "loss 1.25 × the oracle's" in row and "2.00 × the compute of its steps" in row
    assert "final loss of CLR at its default lr in 2 of 2 runs (CLR's steps ÷ its own there: 1.00)" in row


def test_nothing_is_explained_where_there_is_no_difference(tmp_path: Path) -> None:
    found = judged_by(tmp_path / "a.jsonl", final=final(0.4))
    assert why(found, free_reasons) == "within 2% of the oracle: nothing to explain"


def test_a_search_that_leaves_nearly_all_steps_is_no_reason(tmp_path: Path) -> None:
    found = judged_by(tmp_path / "a.jsonl", kept_steps=990, final=final(0.5))
    assert "leaves 99% of the steps, so that cost is not the reason" in why(found, default_reasons)
    less = judged_by(tmp_path / "b.jsonl", kept_steps=770, final=final(0.5))
    assert "leaves 77% of the steps;" in why(less, default_reasons)
