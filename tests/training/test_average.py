"""Averaged flight on live weights: the arithmetic, and that nothing else is touched by it, lost or kept."""

import copy
import io
from itertools import cycle, islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Pilot, Schedule, Training, fit
from lrpilot.core.actions import Average, Continue, Drop, Evaluate, HeldOut, Line, Mark, Rewind, Train, Trial
from lrpilot.core.shape import constant, ramp
from lrpilot.core.stop import Stop
from lrpilot.errors import PolicyError, SettingError, StateError, StepError
from lrpilot.flight.substrate import STEP
from lrpilot.training.bound.average import FlownAverage
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.restore.rng import seed_rng
from small_training import (
    Listed,
    OverflowingSteps,
    assert_equal,
    everything,
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_training,
    own_loop,
    same_tensors,
    untouched,
    weights,
)

NONE = constant(0.0)  # of momentum
A = Average(0.8, 1.0)


def averaged(steps: int, lr: float = 0.1, average: Average = A, **options: Any) -> Train:
    options.setdefault("momentum", NONE)
    return Train(constant(lr), steps, average=average, **options)


def build(optimizer: str = "sgd", **options: Any) -> Training:
    model = options.pop("model", None) or make_model(dropout=0.3, batch_norm=True)
    made = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True),
        "adamw": lambda: torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1),
        "tensor lr": lambda: torch.optim.Adam(model.parameters(), lr=torch.tensor(0.01)),
        "rmsprop": lambda: torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.5),
        "adagrad": lambda: torch.optim.Adagrad(model.parameters(), lr=0.1),
    }
    return make_training(model=model, optimizer=made[optimizer](), val=make_batches(2, seed=5), **options)


def state_of(training: Training) -> dict[str, Any]:
    """Everything, and what is flown beside it."""
    beside = None if training.average is None else copy.deepcopy(training.average.tree())
    return {**everything(training.model, training.raw_optimizer), "average": beside}


def assert_same(mine: Training, theirs: Training) -> None:
    """Two trainings are equal in all, but for who they are."""
    own, other = state_of(mine), state_of(theirs)
    for identity in ("grad_identity", "lr_identity", "hooks"):
        own.pop(identity), other.pop(identity)
    assert_equal(own, other)


def in_flight(training: Training, steps: int = 4, average: Average = A) -> tuple[LiveSubstrate, Pilot]:
    """A training some steps into an averaged flight."""
    pilot = Pilot(training, Listed((averaged(1000, average=average),)))
    torch.manual_seed(3)
    own_loop(training, pilot, steps)
    assert training.average is not None
    return pilot.driver.substrate, pilot


# ----------------------------------------------------------- the arithmetic


class Scalar(nn.Module):
    """One weight, whose gradient is 1."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=dtype))
        self.unused = nn.Parameter(torch.full((1,), 0.3, dtype=dtype))


def falling(model: Any, batch: Any) -> Tensor:
    return model.weight.sum()


def test_two_steps_by_hand() -> None:
    model = Scalar()
    training = Training(model, torch.optim.SGD(model.parameters(), lr=0.5), falling, make_batches())
    pilot = Pilot(training, Listed((averaged(9, 0.5, Average(0.5)),)), 2)
    seen = []
    for batch in make_batches(2):
        pilot.step(training.step(batch))
        seen.append(model.weight.item())
    # z = 1 - 0.5, x = z; then z = 0, x = 0.5 + (0 - 0.5) / 2, y = 0.125, and the last step lands at x.
    assert seen == [0.5, 0.25] and model.unused.item() == torch.tensor(0.3).item()


class Reference:
    """The definition, slowly: everything copied, nothing in place."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.x = self.z = weights(training.model)
        self.t, self.total, self.lr_max = 0, 0.0, 0.0

    def place(self, mix: float) -> None:
        with torch.no_grad():
            for p, x, z in zip(self.training.model.parameters(), self.x, self.z, strict=True):
                p.copy_((1 - mix) * z + mix * x)

    def step(self, batch: Any, lr: float, average: Average, *, then: Average | None = None) -> None:
        before = weights(self.training.model)
        loop_step(self.training, batch)
        change = [a - b for a, b in zip(weights(self.training.model), before, strict=True)]
        self.z = [z + d for z, d in zip(self.z, change, strict=True)]
        self.lr_max = max(self.lr_max, lr)
        weight = (self.t + 1) ** average.power * self.lr_max**2
        self.t, self.total = self.t + 1, self.total + weight
        self.x = [x + (z - x) * weight / self.total for x, z in zip(self.x, self.z, strict=True)]
        self.place((then or average).mix)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_it_is_the_slow_reference(kind: str, momentum: float) -> None:
    other = Average(0.6)
    lrs = ramp(0.01, 0.05, 10).first(10) + [0.03] * 6
    script = (
        Train(ramp(0.01, 0.05, 10), 10, momentum=constant(momentum), average=A),
        Train(constant(0.03), 100, momentum=constant(momentum), average=other),
    )
    flown, slow = (build(kind, model=make_model().double()) for _ in range(2))
    batches = [(inputs.double(), targets) for inputs, targets in islice(cycle(make_batches()), 16)]
    pilot = Pilot(flown, Listed(script))
    for batch in batches:
        pilot.step(loop_step(flown, batch))
    reference = Reference(slow)
    for step, (batch, lr) in enumerate(zip(batches, lrs, strict=True)):
        group = slow.raw_optimizer.param_groups[0]
        group["lr"] = lr
        group.update({"momentum": momentum} if kind == "sgd" else {"betas": (momentum, 0.999)})
        reference.step(batch, lr, A if step < 10 else other, then=other if step == 9 else None)
    torch.testing.assert_close(weights(flown.model), weights(slow.model), rtol=1e-12, atol=1e-13)
    with pilot.averaged():
        torch.testing.assert_close(weights(flown.model), reference.x, rtol=1e-12, atol=1e-13)


def test_layers_moved_together_or_one_by_one_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    together, apart = build(), build()
    in_flight(together)
    monkeypatch.setattr("lrpilot.training.bound.average.IN_CACHE", 5)
    _, pilot = in_flight(apart)
    assert_equal(state_of(together)["average"], state_of(apart)["average"])
    assert same_tensors(weights(together.model), weights(apart.model))
    pilot.land()
    assert same_tensors(weights(apart.model), list(state_of(together)["average"]["average"].values()))


# ------------------------------------------------ parameters of every kind


def test_what_a_step_does_not_move_stays_bit_for_bit() -> None:
    model = make_model(batch_norm=True)
    model.register_parameter("unused", nn.Parameter(torch.rand(50)))
    model[0].weight.requires_grad_(False)
    unused, frozen = model.unused.detach().clone(), model[0].weight.detach().clone()
    training = build("adamw", model=model)
    in_flight(training, 9)
    assert torch.equal(model.unused, unused) and torch.equal(model[0].weight, frozen)
    copies = training.average.tree()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert [sum(t.numel() for t in copies[name].values()) for name in ("average", "base")] == [trainable] * 2


def test_a_parameter_frozen_on_the_way_stays_at_its_average() -> None:
    training = build()
    _, pilot = in_flight(training)
    weight = training.model[0].weight
    with pilot.averaged():
        judged = weight.detach().clone()
    weight.requires_grad_(False)
    own_loop(training, pilot, 3)
    assert torch.equal(weight, judged) and 0 not in training.average.tree()["average"]


def test_a_parameter_unfrozen_on_the_way_begins_there() -> None:
    training = build()
    weight = training.model[0].weight.requires_grad_(False)
    _, pilot = in_flight(training)
    before = weight.detach().clone()
    weight.requires_grad_(True)
    own_loop(training, pilot, 3)
    assert not torch.equal(weight, before) and list(training.average.tree()["average"]).count(0) == 1
    pilot.land()
    assert training.average is None


def test_a_group_added_on_the_way_is_averaged_too() -> None:
    training = build()
    _, pilot = in_flight(training)
    more = nn.Parameter(torch.ones(3))
    training.raw_optimizer.add_param_group({"params": [more], "lr": 0.1})
    own_loop(training, pilot, 1)
    assert torch.equal(training.average.tree()["average"][len(weights(training.model))], torch.ones(3))


def test_half_precision_is_averaged_in_single() -> None:
    """x moves by 1/t of the distance, which bfloat16 does not show: after 100 steps it is still their mean."""
    model = Scalar(torch.bfloat16)
    training = Training(model, torch.optim.SGD(model.parameters(), lr=2.0**-8), falling, make_batches())
    pilot = Pilot(training, Listed((averaged(1000, 2.0**-8, Average(0.0)),)))
    for batch in islice(cycle(make_batches()), 100):
        pilot.step(training.step(batch))
    tree = training.average.tree()
    assert tree["average"][0].dtype == torch.float32 and model.weight.dtype == torch.bfloat16
    assert tree["base"][0].item() == 1 - 100 / 256, "every step of bfloat16 is exact here"
    assert tree["average"][0].item() == pytest.approx(1 - 101 / 512, rel=1e-5)
    assert model.unused.item() == torch.tensor(0.3, dtype=torch.bfloat16).item()
    with untouched(model, training.raw_optimizer), pilot.averaged():
        assert model.weight.item() == tree["average"][0].bfloat16().item()


def test_what_a_loop_does_to_the_weights_between_steps_is_part_of_the_flight() -> None:
    training = build(model=make_model())
    _, pilot = in_flight(training)
    before = copy.deepcopy(training.average.tree())
    with torch.no_grad():
        training.model[0].bias.fill_(0.5)  # a projection
    with untouched(training.model, training.raw_optimizer), pilot.averaged():
        pass
    training.raw_optimizer.zero_grad()
    training.raw_optimizer.step()  # which moves nothing
    moved = training.average.tree()["base"][1] - before["base"][1]
    stood = torch.lerp(before["base"][1], before["average"][1], A.mix)
    torch.testing.assert_close(moved, 0.5 - stood)


def test_a_step_that_a_scaler_skips_is_none() -> None:
    training = build(model=make_model())
    OverflowingSteps(training)
    pilot = Pilot(training, Listed((averaged(30, 0.001),)))
    torch.manual_seed(3)
    for batch in islice(cycle(make_batches()), 12):
        pilot.step(training.step(batch))
    assert 0 < training.average.tree()["steps"] == training.step_fn.taken == pilot.last_epoch


# ------------------------------------------------------------------ Trials

TRIALS = {
    "carried on": Trial(constant(0.05), 3, evaluate="end", average=A, read_every=1),
    "another mix": Trial(constant(0.05), 3, evaluate="end", average=Average(0.5), momentum=NONE),
    "landed": Trial(constant(0.05), 3, evaluate="average"),
    "momentum": Trial(constant(0.05), 3, momentum=constant(0.4)),
    "stopped": Trial(constant(1e30), 3, average=A, stop=Stop(abort_above=1e9)),
}


@pytest.mark.parametrize("flying", [True, False])
@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS.keys())
@pytest.mark.parametrize("kind", ["sgd", "adamw", "tensor lr", "rmsprop", "adagrad"])
def test_a_trial_leaves_no_trace_whatever_it_does_to_the_average(kind: str, trial: Trial, flying: bool) -> None:
    training, alone = build(kind), build(kind)
    substrate, pilot = in_flight(training) if flying else (LiveSubstrate(training), None)
    before, held = state_of(training), training.average and training.average.tree()["average"][0]
    substrate.trial(trial)
    substrate.forget_snapshot()
    assert_equal(state_of(training), before)
    if pilot is not None:
        assert training.average.tree()["average"][0] is held, "the very tensors"
        own_loop(training, pilot, 3, start=4)
        _, other = in_flight(alone)
        own_loop(alone, other, 3, start=4)
        assert_same(training, alone)


@pytest.mark.parametrize("index", range(7))
def test_a_trial_that_raises_leaves_no_trace(index: int) -> None:
    calls = 0

    def failing(model: Any, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == index + 1:
            raise ZeroDivisionError
        return loss_fn(model, batch)

    training = build(loss_fn=failing)
    calls = -1000
    substrate, _ = in_flight(training)
    before, calls = state_of(training), 0
    with pytest.raises(ZeroDivisionError):
        substrate.trial(Trial(constant(0.05), 3, evaluate="end", average=Average(0.5), read_every=2))
    substrate.forget_snapshot()
    assert_equal(state_of(training), before)


@pytest.mark.parametrize("flying", [True, False])
def test_a_trial_is_the_averaged_training_itself_and_can_be_gone_on_from(flying: bool) -> None:
    tried, trained = build(), build()
    one, two = (in_flight(t)[0] if flying else LiveSubstrate(t) for t in (tried, trained))  # their pilots are gone
    seen = one.trial(Trial(constant(0.05), 5, evaluate="end", average=A, momentum=NONE, keep="a"))
    one.continue_trial("a")
    two.fly(A)
    seed_rng(trained.seed)
    losses = []
    for batch in trained.probe_data.train.take(5):
        two.lrs.set(0.05)
        two.lrs.set_momentum(0.0)
        two.before_kept_step()
        losses.append(float(trained.step(batch)))
        two.after_kept_step()
    assert list(seen.losses) == losses
    assert_equal(tried.average.tree(), trained.average.tree())
    assert same_tensors(weights(tried.model), weights(trained.model))
    assert seen.held_out == two.evaluate(Evaluate())
    assert one.average == A


def test_a_trial_without_an_average_begins_at_the_average_with_the_users_momentum() -> None:
    training, landed = build(), build()
    substrate, _ = in_flight(training)
    _, other = in_flight(landed)
    rng = torch.get_rng_state()
    other.driver.substrate.fly(None)
    plain = Trial(constant(0.05), 4, evaluate="end")
    assert substrate.trial(plain) == other.driver.substrate.trial(plain)
    assert torch.equal(rng, torch.get_rng_state())
    assert landed.raw_optimizer.param_groups[0]["momentum"] == 0.9


# ------------------------------------------------------------ held-out loss


@pytest.mark.parametrize("batch_norm", [True, False])
def test_what_is_evaluated_is_the_average_under_statistics_of_its_own(batch_norm: bool) -> None:
    training = build(model=make_model(batch_norm=batch_norm))
    substrate, _ = in_flight(training)
    before = substrate.cost.forwards
    with untouched(training.model, training.raw_optimizer):
        seen, price = substrate.evaluate(Evaluate()), substrate.price(Evaluate())
    assert substrate.cost.forwards - before == price == 2 + 16 * batch_norm
    copied = copy.deepcopy(training.model)
    with torch.no_grad():
        for p, x in zip(copied.parameters(), training.average.tree()["average"].values(), strict=True):
            p.copy_(x)
    plain = make_training(model=copied, val=make_batches(2, seed=5))
    assert seen == LiveSubstrate(plain).evaluate(Evaluate(reestimate=True))


# ---------------------------------------------- averaged(), and the landing


def test_averaged_shows_the_weights_that_landing_leaves_and_puts_all_back() -> None:
    training, landed = build(), build()
    _, pilot = in_flight(training)
    _, other = in_flight(landed)
    cost = pilot.cost.forwards
    with untouched(training.model, training.raw_optimizer), pilot.averaged():
        shown = [t.clone() for t in training.model.state_dict().values()]
        training.model.eval()
        training.model(torch.randn(5, 4))
    assert pilot.cost.forwards - cost == 50
    other.land()
    assert same_tensors(shown, list(landed.model.state_dict().values()))
    own_loop(training, pilot, 2, start=4)
    alone = build()
    _, other = in_flight(alone)
    own_loop(alone, other, 2, start=4)
    assert_same(training, alone)


def test_averaged_in_eval_mode_has_statistics_of_the_average_too() -> None:
    training = build()
    _, pilot = in_flight(training)
    with pilot.averaged():
        expected = [b.clone() for b in training.model.buffers()]
    training.model.eval()
    with pilot.averaged():
        assert not training.model.training
        assert same_tensors(expected, [b.clone() for b in training.model.buffers()])


def test_without_an_average_averaged_shows_the_weights() -> None:
    training = build()
    pilot = Pilot(training, Listed((Train(constant(0.1), 100),)))
    own_loop(training, pilot, 2)
    before = weights(training.model)
    with untouched(training.model, training.raw_optimizer), pilot.averaged():
        assert same_tensors(weights(training.model), before)
    assert pilot.cost.forwards == 0


def test_an_embedding_that_shrinks_its_rows_while_it_is_judged_is_left_alone() -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.rows = nn.Embedding(4, 3, max_norm=1.0)
            nn.init.normal_(self.rows.weight, std=5.0)

    def loss(model: Any, batch: Any) -> Tensor:
        return model.rows(batch).square().sum()

    model = Bag()
    training = Training(model, torch.optim.SGD(model.parameters(), lr=0.01), loss, [torch.tensor([0, 1])] * 4)
    pilot = Pilot(training, Listed((averaged(100, 0.01),)))
    for batch in [torch.tensor([0, 1])] * 3:
        pilot.step(training.step(batch))
    before = state_of(training)
    with pilot.averaged():
        model.rows(torch.tensor([2, 3]))
    assert_equal(state_of(training), before)


def test_inside_averaged_nothing_may_go_on() -> None:
    training = build()
    substrate, pilot = in_flight(training)
    before = state_of(training)
    with pilot.averaged():
        with pytest.raises(StepError, match=r"while the model holds the average.*Take it outside"):
            training.raw_optimizer.step()
        with pytest.raises(StepError, match="outside of `with pilot"):
            pilot.state_dict()
        with pytest.raises(StepError, match="outside of `with pilot"):
            substrate.trial(Trial(constant(0.1), 1))
        with pilot.averaged():
            pass
        assert substrate.evaluate(Evaluate()) > 0
    assert_equal(state_of(training), before)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "rmsprop", "adagrad"])
def test_the_last_step_lands_by_itself(kind: str) -> None:
    training, flying = build(kind), build(kind)
    _, open_end = in_flight(flying, 6)
    pilot = Pilot(training, Listed((averaged(1000),)), 6)
    given = copy.deepcopy(training.raw_optimizer.defaults)
    torch.manual_seed(3)
    own_loop(training, pilot, 6)
    assert training.average is None and pilot.driver.landed
    group = training.raw_optimizer.param_groups[0]
    assert "initial_momentum" not in group
    assert {k: group[k] for k in ("momentum", "betas") if k in group} == {
        k: given[k] for k in ("momentum", "betas") if k in given
    }
    assert pilot.cost.forwards == pilot.driver.horizon.norm_batches == 1, "a tenth of 18"
    with torch.no_grad(), open_end.averaged():
        assert same_tensors(weights(training.model), weights(flying.model))
    pilot.step()  # no optimizer step: nothing happens
    pilot.land()
    training.step(make_batches(1)[0])
    with pytest.raises(StepError, match=r"when the flight has landed.*construct a new pilot"):
        pilot.step(0.1)
    again = Pilot(training, Listed((Train(constant(0.01), 100),)))
    own_loop(training, again, 2)
    assert again.last_epoch == 2


def test_an_open_flight_lands_when_it_is_told_to_and_only_once() -> None:
    training = build()
    _, pilot = in_flight(training)
    with pilot.averaged():
        expected = copy.deepcopy(training.model.state_dict())
    pilot.land()
    first, cost = state_of(training), pilot.cost.forwards
    assert_equal(training.model.state_dict(), expected)
    pilot.land()
    assert_equal(state_of(training), first)
    assert pilot.cost.forwards == cost == 100


def test_a_landing_that_fails_can_be_repeated() -> None:
    failing = True

    def loss(model: Any, batch: Any) -> Tensor:
        if failing and not torch.is_grad_enabled():
            raise ZeroDivisionError
        return loss_fn(model, batch)

    training = build(loss_fn=loss)
    _, pilot = in_flight(training)
    before = state_of(training)
    for way in (pilot.land, lambda: pilot.averaged().__enter__()):
        with pytest.raises(ZeroDivisionError):
            way()
        assert_equal(state_of(training), before)
    failing = False
    pilot.land()
    assert training.average is None


def test_an_ordinary_train_goes_on_from_the_average() -> None:
    training = build()
    pilot = Pilot(training, Listed((averaged(4), Train(constant(0.05), 100))))
    torch.manual_seed(3)
    own_loop(training, pilot, 4)
    flying = build()
    _, other = in_flight(flying)
    statistics = [b.clone() for b in flying.model.buffers()]
    with other.averaged():
        assert same_tensors(weights(training.model), weights(flying.model))
    assert same_tensors([b.clone() for b in training.model.buffers()], statistics), "as they are"
    assert training.raw_optimizer.param_groups[0]["momentum"] == 0.9 and training.average is None
    own_loop(training, pilot, 2)
    assert not pilot.driver.landed


def test_a_pilot_that_was_given_up_leaves_its_weights_to_the_next() -> None:
    training = build()
    in_flight(training)
    flying = state_of(training)
    with pytest.raises(SettingError):
        Pilot(training, Schedule("cosine"), None)
    assert_equal(state_of(training), flying)
    before = weights(training.model)
    pilot = Pilot(training, Listed((Train(constant(0.05), 100),)))
    assert same_tensors(weights(training.model), before) and training.average is None
    assert training.raw_optimizer.param_groups[0]["momentum"] == 0.9
    own_loop(training, pilot, 1)


@pytest.mark.parametrize("first", [averaged(1000), Train(constant(0.1), 1000)])
@pytest.mark.parametrize("begins", [(), (Trial(constant(0.1), 2),)])
def test_a_step_is_averaged_once_whoever_else_watches_the_optimizer(first: Train, begins: tuple[Any, ...]) -> None:
    ends = []
    for kept_alive in (True, False):
        training = build(model=make_model())
        before = Pilot(training, Listed((first,)))
        own_loop(training, before, 2)
        if not kept_alive:
            del before
        pilot = Pilot(training, Listed((*begins, averaged(1000))))
        own_loop(training, pilot, 5)
        ends.append(training)
        assert training.average.tree()["steps"] == 5 - len(begins)
    assert_same(*ends)


# ---------------------------------------------------------------- refusals


def test_no_line_is_read_in_an_averaged_flight() -> None:
    training = build()
    pilot = Pilot(training, Listed((averaged(2), Line((0.5, 1.0)))))
    with pytest.raises(PolicyError, match=r"Listed asked for one in an averaged flight.*without average first"):
        own_loop(training, pilot, 2)


def test_where_averaged_flight_is_impossible_it_is_refused() -> None:
    model = make_model()
    training = make_training(model=model, optimizer=torch.optim.Rprop(model.parameters(), lr=0.01))
    for action in (averaged(2), Trial(constant(0.1), 2, average=A)):
        with pytest.raises(PolicyError, match=r"got Rprop\. Ask for .* only where Context\.facts\.averages"):
            Pilot(training, Listed((action,))).start()


# --------------------------------------------------- marks, resume, budgets

EVENTFUL = Listed(
    (
        Trial(constant(0.05), 2, evaluate="end", average=A, momentum=NONE),
        averaged(3),
        Mark("early"),
        Train(ramp(0.1, 0.05, 3), 3, average=Average(0.6), observe_every=2),
        Trial(constant(0.05), 2, evaluate="end"),
        Evaluate(),
        Train(constant(0.05), 2),
        Mark("landed"),
        averaged(2, momentum=constant(0.3)),
        Rewind("early"),
        averaged(2),
        Rewind("landed"),
        Drop("early"),
        Train(constant(0.02), 1),
        Drop("landed"),
        averaged(100),
    )
)
LENGTH = 17


def loaded(saved: Any) -> Any:
    file = io.BytesIO()
    torch.save(saved, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
@pytest.mark.parametrize("stop", range(LENGTH + 1))
def test_resumed_anywhere_it_ends_as_uninterrupted(kind: str, stop: int) -> None:
    whole, first, second = build(kind), build(kind), build(kind)
    uninterrupted, pilot = Pilot(whole, EVENTFUL, LENGTH), Pilot(first, EVENTFUL, LENGTH)
    torch.manual_seed(3)
    own_loop(whole, uninterrupted, LENGTH)
    torch.manual_seed(3)
    own_loop(first, pilot, stop)
    saved = loaded([first.model.state_dict(), first.raw_optimizer.state_dict(), pilot.state_dict()])
    rng = torch.get_rng_state()
    own_loop(first, pilot, LENGTH - stop, start=stop)  # what was saved is not touched by what comes after
    resumed = Pilot(second, EVENTFUL, LENGTH)
    second.model.load_state_dict(saved[0])
    second.raw_optimizer.load_state_dict(saved[1])
    resumed.load_state_dict(saved[2])
    torch.set_rng_state(rng)
    own_loop(second, resumed, LENGTH - stop, start=stop)
    for training in (first, second):
        assert_equal(state_of(training)["parameters"], state_of(whole)["parameters"])
        assert_equal(state_of(training)["optimizer"], state_of(whole)["optimizer"])
        assert_equal(state_of(training)["buffers"], state_of(whole)["buffers"])
    assert resumed.history.lrs == uninterrupted.history.lrs and resumed.driver.landed


def test_a_flight_of_other_shapes_is_refused_and_nothing_is_written() -> None:
    training = build(model=make_model())
    _, pilot = in_flight(training)
    saved = pilot.state_dict()
    saved["substrate"]["average"]["average"][0] = torch.ones(2, 2)
    other = build(model=make_model())
    resumed = Pilot(other, Listed((averaged(1000),)))
    before = state_of(other)
    with pytest.raises(StateError, match=r"saved average .* parameter 0 was of shape \(2, 2\) and is \(8, 4\)"):
        resumed.load_state_dict(saved)
    assert_equal(state_of(other), before)


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("budget", [34, 100, 250.0])
def test_a_budget_is_never_exceeded_landing_included(budget: float, batch_norm: bool) -> None:
    training = build(model=make_model(batch_norm=batch_norm))
    policy = Listed((Trial(constant(0.1), 1, evaluate="end", average=A), averaged(3), Evaluate(), averaged(1000)))
    result = fit(training, policy, budget=budget, progress=False)
    assert result.total_compute <= budget and result.steps > 0
    assert training.average is None and result.pilot.driver.landed
    spare = budget - result.total_compute
    assert spare < STEP, "and nothing is left over that pays for a step"


def test_a_fit_that_coasts_stays_averaged_to_the_end() -> None:
    training = build(model=make_model())
    result = fit(
        training, Listed((averaged(3), Trial(constant(0.1), 50), Train(constant(9.0), 9))), budget=40, progress=False
    )
    assert result.coasts_from == 3 and result.steps == 13 and set(result.history.lrs) == {0.1}
    assert result.pilot.driver.landed


def test_kept_trials_of_both_kinds_are_gone_on_from() -> None:
    kept = Trial(constant(0.05), 3, average=A, momentum=NONE, keep="a")
    policy = Listed((kept, Continue("a"), averaged(2), Trial(constant(0.05), 2, keep="b"), Continue("b"), averaged(50)))
    training = build()
    seen: list[tuple[int, Any, float]] = []

    def on_event(event: Any) -> None:
        if event.phase == "end" and isinstance(event.action, (Continue, Train)):
            average = training.average
            momentum = training.raw_optimizer.param_groups[0]["momentum"]
            seen.append((event.step, None if average is None else average.tree()["steps"], momentum))

    result = fit(training, policy, total_steps=12, continue_trials=True, progress=False, on_event=on_event)
    assert seen == [(3, 3, 0.0), (5, 5, 0.0), (7, None, 0.9)]
    assert result.steps == 12 and training.average is None


def test_saved_weights_are_the_flights_own() -> None:
    """A state kept in memory is not moved by the steps that come after."""
    training = build()
    _, pilot = in_flight(training)
    saved = pilot.state_dict()
    before = copy.deepcopy(saved["substrate"]["average"])
    own_loop(training, pilot, 2)
    assert_equal(saved["substrate"]["average"], before)


def test_the_very_numbers_of_a_tree_come_back() -> None:
    training = build()
    in_flight(training)
    tree = training.average.tree()
    again = FlownAverage.from_tree(training.raw_optimizer, tree)
    assert_equal(again.tree(), tree)


def test_an_evaluate_in_flight_states_what_the_statistics_cost() -> None:
    training = build()
    pilot = Pilot(training, Listed((averaged(2), Evaluate(), averaged(100))))
    own_loop(training, pilot, 2)
    (seen,) = [e.observation for e in pilot.history.events if isinstance(e.observation, HeldOut)]
    assert seen.cost == pytest.approx((2 + 16) / 3, abs=1e-6)
