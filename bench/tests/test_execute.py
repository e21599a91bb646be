"""One job, run: what its record holds, and what becomes of a method that fails."""

import json
import re
from dataclasses import replace

import pytest
import torch

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.run import execute as module
from lrpilot_bench.run.execute import execute
from lrpilot_bench.store.schema import SCHEMA

JOB = Job("digits", "linear", horizon=0.1)


def fake_method(monkeypatch: pytest.MonkeyPatch, fly) -> None:
    fake = replace(get_method("linear"), fly=lambda session, **settings: fly(session))
    monkeypatch.setattr(module, "get_method", lambda name: fake)


def test_a_record_says_everything_about_its_run() -> None:
    record = execute(JOB)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["schema"] == SCHEMA and record["run"] == plan(JOB).run
    assert (record["task"], record["method"], record["seed"], record["lr"]) == ("digits", "linear", 0, 0.001)
    assert record["status"] == "finished" and record["error"] is None
    assert record["kept_steps"] == record["steps"] == 100 and record["compute"] == 1.0
    assert record["declared"] == record["counted"] == {"forwards": 3200, "backwards": 3200}
    assert record["final"]["val_loss"] == record["curve"]["val_loss"][-1] < record["curve"]["val_loss"][0]
    assert set(record["final"]) == {"val_loss", "val_score", "test_loss", "test_score"}


def test_of_a_run_that_only_its_end_is_asked_of_every_fifth_point_is_kept() -> None:
    whole, thin = execute(JOB)["curve"], execute(replace(JOB, lr_factor=0.5))["curve"]
    assert whole["steps"] == list(range(0, 101, 5))
    assert thin["steps"] == [0, 25, 50, 75, 100]
    assert {len(values) for values in thin.values()} == {5}


def test_a_run_reproduces_bit_for_bit_but_for_seconds() -> None:
    first, again = execute(JOB), execute(replace(JOB, repeat=1))
    for record in (first, again):
        for name in ("seconds", "repeat", "run"):
            del record[name]
    assert first == again


def test_another_seed_is_another_run() -> None:
    assert execute(JOB)["weights"] != execute(replace(JOB, seed=1))["weights"]


def test_what_a_method_notes_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_method(monkeypatch, lambda session: {"picked_lr": 0.5})
    assert execute(JOB)["notes"] == {"picked_lr": 0.5}


def test_a_method_that_crashes_is_a_record_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fly(session) -> None:
        raise ValueError("no valley here")

    fake_method(monkeypatch, fly)
    record = execute(JOB)
    assert record["status"] == "crashed"
    assert re.fullmatch(r"ValueError: no valley here \(test_execute\.py, line \d+, in fly\)", record["error"])
    assert record["kept_steps"] == 0


def spend_too_much(session) -> None:
    for batch in session.batches():
        session.step(session.optimizer(0.1), batch)


def mistype(session) -> None:
    session.model(torch.zeros(3, 7))


@pytest.mark.parametrize(("fly", "line"), [(spend_too_much, 2), (mistype, 1)])
def test_the_place_of_a_crash_is_the_methods_own_line(fly, line, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_method(monkeypatch, fly)
    number = fly.__code__.co_firstlineno + line
    heard: list[Exception] = []
    record = execute(JOB, on_crash=heard.append)
    assert record["error"].endswith(f" (test_execute.py, line {number}, in {fly.__name__})") and len(heard) == 1


def test_a_long_error_is_cut_before_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def fly(session) -> None:
        raise ValueError("x" * 1000)

    fake_method(monkeypatch, fly)
    error = execute(JOB)["error"]
    assert len(error) == 500 and re.search(r"xxx \(test_execute\.py, line \d+, in fly\)$", error)


def test_a_method_that_cannot_be_called_has_a_place_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "get_method", lambda name: replace(get_method("linear"), fly=lambda: None))
    assert re.search(r"TypeError: .*\(method\.py, line \d+, in train\)$", execute(JOB)["error"])


def test_a_run_that_ends_above_its_start_has_diverged() -> None:
    record = execute(replace(JOB, lr=100.0))
    assert record["status"] == "diverged"


def test_a_run_that_becomes_non_finite_has_diverged_and_json_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fly(session) -> None:
        session.model[0].weight.data.fill_(float("nan"))
        for _ in range(30):
            session.tick(float("nan"), 0.1, samples=32)

    fake_method(monkeypatch, fly)
    record = execute(JOB)
    assert record["status"] == "diverged" and record["final"]["val_loss"] is None
    json.dumps(record, allow_nan=False)


@pytest.mark.parametrize("problem", [MissingDependencyError("pip install it"), MemoryError()])
def test_what_is_not_the_methods_fault_is_no_result(problem, monkeypatch: pytest.MonkeyPatch) -> None:
    def fly(session) -> None:
        raise problem

    fake_method(monkeypatch, fly)
    with pytest.raises(type(problem)):
        execute(JOB)


def test_every_method_says_whose_practice_it_is() -> None:
    from lrpilot_bench.methods.registry import methods

    for method in methods().values():
        assert isinstance(method, Method) and method.practice and method.title
        assert method.practice.count("\n") == 0 and len(method.practice) < 200
