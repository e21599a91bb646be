"""Snapshots, in the corners that the continuation battery does not reach."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrpilot import Training
from lrpilot.core.actions import Trial
from lrpilot.core.shape import constant
from lrpilot.training.bound.state import Snapshot
from lrpilot.training.measure.substrate import LiveSubstrate
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

TRIAL = Trial(constant(0.1), 3, evaluate="end")


class BoomError(Exception):
    pass


class ScaledStep:
    """A step through a GradScaler that raises at a chosen place of a chosen call."""

    PLACES = ("backward", "unscale", "step", "update")

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.model, self.optimizer = model, optimizer
        self.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=2)
        self.raise_after: tuple[int, str] | None = None
        self.calls = 0

    def __call__(self, batch: Any) -> Tensor:
        self.calls += 1
        self.optimizer.zero_grad()
        loss = loss_fn(self.model, batch)
        work = {
            "backward": lambda: self.scaler.scale(loss).backward(),
            "unscale": lambda: self.scaler.unscale_(self.optimizer),
            "step": lambda: self.scaler.step(self.optimizer),
            "update": lambda: self.scaler.update(),
        }
        for place, do in work.items():
            do()
            if self.raise_after == (self.calls, place):
                raise BoomError
        return loss.detach()


@pytest.mark.parametrize("place", ScaledStep.PLACES)
@pytest.mark.parametrize("call", [1, 3])
def test_a_scaler_goes_back_wherever_a_probe_raised(place: str, call: int) -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = ScaledStep(model, optimizer)
    training = make_training(model=model, optimizer=optimizer, step_fn=step, state={"scaler": step.scaler})
    step(make_batches()[0])
    state = step.scaler.state_dict()
    step.calls, step.raise_after = 0, (call, place)
    with untouched(model, optimizer), pytest.raises(BoomError):
        LiveSubstrate(training).trial(TRIAL)
    assert step.scaler.state_dict() == state
    step.raise_after = None
    step(make_batches()[1])  # torch raises here if the scaler still stands between step and update


def test_gradients_that_the_loop_has_unscaled_stay_unscaled() -> None:
    """A probe between ``unscale_`` and ``step`` raises, for its own step would unscale again; the loop's goes on."""
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = ScaledStep(model, optimizer)
    training = make_training(model=model, optimizer=optimizer, step_fn=step, state={"scaler": step.scaler})
    step.scaler.scale(loss_fn(model, make_batches()[0])).backward()
    step.scaler.unscale_(optimizer)
    expected = [p.detach() - 0.1 * p.grad for p in model.parameters() if p.grad is not None]
    with untouched(model, optimizer), pytest.raises(RuntimeError, match="already been called"):
        LiveSubstrate(training).trial(TRIAL)
    step.scaler.step(optimizer)
    torch.testing.assert_close(weights(model), expected)


def test_a_disabled_scaler_is_no_obstacle() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = ScaledStep(model, optimizer)
    step.scaler = torch.amp.GradScaler("cpu", enabled=False)
    training = make_training(model=model, optimizer=optimizer, step_fn=step, state={"scaler": step.scaler})
    with untouched(model, optimizer):
        LiveSubstrate(training).trial(TRIAL)
    training.require_scaler_idle()


def test_gradients_of_parameters_that_the_optimizer_does_not_step() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model[-1].parameters(), lr=0.1)
    loss_fn(model, make_batches()[0]).backward()
    assert model[0].weight.grad is not None
    with untouched(model, optimizer):
        LiveSubstrate(make_training(model=model, optimizer=optimizer)).trial(TRIAL)


def test_a_step_that_zeroes_gradients_in_place() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn(model, make_batches()[0]).backward()

    def step_fn(batch: Any) -> Tensor:
        optimizer.zero_grad(set_to_none=False)
        loss = loss_fn(model, batch)
        loss.backward()
        optimizer.step()
        return loss

    with untouched(model, optimizer):
        LiveSubstrate(make_training(model=model, optimizer=optimizer, step_fn=step_fn)).trial(TRIAL)


def test_gradients_that_are_views_into_a_bucket_go_back_by_value() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    bucket = torch.arange(float(sum(p.numel() for p in model.parameters())))
    offset = 0
    for parameter in model.parameters():
        parameter.grad = bucket[offset : offset + parameter.numel()].view_as(parameter)
        offset += parameter.numel()

    def step_fn(batch: Any) -> Tensor:
        bucket.fill_(-1.0)  # as DistributedDataParallel does with gradient_as_bucket_view
        optimizer.step()
        return loss_fn(model, batch)

    with untouched(model, optimizer):
        LiveSubstrate(make_training(model=model, optimizer=optimizer, step_fn=step_fn)).trial(TRIAL)
    assert bucket.tolist() == list(range(len(bucket)))


def test_optimizer_state_that_belongs_to_no_parameter() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state["global"] = {"count": 1}

    def step_fn(batch: Any) -> Tensor:
        optimizer.state["global"]["count"] += 1
        optimizer.state["born"] = {}
        return loop_step(training, batch)

    training = make_training(model=model, optimizer=optimizer, step_fn=step_fn)
    LiveSubstrate(training).trial(TRIAL)
    assert dict(optimizer.state) == {"global": {"count": 1}}


def test_state_of_a_parameter_taken_out_of_its_group_stays() -> None:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    training = make_training(model=model, optimizer=optimizer)
    loop_step(training, make_batches()[0])
    removed = optimizer.param_groups[0]["params"].pop()
    buffer = optimizer.state[removed]["momentum_buffer"].clone()
    LiveSubstrate(training).trial(TRIAL)
    assert torch.equal(optimizer.state[removed]["momentum_buffer"], buffer)


class GrowsBuffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()
        self.register_buffer("maybe", None)

    def forward(self, x: Tensor) -> Tensor:
        if "cache" not in self._buffers:
            self.register_buffer("cache", torch.ones(3))
        self.maybe = x.mean(0).detach()
        self.inner[0].register_buffer("inside", x.sum().detach())
        return self.inner(x)


def test_buffers_born_in_a_probe_are_gone_after_it() -> None:
    model = GrowsBuffers()
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    LiveSubstrate(training).trial(TRIAL)
    assert list(model._buffers) == ["maybe"] and model.maybe is None and not model.inner[0]._buffers
    training.evaluate()
    assert list(model._buffers) == ["maybe"] and model.maybe is None and not model.inner[0]._buffers


def test_an_absent_momentum_buffer_is_absent_again() -> None:
    training = make_training()
    LiveSubstrate(training).trial(TRIAL)
    assert not training.raw_optimizer.state, "a zero momentum buffer is not an absent one"


def test_a_tensor_that_a_step_replaced_is_the_same_object_again() -> None:
    training = make_training()
    loop_step(training, make_batches()[0])
    state = training.raw_optimizer.state
    buffers = [state[p]["momentum_buffer"] for p in training.trainable_parameters]
    contents = [b.clone() for b in buffers]

    def step_fn(batch: Any) -> Tensor:
        for parameter in training.trainable_parameters:
            state[parameter]["momentum_buffer"] = state[parameter]["momentum_buffer"] * 0.5
        return loop_step(training, batch)

    training.step_fn = step_fn
    LiveSubstrate(training).trial(TRIAL)
    assert all(state[p]["momentum_buffer"] is b for p, b in zip(training.trainable_parameters, buffers, strict=True))
    assert same_tensors(buffers, contents)


class ShadowWeights:
    """An exponential moving average that is no module, with a state_dict that hands out its own tensors."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.shadow = weights(model)
        self.fails = False

    def update(self) -> None:
        for mine, theirs in zip(self.shadow, self.model.parameters(), strict=True):
            mine.lerp_(theirs.detach(), 0.1)

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.fails:
            raise BoomError
        self.shadow = state["shadow"]


def averaged_training() -> tuple[Training, ShadowWeights]:
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ema = ShadowWeights(model)

    def step_fn(batch: Any) -> Tensor:
        loss = loop_step(training, batch)
        ema.update()
        return loss

    training = make_training(model=model, optimizer=optimizer, step_fn=step_fn, state={"ema": ema})
    return training, ema


def test_extra_state_is_restored_and_not_aliased() -> None:
    training, ema = averaged_training()
    before = [t.clone() for t in ema.shadow]
    substrate = LiveSubstrate(training)
    for _ in range(2):
        substrate.trial(TRIAL)
        assert same_tensors(ema.shadow, before)


def test_extra_state_that_fails_to_load_does_not_keep_the_generators() -> None:
    training, ema = averaged_training()
    ema.fails = True
    with untouched(training.model, training.raw_optimizer), pytest.raises(BoomError):
        LiveSubstrate(training).trial(TRIAL)


def test_snapshots_may_be_kept_elsewhere() -> None:
    training = make_training(snapshot_device="cpu")
    loop_step(training, make_batches()[0])
    with untouched(training.model, training.raw_optimizer):
        LiveSubstrate(training).trial(TRIAL)


def test_lr_tensors_keep_their_identity() -> None:
    model = make_model()
    lr = torch.tensor(0.01)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    training = make_training(model=model, optimizer=optimizer)
    with untouched(model, optimizer):
        LiveSubstrate(training).trial(TRIAL)
    assert optimizer.param_groups[0]["lr"] is lr


def test_a_snapshot_is_restored_as_often_as_needed() -> None:
    training = make_training(model=make_model(batch_norm=True, dropout=0.2))
    loop_step(training, make_batches()[0])
    snapshot = Snapshot(training)
    with untouched(training.model, training.raw_optimizer):
        for _ in range(3):
            for parameter in training.model.parameters():
                parameter.grad = None
            loop_step(training, make_batches()[1])
            torch.rand(3)
            snapshot.restore()


NOISE = torch.Generator()


def test_generators_that_a_loss_draws_from() -> None:
    """In its closure, among its arguments by default, and of its module."""
    closed_over = np.random.default_rng(1)

    def noisy(model: nn.Module, batch: Any, own: random.Random = random.Random(2)) -> Tensor:  # noqa: B008
        return loss_fn(model, batch) * (1 + own.random() + closed_over.random() + torch.rand((), generator=NOISE))

    training = make_training(loss_fn=noisy)

    def drawn() -> list[Any]:
        own: random.Random = noisy.__defaults__[0]  # type: ignore[index]
        return [closed_over.bit_generator.state, own.getstate(), NOISE.get_state().tolist()]

    before = drawn()
    LiveSubstrate(training).trial(Trial(constant(0.1), 2))
    assert drawn() == before
