"""Losses along a step: exact at both ends, equal to a slow reference between, with the weights back bit for bit."""

import copy
import gc
import math
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Training
from lrpilot.core.actions import Line, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import NonlinearStepError, StepError
from lrpilot.training.measure.lines import LineEndpoints
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.torch_private import copy_all
from small_training import (
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_training,
    same_tensors,
    untouched,
    weights,
)

FACTORS = (-0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 3.0)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def partly_frozen() -> nn.Module:
    model = make_model()
    model[0].bias.requires_grad_(False)
    return model


def grouped(model: nn.Module) -> torch.optim.Optimizer:
    first, *rest = model.parameters()
    groups = [{"params": [first], "lr": 0.2}, {"params": rest[:1], "lr": 0.0}, {"params": rest[1:], "lr": 0.01}]
    return torch.optim.SGD(groups, lr=0.2, momentum=0.9)


def all_of(cls: Any, **options: Any) -> Callable[[nn.Module], torch.optim.Optimizer]:
    return lambda model: cls(model.parameters(), **options)


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], torch.optim.Optimizer]]] = {
    "sgd": (make_model, all_of(torch.optim.SGD, lr=0.1)),
    "nesterov": (make_model, all_of(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)),
    "adam": (make_model, all_of(torch.optim.Adam, lr=0.01)),
    "adamw_tensor_lr": (make_model, all_of(torch.optim.AdamW, lr=torch.tensor(0.01))),
    "rmsprop": (make_model, all_of(torch.optim.RMSprop, lr=0.01, momentum=0.5)),
    "adagrad": (make_model, all_of(torch.optim.Adagrad, lr=0.1)),
    "adamax": (make_model, all_of(torch.optim.Adamax, lr=0.01)),
    "radam": (make_model, all_of(torch.optim.RAdam, lr=0.01)),
    "nadam": (make_model, all_of(torch.optim.NAdam, lr=0.01)),
    "adadelta": (make_model, all_of(torch.optim.Adadelta, lr=1.0)),
    "groups": (make_model, grouped),
    "frozen": (partly_frozen, all_of(torch.optim.SGD, lr=0.1)),
    "tied": (Tied, all_of(torch.optim.SGD, lr=0.1, momentum=0.9)),
    "dropout": (lambda: make_model(dropout=0.4), all_of(torch.optim.Adam, lr=0.01)),
    "batch_norm": (lambda: make_model(batch_norm=True), all_of(torch.optim.SGD, lr=0.1)),
}


def taken_step(training: Training, substrate: LiveSubstrate, batch: Any) -> None:
    substrate.arm_line()
    substrate.before_kept_step()
    loop_step(training, batch)
    substrate.after_kept_step()


def slow_loss(model: nn.Module, before: dict[str, Tensor], after: dict[str, Tensor], s: float, batch: Any) -> float:
    """The loss at before + s (after - before), on a deep copy with its weights set by hand."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_((before[name].double() + s * (after[name].double() - before[name].double())).float())
    torch.manual_seed(0)
    return loss_fn(twin, batch).item()


@pytest.mark.parametrize("name", CASES)
def test_a_line_equals_the_slow_reference(name: str) -> None:
    make, make_optimizer = CASES[name]
    model = make()
    training = make_training(model=model, optimizer=make_optimizer(model), val=make_batches(1))
    substrate = LiveSubstrate(training)
    batches = make_batches()
    for batch in batches[:2]:
        loop_step(training, batch)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    taken_step(training, substrate, batches[2])
    after = {n: p.detach().clone() for n, p in model.named_parameters()}
    with untouched(model, training.raw_optimizer):
        losses = substrate.line(Line(FACTORS))
    expected = [slow_loss(model, before, after, s, batches[0]) for s in FACTORS]
    assert losses[0] == pytest.approx(expected, rel=2e-6)
    assert losses[0][1] == slow_loss(model, before, before, 0.0, batches[0]), "bitwise at s = 0"
    assert losses[0][4] == slow_loss(model, after, after, 0.0, batches[0]), "bitwise at s = 1"
    assert len(set(losses[0])) == len(FACTORS)


def test_by_hand() -> None:
    """One weight w = 3, loss w²/2, lr 0.5: the step goes to 1.5, and θ(s) = 3 - 1.5 s."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(3.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    training = Training(model, optimizer, lambda m, b: (m.weight**2).sum() / 2, [torch.ones(1)] * 4)
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(torch.ones(1))
    substrate.after_kept_step()
    assert substrate.line(Line((0.0, 1.0, 2.0, 1.5, -2.0))) == ((4.5, 1.125, 0.0, 0.28125, 18.0),)
    assert model.weight.item() == 1.5


def test_several_batches_are_paired_and_the_same_for_every_factor() -> None:
    training = make_training(model=make_model(dropout=0.4))
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    table = substrate.line(Line((0.0, 1.0, 0.0), batches=3))
    assert len(table) == 3 and all(row[0] == row[2] != row[1] for row in table)
    assert len({row[0] for row in table}) == 3
    assert substrate.line(Line((1.0, 0.0), batches=3)) == tuple((row[1], row[0]) for row in table)
    assert substrate.line(Line((1.0,), batches=1)) == ((table[0][1],),), "further Lines cost no step"


@pytest.mark.parametrize("max_bytes", [0, 2**20])
def test_a_line_may_begin_at_any_batch(max_bytes: int) -> None:
    training = make_training(model=make_model(dropout=0.4))
    training.probe_data.train._room = max_bytes  # read again, or kept
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    whole = substrate.line(Line((0.5, 1.0), batches=6))
    # The dropout masks belong to the batch, whichever Line reads it.
    assert substrate.line(Line((0.5, 1.0), batches=2, first=3)) == whole[3:5]
    assert substrate.line(Line((1.0,), first=5)) == ((whole[5][1],),)


def test_the_ends_of_a_step_are_read_whatever_the_optimizer() -> None:
    model = make_model()
    training = make_training(model=model, optimizer=torch.optim.ASGD(model.parameters(), lr=0.1))
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    ((before, after),) = substrate.line(Line((0.0, 1.0)))
    assert before != after and substrate.cost.backwards == 0, "nothing has to be linear for that"
    with pytest.raises(NonlinearStepError):
        substrate.line(Line((0.0, 0.5)))


def test_weights_are_back_even_if_a_loss_fails_or_ctrl_c_comes() -> None:
    for how in (RuntimeError, KeyboardInterrupt):
        training = make_training()
        substrate = LiveSubstrate(training)
        taken_step(training, substrate, make_batches()[0])
        substrate.proofs.step_is_linear = True
        calls = 0

        def failing(model: Any, batch: Any, how: Any = how) -> Tensor:
            nonlocal calls
            calls += 1
            if calls == 2:
                signal.raise_signal(signal.SIGINT) if how is KeyboardInterrupt else None
                raise how
            return loss_fn(model, batch)

        training.loss_fn = failing
        with untouched(training.model, training.raw_optimizer), pytest.raises(how):
            substrate.line(Line((0.5, 2.0, 3.0)))


def test_ctrl_c_in_the_middle_of_the_restore_waits_for_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    training = make_training()
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])

    calls = 0

    def interrupted(*tensors: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first moves the weights to s = 0, the second puts them back
            signal.raise_signal(signal.SIGINT)
        copy_all(*tensors)

    monkeypatch.setattr("lrpilot.training.measure.lines.copy_all", interrupted)
    with untouched(training.model, training.raw_optimizer), pytest.raises(KeyboardInterrupt):
        substrate.line(Line((0.0,)))


def test_every_batch_has_masks_of_its_own() -> None:
    training = make_training(model=make_model(dropout=0.5), data=make_batches(1) * 4, val=make_batches(1))
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    (one,), (other,) = substrate.line(Line((1.0,), batches=2))
    assert one != other


def test_both_ends_are_exact_where_the_step_was_not_finite() -> None:
    weight = torch.ones(1)
    endpoints = LineEndpoints([weight])
    weight.fill_(math.inf)
    endpoints.step_taken()
    assert endpoints.read((0.0, 1.0), lambda: [float(weight)]) == ((1.0, math.inf),)


def test_a_loop_that_projects_its_weights_after_the_step_finds_them_projected() -> None:
    training = make_training()
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    with torch.no_grad():
        for parameter in training.model.parameters():
            parameter.clamp_(-0.1, 0.1)
    expected = loss_fn(training.model, make_batches()[3]).item()  # the first one beyond the reserved half
    with untouched(training.model, training.raw_optimizer):
        losses = substrate.line(Line((1.0, 0.5)))
    assert losses[0][0] == expected


class Recurrent(nn.Module):
    """An LSTM holds a plain list of its own weights."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lstm, self.out = nn.LSTM(4, 5, num_layers=2), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0])


def half_frozen() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 13), nn.Tanh(), nn.Linear(13, 3))  # shapes that no batch has
    model[0].bias.requires_grad_(False)
    return model


@pytest.mark.parametrize("factors", [3, 9, 65])
@pytest.mark.parametrize("make", [half_frozen, Recurrent])
def test_memory_is_two_copies_of_the_trainable_parameters(make: Callable[[], nn.Module], factors: int) -> None:
    model = make()
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    substrate = LiveSubstrate(training)
    training.step(make_batches()[0])
    _ = training.probe_data  # made on first use, and no copy of parameters
    held_before = live_tensors()  # held on to, so that no address is used again
    known = {t.data_ptr() for t in held_before}
    peak = 0

    def counting(model: Any, batch: Any) -> Tensor:
        nonlocal peak
        shapes = {tuple(p.shape) for p in training.trainable_parameters}
        own = known | {p.grad.data_ptr() for p in training.trainable_parameters if p.grad is not None}
        copies = {t.data_ptr() for t in live_tensors() if tuple(t.shape) in shapes} - own
        peak = max(peak, len(copies))
        return loss_fn(model, batch)

    gc.freeze()  # what was there before is not looked through at every forward pass
    try:
        taken_step(training, substrate, make_batches()[0])
        substrate.line(Line((0.5, 1.5)))  # proves that the step is linear, and forgets what it needed for that
        training.loss_fn = counting
        substrate.line(Line(tuple(0.5 * i for i in range(factors)), batches=2))
    finally:
        gc.unfreeze()
    assert peak == 2 * len(training.trainable_parameters)


def test_a_line_equals_the_slow_reference_where_a_module_lists_its_own_weights() -> None:
    model = Recurrent()
    batches = make_batches()
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1), val=batches[:1])
    substrate = LiveSubstrate(training)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    taken_step(training, substrate, batches[0])
    after = {n: p.detach().clone() for n, p in model.named_parameters()}
    with untouched(model, training.raw_optimizer):
        table = substrate.line(Line(FACTORS, batches=3))
    for row, batch in zip(table, batches[:3], strict=True):
        assert row == pytest.approx([slow_loss(model, before, after, s, batch) for s in FACTORS], rel=2e-6)


def live_tensors() -> list[Tensor]:
    return [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]


# ---------------------------------------------------------------- refusals


def bfloat16() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = make_model().to(torch.bfloat16)
    return model, torch.optim.SGD(model.parameters(), lr=1e-5)


def refused(cls: Any, **options: Any) -> Callable[[], tuple[nn.Module, torch.optim.Optimizer]]:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = make_model()
        return model, cls(model.parameters(), **options)

    return make


class SignOfLr(torch.optim.SGD):
    """Its step does not depend on lr at all; no list of names knows it."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.sub_(1e-3 * parameter.grad)


@pytest.mark.parametrize(
    "make",
    [
        refused(torch.optim.ASGD, lr=0.01),
        refused(torch.optim.Rprop, lr=0.01),
        refused(torch.optim.Adafactor, lr=0.01),
        refused(SignOfLr, lr=0.01),
        bfloat16,
    ],
    ids=["asgd", "rprop", "adafactor", "own", "bfloat16"],
)
def test_a_step_that_is_not_linear_in_lr_is_refused(make: Any) -> None:
    model, optimizer = make()

    def loss(model: Any, batch: Any) -> Tensor:
        return loss_fn(model, (batch[0].to(model[0].weight.dtype), batch[1])).float()

    training = make_training(model=model, optimizer=optimizer, loss_fn=loss)
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(make_batches()[0])
    substrate.after_kept_step()
    name = type(optimizer).__name__
    says = "moved none.*precision" if make is bfloat16 else rf"linear.*{name}.*Trials"
    with untouched(model, optimizer), pytest.raises(NonlinearStepError, match=says):
        substrate.line(Line((0.5, 1.0)))
    losses, _, _, _ = substrate.trial(Trial(constant(optimizer.param_groups[0]["lr"]), 2))
    assert len(losses) == 2, "such an optimizer can still be measured with Trials"


@pytest.mark.parametrize("scale", [0.0, math.nan])
def test_the_proof_of_linearity_waits_for_a_step_that_can_be_judged(scale: float) -> None:
    now = [scale]
    model = make_model()
    training = make_training(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        loss_fn=lambda model, batch: now[0] * loss_fn(model, batch),
    )
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    losses = substrate.line(Line((0.5, 1.0)))
    assert not substrate.proofs.step_is_linear and len(losses[0]) == 2
    now[0] = 1.0
    substrate.line(Line((0.5, 1.0)))
    assert substrate.proofs.step_is_linear


def test_linearity_is_proven_at_an_lr_that_blows_the_weights_up() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e9, momentum=0.9)
    with untouched(model, optimizer):
        LiveSubstrate(make_training(model=model, optimizer=optimizer)).proofs.require_linear_step()


def test_linearity_is_checked_once_and_charged() -> None:
    training = make_training(val=make_batches(1))
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    substrate.line(Line((0.5, 1.0)))
    assert (substrate.cost.forwards, substrate.cost.backwards) == (4 + 2, 4)
    substrate.line(Line((0.5, 1.0, 2.0), batches=2))
    assert (substrate.cost.forwards, substrate.cost.backwards, substrate.cost.lines) == (4 + 2 + 6, 4, 2)


def test_a_line_without_its_step_is_refused() -> None:
    substrate = LiveSubstrate(make_training())
    substrate.arm_line()
    with pytest.raises(StepError, match="after a step"):
        substrate.line(Line((0.5,)))
    with pytest.raises(StepError, match="after a step"):
        LineEndpoints([torch.ones(2)]).read((1.0,), lambda: [0.0])


def test_a_released_line_is_forgotten() -> None:
    training = make_training()
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    substrate.release_line()
    with pytest.raises(StepError):
        substrate.line(Line((0.5,)))


def test_a_trial_between_two_lines_changes_neither() -> None:
    training = make_training(model=make_model(dropout=0.3, batch_norm=True))
    substrate = LiveSubstrate(training)
    taken_step(training, substrate, make_batches()[0])
    line = Line((0.0, 0.5, 1.0, 2.0), batches=2)
    first = substrate.line(line)
    after = weights(training.model)
    substrate.trial(Trial(constant(0.3), 3, evaluate="average"))
    assert substrate.line(line) == first and same_tensors(weights(training.model), after)
