"""Methods that find an lr first: an honest bill, the whole budget, the same answer twice, nothing disturbed."""

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lrpilot import Schedule
from lrpilot_bench.methods import autowu, finders, handmade, one_cycle
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.pick import NoPickError, Pick
from lrpilot_bench.methods.pickers import PICKERS
from lrpilot_bench.methods.range_tests import _steepest
from lrpilot_bench.methods.traces import Traces
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run import execute as executing
from lrpilot_bench.run.recording import weights_digest
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.digits import TASKS
from lrpilot_bench.tasks.task import OptimizerFamily, Task, lr_grid

DIGITS = TASKS[0]
STEPS = 160  # more than a range test, less than a whole find_lr
ALL = [*finders.METHODS, *one_cycle.METHODS, *autowu.METHODS, *handmade.METHODS]
BY_NAME = {method.name: method for method in ALL}
PICK_ONLY = [method for method in ALL if method.group == "finder"]


def conv_net() -> nn.Module:
    """A conv net with BatchNorm, so that find_lr re-estimates statistics, and dropout."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 4, 3, stride=2),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(36, 10),
    )


CONV = replace(
    DIGITS, name="conv", make_model=conv_net, batch_size=24, families=(OptimizerFamily("sgd", lr_grid(0.1), "step"),)
)


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    """Peers that are not installed are skipped."""
    method = getattr(request.node, "callspec", SimpleNamespace(params={})).params.get("method")
    for package in method.packages if isinstance(method, Method) else ():
        pytest.importorskip(package)


def open_session(task: Task, method: Method, *, steps: int = STEPS, seed: int = 0) -> Session:
    family = task.family()
    return Session(task, family, seed=seed, steps=steps, lr=method.lr_for(family.kind))


def named(methods: list[Method]) -> list[object]:
    return [pytest.param(method, id=method.name) for method in methods]


# ------------------------------------------------------------------ what holds for every one of them


@pytest.mark.parametrize("task", [DIGITS, CONV], ids=lambda task: task.name)
@pytest.mark.parametrize("method", named(ALL))
def test_the_bill_is_honest_and_the_answer_the_same_twice(
    method: Method, task: Task, capfd: pytest.CaptureFixture[str]
) -> None:
    first = open_session(task, method)
    notes = method.train(first)
    torch.rand(3)  # what happened before a run must not matter
    again = open_session(task, method)
    same_notes = method.train(again)

    assert first.declared.to_dict() == first.counter.tally.to_dict()
    assert notes == same_notes and weights_digest(first.model) == weights_digest(again.model)
    assert first.model.training
    assert capfd.readouterr() == ("", "")
    if method.group != "finder":
        searched = 0.0 if method.settings.get("free") else notes.get("search_cost", 0.0)
        assert first.kept_steps == max(0, int((3 * STEPS - searched) // 3)), "no step less, no step more"
        assert first.steps_left == 0


@pytest.mark.parametrize("method", named(PICK_ONLY))
def test_a_finder_alone_trains_nothing_and_leaves_weights_buffers_and_data_order(method: Method) -> None:
    searched, fresh = open_session(CONV, method), open_session(CONV, method)

    notes = method.train(searched)

    assert searched.kept_steps == 0 and notes["search_cost"] == searched.compute > 0
    assert notes["picked_lr"] is not None and notes["reason"] is None
    assert set(notes["rows"]) <= set(notes["suggestions"])
    assert notes["picked_lr"] == notes["suggestions"][notes["rows"][0]]
    assert weights_digest(searched.model) == weights_digest(fresh.model)
    for a, b in zip(islice(searched.batches(), 60), islice(fresh.batches(), 60), strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_lists_are_complete_and_say_what_is_not_paid_for() -> None:
    assert [method.settings["picker"] for method in PICK_ONLY] == list(PICKERS)
    unpaid = {method.name for method in ALL if not method.equal_compute}
    assert unpaid == {method.name for method in ALL if method.name.endswith("_free") or method.group == "finder"}


# ------------------------------------------------------------------ search, then train


def test_training_after_find_lr_is_training_at_its_pick() -> None:
    """Nothing of the search is left: not in the weights, not in the generators, not in the optimizer."""
    method = BY_NAME["find_constant_free"]
    found = open_session(CONV, method)
    lr = method.train(found)["picked_lr"]
    plain = open_session(CONV, method)
    fly_policy(plain, Schedule("constant", lr=lr), lr=lr)

    assert plain.kept_steps == STEPS
    assert weights_digest(found.model) == weights_digest(plain.model)


def test_a_search_that_spends_it_all_leaves_nothing_to_train() -> None:
    method = BY_NAME["find_decay_linear"]
    flown, fresh = open_session(DIGITS, method, steps=100), open_session(DIGITS, method)

    notes = method.train(flown)

    assert notes["search_cost"] > 300 and flown.kept_steps == 0
    assert weights_digest(flown.model) == weights_digest(fresh.model)


def test_one_search_for_an_lr_to_hold_gives_four_suggestions() -> None:
    method = BY_NAME["pick_find_lr_constant"]
    notes = method.train(open_session(DIGITS, method))

    assert notes["rows"] == ["log_midpoint", "half_drop", "steepest", "minimum"] and notes["schedule"] == "constant"
    assert notes["code"] == "OK"
    assert all(notes["suggestions"].values())


def test_the_default_search_costs_150_steps_at_most_and_says_what_its_parts_say() -> None:
    method = BY_NAME["pick_find_lr_quick"]
    notes = method.train(open_session(DIGITS, method))

    assert 0 < notes["search_cost"] <= 450 and notes["code"] == "OK"
    assert notes["rows"] == ["paired", "trial_best", "expected"] and all(notes["suggestions"].values())
    low, high = notes["interval"]
    assert low < notes["picked_lr"] < high


# ------------------------------------------------------------------ no pick


def no_pick(session: Session) -> Pick:
    session.charge(32, forwards=1)
    return Pick(None, 1.0, reason="too few points")


@pytest.mark.parametrize("name", ["tlf_linear", "find_quick_linear"])
def test_no_pick_is_a_failure_with_its_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    picker = BY_NAME[name].settings["picker"]
    monkeypatch.setitem(PICKERS, picker, replace(PICKERS[picker], pick=no_pick))

    failed = executing.execute(Job("digits", name))
    alone = executing.execute(Job("digits", f"pick_{picker}"))

    assert failed["status"] == "crashed" and failed["kept_steps"] == 0
    assert failed["error"].startswith("NoPickError: too few points")
    assert alone["status"] == "finished"
    assert alone["notes"]["picked_lr"] is None and alone["notes"]["reason"] == "too few points"


def test_a_package_that_has_too_few_points_says_why() -> None:
    package = pytest.importorskip("torch_lr_finder")
    session = open_session(DIGITS, PICK_ONLY[0])
    finder = package.LRFinder(session.model, session.optimizer(1e-7), session.task.criterion)
    finder.history = {"lr": [1e-3] * 5, "loss": [1.0] * 5}

    lr, reason = _steepest(finder)

    assert lr is None and reason is not None and "iterations" in reason


def test_a_pick_is_required_or_refused() -> None:
    assert Pick(0.1, 3.0).require() == 0.1
    with pytest.raises(NoPickError, match="flat"):
        Pick(None, 3.0, reason="flat").require()


# ------------------------------------------------------------------ traces


def test_traces_see_what_has_changed() -> None:
    session = open_session(CONV, PICK_ONLY[0])
    traces = Traces(session)
    assert traces.left() == []

    batch = next(session.batches())
    torch.manual_seed(0)
    assert traces.left() == ["generators"]
    session.loss(batch)
    assert traces.left() == ["buffers", "generators"]
    session.step(session.optimizer(0.1), batch)
    session.model.eval()
    assert traces.left() == ["weights", "buffers", "mode", "generators"]
