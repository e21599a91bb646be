"""Autopilot on live models: any optimizer, loop, data and end; and the copies of the weights that it holds."""

import gc
import itertools
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lrpilot import Autopilot, Pilot, Schedule, Training, fit
from lrpilot.core.actions import Average, Rewind, Trial
from lrpilot.core.policy import Policy
from lrpilot.errors import LossError, SettingError
from lrpilot.policies.autopilot import default
from lrpilot.policies.autopilot.plan import FEWEST_TRIALS, plan_branches
from lrpilot.policies.peak_search.search import FEWEST_STEPS
from small_training import assert_equal, assert_resumes_bit_for_bit, own_loop, same_tensors, training_at, weights

Batch = tuple[Tensor, Tensor]
BATCHES, STEPS = 48, 150
SHORTEST = 3 * FEWEST_TRIALS * FEWEST_STEPS  # steps of a training that a search is paid out of
Optimizers = Callable[[Iterable[Any]], torch.optim.Optimizer]


@cache
def digits() -> tuple[Tensor, Tensor]:
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return torch.tensor(images).float().div(16)[order], torch.tensor(labels)[order]


def batches(size: int = 32) -> list[Batch]:
    images, labels = digits()
    return list(zip(images.split(size), labels.split(size), strict=True))


def bad_batches(bad: Iterable[int], value: float = math.nan) -> list[Batch]:
    data = batches()[:BATCHES]
    for i in bad:
        data[i] = (torch.full_like(data[i][0], value), data[i][1])
    return data


def perceptron(*, batch_norm: bool = False, depth: int = 1, width: int = 32) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(width if i else 64, width)]
        layers += [nn.BatchNorm1d(width)] if batch_norm else []
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cross_entropy(model: Any, batch: Any) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def sgd(params: Iterable[Any], lr: float = 0.01) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=lr, momentum=0.9)


def adamw(params: Iterable[Any], lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.AdamW(params, lr=lr)


def build(
    optimizer: Optimizers = adamw, model: nn.Module | None = None, data: Any = None, loss_fn: Any = cross_entropy
) -> Training:
    model = perceptron() if model is None else model
    own = optimizer(p for p in model.parameters() if p.requires_grad)
    return Training(model, own, loss_fn, batches()[:BATCHES] if data is None else data, batches()[BATCHES:])


def loss_now(training: Training) -> float:
    training.model.eval()
    with torch.no_grad():
        losses = [float(training.loss_fn(training.model, batch)) for batch in batches()[BATCHES:]]
    training.model.train()
    return sum(losses) / len(losses)


def flown(training: Training, steps: int = STEPS, policy: Autopilot | None = None) -> Pilot:
    return fit(training, policy or Autopilot(), total_steps=steps, progress=False).pilot


def reasons(pilot: Pilot) -> list[str]:
    return [event.reason.code for event in pilot.history.events if event.reason is not None]


def assert_learned(training: Training, before: float, *, part: float = 0.5, zero: float = 0.0) -> None:
    """The weights are finite, and the held-out loss is at most a part of what it was above its zero."""
    assert all(torch.isfinite(p).all() for p in training.model.parameters())
    assert all(torch.isfinite(b).all() for b in training.model.buffers())
    assert loss_now(training) - zero < part * (before - zero)


# ------------------------------------------------------- the optimizer's own lr


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize("optimizer", [sgd, adamw])
def test_the_lr_of_the_optimizer_does_not_matter_a_bit(optimizer: Any, arm: Any) -> None:
    flights = []
    for by in (1e-3, 1.0, 1e3):
        training = build(lambda params, by=by: optimizer(params, 0.01 * by))
        pilot = flown(training, 120, Autopilot(arm=arm))
        flights.append((pilot.history.lrs, pilot.history.losses, weights(training.model)))
    for lrs, losses, ends in flights[1:]:
        assert (lrs, losses) == flights[0][:2] and same_tensors(ends, flights[0][2])


# ------------------------------------------------------------ every optimizer

OPTIMIZERS: dict[str, Optimizers] = {
    "plain": lambda params: torch.optim.SGD(params, lr=0.01),
    "momentum": sgd,
    "nesterov": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9, nesterov=True),
    "adam": lambda params: torch.optim.Adam(params),
    "adamw": adamw,
    "nadam": lambda params: torch.optim.NAdam(params),
    "radam": lambda params: torch.optim.RAdam(params),
    "adamax": lambda params: torch.optim.Adamax(params),
    "rmsprop": lambda params: torch.optim.RMSprop(params),
    "rmsprop_momentum": lambda params: torch.optim.RMSprop(params, momentum=0.9),
    "adagrad": lambda params: torch.optim.Adagrad(params),
    "tensor_lr": lambda params: torch.optim.AdamW(params, lr=torch.tensor(1e-3)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_whose_momentum_can_be_zero_is_flown_averaged(name: str) -> None:
    training = build(OPTIMIZERS[name])
    before = loss_now(training)
    pilot = flown(training)
    # RAdam's first steps are not scaled by the gradient's size, so that a trial of nine sees little of what follows.
    assert_learned(training, before, part=0.75 if name == "radam" else 0.5)
    account = pilot.report().account
    assert account["arm"] == "averaged" and "picked" in reasons(pilot)
    assert account["interval"][0] < account["lr"] < account["interval"][1]
    assert pilot.cost.steps <= STEPS / 6 + 20, "the search, and BatchNorm's statistics"


class OwnAverage(torch.optim.SGD):
    """Keeps an average of its own, as the optimizers of the schedulefree package do."""

    def train(self) -> None: ...
    def eval(self) -> None: ...


ORDINARY: dict[str, Optimizers] = {
    "rprop": lambda params: torch.optim.Rprop(params),
    "adafactor": lambda params: torch.optim.Adafactor(params),
    "asgd": lambda params: torch.optim.ASGD(params),
    "own_average": lambda params: OwnAverage(params, lr=0.01, momentum=0.9),
}


@pytest.mark.parametrize("optimizer", ORDINARY.values(), ids=ORDINARY.keys())
def test_an_optimizer_that_cannot_be_averaged_is_flown_as_it_is(optimizer: Optimizers) -> None:
    training = build(optimizer)
    before = loss_now(training)
    pilot = flown(training)
    # The unit of these lrs is their own: some dozen trial steps do not come far enough up to ASGD's.
    assert_learned(training, before, part=1.0)
    assert pilot.report().account["arm"] == "ordinary" and "cannot be set to 0" in str(pilot.report())
    said = [e.reason.sentence for e in pilot.history.events if e.reason is not None and e.reason.code == "picked"]
    assert "ordinary, to zero at the end: this optimizer's momentum cannot be set to 0" in said[0]
    with pytest.raises(SettingError, match="arm='averaged' needs an optimizer whose momentum can be set to 0"):
        Pilot(build(optimizer), Autopilot(arm="averaged"), STEPS)


# ------------------------------------------------------------- every parameter


def with_groups(lrs: tuple[float, ...]) -> Callable[[nn.Module], torch.optim.Optimizer]:
    def make(model: nn.Module) -> torch.optim.Optimizer:
        layers = [layer for layer in model.children() if any(True for _ in layer.parameters())]
        groups = [{"params": list(layer.parameters()), "lr": lr} for layer, lr in zip(layers, lrs, strict=True)]
        return torch.optim.SGD(groups, momentum=0.9)

    return make


@pytest.mark.parametrize("lrs", [(0.1, 0.01), (0.0, 0.1), (0.1, 0.0), (0.01, 0.02, 0.05, 0.1)])
def test_param_groups_keep_their_ratio(lrs: tuple[float, ...]) -> None:
    model = perceptron(depth=len(lrs) - 1)
    optimizer = with_groups(lrs)(model)
    training = Training(model, optimizer, cross_entropy, batches()[:BATCHES], batches()[BATCHES:])
    before, first = loss_now(training), model[0].weight.detach().clone()
    pilot = flown(training)
    assert_learned(training, before, part=0.8)
    written = [float(lr) for lr in pilot.get_last_lr()]
    assert written == pytest.approx([lr / max(lrs) * pilot.history.lrs[-1] for lr in lrs])
    assert torch.equal(model[0].weight, first) == (lrs[0] == 0)


def lora() -> nn.Module:
    """A frozen layer with a low-rank part beside it: most parameters are frozen."""

    class Low(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base, self.down = nn.Linear(64, 64), nn.Linear(64, 4, bias=False)
            self.up = nn.Linear(4, 64, bias=False)
            nn.init.zeros_(self.up.weight)
            self.base.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.base(x) + self.up(self.down(x)))

    torch.manual_seed(0)
    return nn.Sequential(Low(), nn.Linear(64, 10))


def half_frozen() -> nn.Module:
    model = perceptron(depth=2)
    model[0].requires_grad_(False)
    return model


@pytest.mark.parametrize("make", [lora, half_frozen])
@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_what_is_frozen_stays(make: Callable[[], nn.Module], arm: Any) -> None:
    model = make()
    training = build(model=model)
    before = loss_now(training)
    held = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    flown(training, policy=Autopilot(arm=arm))
    assert_learned(training, before)
    assert held and all(torch.equal(p, held[name]) for name, p in model.named_parameters() if name in held)


# -------------------------------------------------------------------- the arms


def test_what_was_trained_before_is_flown_as_it_is() -> None:
    model = perceptron(batch_norm=True)
    fresh = flown(build(model=model))
    assert fresh.report().account["arm"] == "averaged"
    training = build(model=model)  # its scales are no constants now
    again = flown(training)
    assert again.report().account["arm"] == "ordinary" and "trained before" in again.report().account["why"]


def test_many_passes_are_flown_to_zero() -> None:
    training = build(data=batches()[:4])
    before = loss_now(training)
    pilot = flown(training, 100)
    assert pilot.report().account["arm"] == "ordinary" and "25 times" in pilot.report().account["why"]
    assert pilot.history.lrs[-1] < 0.1 * max(pilot.history.lrs)
    assert_learned(training, before)


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_batch_norm_is_judged_by_statistics_of_the_weights_that_are_kept(arm: Any) -> None:
    training = build(sgd, perceptron(batch_norm=True, depth=2))
    before = loss_now(training)
    pilot = flown(training, policy=Autopilot(arm=arm))
    assert_learned(training, before, part=0.3)
    assert training.average is None and pilot.steps_left == 0


# -------------------------------------------------------------------- the ends


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize("steps", [1, 2, 10, 50, SHORTEST - 1, SHORTEST, 100])
def test_short_trainings(steps: int, arm: Any) -> None:
    training = build()
    before = loss_now(training)
    pilot = flown(training, steps, Autopilot(arm=arm))
    assert len(pilot.history.lrs) == steps and pilot.steps_left == 0 and training.average is None
    assert bool(pilot.cost.trials) == (steps >= SHORTEST)
    assert_learned(training, before, part=1.0 if steps < 50 else 0.7)


def loop(training: Training, pilot: Pilot, steps: int, *, start: int = 0, tells: bool = True) -> None:
    """A user's own loop over the digits."""
    for batch in itertools.islice(itertools.cycle(training.train_source.data), start, start + steps):
        training.optimizer.zero_grad()
        loss = training.loss_fn(training.model, batch)
        loss.backward()
        training.optimizer.step()
        pilot.step(loss) if tells else pilot.step()


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_an_open_end_is_ended_by_a_cooldown_or_a_landing(arm: Any) -> None:
    for end in ("cooldown", "land"):
        training = build(sgd)
        before = loss_now(training)
        pilot = Pilot(training, Autopilot(arm=arm))
        loop(training, pilot, 120)
        assert pilot.steps_left is None and len(set(pilot.history.lrs[60:])) == 1, "held"
        if end == "cooldown":
            pilot.cooldown(30)
            loop(training, pilot, 30, start=120)
            assert pilot.history.lrs[120:] == pytest.approx([pilot.history.lrs[119] * (1 - i / 30) for i in range(30)])
        else:
            pilot.land()
        assert pilot.steps_left == 0 and training.average is None
        assert_learned(training, before)


def test_the_average_can_be_looked_at_on_the_way() -> None:
    training = build(sgd)
    pilot = Pilot(training, Autopilot())
    loop(training, pilot, 100)
    stood = weights(training.model)
    with pilot.averaged():
        judged = weights(training.model)
        assert math.isfinite(loss_now(training))
    assert same_tensors(weights(training.model), stood) and not same_tensors(judged, stood)
    pilot.land()
    assert same_tensors(weights(training.model), judged)


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize("after", [250, 130])
def test_it_goes_on_to_another_end(arm: Any, after: int) -> None:
    first, second = build(sgd), build(sgd)
    before = loss_now(first)
    pilot = Pilot(first, Autopilot(arm=arm), STEPS)
    pilot.start()
    loop(first, pilot, 120)
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    resumed = Pilot(second, Autopilot(arm=arm), after)
    resumed.load_state_dict(pilot.state_dict())
    assert resumed.steps_left == after - 120
    loop(second, resumed, after - 120, start=120)
    assert len(resumed.history.lrs) == after and resumed.steps_left == 0 and second.average is None
    assert resumed.cost.trials == pilot.cost.trials, "no second search"
    if arm == "ordinary":
        assert resumed.history.lrs[-1] < 0.1 * max(resumed.history.lrs)
    assert_learned(second, before)


# -------------------------------------------------------------------- the loops


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_a_loop_that_gives_no_losses_flies_the_same_lrs(arm: Any) -> None:
    told, untold = build(sgd), build(sgd)
    flights = []
    for training, tells in ((told, True), (untold, False)):
        pilot = Pilot(training, Autopilot(arm=arm), STEPS)
        pilot.start()
        loop(training, pilot, STEPS, tells=tells)
        flights.append(pilot)
    assert flights[0].history.lrs == flights[1].history.lrs
    assert same_tensors(weights(told.model), weights(untold.model))
    assert flights[1].cost.evaluations <= 1, "looked for a loss once, and not again"


def test_another_batch_size_on_the_way() -> None:
    training = build(sgd)
    before = loss_now(training)
    pilot = Pilot(training, Autopilot(), 140)
    pilot.start()
    for size in (32, 8, 128):
        for batch in itertools.islice(itertools.cycle(batches(size)), 140 // 3 + (size == 32) * 2):
            pilot.step(training.step(batch))
    assert pilot.steps_left == 0
    assert_learned(training, before)


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize(("shift", "scale"), [(-5.0, 1.0), (1e3, 1.0), (0.0, 2.0**10)])
def test_the_zero_of_the_loss_is_free_and_for_adam_its_unit_too(shift: float, scale: float, arm: Any) -> None:
    def shifted(model: Any, batch: Any) -> Tensor:
        return scale * (cross_entropy(model, batch).double() + shift)

    def adam(params: Iterable[Any]) -> torch.optim.Optimizer:
        return torch.optim.Adam(params, eps=1e-30)

    plain, other = build(adam), build(adam, loss_fn=shifted)
    before = loss_now(plain)
    lrs = [flown(one, policy=Autopilot(arm=arm)).history.lrs for one in (plain, other)]
    assert lrs[1] == pytest.approx(lrs[0], rel=1e-3)
    assert_learned(other, scale * (before + shift), zero=scale * shift)


# --------------------------------------------------------------------- bad data


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_batch_in_the_trials_is_left_out(value: float) -> None:
    training = build(sgd, data=bad_batches([2], value))
    before = loss_now(training)
    pilot = flown(training)
    assert "bad_batch" in reasons(pilot) and "picked" in reasons(pilot)
    assert_learned(training, before)
    clean = flown(build(sgd)).report().account
    assert abs(math.log10(pilot.report().account["lr"] / clean["lr"])) < 0.75, "with less left to search with"


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize("bad", [[3], [20, 47], [1, 2], [5, 6, 30], [29]])
def test_bad_batches_all_through_the_run(bad: list[int], arm: Any) -> None:
    """Two to six in a hundred: what is lost at each is no more than some sixteen steps and what came since."""
    training = build(sgd, data=bad_batches(bad))
    before = loss_now(training)
    pilot = flown(training, 222, Autopilot(arm=arm))  # ends with batch 29 of the fifth pass
    assert_learned(training, before, part=0.85 if len(bad) > 2 else 0.7)
    assert {"spoiled", "bad_batch"} & set(reasons(pilot)) and "wrecked" not in reasons(pilot)
    assert any(isinstance(event.action, Rewind) for event in pilot.history.events)


def test_one_in_a_hundred() -> None:
    data = bad_batches([17])
    data += batches()[:BATCHES]
    training = build(data=data)
    before = loss_now(training)
    pilot = flown(training, 400)
    assert_learned(training, before, part=0.3)
    peaks = {e.action.shape.values[-1] for e in pilot.history.events if hasattr(e.action, "shape")}
    assert peaks and "wrecked" not in reasons(pilot)


def test_where_the_very_first_batch_has_no_loss_it_begins_all_the_same_and_where_none_has_one_not() -> None:
    training = build(data=bad_batches([0]))
    before = loss_now(training)
    flown(training)
    assert_learned(training, before)
    hopeless = build(data=bad_batches(range(BATCHES)))
    untouched = weights(hopeless.model)
    with pytest.raises(LossError, match=r"must be finite at the start, got nan. Check the data"):
        flown(hopeless)
    assert same_tensors(weights(hopeless.model), untouched)


def test_where_hardly_a_batch_is_good_the_weights_stay_finite_and_it_is_said() -> None:
    training = build(data=bad_batches(range(1, BATCHES)))
    pilot = flown(training)
    assert all(torch.isfinite(p).all() for p in training.model.parameters())
    account = pilot.report().account
    assert "bad_data" in reasons(pilot) and account["lr"] <= account["lr_expected"] and account["interval"] is None
    assert any("look for such values in the data" in str(e.reason) for e in pilot.report().interventions)


def test_what_diverges_at_every_lr_leaves_finite_weights() -> None:
    def exploding(model: Any, batch: Any) -> Tensor:
        loss = cross_entropy(model, batch)
        return -loss.exp() if model.training else loss  # nothing bounds it from below, and it runs away

    training = build(sgd, loss_fn=exploding)
    pilot = flown(training)
    assert all(torch.isfinite(p).all() for p in training.model.parameters())
    assert len(pilot.history.lrs) == STEPS


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_a_deep_plain_network_that_a_large_lr_kills_is_not_killed(arm: Any) -> None:
    def deep() -> nn.Module:
        model = perceptron(depth=6)
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)
        return model

    killed, training = build(sgd, deep()), build(sgd, deep())
    before = loss_now(training)
    fit(killed, Schedule("wsd", lr=0.3, warmup=0.05), total_steps=200, progress=False)
    assert not loss_now(killed) < 0.9 * before
    pilot = flown(training, 200, Autopilot(arm=arm))
    assert_learned(training, before)
    assert "wrecked" not in reasons(pilot)


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
@pytest.mark.parametrize(("by", "code", "factor"), [(-100.0, "spoiled", 1.0), (-2.0, "wrecked", 0.5)])
def test_weights_that_are_wrecked_on_the_way_are_taken_back(by: float, code: str, factor: float, arm: Any) -> None:
    """Far above all that was gained at once, and it was no lr; a little, and it may be."""
    training = build(sgd)
    before = loss_now(training)

    def wreck(pilot: Pilot, loss: Any) -> None:
        if pilot.last_epoch == 100:
            with torch.no_grad():
                training.model[-1].weight.mul_(by)

    pilot = fit(training, Autopilot(arm=arm), total_steps=200, on_step=wreck, progress=False).pilot
    assert_learned(training, before)
    (step,) = (e.step for e in pilot.history.events if e.reason is not None and e.reason.code == code)
    assert 100 < step <= 132 and max(pilot.history.lrs[step:]) == pytest.approx(factor * max(pilot.history.lrs))


# ---------------------------------------------------------- saved and resumed


@pytest.mark.parametrize("policy", [Autopilot(), Autopilot(arm="ordinary")], ids=["auto", "ordinary"])
@pytest.mark.parametrize("stop", [1, 15, 16, 17, 60, 89])
def test_it_resumes_bit_for_bit(policy: Autopilot, stop: int) -> None:
    assert_resumes_bit_for_bit(policy, 90, stop)


@pytest.mark.parametrize("policy", [Autopilot(), Autopilot(arm="ordinary")], ids=["auto", "ordinary"])
def test_an_own_loop_and_fit_train_the_same(policy: Autopilot) -> None:
    one, other = training_at(0.01), training_at(0.01)
    pilot = Pilot(one, policy, 90)
    pilot.start()
    own_loop(one, pilot, 90)
    result = fit(other, policy, total_steps=90, progress=False)
    assert pilot.history.lrs == result.history.lrs and len(set(pilot.history.lrs)) > 1
    assert same_tensors(weights(one.model), weights(other.model))


@pytest.mark.parametrize("index", [0, 3, 11, 12, 25, 40])
def test_an_exception_in_the_search_leaves_no_trace_and_it_is_taken_up_again(index: int) -> None:
    calls, armed = 0, False

    def failing(model: Any, batch: Any) -> Tensor:
        nonlocal calls
        calls += armed
        if armed and calls == index + 1:
            raise ZeroDivisionError
        return cross_entropy(model, batch)

    training, alone = build(sgd, loss_fn=failing), build(sgd)
    pilot, other = Pilot(training, Autopilot(), 90), Pilot(alone, Autopilot(), 90)
    untouched, armed = weights(training.model), True
    try:
        pilot.start()
    except ZeroDivisionError:
        assert same_tensors(weights(training.model), untouched)
    armed = False
    for one, its in ((training, pilot), (alone, other)):
        its.start()
        loop(one, its, 90)
    assert pilot.history.lrs == other.history.lrs
    assert same_tensors(weights(training.model), weights(alone.model))


@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_its_schedule_trains_the_same_without_a_measurement(arm: Any) -> None:
    training, again = build(sgd), build(sgd)
    pilot = flown(training, policy=Autopilot(arm=arm))
    schedule = pilot.as_schedule()
    repeated = fit(again, schedule, total_steps=STEPS, progress=False)
    assert repeated.history.lrs == pilot.history.lrs and repeated.cost.trials == 0
    assert not any(isinstance(event.action, Rewind) for event in pilot.history.events)
    assert same_tensors(weights(again.model), weights(training.model))


def test_its_report_says_what_was_tried_chosen_and_paid() -> None:
    pilot = flown(build(sgd))
    report = pilot.report()
    text, plain = str(report), report.to_dict()
    account = plain["account"]
    assert account["arm"] == "averaged" and "not more than 20" in account["why"]
    for words in ("arm: averaged", f"lr: {account['lr']:.4g}", "interval: ", "trials: ", "cost  ", "[picked]"):
        assert words in text
    assert len(account["trials"]) == plain["cost"]["trials"] == len(report.searches[0].tried)
    assert account["search_steps"] == pytest.approx(
        sum(e.observation.cost for e in pilot.history.events if isinstance(e.action, Trial) and e.phase == "end")
    )
    assert report.averages == ((0, Average(0.8, 1.0)),)


# ----------------------------------------------------------------------- memory

ODD = (64, 37, 10)  # no tensor of a batch or an activation has these shapes


@pytest.mark.parametrize(("optimizer", "own"), [("plain", 0), ("momentum", 1), ("adamw", 2)])
@pytest.mark.parametrize("arm", ["averaged", "ordinary"])
def test_copies_of_the_parameters(arm: Any, optimizer: str, own: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside parameters, gradients and the optimizer's state, and ``own`` copies that this is.

    A state to go back to has the weights, the optimizer's state (no momentum in averaged flight) and the average's two.
    In flight that is the mark, beside the average's two themselves; in a branch there is a second one, and the gradient
    of the loop. Before the flight there are weights to go back to, and an average that is tried.
    """
    # Branches in a training as short as this, when there has been a mark on the way.
    monkeypatch.setattr(default, "plan_branches", lambda search, peak, total: plan_branches(search, peak, 10**5))
    monkeypatch.setattr(default, "BRANCH_AT", 0.6)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(ODD[0], ODD[1]), nn.Tanh(), nn.Linear(ODD[1], ODD[2]))
    kinds = {"plain": OPTIMIZERS["plain"], "momentum": OPTIMIZERS["momentum"], "adamw": adamw}
    peaks = {"search": 0, "flight": 0, "branch": 0}
    shape = tuple(model[0].weight.shape)

    def counting(model: Any, batch: Any) -> Tensor:
        phase = ("branch" if pilot.last_epoch else "search") if training.probing else "flight"
        tensors = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
        held = {tensor.data_ptr() for tensor in tensors if tuple(tensor.shape) == shape}
        ours = {model[0].weight.data_ptr(), 0 if model[0].weight.grad is None else model[0].weight.grad.data_ptr()}
        state = training.raw_optimizer.state.get(model[0].weight, {})
        ours |= {t.data_ptr() for t in state.values() if isinstance(t, Tensor)}
        peaks[phase] = max(peaks[phase], len(held - ours))
        return cross_entropy(model, batch)

    training = build(kinds[optimizer], model, loss_fn=counting)
    pilot = Pilot(training, Autopilot(arm=arm), 90)
    gc.collect()
    gc.freeze()
    try:
        pilot.start()
        loop(training, pilot, 90)
    finally:
        gc.unfreeze()
    assert "branched" in reasons(pilot)
    average = 2 if arm == "averaged" else 0
    state = 1 + average + (0 if average and optimizer == "momentum" else own)
    assert peaks == {"search": 1 + average, "flight": average + state, "branch": average + 2 * state + 1}


def test_equal_decisions_from_equal_trainings() -> None:
    one, other = build(), build()
    assert_equal(flown(one).report().to_dict()["account"], flown(other).report().to_dict()["account"])


@pytest.mark.parametrize("seed", range(5))
def test_a_small_net_without_normalisation_survives_its_peak(seed: int) -> None:
    """Twice the best lr of a ten-step Trial killed its units where the next larger Trial had been given up."""

    def trained(policy: Policy) -> float:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
        training = build(lambda params: sgd(params, 0.1), model)
        fit(training, policy, total_steps=264, progress=False)
        return loss_now(training)

    assert trained(Autopilot()) < 1.4 * trained(Schedule("cosine", lr=0.1))
