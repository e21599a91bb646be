"""Suites are pure functions of what is asked for and of what is on record; a mistyped name is met with the closest."""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_attempts import seeming_record
from lrpilot.errors import SettingError
from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.oracle import oracle
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.methods.registry import get_method, methods
from lrpilot_bench.protocol.experiments import AUTOLRS_TASKS, TUNED
from lrpilot_bench.protocol.jobs import Job, plan, run_of
from lrpilot_bench.protocol.ledger import Ledger
from lrpilot_bench.protocol.wanted import (
    ALL_OF,
    RUN_ORDER,
    SUITES,
    oracle_sweep,
    scope,
    suites,
    sweep,
    wanted,
)
from lrpilot_bench.protocol.winners import best_of
from lrpilot_bench.store.schema import ORACLE_KINDS, REFERENCE_KINDS, by_run
from lrpilot_bench.tasks.registry import get_task, tasks

DIGITS = get_task("digits")
LRS = DIGITS.families[0].oracle_lrs
WITH_OWN_TASKS = ("lr_tuner", "weighted_factors")
EXPERIMENTS = (*WITH_OWN_TASKS, "autolrs")
PILOTS = ("autopilot", "autopilot_ablations", "autopilot_robust")


def nothing(job: Job) -> None:
    return None


def record(loss: float | None, status: str = "finished") -> dict[str, Any]:
    return {"final": {"val_loss": loss}, "status": status}


def jobs_of(name: str, lookup: Any = nothing, **within: Any) -> list[Job]:
    return wanted(suites([name]), scope(**within), lookup)


# ---------------------------------------------------------------------- the oracle


def test_the_oracle_begins_with_a_full_grid_of_every_schedule_at_seed_0() -> None:
    jobs = jobs_of("oracle", task_names=["digits"])
    grid = [Job("digits", method, lr=lr) for method in ("linear", "cosine", "wsd") for lr in LRS]
    assert jobs == grid == oracle_sweep(DIGITS)


def test_the_winner_runs_on_five_seeds_once_every_point_has_a_record() -> None:
    losses: dict[Job, Mapping[str, Any]] = {job: record(1.0) for job in oracle_sweep(DIGITS)}
    best = Job("digits", "cosine", lr=LRS[4])
    losses[best] = record(0.5)
    losses[Job("digits", "wsd", lr=LRS[9])] = record(0.1, status="diverged")
    losses[Job("digits", "wsd", lr=LRS[10])] = record(None, status="diverged")

    jobs = jobs_of("oracle", losses.get, task_names=["digits"])
    assert jobs[33:] == [Job("digits", "cosine", lr=LRS[4], seed=seed) for seed in range(5)]

    del losses[Job("digits", "linear", lr=LRS[0])]
    assert not [job for job in jobs_of("oracle", losses.get, task_names=["digits"]) if job.seed > 0]


def test_a_sweep_that_never_finished_has_no_winner() -> None:
    assert best_of(sweep(DIGITS, "linear"), lambda job: record(2.0, status="crashed")) is None


@cache
def sweep_of_digits() -> tuple[tuple[Job, str], ...]:
    return tuple((job, plan(job).run) for job in oracle_sweep(DIGITS))


ENDINGS = st.tuples(st.sampled_from([0.5, 0.6, 0.7, None]), st.sampled_from(["finished", "finished", "diverged"]))


@settings(max_examples=60, deadline=None)
@given(
    first=st.lists(ENDINGS, min_size=33, max_size=33),
    again=st.lists(st.tuples(st.integers(0, 32), ENDINGS), max_size=40),
    order=st.randoms(use_true_random=False),
)
def test_the_runner_and_the_report_find_the_same_winner_whatever_was_recorded_twice(
    first: list[Any], again: list[Any], order: Any
) -> None:
    points = [*enumerate(first), *again]
    order.shuffle(points)
    records = []
    for at, (loss, status) in points:
        job, run = sweep_of_digits()[at]
        final = dict.fromkeys(("val_loss", "val_score", "test_loss", "test_score"), loss)
        records.append(seeming_record(job, run, family="adamw", final=final, status=status))

    ledger = Ledger(by_run(records))
    best = best_of([job for job, _ in sweep_of_digits()], ledger.lookup)
    found = oracle(load(records, registered(), current_run=run_of), "digits")

    assert (found.kind, found.lr) == ((None, None) if best is None else (best.method, best.lr))


# ---------------------------------------------------------------------- the other suites


def test_one_seed_of_every_method_comes_before_the_next_and_ours_before_the_rest() -> None:
    jobs = jobs_of("methods")
    small = [task.name for task in tasks().values() if not (task.large or task.smoke or task.experiment)]
    flown = [method for method in methods().values() if method.group != "ablation"]
    assert len(jobs) == len(set(jobs)) == 3 * len(small) * len(flown)
    hand_made = [get_method(job.method).group == "schedule" for job in jobs]
    assert hand_made == sorted(hand_made), "the schedules come last"
    for part in (False, True):
        seeds = [job.seed for job, last in zip(jobs, hand_made, strict=True) if last is part]
        assert seeds == sorted(seeds)
    groups = [RUN_ORDER.index(get_method(job.method).group) for job in jobs if job.seed == 0]
    assert groups == sorted(groups)
    assert get_method(jobs[0].method).group == "lrpilot"
    assert [job.task for job in jobs[: len(small)]] == small


def test_the_start_lr_sweep_is_of_what_takes_an_lr() -> None:
    jobs = jobs_of("start_lr", task_names=["digits"])
    names = {job.method for job in jobs}
    assert {"linear", "adamw_constant", "schedule_free", "weighted_factors"} <= names
    assert "cosine" not in names, "of the hand-made schedules one is enough"
    assert all(get_method(name).lrs is not None for name in names)
    assert len(jobs) == len(names) * 2 * 3
    assert {job.lr_factor for job in jobs} == {1 / 30, 30.0}


def test_the_horizon_sweep_has_an_oracle_of_its_own_at_every_length() -> None:
    jobs = jobs_of("horizon", task_names=["fashion_plain"])
    for length in (0.25, 1.0, 4.0):
        of_length = [job for job in jobs if job.horizon == length]
        assert of_length[:11] == sweep(get_task("fashion_plain"), "linear", horizon=length)
        assert {job.method for job in of_length} >= {"find_decay_linear", "schedule_free", "sgd_step"}
        assert {job.seed for job in of_length} == {0, 1, 2}
    assert jobs_of("horizon", task_names=["digits"]) == []


def test_the_best_of_every_length_is_run_on_every_seed() -> None:
    def found(job: Job) -> Mapping[str, Any]:
        return record(job.lr if job.lr is not None else 1.0)

    jobs = jobs_of("horizon", found, task_names=["fashion_plain"])
    lowest = get_task("fashion_plain").families[0].oracle_lrs[0]
    winners = [job for job in jobs if job.lr == lowest and job.horizon == 0.25]
    assert [job.seed for job in winners] == [0, 0, 1, 2], "once in the sweep, then as the winner"


def test_references_are_the_sweeps_that_other_finders_are_judged_by() -> None:
    jobs = jobs_of("references", task_names=["digits"])
    assert jobs == sweep(DIGITS, "constant") + sweep(DIGITS, "fit_one_cycle")


def test_a_pick_beyond_the_grid_is_run_with_the_schedule_it_is_meant_for() -> None:
    picks = {"picked_lr": 1e-6, "suggestions": {"a": 1e-6, "b": LRS[3], "c": 5.0}, "rows": ["a", "b"]}
    nowhere = {"picked_lr": None, "suggestions": {"a": None}, "rows": ["a"]}

    def found(job: Job) -> Mapping[str, Any] | None:
        if not job.method.startswith("pick_"):
            return record(1.0)
        return {"notes": {"schedule": "linear", **(picks if job.seed == 1 else nowhere)}}

    jobs = jobs_of("references", found, task_names=["digits"])
    assert set(jobs[22:]) == {Job("digits", "linear", lr=1e-6)}, "b is inside, and c is no row of the table"


def test_a_pick_between_a_run_that_finished_and_one_that_failed_is_run_too() -> None:
    edge = math.sqrt(LRS[6] * LRS[7])
    notes = {"schedule": "linear", "picked_lr": edge, "suggestions": {"a": edge, "b": LRS[2] * 1.1}, "rows": ["a", "b"]}

    def found(job: Job) -> Mapping[str, Any] | None:
        if job.method.startswith("pick_"):
            return {"notes": notes}
        failed = job.lr is not None and job.lr >= LRS[7]
        return record(None, "diverged") if failed else record(1.0)

    jobs = jobs_of("references", found, task_names=["digits"])
    assert set(jobs[22:]) == {Job("digits", "linear", lr=float(f"{edge:.6g}"))}


def test_sanity_is_the_same_run_twice() -> None:
    assert jobs_of("sanity", task_names=["digits"]) == [Job("digits", "linear"), Job("digits", "linear", repeat=1)]


def test_the_smoke_run_is_small_and_can_be_judged() -> None:
    jobs = jobs_of("smoke")
    assert {job.task for job in jobs} == {"digits"}
    assert len({job.method for job in jobs}) == 3 and {job.seed for job in jobs} == {0, 1}
    assert any(get_method(job.method).group == "lrpilot" for job in jobs)
    assert set(sweep(DIGITS, "linear")) <= set(jobs)
    assert len(jobs_of("smoke", lambda job: record(1.0))) <= 20
    assert jobs_of("smoke", task_names=["fashion_plain"]) == []


def test_the_smoke_run_takes_the_seeds_that_are_asked_for() -> None:
    jobs = jobs_of("smoke", lambda job: record(1.0), seeds=[7])
    assert {job.seed for job in jobs if job.lr is None} == {7}
    assert {job.seed for job in jobs if job.lr is not None} == {0, 7}, "the sweep stays at 0"


# ---------------------------------------------------------------------- experiments


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_job_of_an_experiment_can_be_run(name: str) -> None:
    jobs = jobs_of(name, large=True)
    assert len({plan(job).run for job in jobs}) == len(jobs) > 50


@pytest.mark.parametrize("name", WITH_OWN_TASKS)
def test_an_experiment_may_have_tasks_of_its_own_and_takes_the_seeds_that_are_asked_for(name: str) -> None:
    jobs = jobs_of(name, large=True)
    assert any(get_task(job.task).experiment for job in jobs)
    assert {job.seed for job in jobs_of(name, seeds=[4], task_names=[jobs[0].task])} == {4}


@pytest.mark.parametrize("name", WITH_OWN_TASKS)
def test_an_experiment_is_of_the_family_that_is_asked_for(name: str) -> None:
    jobs = jobs_of(name, family="plain_sgd")
    assert jobs and {plan(job).kind for job in jobs} == {"plain_sgd"}
    assert set(jobs) <= set(jobs_of(name))


def test_what_belongs_to_experiments_is_in_no_other_suite() -> None:
    own = {job.method for name in EXPERIMENTS for job in jobs_of(name)}
    own |= {job.method for name in PILOTS for job in jobs_of(name, lambda job: record(1.0))}
    for kind in ORACLE_KINDS:  # whichever schedule wins, its averages are flown
        own |= {job.method for job in jobs_of("readouts", lambda job, best=kind: record(float(job.method != best)))}
    alone = {method.name for method in methods().values() if method.group == "ablation"}
    assert alone <= own, "each of them is flown somewhere"
    jobs = [job for name in ALL_OF for job in jobs_of(name, lambda job: record(1.0) | {"notes": {}})]
    assert not [job for job in jobs if job.method in alone or get_task(job.task).experiment]


def test_the_runs_at_the_papers_size_are_asked_for_by_name() -> None:
    full = {job for job in jobs_of("lr_tuner", large=True) if get_task(job.task).large}
    assert {job.method for job in full} == {"constant_unwarmed", "lr_tuner_epochs", "lr_tuner"}
    assert sorted(get_task(job.task).family(job.family).momentum for job in full) == 3 * [0.5] + 3 * [0.9]
    assert not full & set(jobs_of("lr_tuner"))


def by_distance(best_lr: float) -> Any:
    """Records in which the loss grows with the distance from an lr; methods without one have nothing to say."""
    return lambda job: record(1.0 if job.lr is None else 1.0 + abs(math.log(job.lr / best_lr)))


def test_autolrs_is_run_on_every_seed_beside_the_winners_of_sweeps_at_seed_0() -> None:
    jobs = jobs_of("autolrs", by_distance(0.01), task_names=["char_kjv"])
    assert {job.horizon for job in jobs} == {4.0} and {job.family for job in jobs} == {"adamw"}
    settings_of_it = [job for job in jobs if job.lr is None]
    assert len(settings_of_it) == len(set(settings_of_it)) == 5 * 3
    for method in TUNED:
        of_method = [job for job in jobs if job.method == method]
        assert [job.lr for job in of_method] == [9.49e-4, 0.003, 0.00949, 0.03, 0.00949, 0.00949, 0.00949]
        assert [job.seed for job in of_method] == [0, 0, 0, 0, 0, 1, 2], "the sweep stays at 0"
    assert {job.seed for job in jobs_of("autolrs", seeds=[4]) if job.lr is None} == {4}


def test_autolrs_has_no_winner_before_its_sweep_is_whole() -> None:
    jobs = jobs_of("autolrs")
    assert {job.seed for job in jobs if job.lr is not None} == {0}
    assert len([job for job in jobs if job.lr is not None]) == len(AUTOLRS_TASKS) * len(TUNED) * 3


def test_autolrs_is_of_the_family_that_is_asked_for() -> None:
    jobs = jobs_of("autolrs", family="sgd")
    assert {(job.task, job.family) for job in jobs} == {("fashion_bn", "sgd")}
    assert {(job.task, job.family) for job in jobs_of("autolrs")} == set(AUTOLRS_TASKS)


# ---------------------------------------------------------------------- the other optimizer families


@pytest.mark.parametrize("name", [*ALL_OF, *PILOTS, "smoke"])
def test_every_job_of_every_suite_is_of_the_family_that_is_asked_for(name: str) -> None:
    picks = {"notes": {"schedule": "linear", "picked_lr": 1e-9}}
    found = record(1.0) | picks
    jobs = jobs_of(name, lambda job: found, task_names=["digits", "fashion_bn", "fashion_plain"], family="adamw")
    assert jobs and {job.family for job in jobs} == {"adamw"}


def test_a_sweep_of_another_family_is_over_its_own_grid() -> None:
    task = get_task("fashion_bn")
    second = task.families[1]
    jobs = jobs_of("oracle", lambda job: record(1.0), task_names=["fashion_bn"], family=second.kind)
    assert [job.lr for job in jobs[:11]] == list(second.oracle_lrs) != list(task.families[0].oracle_lrs)
    assert len(jobs) == 33 + 5
    assert {plan(job).kind for job in jobs} == {second.kind}


def test_naming_the_first_family_changes_no_run() -> None:
    plain = jobs_of("all", task_names=["digits"], method_names=["linear"])
    named = jobs_of("all", task_names=["digits"], method_names=["linear"], family="adamw")
    assert [plan(job).run for job in plain] == [plan(job).run for job in named]


def test_a_task_that_lacks_the_family_is_refused_with_the_reason() -> None:
    ledger = Ledger()
    jobs = wanted(suites(["all"]), scope(task_names=["digits"], method_names=["linear"], family="sgd"), ledger.lookup)
    account = ledger.account(jobs)
    assert not account.missing and account.refused
    assert {r.reason for r in account.refused} == {
        "The optimizer family of the task 'digits' must be one of adamw, got 'sgd'. Choose one of these."
    }
    with pytest.raises(SettingError, match=r"one of adam, adamw, plain_sgd, sgd, got 'adamm'"):
        scope(family="adamm")


# ---------------------------------------------------------------------- what is asked for


def test_all_is_everything_but_the_smoke_run_and_experiments_in_the_order_of_the_plan() -> None:
    assert tuple(suite.name for suite in suites(["all"])) == ALL_OF
    assert tuple(suite.name for suite in suites(["sanity", "all", "sanity"])) == (
        "sanity",
        *(name for name in ALL_OF if name != "sanity"),
    )
    assert set(ALL_OF) == SUITES.keys() - {"smoke", "readouts", *PILOTS, *EXPERIMENTS}


def test_filters_narrow_every_suite() -> None:
    jobs = jobs_of("all", task_names=["digits"], method_names=["linear"], seeds=[3, 4])
    assert {job.task for job in jobs} == {"digits"} and {job.method for job in jobs} == {"linear"}
    assert Job("digits", "linear", seed=4) in jobs
    assert {job.seed for job in jobs if job.lr is None and job.repeat == 0} == {0, 3, 4}, "sanity stays at 0"


def test_large_tasks_are_left_out_unless_asked_for() -> None:
    large = {task.name for task in tasks().values() if task.large}
    assert not large & {task.name for task in scope().tasks}
    assert large <= {task.name for task in scope(large=True).tasks}
    for name in large:
        assert [task.name for task in scope(task_names=[name]).tasks] == [name]


def test_a_mistyped_name_is_met_with_the_closest() -> None:
    with pytest.raises(SettingError, match="Did you mean 'digits'"):
        scope(task_names=["digit"])
    with pytest.raises(SettingError, match="Did you mean 'schedule_free'"):
        scope(method_names=["schedulefree"])
    with pytest.raises(SettingError, match="Did you mean 'oracle'"):
        suites(["orakle"])


def test_the_schedules_that_are_swept_are_methods() -> None:
    assert {*ORACLE_KINDS, *REFERENCE_KINDS} <= methods().keys()
