"""find_lr: the same answer every time, at a stated cost, and training as if it had never been called."""

import json
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lrpilot import Training, apply_lr, find_lr
from lrpilot.core.actions import Done, Evaluate, Line, Train, Trial
from lrpilot.core.found import FindCode
from lrpilot.core.shape import constant
from lrpilot.errors import LossError, PolicyError, SchedulerConflictError, SettingError
from lrpilot.find import run_finder
from small_training import (
    Listed,
    assert_equal,
    everything,
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_samples,
    make_training,
    untouched,
    weights,
)

QUICK: dict[str, Any] = {"num_steps": 3, "min_lr": 1e-4, "max_lr": 1.0, "progress": False}
PAIRED: dict[str, Any] = {"budget": 45, "min_lr": 1e-4, "max_lr": 1.0, "progress": False}
WAYS: dict[str, dict[str, Any]] = {
    "decay": PAIRED | {"target": "decay"},
    "thorough": QUICK | {"target": "decay", "effort": "thorough"},
    "constant": QUICK | {"target": "constant"},
    "wittmann": QUICK | {"target": "constant", "method": "wittmann"},
    "range_test": QUICK | {"target": "constant", "method": "range_test", "num_steps": 20},
}


def stochastic(**options: Any) -> Training:
    model = make_model(dropout=0.2, batch_norm=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.01))
    data = DataLoader(TensorDataset(*make_samples(48)), batch_size=6, shuffle=True)
    return make_training(model=model, optimizer=optimizer, data=data, **options)


@pytest.mark.parametrize("way", WAYS)
def test_it_leaves_no_trace(way: str) -> None:
    training = stochastic()
    model, optimizer = training.model, training.raw_optimizer
    loop_step(training, make_batches()[0])
    model[1].eval()  # a frozen BatchNorm
    lr = optimizer.param_groups[0]["lr"]
    with untouched(model, optimizer):
        found = find_lr(training, **WAYS[way])
    assert found.cost.trials >= 1
    assert "step" not in vars(optimizer), "step() is not patched"
    assert optimizer.param_groups[0]["lr"] is lr and "initial_lr" not in optimizer.param_groups[0]
    assert not training.probing


@pytest.mark.parametrize("way", WAYS)
def test_training_after_it_is_training_without_it(way: str) -> None:
    def fly(finding: bool) -> Any:
        torch.manual_seed(0)
        training = stochastic()
        data = DataLoader(TensorDataset(*make_samples(48)), batch_size=6, shuffle=True)
        training = Training(training.model, training.optimizer, loss_fn, data)
        for i, batch in enumerate(data):
            if i in (0, 4) and finding:
                find_lr(training, **WAYS[way])
            loop_step(training, batch)
        seen = everything(training.model, training.raw_optimizer)
        return {k: v for k, v in seen.items() if "identity" not in k}

    assert_equal(fly(True), fly(False))


@pytest.mark.parametrize("way", WAYS)
def test_the_same_seed_gives_the_same_answer(way: str) -> None:
    training = stochastic(seed=4)
    first = find_lr(training, **WAYS[way]).to_dict()
    torch.rand(10)
    again = find_lr(training, **WAYS[way]).to_dict()
    fresh = find_lr(stochastic(seed=4), **WAYS[way]).to_dict()
    other = find_lr(stochastic(seed=5), **WAYS[way]).to_dict()
    for one in (first, again, fresh, other):
        del one["cost"]
    assert first == again == fresh
    assert first["losses"] != other["losses"]


@pytest.mark.parametrize("way", WAYS)
def test_the_result_carries_its_evidence(way: str) -> None:
    found = find_lr(make_training(val=make_batches(2, seed=3)), **WAYS[way])
    settings = WAYS[way]
    assert found.target == settings["target"] and found.code in FindCode and found.status == found.code.value
    assert (found.lr is not None) == found.code.has_lr
    assert found.lr is None or settings["min_lr"] <= found.lr <= settings["max_lr"]
    assert list(found.lrs) == sorted(found.lrs) and len(found.lrs) == len(found.losses)
    assert settings["min_lr"] <= found.lrs[0] and found.lrs[-1] <= settings["max_lr"] * (1 + 1e-12)
    json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("way", "val", "metric"),
    [
        ("decay", True, "training loss of the last steps of each trial"),
        ("thorough", True, "validation loss"),
        ("constant", False, "loss on 3 reserved training batches"),
        ("range_test", True, "training loss"),
        ("range_test", False, "training loss"),
    ],
)
def test_the_result_says_which_loss_was_compared(way: str, val: bool, metric: str) -> None:
    training = make_training(val=make_batches(2, seed=3) if val else None)
    assert find_lr(training, **WAYS[way]).metric == metric


@pytest.mark.parametrize("way", WAYS)
def test_its_cost_is_what_really_ran(way: str) -> None:
    passes = {"forward": 0, "step": 0}

    def counting(model: Any, batch: Any) -> Tensor:
        passes["forward"] += 1
        return loss_fn(model, batch)

    training = make_training(model=make_model(batch_norm=True), loss_fn=counting)
    handle = training.raw_optimizer.register_step_post_hook(lambda *_: passes.update(step=passes["step"] + 1))
    events: list[Any] = []
    found = find_lr(training, on_event=events.append, **WAYS[way])
    handle.remove()
    assert (found.cost.forwards, found.cost.backwards) == (passes["forward"], passes["step"])
    trials = [e for e in events if e.phase == "end" and isinstance(e.action, Trial)]
    assert found.cost.trials == len(trials) and found.cost.seconds > 0
    assert found.cost.trial_steps == sum(len(e.observation.losses) for e in trials) == passes["step"] - 2
    if way == "decay":
        assert found.cost.steps <= WAYS[way]["budget"] and found.cost.evaluations == 0


def test_no_lr_outside_the_range_is_ever_tried() -> None:
    tried: list[float] = []
    training = make_training()
    training.raw_optimizer.register_step_post_hook(lambda o, *_: tried.append(o.param_groups[0]["lr"]))
    for way in ("constant", "wittmann", "range_test"):
        find_lr(training, **WAYS[way])
    assert tried[0] == 0.1, "the check runs at the optimizer's own lr"
    lrs = [lr for lr in tried if lr != 0.1]
    assert min(lrs) == pytest.approx(1e-4) and max(lrs) <= 1.0 + 1e-9


def test_groups_keep_their_ratio_inside_and_after() -> None:
    model = make_model()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters(), "lr": 0.0}]
    training = make_training(model=model, optimizer=torch.optim.SGD(groups, lr=0.1))
    seen: set[float] = set()
    training.raw_optimizer.register_step_post_hook(lambda o, *_: seen.add(o.param_groups[1]["lr"]))
    found = find_lr(training, **WAYS["constant"])
    assert seen == {0.0} and [g["lr"] for g in training.raw_optimizer.param_groups] == [0.1, 0.0]
    apply_lr(training.raw_optimizer, found.lr)
    assert [g["lr"] for g in training.raw_optimizer.param_groups] == [found.lr, 0.0]


def test_it_finds_a_usable_lr_where_the_present_one_is_hopeless() -> None:
    """From lr 1e-12, which learns nothing, to one that does, whatever the optimizer was built with."""
    for start in (1e-12, 1e6):
        training = make_training(optimizer=None)
        training.raw_optimizer.param_groups[0]["lr"] = start
        training = make_training(model=training.model, optimizer=training.raw_optimizer)
        found = find_lr(training, progress=False)
        assert found.lr is not None and 0.01 < found.lr < 10


# ------------------------------------------------------------------ refusals

BAD: list[tuple[dict[str, Any], str]] = [
    ({"min_lr": 0.0}, r"min_lr must be a finite number > 0, got 0\.0"),
    ({"min_lr": -1.0}, r"min_lr .*got -1\.0"),
    ({"min_lr": math.nan}, r"min_lr .*got nan"),
    ({"max_lr": math.inf}, r"max_lr .*got inf"),
    ({"max_lr": math.nan}, r"max_lr .*got nan"),
    ({"min_lr": 1.0, "max_lr": 1.0}, r"min_lr must be < max_lr, got 1\.0 and 1\.0\. Swap"),
    ({"min_lr": 1.0, "max_lr": 0.1}, r"min_lr must be < max_lr, got 1\.0 and 0\.1"),
    ({"num_steps": 0}, r"num_steps must be >= \d, got 0\. The default is 29"),
    ({"num_steps": -5}, r"got -5"),
    ({"num_steps": 0, "effort": "thorough"}, r"num_steps must be >= 1, got 0"),
    ({"num_steps": 0, "target": "constant"}, r"num_steps must be >= 1, got 0"),
    ({"num_steps": 12.5}, r"num_steps must be a whole number, got 12\.5"),
    ({"budget": 24}, r"budget must be >= \d+ for 3 trials of \d steps and a check of the training, got 24\."),
    ({"budget": 150, "num_steps": 50}, r"budget must be >= 151 for 3 trials of 50 steps"),
    ({"budget": math.nan}, r"budget must be a finite number of training steps > 0, got nan\. The default is 150"),
    ({"budget": math.inf}, r"budget must be .* got inf"),
    ({"budget": "150"}, r"budget must be .* got '150'"),
    ({"budget": True}, r"budget must be .* got True"),
    ({"budget": -1}, r"budget must be .* got -1"),
    ({"budget": 500, "effort": "thorough"}, r"budget is of effort='quick', got 500 .* Leave budget away"),
    ({"effort": "some"}, r"effort must be one of quick, thorough, got 'some'"),
    ({"effort": "through"}, r"effort must be .* Did you mean 'thorough'\?"),
    ({"target": "constant", "budget": 150}, r"are for target='decay', got budget=150 for target='constant'"),
    ({"target": "constant", "effort": "thorough"}, r"got effort='thorough' for target='constant'.* Leave them away"),
    ({"num_steps": True, "target": "constant", "method": "range_test"}, r"num_steps must be a whole number, got True"),
    ({"num_steps": "20", "target": "constant", "method": "range_test"}, r"num_steps must be a whole number, got '20'"),
    ({"num_steps": 1, "target": "constant", "method": "range_test"}, r"num_steps must be >= 2 for .*, got 1\. "),
    ({"target": "best"}, r"target must be one of constant, decay, got 'best'. Choose one of these\."),
    ({"target": "decy"}, r"target must be .* got 'decy'. Did you mean 'decay'\?"),
    ({"method": "magic"}, r"method must be .*got 'magic'"),
    ({"method": "step"}, r"method must be one of .*, got 'step'. Did you mean 'step_sampling'\?"),
    ({"method": "range_test"}, r"finds an lr to hold, got target='decay'\. Pass target='constant'"),
]


@pytest.mark.parametrize(("settings", "words"), BAD)
def test_bad_settings_are_refused_before_anything_is_touched(settings: Any, words: str) -> None:
    training = make_training(data=lambda: pytest.fail("data was read"))
    with untouched(training.model, training.raw_optimizer), pytest.raises(SettingError, match=words):
        find_lr(training, progress=False, **settings)


def test_it_needs_a_training() -> None:
    with pytest.raises(SettingError, match=r"needs a lrpilot.Training, got Sequential\. Bind"):
        find_lr(make_model())  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_at_the_start_is_an_error(value: float) -> None:
    training = make_training(loss_fn=lambda model, batch: loss_fn(model, batch) + value)
    with untouched(training.model, training.raw_optimizer), pytest.raises(LossError, match="finite at the start"):
        find_lr(training, **PAIRED)


def test_a_loss_that_explodes_everywhere_is_a_result() -> None:
    """Every step leads to a loss that is not finite: a reason, and no number."""
    start = weights(make_model())[0]

    def cliff(model: Any, batch: Any) -> Tensor:
        return loss_fn(model, batch) + (0.0 if torch.equal(model[0].weight, start) else math.nan)

    training = make_training(loss_fn=cliff)
    with untouched(training.model, training.raw_optimizer):
        for way in ("decay", "thorough", "constant"):
            found = find_lr(training, **WAYS[way])
            assert found.lr is None and found.code is FindCode.ALL_DIVERGED and "diverged" in found.status
    with pytest.raises(SettingError, match=r"found\.status"):
        apply_lr(training.raw_optimizer, found.lr)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2, 5, 9])
@pytest.mark.parametrize("way", ["decay", "constant"])
def test_an_exception_leaves_no_trace(error: Any, at: int, way: str) -> None:
    calls = 0

    def failing(model: Any, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return loss_fn(model, batch)

    training = stochastic(loss_fn=failing)
    loop_step(training, make_batches()[0])
    with untouched(training.model, training.raw_optimizer), pytest.raises(error):
        find_lr(training, **WAYS[way])
    assert not training.probing


def test_a_callback_that_raises_leaves_no_trace() -> None:
    def refuse(event: Any) -> None:
        raise RuntimeError("theirs")

    training = stochastic()
    with untouched(training.model, training.raw_optimizer), pytest.raises(RuntimeError, match="theirs"):
        find_lr(training, on_event=refuse, **PAIRED)


def test_a_scheduler_already_attached_is_no_obstacle_and_one_in_step_fn_is() -> None:
    training = make_training()
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(training.raw_optimizer, 10)
    with untouched(training.model, training.raw_optimizer):
        find_lr(training, **WAYS["constant"])

    def step_fn(batch: Any) -> Tensor:
        loss = loop_step(training, batch)
        scheduler.step()
        return loss

    training.step_fn = step_fn
    training.extra_state = {"scheduler": scheduler}
    before = scheduler.state_dict()
    with untouched(training.model, training.raw_optimizer), pytest.raises(SchedulerConflictError):
        find_lr(training, **WAYS["constant"])
    assert scheduler.state_dict() == before


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ((Train(constant(0.1), 5),), r"without training, got Train"),
        ((Line((0.5, 1.0)),), r"without training, got Line"),
        ((Trial(constant(0.1), 1), Done(3)), r"must end in Done\(FoundLR\)"),
        ((Evaluate(),), r"must end in Done\(FoundLR\)"),
    ],
)
def test_a_finder_that_trains_or_answers_nothing_is_refused(actions: Any, words: str) -> None:
    training = make_training()
    with untouched(training.model, training.raw_optimizer), pytest.raises(PolicyError, match=words):
        run_finder(training, Listed(actions))


def test_the_default_costs_its_budget_at_most_and_gives_a_preview() -> None:
    events: list[Any] = []
    found = find_lr(make_training(), progress=False, on_event=events.append)
    assert found.method == "paired_search" and found.cost.steps <= 150
    spent, seen = 1.0, []
    for event in events:
        if event.phase == "end":
            spent += len(event.observation.losses)
            seen.append((spent, event.reason))
    assert [reason.code for _, reason in seen[:-1]] == ["tried"] * (len(seen) - 1)
    assert seen[-1][1].code == found.code.name.lower()
    # Each says the pick as it stands and its interval; there is one within 50 steps' worth, or after two Trials.
    assert seen[0][0] <= 50 and seen[1][0] <= 60
    assert all(re.search(r"lr [\d.e+-]+ \([\d.e+-]+ to [\d.e+-]+\)", reason.sentence) for _, reason in seen)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    find_lr(make_training(), **(PAIRED | {"progress": True}))
    assert capsys.readouterr().out == ""


def test_a_batch_that_is_left_out_of_a_search_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    batches = make_batches()
    batches[2] = (torch.full_like(batches[2][0], math.nan), batches[2][1])
    model = make_model()
    training = Training(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, batches, make_batches())
    found = find_lr(training, progress=False)
    assert found.lr is not None
    (told,) = {record.message for record in caplog.records if record.levelname == "WARNING"}
    assert "a batch of the trials is left out" in told
