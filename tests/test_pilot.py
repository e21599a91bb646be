"""The pilot as a torch scheduler in the user's own loop: when it acts, what it writes, and what it refuses."""

import copy
import gc
import io
import logging
import pickle
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Pilot, Schedule, Training, find_lr
from lrpilot.core.actions import Drop, Evaluate, Line, Mark, Rewind, Train, Trial
from lrpilot.core.history import Event
from lrpilot.core.policy import Reason
from lrpilot.core.shape import annealed, constant, ramp
from lrpilot.core.stop import Stop
from lrpilot.errors import (
    LossError,
    PolicyError,
    SchedulerConflictError,
    SettingError,
    StateError,
    StepError,
)
from small_training import (
    Listed,
    assert_equal,
    everything,
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_training,
    same_tensors,
    untouched,
    weights,
)

SEARCH = Listed((Trial(constant(0.2), 3, evaluate="end"), Train(constant(0.05), 20)))
MEASURING = Listed(
    (
        Train(ramp(0.1, 0.05, 3), 3),
        Line((0.0, 0.5, 1.0, 2.0), batches=2),
        Mark("here"),
        Trial(annealed(0.3, 3), 3, evaluate="end"),
        Train(constant(0.2), 3, observe_every=2),
        Evaluate(),
        Rewind("here"),
        Drop("here"),
        Train(ramp(0.08, 0.01, 10), 10),
    )
)


def fly(training: Training, pilot: Pilot, steps: int, start: int = 0) -> None:
    batches = make_batches()
    for step in range(start, start + steps):
        pilot.step(loop_step(training, batches[step % len(batches)]))


# ------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("policy", "total_steps", "words"),
    [
        (Schedule, 10, r"policy must be .*Call it: Schedule\(\.\.\.\) instead of Schedule\."),
        ("cosine", 10, r"policy must be a lrpilot policy .* got 'cosine'"),
        (None, 10, "got None"),
        (Schedule("constant"), 0, r"total_steps must be >= 1, got 0\. Use None"),
        (Schedule("constant"), -3, "got -3"),
        (Schedule("cosine"), None, "."),
    ],
)
def test_bad_settings_are_refused_before_anything_is_touched(policy: Any, total_steps: Any, words: str) -> None:
    training = make_training()
    with untouched(training.model, training.raw_optimizer), pytest.raises(SettingError, match=words):
        Pilot(training, policy, total_steps)


def test_the_first_argument_is_a_training() -> None:
    with pytest.raises(SettingError, match=r"must be a lrpilot.Training, got SGD\. Bind"):
        Pilot(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1), Schedule("constant"), 10)  # type: ignore[arg-type]


# ---------------------------------------------------- a torch LRScheduler


def test_it_is_a_torch_scheduler() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("linear", lr=0.4), 4)
    assert isinstance(pilot, torch.optim.lr_scheduler.LRScheduler)
    assert pilot.optimizer is training.raw_optimizer and pilot.last_epoch == 0
    seen = [pilot.get_last_lr()[0]]
    for batch in make_batches(3):
        pilot.step(loop_step(training, batch))
        seen.append(pilot.get_last_lr()[0])
    assert seen == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert pilot.last_epoch == 3 and pilot.history.lrs == pytest.approx([0.4, 0.3, 0.2])
    assert training.raw_optimizer.param_groups[0]["initial_lr"] == 0.1
    assert pilot.get_lr() == pilot._last_lr == pilot.get_last_lr()


def test_a_schedule_equals_torch_with_no_pilot() -> None:
    flown, plain = make_training(), make_training()
    pilot = Pilot(flown, Schedule("constant"), 10)
    fly(flown, pilot, 6)
    for batch in make_batches():
        loop_step(plain, batch)
    assert_equal(
        [weights(flown.model), flown.raw_optimizer.state_dict()["state"]],
        [weights(plain.model), plain.raw_optimizer.state_dict()["state"]],
    )
    assert pilot.cost.forward_equivalents == 0, "a schedule measures nothing"


def test_the_lr_is_held_after_the_last_step() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("linear", lr=0.4), 4)
    fly(training, pilot, 7)
    assert pilot.done and pilot.history.lrs == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1])
    assert pilot.get_last_lr()[0] == pytest.approx(0.1)


def test_nothing_happens_without_an_optimizer_step() -> None:
    training = make_training()
    pilot = Pilot(training, SEARCH, 20)
    with untouched(training.model, training.raw_optimizer):
        for _ in range(3):
            pilot.step(1.0)
    assert pilot.history.lrs == [] and pilot.cost.forwards == 0
    fly(training, pilot, 1)
    state = pilot.state_dict()
    pilot.step(5.0)
    assert pilot.state_dict() == state and len(pilot.history.lrs) == 1


def test_construction_may_write_an_lr_and_does_nothing_else() -> None:
    events: list[Any] = []
    training = make_training(model=make_model(dropout=0.2), data=lambda: pytest.fail("data was read"))
    model, optimizer = training.model, training.raw_optimizer
    before = everything(model)
    pilot = Pilot(training, SEARCH, 20, events.append)
    assert_equal(everything(model), before)
    assert not events and not optimizer.state and pilot.cost.forwards == 0
    assert 0 < optimizer.param_groups[0]["lr"] <= 1e-9


def test_the_search_runs_in_the_first_step_or_by_start() -> None:
    for start in (True, False):
        training = make_training()
        pilot = Pilot(training, SEARCH, 20)
        before = weights(training.model)
        if start:
            with untouched(training.model):
                pilot.start()
            assert pilot.cost.trials == 1 and pilot.get_last_lr() == [0.05]
            pilot.start()
            assert pilot.cost.trials == 1, "a second start has nothing to do"
        else:
            fly(training, pilot, 1)
            moved = max((a - b).abs().max().item() for a, b in zip(before, weights(training.model), strict=True))
            assert 0 <= moved < 1e-6, "the step before the search moves next to nothing"
        assert pilot.cost.trials == 1 and pilot.get_last_lr() == [0.05]


def test_a_group_added_before_the_search_gets_no_negligible_ratio() -> None:
    training = make_training()
    pilot = Pilot(training, SEARCH, 20)
    training.raw_optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.05})
    pilot.start()
    assert pilot.get_last_lr() == pytest.approx([0.05, 0.025])


def test_groups_added_while_flying() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant", lr=0.2), 20)
    fly(training, pilot, 2)
    training.raw_optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.02})
    saved = pilot.state_dict()
    fly(training, pilot, 2)
    assert pilot.get_last_lr() == pytest.approx([0.2, 0.02])
    pilot.load_state_dict(saved)
    fly(training, pilot, 1)
    assert pilot.get_last_lr() == pytest.approx([0.2, 0.02])


def test_last_lrs_are_clones_and_tensor_lrs_stay_the_same_objects() -> None:
    lr = torch.tensor(0.01)
    model = make_model()
    training = make_training(model=model, optimizer=torch.optim.AdamW(model.parameters(), lr=lr))
    pilot = Pilot(training, MEASURING, 30)
    fly(training, pilot, 12)
    assert training.raw_optimizer.param_groups[0]["lr"] is lr
    (copied,) = pilot.get_last_lr()
    assert isinstance(copied, Tensor) and copied is not lr and torch.equal(copied, lr)
    assert float(lr) == pytest.approx(pilot.history.lrs[-1], rel=0.3) and 0 < float(lr) < 0.1


def test_a_compiled_style_holder_of_the_lr_tensor_sees_every_value() -> None:
    """A captured step reads the very tensor it was captured with."""
    lr = torch.tensor(0.5)
    model = make_model()
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=lr))
    seen = []
    pilot = Pilot(training, Schedule("linear", lr=0.4), 4)
    for batch in make_batches(4):
        seen.append(lr.item())
        pilot.step(loop_step(training, batch))
    assert seen == pytest.approx([0.4, 0.3, 0.2, 0.1])


@pytest.mark.parametrize("momentum", [True, False])
def test_one_cycle_moves_momentum_too(momentum: bool) -> None:
    model = make_model()
    options = {"momentum": 0.9} if momentum else {}
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, **options))
    pilot = Pilot(training, Schedule("one_cycle", lr=0.4), 20)
    seen = []
    for batch in make_batches(20):
        seen.append(training.raw_optimizer.param_groups[0]["momentum"])
        pilot.step(loop_step(training, batch))
    assert (
        (max(seen) == pytest.approx(0.95) and min(seen) == pytest.approx(0.85, abs=0.01)) if momentum else not any(seen)
    )


# ------------------------------------------------------------- conflicts


def test_another_scheduler_in_the_loop_is_noticed() -> None:
    training = make_training()
    other = torch.optim.lr_scheduler.ExponentialLR(training.raw_optimizer, 0.5)
    pilot = Pilot(training, Schedule("constant", lr=0.2), 20)
    loss = loop_step(training, make_batches()[0])
    pilot.step(loss)
    loop_step(training, make_batches()[1])
    other.step()
    with pytest.raises(SchedulerConflictError, match=r"got lr 0.1 where it had\s+written 0.2\. Remove the other"):
        pilot.step(loss)


def test_a_second_optimizer_step_that_the_pilot_is_not_told_of_is_refused_before_it_is_taken() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 20)
    loop_step(training, make_batches(1)[0])
    before = weights(training.model)
    with pytest.raises(StepError, match=r"must follow every optimizer step, got a second one"):
        loop_step(training, make_batches(1)[0])
    assert same_tensors(weights(training.model), before)
    pilot.step()
    fly(training, pilot, 2)
    assert len(pilot.history.lrs) == 3


def test_steps_after_the_end_and_under_a_later_pilot_need_not_be_told() -> None:
    training = make_training()
    given_up = Pilot(training, Schedule("constant"), 20)
    pilot = Pilot(training, Schedule("constant"), 2)
    fly(training, pilot, 2)
    for batch in make_batches(3):
        loop_step(training, batch)
    assert given_up.last_epoch == 0
    landed = Pilot(training, Schedule("constant"))
    landed.land()
    for batch in make_batches(3):
        loop_step(training, batch)


def test_a_pilot_of_another_optimizer_than_the_loops_objects_at_the_second_step() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 20)
    theirs = torch.optim.SGD(training.model.parameters(), lr=0.1)
    for told in range(2):
        theirs.zero_grad()
        loss_fn(training.model, make_batches(1)[0]).backward()
        theirs.step()
        if told == 0:
            pilot.step()
    with pytest.raises(StepError, match="must be the one that the loop steps"):
        pilot.step()


def test_accumulation_before_the_first_step_is_none_of_its_business() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 20)
    training.model.load_state_dict(make_model(seed=3).state_dict())  # moves the weights, once
    for batch in make_batches(4):
        loss_fn(training.model, batch).backward()
        pilot.step()
    training.optimizer.step()
    pilot.step()
    assert pilot.last_epoch == 1


def scaled_loop(fused: bool) -> tuple[Training, torch.amp.GradScaler]:
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0)

    def step_fn(batch: Any) -> Tensor:
        raise NotImplementedError

    return make_training(model=model, optimizer=optimizer, step_fn=step_fn, state={"scaler": scaler}), scaler


@pytest.mark.parametrize("fused", [False, True])
def test_steps_that_a_scaler_skips_do_not_count(fused: bool) -> None:
    training, scaler = scaled_loop(fused)
    optimizer = training.raw_optimizer
    pilot = Pilot(training, Schedule("linear", lr=0.4), 4)
    for i, batch in enumerate(make_batches(5)):
        optimizer.zero_grad()
        loss = loss_fn(training.model, batch) * (float("inf") if i in (1, 2) else 1.0)
        scaler.scale(loss).backward()
        before = weights(training.model)
        scaler.step(optimizer)
        scaler.update()
        pilot.step(loss)
        assert same_tensors(before, weights(training.model)) == (i in (1, 2))
    assert pilot.history.lrs == pytest.approx([0.4, 0.3, 0.2])
    assert all(loss < 10 for loss in pilot.history.losses)


def test_between_scaler_step_and_update_the_pilot_says_so() -> None:
    training, scaler = scaled_loop(False)
    pilot = Pilot(training, Schedule("constant"), 10)
    loss = loss_fn(training.model, make_batches()[0])
    scaler.scale(loss).backward()
    scaler.step(training.raw_optimizer)
    with pytest.raises(StepError, match=r"after scaler.update\(\), but state\['scaler'\].*Move pilot.step"):
        pilot.step(loss)
    scaler.update()
    pilot.step(loss)
    assert len(pilot.history.lrs) == 1


@pytest.mark.parametrize("loss", [torch.ones(3), torch.ones(2, 2)])
def test_a_loss_of_several_elements_is_refused_at_once(loss: Tensor) -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 10)
    loop_step(training, make_batches()[0])
    with pytest.raises(LossError, match=r"scalar loss, got a tensor of shape"):
        pilot.step(loss)
    pilot.step(loss.mean())
    assert pilot.history.losses == [1.0]


def test_losses_of_any_scalar_kind_and_none() -> None:
    import numpy as np

    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 10)
    given = [torch.ones(1, requires_grad=True), torch.tensor(2.0), 3.0, 4, np.float32(5), np.float64(6), None]
    for loss in given:
        loop_step(training, make_batches()[0])
        pilot.step(loss)  # type: ignore[arg-type]
    assert pilot.history.losses[:6] == [1, 2, 3, 4, 5, 6] and pilot.history.losses[6] != pilot.history.losses[6]


def test_a_policy_that_needs_losses_gets_the_held_out_one_at_its_cost() -> None:
    training = make_training(val=make_batches(2, seed=9))
    pilot = Pilot(training, Listed((Train(constant(0.1), 4, observe_every=2), Train(constant(0.1), 9))), 20)
    for batch in make_batches(4):
        loop_step(training, batch)
        pilot.step()
    seen = [event.observation for event in pilot.history.events]
    assert [o.losses for o in seen] == [(), ()] and all(o.held_out is not None for o in seen)
    assert pilot.cost.evaluations == 2 and pilot.cost.forwards == 4


def test_a_blow_up_is_reported_at_once() -> None:
    training = make_training()
    policy = Listed((Train(constant(0.1), 50, stop=Stop()), Train(constant(0.01), 50)))
    pilot = Pilot(training, policy, 100)
    fly(training, pilot, 2)
    loop_step(training, make_batches()[0])
    pilot.step(float("nan"))
    assert pilot.get_last_lr() == [0.1], "the weights are sound"
    loop_step(training, make_batches()[0])
    with torch.no_grad():
        next(training.model.parameters()).fill_(float("nan"))
    pilot.step(float("nan"))
    assert pilot.get_last_lr() == [0.01]


# --------------------------------------------------- probes while flying


def test_probes_of_others_do_not_count_as_steps() -> None:
    """A mid-flight find, a check and an evaluation leave the flight as it was, a Line waiting for its step too."""
    from lrpilot.testing import check_same_step

    training = make_training(model=make_model(dropout=0.2, batch_norm=True))
    pilot = Pilot(training, Listed((Train(constant(0.1), 2), Line((0.0, 0.5, 1.0)), Train(constant(0.1), 9))), 12)
    fly(training, pilot, 2)
    with untouched(training.model, training.raw_optimizer):
        training.check()
        training.evaluate()
        found = find_lr(training, num_steps=9, min_lr=1e-3, max_lr=1.0, progress=False)
        check_same_step(lambda batch: loop_step(training, batch), training, make_batches()[0])
    assert found.cost.trials > 3
    pilot.step()
    assert len(pilot.history.lrs) == 2
    before = weights(training.model)
    fly(training, pilot, 1, start=2)
    (table,) = pilot.history.events[-1].observation.losses
    assert len(pilot.history.lrs) == 3 and not same_tensors(before, weights(training.model))
    assert len(set(table)) == 3


def test_a_flight_is_the_plain_loop_at_its_lrs() -> None:
    """Every measurement taken out: the same lrs written by hand end at the same weights, generators and buffers."""
    flown = make_training(model=make_model(dropout=0.3, batch_norm=True), val=make_batches(2, seed=9))
    policy = Listed(tuple(a for a in MEASURING.actions if not isinstance(a, Mark | Rewind | Drop)))
    pilot = Pilot(flown, policy, 20)
    torch.manual_seed(5)
    fly(flown, pilot, 14)
    plain = make_training(model=make_model(dropout=0.3, batch_norm=True))
    torch.manual_seed(5)
    for step, lr in enumerate(pilot.history.lrs):
        plain.raw_optimizer.param_groups[0]["lr"] = lr
        loop_step(plain, make_batches()[step % 6])
    mine, theirs = everything(flown.model), everything(plain.model)
    same = [key for key in mine if "identity" not in key]
    assert_equal([mine[k] for k in same], [theirs[k] for k in same])
    assert pilot.cost.trials == 1 and pilot.cost.lines == 1


def test_rewinding_goes_back_to_the_mark_and_time_goes_on() -> None:
    training = make_training()
    policy = Listed(
        (Train(constant(0.1), 2), Mark("m"), Train(constant(0.5), 3), Rewind("m"), Drop("m"), Train(constant(0.1), 5))
    )
    pilot = Pilot(training, policy, 10)
    fly(training, pilot, 2)
    at_mark = weights(training.model), copy.deepcopy(training.raw_optimizer.state_dict()["state"])
    fly(training, pilot, 3, start=2)
    assert same_tensors(weights(training.model), at_mark[0])
    assert_equal(training.raw_optimizer.state_dict()["state"], at_mark[1])
    assert len(pilot.history.lrs) == 5 and pilot.last_epoch == 5 and pilot.get_last_lr() == [0.1]


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ((Rewind("x"),), r"must be set before it is used, got 'x'"),
        ((Mark("a"), Mark("b"), Mark("c")), r"may hold 2 marks, got mark 'c'.*Drop"),
        ((Train(ramp(0.1, 0.0, 4), 5),), r"finite and > 0"),
    ],
)
def test_policies_that_break_the_contract(actions: Any, words: str) -> None:
    training = make_training()
    with pytest.raises(PolicyError, match=words):
        Pilot(training, Listed(actions), 10).start()


def test_an_interrupted_search_is_repeated() -> None:
    def flight(interrupt: bool) -> tuple[list[float], list[Tensor]]:
        training = make_training(model=make_model(dropout=0.2))
        calls = 0

        def interrupted(model: Any, batch: Any) -> Tensor:
            nonlocal calls
            calls += 1
            if interrupt and calls == 6:
                raise KeyboardInterrupt
            return loss_fn(model, batch)

        training.loss_fn = interrupted
        actions = (
            Train(constant(0.1), 2),
            Trial(constant(0.2), 3, evaluate="end"),
            Trial(constant(0.3), 3, evaluate="end"),
        )
        pilot = Pilot(training, Listed((*actions, Train(constant(0.1), 5))), 10)
        torch.manual_seed(1)
        batches = make_batches()
        for step in range(4):
            loss = loop_step(training, batches[step])
            try:
                pilot.step(loss)
            except KeyboardInterrupt:
                assert interrupt and step == 1 and pilot.get_last_lr() == [0.1]
        return pilot.history.lrs, weights(training.model)

    interrupted, plain = flight(True), flight(False)
    assert interrupted[0] == plain[0] and same_tensors(interrupted[1], plain[1])


# ------------------------------------------------------------------ state


@pytest.mark.parametrize("stop_at", range(1, 16))
def test_resume_equals_uninterrupted(stop_at: int) -> None:
    def build() -> tuple[Training, Pilot]:
        model = make_model(dropout=0.3, batch_norm=True)
        optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1))
        training = make_training(model=model, optimizer=optimizer, val=make_batches(2, seed=9))
        return training, Pilot(training, MEASURING, 20)

    def fly_seeded(training: Training, pilot: Pilot, start: int, end: int) -> None:
        for step in range(start, end):
            torch.manual_seed(step)
            pilot.step(loop_step(training, make_batches()[step % 6]))

    straight, pilot = build()
    fly_seeded(straight, pilot, 0, 16)
    first, stopped = build()
    fly_seeded(first, stopped, 0, stop_at)
    file = io.BytesIO()
    saved = [first.model.state_dict(), first.raw_optimizer.state_dict(), stopped.state_dict()]
    torch.save(saved, file)
    file.seek(0)
    model_state, optimizer_state, pilot_state = torch.load(file, weights_only=True)
    second, resumed = build()
    second.model.load_state_dict(model_state)
    second.raw_optimizer.load_state_dict(optimizer_state)
    with untouched(second.model):
        resumed.load_state_dict(pilot_state)
    fly_seeded(second, resumed, stop_at, 16)
    assert resumed.history.lrs == pilot.history.lrs and resumed.last_epoch == 16
    assert_equal(second.model.state_dict(), straight.model.state_dict())
    assert [e.message for e in resumed.history.events] == [e.message for e in pilot.history.events]
    spent = resumed.cost
    assert (spent.forwards, spent.backwards) == (pilot.cost.forwards, pilot.cost.backwards), "nothing is paid twice"
    assert spent.lines == pilot.cost.lines


def test_the_state_is_a_copy() -> None:
    training = make_training()
    pilot = Pilot(training, MEASURING, 20)
    fly(training, pilot, 5)
    saved = pilot.state_dict()
    frozen = copy.deepcopy(saved)
    fly(training, pilot, 6, start=5)
    assert_equal(saved, frozen)


def resumable() -> dict[str, Any]:
    training = make_training()
    pilot = Pilot(training, MEASURING, 20)
    fly(training, pilot, 5)
    assert pilot.state_dict()["substrate"]["marks"]
    return pilot.state_dict()


def place_in(saved: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The table of a state that a dotted path leads to, and the key in it."""
    *tables, key = path.split(".")
    for name in tables:
        saved = saved[name]
    return saved, key


def two_groups() -> Training:
    model = make_model()
    return make_training(model=model, optimizer=torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1))


def other_shapes() -> Training:
    return make_training(model=nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)))


@pytest.mark.parametrize(
    ("make", "policy", "change", "words"),
    [
        (make_training, Schedule("constant"), {}, "with its own policy"),
        (make_training, Listed(MEASURING.actions[:3]), {}, "with its own policy"),
        (make_training, MEASURING, {"version": 99}, r"must have version 4, got 99\. Resume with"),
        (make_training, MEASURING, {"version": None}, "got None"),
        (make_training, MEASURING, {"substrate.line": [torch.ones(2)]}, "got other parameter shapes"),
        (two_groups, MEASURING, {}, r"saved were\s+1, got 4"),
        (other_shapes, MEASURING, {}, r"parameter 0 was \(8, 4\) and is \(6, 4\)"),
    ],
)
def test_a_foreign_state_is_refused_and_nothing_is_written(make: Any, policy: Any, change: Any, words: str) -> None:
    saved = resumable()
    for place, value in change.items():
        table, key = place_in(saved, place)
        table[key] = value
    training = make()
    pilot = Pilot(training, policy, 20)
    before = pilot.state_dict()
    with untouched(training.model, training.raw_optimizer), pytest.raises(StateError, match=words):
        pilot.load_state_dict(saved)
    assert_equal(pilot.state_dict(), before)


PARTS = {
    "flight": ("policy", "state", "history", "cost"),
    "flight.state": ("policy_state", "action", "position", "window", "step", "lr", "marks", "ends", "continues"),
    "substrate": ("proven", "ratios", "line", "marks", "ends", "average", "wish"),
}


@pytest.mark.parametrize("gone", [*PARTS, *(f"{table}.{key}" for table, keys in PARTS.items() for key in keys)])
def test_a_damaged_state_is_refused_and_nothing_is_written(gone: str) -> None:
    saved = resumable()
    table, key = place_in(saved, gone)
    del table[key]
    training = make_training()
    pilot = Pilot(training, MEASURING, 20)
    before = pilot.state_dict()
    with untouched(training.model, training.raw_optimizer):
        with pytest.raises(StateError, match=rf"must be whole, got one without {key}"):
            pilot.load_state_dict(saved)
        with pytest.raises(StateError, match="must have version 4, got None"):
            pilot.load_state_dict([])  # type: ignore[arg-type]
    assert_equal(pilot.state_dict(), before)


def test_a_resume_into_a_search_probes_only_when_it_is_started() -> None:
    training = make_training()
    pilot = Pilot(training, SEARCH, 20)
    saved = pilot.state_dict()
    resumed = Pilot(training, SEARCH, 20)
    resumed.load_state_dict(saved)
    assert resumed.cost.forwards == 0
    resumed.start()
    assert resumed.cost.trials == 1


# ------------------------------------------------------------- frameworks


def test_accelerate_takes_it_for_a_scheduler() -> None:
    from accelerate import Accelerator
    from accelerate.scheduler import AcceleratedScheduler

    accelerator = Accelerator(cpu=True)
    model = accelerator.prepare(make_model())
    optimizer = accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1))
    training = Training(model, optimizer, loss_fn, make_batches())
    scheduler = accelerator.prepare(Pilot(training, Schedule("linear", lr=0.4), 4))
    assert isinstance(scheduler, AcceleratedScheduler)
    for _ in range(2):
        scheduler.step()
    seen = []
    for batch in make_batches(4):
        seen.append(scheduler.get_last_lr()[0])
        optimizer.zero_grad()
        accelerator.backward(loss_fn(model, batch))
        optimizer.step()
        for _ in range(3):  # as on three processes
            scheduler.step()
    assert seen == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_accelerate_accumulation(tmp_path: Path) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = accelerator.prepare(make_model())
    optimizer = accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1))
    training = Training(model, optimizer, loss_fn, make_batches())
    scheduler = accelerator.prepare(Pilot(training, Schedule("linear", lr=0.4), 4))
    for batch in make_batches(6):
        with accelerator.accumulate(model):
            accelerator.backward(loss_fn(model, batch))
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    assert scheduler.scheduler.history.lrs == pytest.approx([0.4, 0.3, 0.2])


# ----------------------------------------------------------- surroundings


def test_events_and_log_lines_say_what_happens(caplog: pytest.LogCaptureFixture) -> None:
    events: list[Any] = []
    training = make_training()
    with caplog.at_level(logging.DEBUG, logger="lrpilot"):
        pilot = Pilot(training, SEARCH, 20, events.append)
        pilot.start()
    assert [(e.phase, type(e.action).__name__) for e in events] == [("begin", "Trial"), ("end", "Trial")]
    assert [(r.levelname, r.message.split(":")[0]) for r in caplog.records] == [("DEBUG", "step 0"), ("INFO", "step 0")]
    assert caplog.records[1].message == pilot.history.events[0].message


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    training = make_training()
    fly(training, Pilot(training, MEASURING, 20), 12)
    assert capsys.readouterr() == ("", "")


def test_a_pilot_that_nobody_holds_is_gone_and_its_hooks_too() -> None:
    training = make_training()
    optimizer = training.raw_optimizer
    pilot = Pilot(training, MEASURING, 20)
    fly(training, pilot, 4)
    gone = weakref.ref(pilot)
    del pilot
    gc.collect()
    assert gone() is None
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


def test_a_pilot_is_not_copied_or_pickled() -> None:
    pilot = Pilot(make_training(), Schedule("constant"), 10)
    for copying in (copy.deepcopy, pickle.dumps):
        with pytest.raises(StateError, match="state_dict"):
            copying(pilot)


def test_a_state_between_optimizer_step_and_pilot_step_is_refused() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 10)
    loss = loop_step(training, make_batches()[0])
    with pytest.raises(StepError, match=r"below pilot\.step"):
        pilot.state_dict()
    pilot.step(loss)
    assert pilot.state_dict()["flight"]["state"]["step"] == 1


def test_the_history_tells_the_lr_that_was_used() -> None:
    training = make_training()
    pilot = Pilot(training, Listed((Trial(constant(0.1), 2), Train(constant(0.1), 5))), 10)
    for batch in make_batches()[:3]:
        used = training.raw_optimizer.param_groups[0]["lr"]
        pilot.step(loop_step(training, batch))
        assert pilot.history.lrs[-1] == pytest.approx(used, rel=1e-12)
    assert pilot.history.lrs[0] < 1e-6 < pilot.history.lrs[1]


def test_a_loop_may_reuse_the_tensor_of_its_loss() -> None:
    training = make_training()
    pilot = Pilot(training, Schedule("constant"), 10)
    pilot.driver.substrate.reads_are_cheap = False  # as on an accelerator, where losses are read later
    kept = torch.zeros(())
    expected = []
    for batch in make_batches()[:4]:
        kept.copy_(loop_step(training, batch).detach())
        expected.append(float(kept))
        pilot.step(kept)
    assert pilot.history.losses == expected


def test_a_pilot_of_another_optimizer_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    pilot = Pilot(make_training(), Schedule("constant"), 10)
    with caplog.at_level(logging.WARNING, logger="lrpilot"):
        for _ in range(500):
            pilot.step(1.0)
    assert [r.levelname for r in caplog.records] == ["WARNING"] and "never stepped" in caplog.text


def test_a_pilot_is_resumed_over_the_length_it_was_planned_for() -> None:
    pilot = Pilot(training := make_training(), Schedule("linear"), 10)
    fly(training, pilot, 2)
    with pytest.raises(StateError, match="saved was 10, got 20"):
        Pilot(make_training(), Schedule("linear"), 20).load_state_dict(pilot.state_dict())


def test_what_somebody_should_look_at_is_logged_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    told: list[Event] = []
    pilot = Pilot(training := make_training(), Schedule("constant", lr=0.1), total_steps=10, on_event=told.append)
    pilot.step(loop_step(training, make_batches()[0]))
    with caplog.at_level("INFO", "lrpilot"):
        pilot.driver.flight.warn(Reason("bad_data", "no number"))
    assert [(r.levelname, r.message) for r in caplog.records] == [("WARNING", "step 1: no number [bad_data]")]
    assert [event.phase for event in told] == ["warning"] and told == pilot.history.events
