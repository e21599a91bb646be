"""The runner: what is missing is run once and written down, whatever becomes of a worker, a method or a disk."""

import json
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fake_attempts
from lrpilot.errors import DataError, LRPilotError
from lrpilot_bench.plugins import PLUGINS_VARIABLE
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.protocol.ledger import Ledger, device_of, is_current, read_runs, require_device, status_of
from lrpilot_bench.protocol.wanted import scope, suites, wanted
from lrpilot_bench.run.pool import Outcome
from lrpilot_bench.run.progress import Pace, duration
from lrpilot_bench.run.recording import plain
from lrpilot_bench.run.runner import Runner, Summary
from lrpilot_bench.run.workers import ProcessPool, attempt
from lrpilot_bench.store import records as records_module
from lrpilot_bench.store.locking import locked
from lrpilot_bench.store.records import append_record, read_records


class Inline:
    """A pool that runs jobs in this process, one at a time."""

    def __init__(self, run: Callable[[Job], Outcome]) -> None:
        self.run = run
        self.seen: list[Job] = []
        self.waiting: list[Job] = []

    def free(self) -> int:
        return 2 - len(self.waiting)

    def submit(self, job: Job) -> None:
        self.seen.append(job)
        self.waiting.append(job)

    def collect(self, timeout: float) -> list[Outcome]:
        return [self.run(self.waiting.pop(0))]

    def close(self) -> None:
        pass


class Heard:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.warnings: list[str] = []

    def update(self, **what: Any) -> None:
        self.updates.append(what)

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def close(self) -> None:
        pass


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLUGINS_VARIABLE, "fake_bench")
    return tmp_path / "records.jsonl"


def fine(job: Job) -> Outcome:
    return Outcome(job, record=fake_attempts.seeming_record(job, plan(job).run))


def jobs(*methods: str, task: str = "fake", seeds: Sequence[int] = (0,)) -> list[Job]:
    return [Job(task, method, seed=seed) for seed in seeds for method in methods]


def run(path: Path, wants: Sequence[Job], pool: Any, watch: Any = None) -> Summary:
    return Runner(path, lambda lookup: list(wants), pool, watch=watch).run()


# ---------------------------------------------------------------------- resuming


def test_what_has_a_record_is_not_run_again(path: Path) -> None:
    wants = jobs("fake_plain", seeds=range(5))
    first, second = Inline(fine), Inline(fine)

    assert run(path, wants[:3], first).done == 3
    summary = run(path, wants, second)

    assert (summary.done, summary.present, dict(summary.statuses)) == (2, 3, {"finished": 5})
    assert first.seen + second.seen == wants
    assert [record["seed"] for record in read_records(path)] == [0, 1, 2, 3, 4]


def test_two_jobs_of_one_run_are_run_once(path: Path) -> None:
    pool = Inline(fine)
    summary = run(path, [Job("fake", "fake_plain"), Job("fake", "fake_plain", lr=0.01, family="adamw")], pool)
    assert summary.done == 1 and pool.seen == [Job("fake", "fake_plain")]


def test_the_suite_is_asked_again_until_it_wants_nothing_more(path: Path) -> None:
    def lowest_in_the_middle(job: Job) -> Outcome:
        found = plan(job)
        loss = abs(math.log10((found.lr or 1.0) / 0.02)) + 0.1 * (job.method != "cosine")
        return Outcome(job, record=fake_attempts.seeming_record(job, found.run, final={"val_loss": loss}))

    within = scope(task_names=["fake"])
    pool = Inline(lowest_in_the_middle)
    summary = Runner(path, lambda lookup: wanted(suites(["oracle"]), within, lookup), pool).run()

    assert summary.done == len(pool.seen) == 33 + 4
    further = [job for job in pool.seen if job.seed > 0]
    assert further == [Job("fake", "cosine", lr=0.02, seed=seed) for seed in (1, 2, 3, 4)]


# ---------------------------------------------------------------------- what cannot be run


def test_what_cannot_be_run_is_listed_with_its_reason_and_the_rest_goes_on(path: Path) -> None:
    wants = [
        *jobs("fake_sgd_only", "fake_without_package", "fake_missing", "fake_plain", seeds=(0, 1)),
        *jobs("fake_plain", "fake_crash", task="fake_without_data", seeds=(0, 1)),
        *jobs("fake_plain", task="fake_without_package"),
        Job("fake", "no_such_method"),
    ]
    watch = Heard()
    pool = Inline(partial(attempt, device="cpu"))
    summary = run(path, wants, pool, watch)

    assert summary.done == 2
    reasons = {(r.job.task, r.job.method): r.reason for r in summary.refused}
    assert "trains with ['sgd'], got 'adamw'" in reasons["fake", "fake_sgd_only"]
    assert "no_such_package" in reasons["fake", "fake_without_package"]
    assert "Buy some" in reasons["fake", "fake_missing"]
    assert "make data" in reasons["fake_without_data", "fake_crash"]
    assert "no_such_package" in reasons["fake_without_package", "fake_plain"]
    assert "A benchmark method must be one of" in reasons["fake", "no_such_method"]
    assert len(summary.refused) == len(wants) - 2
    tried = [job for job in pool.seen if job.task == "fake_without_data" or job.method == "fake_missing"]
    assert len(tried) <= 3, "found out once, but for what was under way"
    assert sorted(line.split(":")[1] for line in watch.warnings) == [" fake fake_missing", " fake_without_data"]


def test_a_method_that_crashes_is_a_record_and_the_bench_goes_on(path: Path) -> None:
    summary = run(path, jobs("fake_crash", "fake_plain"), Inline(partial(attempt, device="cpu")))
    assert summary.statuses == {"crashed": 1, "finished": 1}
    assert read_records(path)[0]["error"].startswith("RuntimeError: no good")


def test_notes_that_are_no_json_do_not_stop_the_bench(path: Path) -> None:
    run(path, jobs("fake_nan_notes", "fake_tensor_notes"), Inline(partial(attempt, device="cpu")))
    nan, tensor = read_records(path)
    assert nan["notes"] == {"pick": None, "picks": [1.0, None]} and nan["status"] == "finished"
    assert tensor["status"] == "crashed" and tensor["error"].startswith("Notes must be plain data, got Tensor.")


def test_notes_keep_what_is_plain() -> None:
    notes = {"a": [1, True, None, "b"], "c": {"d": 0.5}}
    assert plain(notes) == notes


def test_a_worker_with_other_code_is_found_out(path: Path) -> None:
    def elsewhere(job: Job) -> Outcome:
        return Outcome(job, record=fake_attempts.seeming_record(job, "another"))

    summary = run(path, jobs("fake_plain"), Inline(elsewhere))
    assert "must have the code that the bench has" in summary.refused[0].reason
    assert read_records(path) == []


# ---------------------------------------------------------------------- workers that die


def test_a_worker_that_dies_has_its_job_tried_once_more(path: Path, tmp_path: Path) -> None:
    wants = jobs("fake_dies_once", "fake_dies", "fake_plain", seeds=(0, 1))
    runs = {job: plan(job).run for job in wants}
    pool = ProcessPool(2, partial(fake_attempts.fateful, runs=runs, log=tmp_path / "log"))
    try:
        summary = run(path, wants, pool)
    finally:
        pool.close()

    records = {(record["method"], record["seed"]): record for record in read_records(path)}
    assert summary.statuses == {"finished": 4, "crashed": 2} and len(records) == 6
    for seed in (0, 1):
        assert records["fake_dies_once", seed]["status"] == records["fake_plain", seed]["status"] == "finished"
        dead = records["fake_dies", seed]
        assert dead["error"] == "Its worker died 2 times: its process was ended by SIGKILL."
        assert dead["run"] == runs[Job("fake", "fake_dies", seed=seed)]
        started = (tmp_path / "log").read_text().count(dead["run"])
        assert started == 2


def test_a_death_has_every_field_of_a_record(path: Path) -> None:
    run(path, jobs("fake_out_of_memory", "fake_plain"), Inline(partial(attempt, device="cpu")))
    plain, dead = read_records(path)
    assert dead["error"] == "Its worker died 2 times: it ran out of memory."
    assert dead.keys() == plain.keys()
    assert {name: set(dead[name]) for name in ("final", "curve", "declared", "counted")} == {
        name: set(plain[name]) for name in ("final", "curve", "declared", "counted")
    }


def test_workers_that_never_start_are_not_held_against_the_jobs(path: Path) -> None:
    pool = ProcessPool(2, fake_attempts.CannotStart())
    with pytest.raises(LRPilotError, match="Workers must start, got 3 in a row"):
        run(path, jobs("fake_plain", seeds=range(4)), pool)
    pool.close()
    assert read_records(path) == []


def test_workers_are_kept_for_many_jobs_and_leave_when_closed(path: Path, tmp_path: Path) -> None:
    wants = jobs("fake_plain", seeds=range(12))
    log = tmp_path / "log"
    pool = ProcessPool(2, partial(fake_attempts.seem, runs={job: plan(job).run for job in wants}, log=log))
    assert pool.free() == 2
    run(path, wants, pool)
    pool.close()

    pids = {json.loads(line)["pid"] for line in log.read_text().splitlines()}
    assert 1 <= len(pids) <= 2 and os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_worker_computes_with_one_thread(path: Path) -> None:
    outcome = attempt(Job("fake", "fake_plain"), device="cpu")
    assert outcome.record is not None and outcome.record["machine"]["threads"] == 1


# ---------------------------------------------------------------------- the file


def test_a_full_disk_stops_the_bench_with_a_valid_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(path, jobs("fake_plain"), Inline(fine))
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(records_module.os, "write", lambda handle, line: write(handle, line[: len(line) // 2]))

    with pytest.raises(DataError, match=r"must be written to .*No space left.*Make room"):
        run(path, jobs("fake_plain", seeds=(0, 1)), Inline(fine))

    assert path.read_bytes() == before
    monkeypatch.undo()


def test_a_failed_sync_leaves_no_line_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, {"whole": 1})

    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(records_module.os, "fsync", fail)
    with pytest.raises(DataError, match="Input/output error"):
        append_record(path, {"whole": 2})
    assert read_records(path) == [{"whole": 1}]


def test_two_benches_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "records.jsonl"
    with locked(path), pytest.raises(DataError, match="one bench at a time"), locked(path):
        pass
    with locked(path):
        pass


def test_a_bench_that_wrote_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    with pytest.raises(KeyboardInterrupt), locked(path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with locked(path):
        append_record(path, {"whole": 1})
        assert read_records(path) == [{"whole": 1}], "a reader does not wait"
    assert read_records(path) == [{"whole": 1}]
    assert list(tmp_path.iterdir()) == [path], "no lock is left"
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with locked(empty):
        pass
    assert empty.exists(), "what was there before stays"


def test_a_lock_that_a_killed_bench_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    (tmp_path / "records.jsonl.lock").touch()
    with locked(path):
        append_record(path, {"whole": 1})
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "records.jsonl", tmp_path / "file" / "deep" / "records.jsonl"):
        with pytest.raises(DataError, match=r"file is a file, and no folder\)\. Name another one"), locked(place):
            pass


@pytest.mark.parametrize(
    "record",
    [{"schema": 999, "run": "x"}, {"lr": 0.1}, {"schema": 1, "run": "abc"}],
    ids=["schema", "none", "fields"],
)
def test_records_of_another_form_are_refused_with_the_remedy(record: dict[str, Any], path: Path) -> None:
    append_record(path, record)
    with pytest.raises(DataError, match=r"line 1 of .*Move that file away, or name another one with --records"):
        read_runs(path)


def test_of_a_run_that_was_recorded_twice_the_newest_counts(path: Path) -> None:
    job = Job("fake", "fake_plain")
    for seconds in (1.0, 3.0, 2.0):
        append_record(path, fake_attempts.seeming_record(job, plan(job).run, seconds=seconds))
    assert [record["seconds"] for record in read_runs(path).values()] == [2.0]


def test_records_of_two_devices_do_not_share_a_file(path: Path) -> None:
    def on_gpu(job: Job) -> Outcome:
        machine = {"device": "cuda", "gpu": "a GPU"}
        return Outcome(job, record=fake_attempts.seeming_record(job, plan(job).run, machine=machine))

    assert Runner(path, lambda lookup: jobs("fake_plain"), Inline(on_gpu), device="cuda:1").run().done == 1
    assert [device_of(record) for record in read_records(path)] == ["cuda"]
    with pytest.raises(DataError, match=r"got runs on cuda in .* and --device cpu\. Name another file"):
        run(path, jobs("fake_plain", seeds=(1,)), Inline(fine))
    with pytest.raises(DataError, match=r"got runs on cpu in .* and --device cuda\."):
        require_device([fake_attempts.seeming_record(Job("fake", "fake_plain"), "x")], "cuda", path)
    assert len(read_records(path)) == 1


def test_a_run_on_record_counts_where_its_package_is_not_installed(path: Path) -> None:
    done, missing = jobs("fake_without_package", seeds=(0, 1))
    append_record(path, fake_attempts.seeming_record(done, plan(done).run))
    summary = run(path, [done, missing], Inline(fine))
    assert (summary.present, summary.done) == (1, 0) and not summary.in_vain
    assert [refusal.job for refusal in summary.refused] == [missing]


def test_a_reason_is_told_once_and_a_bench_that_runs_nothing_is_in_vain(path: Path) -> None:
    def refuse(job: Job) -> Outcome:
        return Outcome(job, reason="no torch")

    watch = Heard()
    summary = run(path, jobs("fake_plain", "fake_crash", seeds=(0, 1)), Inline(refuse), watch)
    assert watch.warnings == ["not run: fake fake_plain: no torch"] and summary.warned == {"no torch"}
    assert len(summary.refused) == 4 and summary.in_vain
    assert not run(path, [], Inline(refuse)).in_vain, "nothing was wanted"


def test_records_of_earlier_versions_are_kept_and_counted(path: Path) -> None:
    run(path, jobs("fake_plain"), Inline(fine))
    (record,) = read_records(path)
    assert is_current(record)
    for changes in ({"run": "0" * 16}, {"run": "1" * 16, "method": "gone"}, {"run": "2" * 16, "task": "lost"}):
        append_record(path, record | changes)

    summary = run(path, jobs("fake_plain"), Inline(fine))

    assert (summary.done, summary.present, summary.earlier) == (0, 1, 1)
    assert summary.unregistered == {"gone": 1, "lost": 1}
    assert len(read_records(path)) == 4


def test_a_sweeps_record_is_current_though_its_lr_was_a_factor(path: Path) -> None:
    run(path, [Job("fake", "fake_plain", lr_factor=1 / 30)], Inline(partial(attempt, device="cpu")))
    (record,) = read_records(path)
    assert record["lr"] == 0.000333333 and is_current(record)


def test_a_finder_that_takes_no_step_has_finished() -> None:
    measured = {"kept_steps": 0, "steps": 10, "compute": 0.2, "final": {"val_loss": 2.3}}
    record = {**measured, "status": "finished", "method": "pick_range_test"}
    assert status_of(record) == "finished"
    assert status_of(record | {"method": "linear"}) == "took no step"
    assert status_of(record | {"method": "linear", "compute": 1.0}) == "spent before training"
    assert status_of(record | {"method": "linear", "status": "crashed"}) == "crashed"
    assert status_of(record | {"method": "linear", "kept_steps": 1}) == "finished"


def test_the_ledger_sorts_what_is_wanted(path: Path) -> None:
    done, missing, hopeless = jobs("fake_plain", "fake_crash", "fake_sgd_only")
    ledger = Ledger({plan(done).run: fake_attempts.seeming_record(done, plan(done).run)})
    account = ledger.account([hopeless, missing, done, missing])
    assert [record["method"] for record in account.done] == ["fake_plain"]
    assert [found.job for found in account.missing] == [missing]
    assert [refusal.job for refusal in account.refused] == [hopeless]
    assert ledger.lookup(hopeless) is None and ledger.lookup(missing) is None

    ledger.bar("fake", None, "no more of it")
    assert ledger.lookup(done) is not None, "what is on record stays"
    assert ledger.account([missing]).refused[0].reason == "no more of it"


# ---------------------------------------------------------------------- progress


def test_the_time_left_is_learnt_from_the_same_task_and_method(path: Path) -> None:
    pace = Pace()
    known = plan(Job("digits", "linear"))
    assert pace.seconds(known) is None and pace.total([known]) is None
    assert pace.total([]) == 0

    base = {"task": "digits", "method": "linear", "status": "finished", "steps": 1000, "seconds": 10.0}
    pace.learn(base)
    pace.learn(base | {"seconds": 99.0}, seconds=30.0)
    pace.learn(base | {"method": "cosine", "seconds": 50.0})
    pace.learn(base | {"seconds": 1e6, "status": "crashed"})

    assert pace.seconds(known) == pytest.approx(20)
    assert pace.seconds(plan(Job("digits", "linear", horizon=4))) == pytest.approx(80)
    assert pace.seconds(plan(Job("digits", "wsd"))) == pytest.approx(30), "of its task"
    assert pace.seconds(plan(Job("fake", "fake_plain"))) == pytest.approx(30), "of all"
    assert pace.total([known, plan(Job("digits", "cosine"))]) == pytest.approx(70)


def test_progress_counts_down_to_nothing(path: Path) -> None:
    watch = Heard()
    run(path, jobs("fake_plain", seeds=range(4)), Inline(fine), watch)
    assert [(update["done"], update["left"]) for update in watch.updates] == [(1, 3), (2, 2), (3, 1), (4, 0)]
    assert watch.updates[-1]["seconds"] == 0
    assert watch.updates[0]["latest"] == "fake fake_plain lr 0.01 seed 0, val loss 0.5, 0.0 s"


def test_durations_as_people_say_them() -> None:
    assert [duration(s) for s in (None, 3.2, 99, 150, 7200)] == ["unknown time", "3 s", "99 s", "2 min", "2.0 h"]
