"""Which records count, and how runs are found."""

import copy
import json
import math
import subprocess
import sys
from typing import Any

import pytest
from bench_records import CATALOGUE, GRID, bench, record, seeded, swept

from lrpilot.errors import SettingError
from lrpilot_bench.analysis.catalogue import registered, runs_of
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.analysis.rows import method_rows
from lrpilot_bench.analysis.sanity import not_run, sanity
from lrpilot_bench.analysis.sweeps import horizon_rows, start_lr_rows
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.store.schema import FIELDS, NO_BETTER, NO_STEP, UNTRAINED, by_run, unfit


def test_runs_come_by_seed() -> None:
    read = bench(seeded("t", "prodigy", [0.3, 0.2])[::-1], [record("u", "prodigy", 0.9)])
    assert {seed: run.loss for seed, run in read.runs("t", "prodigy").items()} == {0: 0.3, 1: 0.2}
    assert list(read.runs("t", "prodigy")) == [0, 1]
    assert read.runs("t", "gen") == {} and read.tasks() == ("t", "u")
    assert read.methods("t") == ("prodigy",)


def test_a_plain_run_is_known_by_its_lr() -> None:
    """Whatever suite asked for it first: the runner records a run once."""
    sweep_point = record("t", "linear", 0.5, lr=0.1)
    start = record("t", "linear", 0.7, lr=3.0, lr_factor=1.0)
    read = bench([sweep_point, start, record("t", "linear", 0.6, lr=0.2)])
    assert read.runs("t", "linear")[0].loss == 0.5
    assert read.runs("t", "linear", lr_factor=30.0)[0].loss == 0.7
    assert read.runs("t", "linear", lr=0.2)[0].lr_factor == pytest.approx(2.0)


def test_lrs_are_compared_as_recorded_with_six_digits() -> None:
    read = bench([record("t", "linear", 0.5, lr=0.00333333, lr_factor=1 / 30)])
    assert list(read.runs("t", "linear", lr_factor=1 / 30)) == [0]
    assert list(read.runs("t", "linear", lr=0.1 / 30)) == [0]
    assert not read.runs("t", "linear")


def test_horizons_families_and_repeats_are_kept_apart() -> None:
    read = bench(
        [record("t", "gen", 0.1), record("t", "gen", 0.2, horizon=4.0), record("t", "gen", 0.3, family="adamw")],
        [record("t", "gen", 0.4, repeat=1)],
    )
    assert [run.loss for run in read.runs("t", "gen").values()] == [0.1]
    assert [run.loss for run in read.runs("t", "gen", horizon=4.0).values()] == [0.2]
    assert [run.loss for run in read.runs("t", "gen", family="adamw").values()] == [0.3]
    assert [run.repeat for run in read.every("t", "gen")] == [0, 0, 1]


@pytest.mark.parametrize("status", ["diverged", "crashed"])
def test_a_failed_run_has_no_loss_whatever_it_ended_with(status: str) -> None:
    run = bench([record("t", "gen", 3.0, status=status, error="ValueError: no")]).runs("t", "gen")[0]
    assert (run.loss, run.test_loss, run.score, run.test_score) == (math.inf, math.inf, None, None)
    assert run.failed


def test_no_better_than_untrained_is_told_from_diverged() -> None:
    worse = record("t", "ours", 15.0, status="diverged")
    read = bench([worse, record("t", "ours", math.inf, seed=1), record("t", "ours", 12.0, seed=2)])
    runs = read.runs("t", "ours")
    assert [run.status for run in runs.values()] == [NO_BETTER, "diverged", "finished"], "the record judges, not we"
    assert [run.worsening for run in runs.values()] == [pytest.approx(1.5), None, None], "the curve begins at 10"
    assert runs[0].failed and math.isinf(runs[0].loss), "its regret stays infinite"


def test_a_run_without_a_step_has_spent_its_budget_or_not() -> None:
    """A plain step of 100 costs a hundredth: up to 0.99 of the budget one more could have been taken."""
    computes = (0.0, 0.5, 0.99, 0.995, 1.2)
    read = bench([record("t", "ours", 10.0, seed=s, kept_steps=0, compute=c) for s, c in enumerate(computes)])
    said = [run.status for run in read.runs("t", "ours").values()]
    assert said == [NO_STEP, NO_STEP, NO_STEP, UNTRAINED, UNTRAINED]


def test_a_method_that_spent_its_budget_before_training_has_failed() -> None:
    spent = [record("t", "ours", 10.0, seed=seed, kept_steps=0, compute=1.042) for seed in (0, 1)]
    crashed = record("t", "ours", 10.0, seed=2, kept_steps=0, status="crashed", error="ValueError: no")
    read = bench(spent, [crashed, record("t", "pick_ours", 10.0, kept_steps=0)])
    assert [run.status for run in read.runs("t", "ours").values()] == [UNTRAINED, UNTRAINED, "crashed"]
    assert all(run.failed and run.loss == math.inf for run in read.runs("t", "ours").values())
    assert read.runs("t", "pick_ours")[0].status == "finished", "a finder is not to train"
    (row,) = method_rows(read, "t")
    assert [failure.status for failure in row.failures] == [UNTRAINED, UNTRAINED, "crashed"]


def test_what_a_record_needs() -> None:
    whole = record("t", "gen", 0.5)
    assert unfit(whole) is None
    for name in FIELDS:
        assert unfit({key: value for key, value in whole.items() if key != name}) == f"a record without {name}"
    assert unfit({"schema": 1, "run": "abc"} | dict.fromkeys(FIELDS[1:-1], 0)) == "a record without settings"
    assert unfit({}) == unfit(whole | {"schema": 2}) == "not a record of schema 1"


def test_of_records_by_run_the_newest_counts_as_in_the_analysis() -> None:
    records = [record("t", "gen", loss, seed=seed) for loss, seed in ((0.5, 0), (0.6, 1), (0.4, 0))]
    kept = {r["seed"]: r["final"]["val_loss"] for r in by_run(records).values()}
    assert kept == {seed: run.loss for seed, run in bench(records).runs("t", "gen").items()} == {0: 0.4, 1: 0.6}


def test_of_a_run_recorded_twice_the_newest_counts() -> None:
    read = bench([record("t", "gen", 0.5), record("t", "gen", 0.4, code="0.2.0")])
    assert [run.loss for run in read.all_runs] == [0.4]
    assert [each.reason for each in read.left_out] == ["recorded again later"]


def test_the_version_of_the_code_does_not_matter_that_of_the_method_does() -> None:
    old = seeded("t", "gen", [0.9, 0.9, 0.9]) + seeded("t", "prodigy", [0.8], code="0.0.1")
    new = seeded("t", "gen", [0.5, 0.6], version="2")
    read = bench(old, new, [record("t", "prodigy", 0.7, seed=1, code="0.2.0")])
    assert {seed: run.loss for seed, run in read.runs("t", "gen").items()} == {0: 0.5, 1: 0.6}, "no mixture"
    assert list(read.runs("t", "prodigy")) == [0, 1]
    assert {each.reason for each in read.left_out} == {"made by an earlier version of its method"}


def test_settings_are_part_of_the_version() -> None:
    read = bench(
        [record("t", "gen", 0.9, settings={"a": 1, "b": 2})],
        [
            record("t", "gen", 0.5, settings={"a": 2, "b": 2}),
            record("t", "gen", 0.6, seed=1, settings={"b": 2, "a": 2}),
        ],
    )
    assert {seed: run.loss for seed, run in read.runs("t", "gen").items()} == {0: 0.5, 1: 0.6}


def test_with_the_registries_at_hand_only_their_runs_count() -> None:
    records = [record("t", "gen", 0.5), record("t", "gen", 0.6, seed=1, run="of an older task file")]
    read = load(records, CATALOGUE, current_run=lambda r: record(r["task"], r["method"], 1.0, seed=r["seed"])["run"])
    assert list(read.runs("t", "gen")) == [0]
    assert read.left_out[0].run == "of an older task file"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": 2}, "schema 1"),
        ({"task": "gone"}, "task is not registered"),
        ({"method": "gone"}, "method is not registered"),
        ({"family": "lion"}, "no such optimizer family"),
    ],
)
def test_records_that_cannot_be_read_are_left_out_and_told(changes: dict[str, Any], words: str) -> None:
    read = bench([record("t", "gen", 0.5) | changes])
    assert read.all_runs == () and words in read.left_out[0].reason
    assert read.tasks() == ()


def test_a_record_of_something_else_is_left_out() -> None:
    broken = record("t", "gen", 0.5)
    del broken["final"]
    read = load([broken, {"lr": 1}], CATALOGUE)
    assert [each.reason for each in read.left_out] == ["a record without final", "not a record of schema 1"]


def test_reading_changes_no_record() -> None:
    records = swept("t", "linear")
    before = copy.deepcopy(records)
    bench(records).runs("t", "linear", lr=GRID[3])
    assert records == before


def test_unknown_names() -> None:
    read = bench([record("t", "gen", 0.5)])
    with pytest.raises(SettingError, match="must be one of t, u, got 'v'"):
        read.runs("v", "gen")
    with pytest.raises(SettingError, match="'lion'"):
        read.runs("t", "gen", family="lion")


def test_the_analysis_loads_no_torch() -> None:
    code = (
        "import sys\n"
        "import lrpilot_bench.store.schema\n"
        "from lrpilot_bench.analysis import compare, finders, sanity, sweeps\n"
        "print(sorted({'torch', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_registered_catalogue() -> None:
    catalogue = registered()
    digits = catalogue.task("digits")
    assert len(digits.family().oracle_lrs) == 11
    assert catalogue.methods["linear"].lr_for("adamw") == 1e-3
    finders = [method for method in catalogue.methods.values() if method.group == "finder"]
    assert finders and all(method.finder is not None and method.finder.suggestions for method in finders)
    ours = {method.name for method in finders if method.finder is not None and method.finder.own}
    assert ours == {
        "pick_find_lr_quick",
        "pick_find_lr_decay",
        "pick_find_lr_decay_quick",
        "pick_find_lr_constant",
        "pick_range_test",
    }


def test_runs_of_jobs_and_of_records_agree() -> None:
    from lrpilot_bench.protocol.jobs import Job

    jobs = [Job("digits", "linear", lr_factor=30.0), Job("digits", "linear", lr=0.03), Job("digits", "linear", seed=1)]
    planned = runs_of([*jobs, Job("digits", "linear", family="lion"), Job("digits", "no such method")])
    assert len(planned) == 2, "the first two are one run; the last two are none"
    for run, job in planned.items():
        assert run_of(job) == run
    assert run_of({"task": "digits"}) is None
    assert run_of(next(iter(planned.values())) | {"method": "gone"}) is None


def test_records_as_they_are_made() -> None:
    """The reader against the writer: real runs, of one fiftieth of the budget."""
    from lrpilot_bench.protocol.jobs import Job
    from lrpilot_bench.run.execute import execute

    jobs = [Job("digits", "linear", horizon=0.02, repeat=repeat) for repeat in (0, 1)]
    jobs += [Job("digits", "linear", horizon=0.02, seed=1), Job("digits", "linear", horizon=0.02, lr_factor=30.0)]
    records = [json.loads(json.dumps(execute(job))) for job in jobs]
    read = load(records, registered(), current_run=run_of)
    assert read.left_out == () and list(read.runs("digits", "linear", horizon=0.02)) == [0, 1]
    assert [row.lr_factor for row in start_lr_rows(read, "digits")] == []
    assert [(row.horizon, row.seeds) for row in horizon_rows(read, "digits")] == [(0.02, (0, 1))]
    panel = sanity(read)
    assert [(check.repeats, check.equal) for check in panel.repeats] == [(2, True)]
    assert [(check.runs, check.mismatches) for check in panel.costs] == [(4, 0)]
    assert not_run(runs_of([*jobs, Job("digits", "linear", seed=7)]), read)[0].seed == 7
