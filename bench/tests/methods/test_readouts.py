"""Averages beside a schedule: what they hold, that the training does not notice, and which runs get them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from lrpilot_bench.methods.readouts import READOUTS, WeightAverage, _ema_share, _tail_share
from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.protocol.wanted import oracle_sweep, scope, suites, wanted
from lrpilot_bench.session import Session
from lrpilot_bench.tasks.fashion_bn import block
from lrpilot_bench.tasks.registry import get_task

DIGITS = get_task("digits")
STEPS = 40


def after(name: str, task: Any = DIGITS, **settings: Any) -> Session:
    method = get_method(name)
    session = Session(task, task.family(), seed=1, steps=STEPS, lr=0.01)
    replace(method, settings={**method.settings, **settings}).train(session)
    session.finish()
    return session


def averages(share: Any, values: list[float], *, start: float = 0.0) -> float:
    """Of weights that are ``values``, one a step, from ``start`` on."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, start)
    average = WeightAverage(model, share)
    for value in values:
        nn.init.constant_(model.weight, value)
        average.add()
    average.put()
    return model.weight.item()


def test_the_tail_is_the_mean_of_the_last_weights() -> None:
    assert averages(_tail_share(2), [9.0, 8.0, 1.0, 2.0, 6.0]) == pytest.approx(3.0)
    assert averages(_tail_share(2), [9.0, 8.0]) == 8.0


def test_the_exponential_average_by_hand() -> None:
    """Shares 0.9, 9/11 and 0.8: memory is short in the beginning; later the decay's own."""
    first = 0.9 * 1.0 + 0.1 * 5.0
    second = first + 9 / 11 * (2.0 - first)
    expected = second + 0.8 * (3.0 - second)
    assert averages(_ema_share(0.2), [1.0, 2.0, 3.0], start=5.0) == pytest.approx(expected)


@pytest.mark.parametrize("decay", [0.99, 0.998])
def test_a_long_exponential_average_has_the_decays_own_share(decay: float) -> None:
    assert _ema_share(decay)(100_000) == pytest.approx(1 - decay)


@pytest.mark.parametrize("kind", ["linear", "cosine", "wsd"])
def test_a_tail_of_one_step_is_the_oracles_own_run_bit_for_bit(kind: str) -> None:
    plain, read = after(kind), after(f"{kind}_tail_25", tail=1 / STEPS)
    assert all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), read.model.parameters(), strict=True))
    assert plain.curve.val_loss == read.curve.val_loss


def test_the_training_does_not_notice_the_average() -> None:
    curves = [after(f"linear_{name}").curve.to_dict() for name in READOUTS]
    plain = after("linear").curve.to_dict()
    assert all(curve["train_loss"] == plain["train_loss"] for curve in curves)
    assert all(curve["val_loss"] != plain["val_loss"] for curve in curves)


def normalised() -> nn.Module:
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), block(1, 4), nn.Flatten(), nn.Linear(64, 10))


def running_mean(session: Session) -> torch.Tensor:
    (norm,) = (module for module in session.model.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.running_mean is not None
    return norm.running_mean.clone()


def test_running_statistics_are_the_averages_own_and_paid_for() -> None:
    task = replace(DIGITS, make_model=normalised)
    session = after("linear_ema_99", task)
    assert session.declared.to_dict() == session.counter.tally.to_dict()
    assert session.kept_steps < STEPS and session.compute <= session.budget
    before = running_mean(session)
    session.evaluate()
    assert torch.equal(running_mean(session), before)
    assert not torch.equal(running_mean(after("linear", task)), before)


# ---------------------------------------------------------------------- which runs get them


def record(loss: float) -> dict[str, Any]:
    return {"final": {"val_loss": loss}, "status": "finished"}


def test_the_sweeps_winner_is_read_in_three_ways_on_five_seeds() -> None:
    records = {job: record(1.0) for job in oracle_sweep(DIGITS)}
    best = Job("digits", "cosine", lr=DIGITS.families[0].oracle_lrs[4])
    records[best] = record(0.5)
    jobs = wanted(suites(["readouts"]), scope(task_names=["digits"]), records.get)
    assert jobs == [Job("digits", f"cosine_{name}", lr=best.lr, seed=seed) for seed in range(5) for name in READOUTS]
    assert wanted(suites(["readouts"]), scope(task_names=["digits"]), lambda job: None) == []
