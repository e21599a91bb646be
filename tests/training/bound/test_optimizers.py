"""Group learning rates move as one number: ratios, zeros, identities and intruders."""

import math
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from lrpilot import apply_lr
from lrpilot.errors import OptimizerError, SchedulerConflictError, SettingError
from lrpilot.training.bound.optimizers import (
    ParamGroupLRs,
    momentum_as_given,
    put_back_momentum,
    unwrap_optimizer,
)

LR = st.floats(1e-8, 1e3)


def optimizer_of(*lrs: Any, cls: Any = torch.optim.SGD, **options: Any) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs]
    return cls(groups, lr=0.5, **options)


def lrs_of(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@given(st.lists(LR | st.just(0.0), min_size=1, max_size=4).filter(any), LR, LR)
def test_ratios_are_kept_and_zero_stays_zero(lrs: list[float], first: float, second: float) -> None:
    optimizer = optimizer_of(*lrs)
    groups = ParamGroupLRs(optimizer)
    assert groups.reference == max(lrs)
    for lr in (first, second):
        groups.set(lr)
        assert lrs_of(optimizer) == pytest.approx([lr * one / max(lrs) for one in lrs], rel=1e-12)
        assert max(lrs_of(optimizer)) == lr, "the largest group gets the reference lr itself"
        groups.check_unchanged()


def test_by_hand() -> None:
    optimizer = optimizer_of(0.1, 0.025, 0.0)
    ParamGroupLRs(optimizer).set(0.4)
    assert lrs_of(optimizer) == [0.4, 0.1, 0.0]


@pytest.mark.parametrize("lr", [0.0, -0.1, math.nan, math.inf])
def test_an_lr_that_is_no_lr_is_never_written(lr: float) -> None:
    optimizer = optimizer_of(0.1, 0.2)
    groups = ParamGroupLRs(optimizer)
    for write in (groups.set, lambda value: apply_lr(optimizer, value)):
        with pytest.raises(SettingError, match=f"finite and > 0, got {lr}"):
            write(lr)
    assert lrs_of(optimizer) == [0.1, 0.2] and "initial_lr" not in optimizer.param_groups[0]


@pytest.mark.parametrize("lrs", [(math.nan, 0.1), (math.inf,), (0.0, 0.0), (-0.1, 0.1)])
def test_an_optimizer_without_a_positive_lr_is_refused(lrs: tuple[float, ...]) -> None:
    optimizer = optimizer_of(*[0.1] * len(lrs))
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr
    with pytest.raises(OptimizerError, match=r"finite, >= 0 and not all 0.*positive lr"):
        ParamGroupLRs(optimizer)


def test_tensor_lrs_are_written_in_place() -> None:
    first, second = torch.tensor(0.1), torch.tensor(0.01, dtype=torch.float64)
    optimizer = optimizer_of(first, second, cls=torch.optim.AdamW)
    groups = ParamGroupLRs(optimizer)
    groups.set(0.3)
    assert optimizer.param_groups[0]["lr"] is first and optimizer.param_groups[1]["lr"] is second
    assert first.item() == pytest.approx(0.3) and second.item() == pytest.approx(0.03)
    groups.check_unchanged()
    apply_lr(optimizer, 0.2)
    assert optimizer.param_groups[0]["lr"] is first and first.item() == pytest.approx(0.2)
    initial = optimizer.param_groups[0]["initial_lr"]
    assert isinstance(initial, Tensor) and initial is not first and initial.item() == pytest.approx(0.2)


def test_copies_are_clones() -> None:
    lr = torch.tensor(0.1)
    optimizer = optimizer_of(lr, 0.2, cls=torch.optim.AdamW)
    copies = ParamGroupLRs(optimizer).copies()
    assert copies[0] is not lr and copies == [lr, 0.2]
    lr.fill_(5.0)
    assert float(copies[0]) == pytest.approx(0.1)


def test_a_group_added_later_keeps_the_ratio_it_came_with() -> None:
    optimizer = optimizer_of(0.1)
    groups = ParamGroupLRs(optimizer)
    groups.set(0.4)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.2})
    groups.check_unchanged()
    groups.set(0.1)
    assert lrs_of(optimizer) == pytest.approx([0.1, 0.05])


def test_a_share_leaves_the_reference_where_it_is() -> None:
    optimizer = optimizer_of(0.1, 0.05)
    groups = ParamGroupLRs(optimizer)
    groups.set(0.1, share=1e-9)
    assert lrs_of(optimizer) == pytest.approx([1e-10, 5e-11], rel=1e-12) and groups.reference == 0.1
    groups.check_unchanged()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.1})
    groups.set(0.2)
    assert lrs_of(optimizer) == pytest.approx([0.2, 0.1, 0.2]), "a ratio is never taken to the negligible lr"


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_an_intruder_is_noticed(lr: Any) -> None:
    optimizer = optimizer_of(lr, 0.2, cls=torch.optim.AdamW)
    groups = ParamGroupLRs(optimizer)
    groups.set(0.3)
    if isinstance(lr, Tensor):
        lr.mul_(0.5)
    else:
        optimizer.param_groups[0]["lr"] *= 0.5
    with pytest.raises(SchedulerConflictError, match=r"got lr 0.075 where it had\s+written 0.15.*Remove"):
        groups.check_unchanged()


def test_momentum_is_written_where_there_is_one() -> None:
    sgd = torch.optim.SGD(
        [{"params": [nn.Parameter(torch.ones(1))], "momentum": m} for m in (0.9, 0.0)], lr=0.1
    )  # fmt: skip
    ParamGroupLRs(sgd).set_momentum(0.5)
    assert [group["momentum"] for group in sgd.param_groups] == [0.5, 0.0]
    adam = optimizer_of(0.1, cls=torch.optim.Adam, betas=(0.9, 0.95))
    ParamGroupLRs(adam).set_momentum(0.5)
    assert adam.param_groups[0]["betas"] == (0.5, 0.95)


def test_a_momentum_goes_back_to_what_its_owner_set() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "momentum": m} for m in (0.9, 0.0, 0.5)]
    sgd = torch.optim.SGD(groups, lr=0.1)
    for momentum in (0.0, 0.7, 0.0):
        ParamGroupLRs(sgd).set_momentum(momentum)  # a new one each time: what was given is noted in the group
        assert [group["momentum"] for group in sgd.param_groups] == [momentum, 0.0, momentum]
        assert [momentum_as_given(group) for group in sgd.param_groups] == [0.9, 0.0, 0.5]
    resumed = torch.optim.SGD([dict(g) for g in groups], lr=0.1)
    resumed.load_state_dict(sgd.state_dict())
    for optimizer in (sgd, resumed):
        put_back_momentum(optimizer)
        assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.0, 0.5]
        assert not any("initial_momentum" in group for group in optimizer.param_groups)
    adam = optimizer_of(0.1, cls=torch.optim.Adam, betas=(0.9, 0.95))
    ParamGroupLRs(adam).set_momentum(0.0)
    put_back_momentum(adam)
    assert adam.param_groups[0]["betas"] == (0.9, 0.95)


def step_of(optimizer: torch.optim.Optimizer, gradient: float) -> float:
    (weight,) = optimizer.param_groups[0]["params"]
    before, weight.grad = weight.item(), torch.full((1,), gradient)
    optimizer.step()
    return weight.item() - before


@pytest.mark.parametrize("cls", [torch.optim.SGD, torch.optim.RMSprop])
def test_directions_of_before_are_forgotten_where_the_momentum_was_zero(cls: type[torch.optim.Optimizer]) -> None:
    flown, never = optimizer_of(1.0, cls=cls, momentum=0.9), optimizer_of(1.0, cls=cls, momentum=0.9)
    plain = optimizer_of(1.0, cls=cls)
    step_of(flown, 8.0), step_of(plain, 8.0)
    for optimizer in (flown, never):
        ParamGroupLRs(optimizer).set_momentum(0.0)
        step_of(optimizer, 1.0)
        put_back_momentum(optimizer)
    step_of(plain, 1.0)
    assert step_of(flown, 1.0) == step_of(plain, 1.0), "a first step with momentum is one without"
    assert step_of(never, 1.0) < 0, "also where none was ever taken with it"


def test_apply_lr_keeps_ratios_and_serves_schedulers_built_later() -> None:
    optimizer = optimizer_of(0.1, 0.05, 0.0)
    apply_lr(optimizer, 0.4)
    assert lrs_of(optimizer) == [0.4, 0.2, 0.0]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
    assert scheduler.base_lrs == [0.4, 0.2, 0.0]


def test_apply_lr_of_no_suggestion_points_to_the_status() -> None:
    optimizer = optimizer_of(0.1)
    with pytest.raises(SettingError, match=r"got None.*found\.status"):
        apply_lr(optimizer, None)
    assert lrs_of(optimizer) == [0.1]


class Wrapper(torch.optim.Optimizer):
    """As AcceleratedOptimizer: an Optimizer by class that never ran Optimizer.__init__."""

    def __init__(self, inner: Any, name: str) -> None:
        setattr(self, name, inner)


@pytest.mark.parametrize("name", ["optimizer", "_optimizer"])
def test_wrappers_are_looked_through(name: str) -> None:
    inner = optimizer_of(0.1)
    assert unwrap_optimizer(Wrapper(Wrapper(inner, name), name)) is inner
    apply_lr(Wrapper(inner, name), 0.3)
    assert lrs_of(inner) == [0.3]


@pytest.mark.parametrize("thing", [None, 3, "sgd", torch.optim.SGD])
def test_what_is_no_optimizer_is_refused(thing: Any) -> None:
    with pytest.raises(OptimizerError, match=r"must be a torch.optim.Optimizer, got \w+"):
        unwrap_optimizer(thing)
