"""A session: equal starts, an honest bill, and judging that leaves no trace."""

import copy
import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import nn

from lrpilot import Schedule, find_lr, fit
from lrpilot.core.actions import Average, Train
from lrpilot.core.shape import constant
from lrpilot_bench.methods.flying import fly_loop, fly_policy
from lrpilot_bench.session import GRID_POINTS, NON_FINITE_PATIENCE, DivergedError, OverspentError, Session
from lrpilot_bench.tasks.digits import TASKS
from small_training import Listed

DIGITS = TASKS[0]


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 10))


NORMED = replace(DIGITS, make_model=normed)


def session(task=NORMED, *, seed: int = 0, steps: int = 40, lr: float | None = 0.01) -> Session:
    return Session(task, task.family(), seed=seed, steps=steps, lr=lr)


def fly(flown: Session, kind: str = "linear") -> Session:
    fly_policy(flown, Schedule(kind, lr=flown.lr))
    flown.finish()
    return flown


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# ------------------------------------------------------------------ equal starts


def test_a_seed_decides_weights_and_data_order() -> None:
    first, again, other = session(), session(), session(seed=1)
    assert same(first.model, again.model) and not same(first.model, other.model)
    for a, b in zip(islice(first.batches(), 50), islice(again.batches(), 50), strict=True):
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    assert not torch.equal(next(first.batches())[0], next(other.batches())[0])


def test_epochs_have_orders_of_their_own_and_probes_another() -> None:
    flown = session()
    epoch = len(flown.train_data)
    batches = list(islice(flown.batches(), 2 * epoch))
    assert not torch.equal(batches[0][0], batches[epoch][0])
    assert not torch.equal(next(flown.probe_batches())[0], batches[0][0])


def test_a_policy_and_a_plain_loop_train_bit_for_bit_alike() -> None:
    """So peers in a torch loop and lrpilot's policies are paired: same weights, order, and dropout masks."""
    flown, looped = fly(session(), "constant"), session()
    fly_loop(looped, looped.optimizer(looped.lr))
    looped.finish()
    assert same(flown.model, looped.model)
    assert flown.curve.to_dict() == looped.curve.to_dict()
    assert flown.declared.to_dict() == looped.declared.to_dict()


def test_how_often_it_is_judged_does_not_change_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    seldom = fly(session())
    monkeypatch.setattr("lrpilot_bench.session.GRID_POINTS", 40)
    assert same(seldom.model, fly(session()).model)


# ------------------------------------------------------------------ the bill


def test_a_plain_run_costs_three_a_step_and_the_hooks_agree() -> None:
    flown = fly(session())
    assert flown.compute == flown.budget == 3 * 40
    assert flown.kept_steps == 40 and flown.steps_left == 0
    assert flown.declared.to_dict() == flown.counter.tally.to_dict() == {"forwards": 1280, "backwards": 1280}


def test_a_search_is_paid_in_training_steps_and_the_hooks_agree() -> None:
    flown = session(steps=2000)
    found = find_lr(flown.training(flown.optimizer(0.01)), target="constant", num_steps=5, progress=False)
    flown.charge_cost(found.cost)
    searched = flown.compute
    assert searched == pytest.approx(found.cost.forward_equivalents, abs=0.1)
    flown.steps = math.ceil(searched / 3) + 20
    fly(flown)
    assert flown.kept_steps in (19, 20)
    assert 0 <= flown.budget - flown.compute < 3
    assert flown.declared.to_dict() == flown.counter.tally.to_dict()


def test_a_search_that_has_spent_everything_leaves_nothing_to_train() -> None:
    flown = session(steps=10)
    flown.charge(32, forwards=1, backwards=10)
    flown.charge(32, forwards=9)
    assert flown.steps_left == 0
    before = [p.clone() for p in flown.model.parameters()]
    fly(flown)
    assert all(torch.equal(a, b) for a, b in zip(before, flown.model.parameters(), strict=True))


def test_a_method_that_never_stops_is_stopped() -> None:
    flown = session(steps=5)
    optimizer = flown.optimizer(0.01)
    with pytest.raises(OverspentError, match=r"must stop when session\.steps_left is 0"):
        for batch in flown.batches():
            flown.step(optimizer, batch)
    assert flown.kept_steps == 5 + 2


def test_forgiven_probes_leave_the_whole_training() -> None:
    flown = session()
    flown.charge(32, forwards=100)
    flown.forgive(100.0)
    fly(flown)
    assert flown.kept_steps == 40


def test_an_evaluation_that_a_method_asks_for_is_charged_and_the_grids_is_not() -> None:
    flown = session()
    loss = flown.evaluate()
    assert loss == flown.curve.val_loss[0]
    assert flown.declared.to_dict() == flown.counter.tally.to_dict() == {"forwards": 300, "backwards": 0}


def test_an_evaluation_of_some_batches_costs_and_judges_these_alone() -> None:
    flown = session()
    loss = flown.evaluate(2)
    assert flown.declared.to_dict() == flown.counter.tally.to_dict() == {"forwards": 64, "backwards": 0}
    inputs, targets = flown.splits.val.inputs[:64], flown.splits.val.targets[:64]
    assert loss == pytest.approx(float(flown.task.loss_fn(flown.model.eval(), (inputs, targets)).detach()))


def test_the_counter_sees_what_is_not_declared() -> None:
    flown = session()
    batch = next(flown.batches())
    flown.loss(batch).backward()
    with torch.no_grad():
        flown.loss(batch)
    assert flown.counter.tally.to_dict() == {"forwards": 64, "backwards": 32}
    assert flown.declared.to_dict() == {"forwards": 0, "backwards": 0}


def test_passes_of_a_copy_of_the_model_are_counted_too() -> None:
    flown = session()
    inputs, _ = next(flown.batches())
    copy.deepcopy(flown.model)(inputs).sum().backward()
    assert flown.counter.tally.to_dict() == {"forwards": 32, "backwards": 32}


# ------------------------------------------------------------------ the curve


def test_the_grid_is_even_in_total_compute_and_holds_both_ends() -> None:
    curve = fly(session()).curve
    assert curve.steps == list(range(0, 41, 2)) and len(curve.steps) == GRID_POINTS + 1
    assert curve.compute == [3.0 * step for step in curve.steps]


def test_a_probe_skips_grid_points_instead_of_crowding_them_behind_it() -> None:
    flown = session()
    flown.charge(32, forwards=61)  # just over half of the budget
    fly(flown)
    assert flown.curve.compute[:4] == [0.0, 64.0, 67.0, 73.0]


def test_a_point_holds_the_mean_training_loss_since_the_one_before() -> None:
    flown = session(steps=40)
    losses: list[float] = []
    fly_loop(flown, flown.optimizer(0.01), after_step=lambda step, loss: losses.append(loss))
    flown.finish()
    assert flown.curve.train_loss[1:] == pytest.approx([sum(losses[i : i + 2]) / 2 for i in range(0, 40, 2)])
    assert flown.curve.lr[1:] == [0.01] * 20


def test_the_weights_to_judge_may_be_others_than_those_that_train() -> None:
    flown = session()
    plain = flown.evaluate()

    class Zeroed:
        def __enter__(self) -> None:
            self.kept = flown.model[0].weight.detach().clone()
            nn.init.zeros_(flown.model[0].weight)

        def __exit__(self, *problem: object) -> None:
            flown.model[0].weight.data.copy_(self.kept)

    flown.evaluating = Zeroed
    assert flown.evaluate() != plain
    flown.evaluating = session().evaluating
    assert flown.evaluate() == plain


AVERAGED = Listed((Train(constant(0.02), 1000, momentum=constant(0.0), average=Average(0.8, 1.0)),))


def fly_averaged() -> Session:
    flown = session()
    fly_policy(flown, AVERAGED)
    flown.finish()
    return flown


def test_an_averaged_flight_is_judged_by_its_average_on_the_way_and_after(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[torch.Tensor]] = []
    judge = Session._judge

    def judging(flown: Session, batches: list) -> tuple[float, float]:
        with torch.random.fork_rng(), flown.evaluating():
            seen.append([t.clone() for t in flown.model.state_dict().values()])
        return judge(flown, batches)

    monkeypatch.setattr(Session, "_judge", judging)
    flown = fly_averaged()
    points = dict(zip(flown.curve.steps, seen, strict=True))
    last, landed = points[flown.kept_steps], flown.model.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(last, landed, strict=True))
    ended = session()
    fit(ended.training(ended.optimizer(0.01)), AVERAGED, total_steps=flown.kept_steps // 2, progress=False)
    on_the_way = points[flown.kept_steps // 2]
    assert all(torch.equal(a, b) for a, b in zip(on_the_way[:2], list(ended.model.parameters())[:2], strict=True))


def test_an_averaged_flight_pays_for_its_landing_and_for_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    flown = fly_averaged()
    assert flown.declared.to_dict() == flown.counter.tally.to_dict()
    assert flown.kept_steps == 36 and flown.compute == 3 * 36 + 12, "12 batches of statistics: a tenth of 120"
    monkeypatch.setattr("lrpilot_bench.session.GRID_POINTS", 3)
    assert same(flown.model, fly_averaged().model), "nor does it matter how often it is judged"


# ------------------------------------------------------------------ divergence


def test_a_loss_that_stays_non_finite_ends_the_run() -> None:
    flown = session(DIGITS, steps=1000)
    with torch.no_grad():
        flown.model[0].weight.fill_(math.nan)
    with pytest.raises(DivergedError):
        fly(flown)
    assert flown.kept_steps == NON_FINITE_PATIENCE


def test_a_single_bad_loss_is_left_to_the_method() -> None:
    flown = session()
    for loss in (1.0, math.nan, 1.0, math.inf):
        flown.tick(loss, 0.1, samples=32)
    assert flown.kept_steps == 4
