"""The proof that a step which is put back is the same step again: what it finds, what it costs, and what it leaves."""

import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lrpilot import Training
from lrpilot.core.actions import Line, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import UnseenStateError
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.restore.witness import checksum
from small_training import loop_step, loss_fn, make_batches, make_training, untouched

COUNT = itertools.count(1)


def counting() -> Any:
    calls = 0

    def loss(model: nn.Module, batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return loss_fn(model, batch) * calls

    return loss


def queued() -> Any:
    kept: deque[int] = deque()

    def loss(model: nn.Module, batch: Any) -> Tensor:
        kept.append(1)
        return loss_fn(model, batch) * len(kept)

    return loss


PLANTED: dict[str, Callable[[], Any]] = {
    "loss_fn's variable 'calls'": counting,
    "loss_fn's variable 'kept'": queued,
    "loss_fn's global 'COUNT'": lambda: lambda model, batch: loss_fn(model, batch) * next(COUNT),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_moves_unseen_is_named_with_what_it_changed(name: str) -> None:
    training = make_training(loss_fn=PLANTED[name]())
    words = r"must be the same step, but the loss \(.*parameter '0.weight'.*Probably " + name + ".*state={"
    with untouched(training.model, training.raw_optimizer), pytest.raises(UnseenStateError, match=words):
        training.check()


def test_it_is_found_before_the_first_trial_and_before_the_first_line() -> None:
    def trial(training: Training) -> None:
        LiveSubstrate(training).trial(Trial(constant(0.1), 2))

    def line(training: Training) -> None:
        substrate = LiveSubstrate(training)
        substrate.arm_line()
        substrate.before_kept_step()
        loop_step(training, make_batches(1)[0])
        substrate.after_kept_step()
        substrate.line(Line((0.5,), batches=1))

    for measure in (trial, line):
        with pytest.raises(UnseenStateError, match="'calls'"):
            measure(make_training(loss_fn=counting()))


def test_it_is_made_once_for_all_who_measure_and_not_at_all_where_it_is_turned_off() -> None:
    def steps(training: Training) -> float:
        substrate = LiveSubstrate(training)
        substrate.check()
        return substrate.cost.backwards

    training = make_training()
    assert [steps(training), steps(training)] == [2, 1]
    assert steps(make_training(prove=False)) == 1
    assert steps(make_training(prove=False, loss_fn=counting())) == 1


def test_the_price_that_a_budget_is_asked_for_is_what_it_costs() -> None:
    for options in ({}, {"prove": False}):
        substrate = LiveSubstrate(make_training(**options))
        trial = Trial(constant(0.1), 3)
        asked = substrate.price(trial)
        substrate.trial(trial)
        assert substrate.cost.forward_equivalents == asked


def test_a_step_that_draws_from_everywhere_is_no_false_alarm() -> None:
    own = torch.Generator().manual_seed(1)

    def noisy(model: nn.Module, batch: Any) -> Tensor:
        return loss_fn(model, batch) * (1 + torch.rand(()) + torch.rand((), generator=own))

    training = make_training(loss_fn=noisy)
    with untouched(training.model, training.raw_optimizer):
        training.check()


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64]
)
def test_a_checksum_tells_any_bit(dtype: torch.dtype) -> None:
    whole = torch.arange(12.0).reshape(3, 4).to(dtype)
    changed = whole.clone()
    changed[2, 3] = 0
    assert checksum(whole) == checksum(whole.clone()) == checksum(whole.t())
    assert checksum(whole) != checksum(changed)
    assert checksum(torch.tensor(0.0)) != checksum(torch.tensor(-0.0))
