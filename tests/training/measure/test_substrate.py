"""Trials train as the loop does, stop by their rules, leave no trace, and are charged what they cost."""

import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from lrpilot.core.actions import Evaluate, Trial
from lrpilot.core.shape import annealed, constant
from lrpilot.core.stop import Stop, StopReason
from lrpilot.errors import SchedulerConflictError, StepError
from lrpilot.training.measure.evaluations import BATCH_NORM_BATCHES
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.restore.rng import seed_rng
from small_training import (
    loop_step,
    loss_fn,
    make_batches,
    make_model,
    make_samples,
    make_training,
    untouched,
    weights,
)


def test_a_trial_is_the_users_own_loop_rewound() -> None:
    """The slow reference: a second model, stepped by hand at the same lrs on the same batches."""
    shape = annealed(0.4, 5)
    train, val = make_batches(4), make_batches(2, seed=9)
    training = make_training(model=make_model(dropout=0.3), data=train, val=val, seed=6)
    with untouched(training.model, training.raw_optimizer):
        losses, held_out, stop, _ = LiveSubstrate(training).trial(Trial(shape, 5, evaluate="end"))
    reference = make_training(model=make_model(dropout=0.3))
    seed_rng(6)
    expected = []
    for step in range(5):
        reference.raw_optimizer.param_groups[0]["lr"] = shape(step)
        expected.append(loop_step(reference, train[step % 4]).item())
    reference.model.eval()
    assert losses == tuple(expected) and stop is None
    assert held_out == pytest.approx(sum(loss_fn(reference.model, b).item() for b in val) / 2, rel=1e-6)


def test_trials_are_paired() -> None:
    training = make_training(model=make_model(dropout=0.3, batch_norm=True))
    substrate = LiveSubstrate(training)
    trial = Trial(constant(0.05), 4, evaluate="end")
    first = substrate.trial(trial)
    other = substrate.trial(Trial(constant(0.5), 4, evaluate="end"))
    assert substrate.trial(trial) == first
    assert other[0][0] == first[0][0] and other[0][1] != first[0][1], "the first loss is that of the common start"


def test_the_seed_decides() -> None:
    def answer(seed: int) -> Any:
        training = make_training(model=make_model(dropout=0.3), seed=seed)
        return LiveSubstrate(training).trial(Trial(constant(0.1), 3, evaluate="end"))

    assert answer(1) == answer(1) != answer(2)


def test_the_average_is_that_of_the_second_half() -> None:
    val = make_batches(2, seed=9)
    training = make_training(val=val)
    _, held_out, _, _ = LiveSubstrate(training).trial(Trial(constant(0.5), 5, evaluate="average"))
    reference = make_training(optimizer=None)
    reference.raw_optimizer.param_groups[0]["lr"] = 0.5
    after = []
    for batch in make_batches()[:5]:
        loop_step(reference, batch)
        after.append(weights(reference.model))
    for parameter, *of_steps in zip(reference.model.parameters(), *after[2:], strict=True):
        parameter.data = torch.stack(of_steps).mean(0)
    expected = sum(loss_fn(reference.model, b).item() for b in val) / 2
    assert held_out == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("stop", "reason", "lr"),
    [
        (Stop(abort_above=-1.0), StopReason.ABORTED, 0.1),
        (Stop(patience=1), StopReason.PATIENCE, 10.0),
        (Stop(), StopReason.NON_FINITE, 1e30),
    ],
)
def test_a_losing_trial_ends_early_unjudged_and_is_charged_its_steps(stop: Stop, reason: StopReason, lr: float) -> None:
    training = make_training(loss_fn=lambda model, batch: model(batch[0]).square().mean())
    substrate = LiveSubstrate(training)
    substrate.check()
    with untouched(training.model, training.raw_optimizer):
        losses, held_out, why, _ = substrate.trial(Trial(constant(lr), 50, evaluate="end", stop=stop))
    assert why is reason and held_out is None and len(losses) < 50
    assert math.isfinite(losses[-1]) == (reason is not StopReason.NON_FINITE)
    assert substrate.cost.trial_steps == len(losses) and substrate.cost.evaluations == 0
    # and the proof; where a loss is no number, whether its batch gives one at the weights before
    assert substrate.cost.backwards == len(losses) + (3 if reason is StopReason.NON_FINITE else 2)


def test_a_trial_that_ends_at_infinite_weights_is_judged_not_finite() -> None:
    training = make_training()
    losses, held_out, stop, _ = LiveSubstrate(training).trial(Trial(constant(1e38), 1, evaluate="end"))
    assert math.isfinite(losses[0]) and stop is None and held_out is not None and not held_out < 1e6


def test_every_pass_is_charged() -> None:
    training = make_training(model=make_model(batch_norm=True), val=make_batches(3, seed=5))
    substrate = LiveSubstrate(training)
    substrate.trial(Trial(constant(0.1), 4, evaluate="end"))
    cost = substrate.cost
    assert (cost.backwards, cost.forwards) == (2 + 4, 2 + 4 + BATCH_NORM_BATCHES + 3)
    assert (cost.trials, cost.trial_steps, cost.evaluations) == (1, 4, 1)
    assert cost.forward_equivalents == cost.forwards + 2 * cost.backwards
    substrate.evaluate(Evaluate())
    assert substrate.cost.forwards == cost.forwards + 3 and substrate.cost.evaluations == 2
    assert substrate.cost.seconds > cost.seconds > 0


def test_the_charge_counts_what_really_ran() -> None:
    passes = {"forward": 0}

    def counting(model: Any, batch: Any) -> Tensor:
        passes["forward"] += 1
        return loss_fn(model, batch)

    training = make_training(model=make_model(batch_norm=True), loss_fn=counting)
    substrate = LiveSubstrate(training)
    substrate.trial(Trial(constant(0.1), 4, evaluate="average"))
    substrate.evaluate(Evaluate(reestimate=True))
    assert substrate.cost.forwards == passes["forward"]


def test_small_and_large_batches_are_charged_by_their_samples() -> None:
    inputs, targets = make_samples(32)
    val = list(zip(inputs.split([16, 12, 4]), targets.split([16, 12, 4]), strict=True))
    for first_measures in (Evaluate(), Evaluate(reestimate=True)):
        substrate = LiveSubstrate(make_training(model=make_model(batch_norm=True), val=val))
        substrate.evaluate(first_measures)
        extra = BATCH_NORM_BATCHES if first_measures.reestimate else 0
        assert substrate.cost.forwards == (16 + 12 + 4) / 8 + extra


def test_the_check_is_made_once_and_charged() -> None:
    training = make_training()
    substrate = LiveSubstrate(training)
    substrate.check()
    substrate.check()
    assert (substrate.cost.forwards, substrate.cost.backwards, substrate.cost.trials) == (2, 2, 0)


def test_a_scheduler_in_step_fn_is_refused() -> None:
    training = make_training()
    scheduler = torch.optim.lr_scheduler.ExponentialLR(training.raw_optimizer, 0.9)

    def step_fn(batch: Any) -> Tensor:
        loss = loop_step(training, batch)
        scheduler.step()
        return loss

    training.step_fn = step_fn
    words = r"Only the pilot may write.*also from step_fn"
    with untouched(training.model, training.raw_optimizer), pytest.raises(SchedulerConflictError, match=words):
        LiveSubstrate(training).trial(Trial(constant(0.2), 3))


def test_a_second_step_later_in_a_trial_is_refused_too() -> None:
    training = make_training()
    calls = 0

    def step_fn(batch: Any) -> Tensor:
        nonlocal calls
        calls += 1
        loss = loop_step(training, batch)
        if calls == 4:
            training.optimizer.step()
        return loss

    training.step_fn = step_fn
    with untouched(training.model, training.raw_optimizer), pytest.raises(StepError, match="got 2"):
        LiveSubstrate(training).trial(Trial(constant(0.1), 5))


def test_steps_that_a_scaler_skips_are_no_error() -> None:
    training = make_training()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    scales = []

    def step_fn(batch: Any) -> Tensor:
        training.optimizer.zero_grad()
        loss = loss_fn(training.model, batch)
        scaler.scale(loss * 100).backward()  # overflows until the scale has been halved a few times
        scaler.step(training.optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
        return loss

    training.step_fn = step_fn
    training.extra_state = {"scaler": scaler}
    losses, _, stop, _ = LiveSubstrate(training).trial(Trial(constant(0.001), 9))
    assert len(losses) == 9 and stop is None
    assert scales[0] == scales[1] == 2.0**126 > scales[3], "the check and the Trial begin at the same scale"
    assert scales[-1] == scales[-2] and scaler.get_scale() == 2.0**127


def test_a_user_function_that_raises_is_not_renamed() -> None:
    cause = ValueError("theirs")

    def step_fn(batch: Any) -> Tensor:
        raise RuntimeError("mine") from cause

    training = make_training(step_fn=step_fn)
    with pytest.raises(RuntimeError, match="mine") as raised:
        training.check()
    assert raised.value.__cause__ is cause


def test_frozen_parameters_and_zero_groups_do_not_move() -> None:
    model = make_model()
    model[0].weight.requires_grad_(False)
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "lr": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    seen = []

    def noting(model: Any, batch: Any) -> Tensor:
        seen.append((model[0].weight.sum().item(), model[2].weight.sum().item(), model[0].bias.sum().item()))
        return loss_fn(model, batch)

    training = make_training(model=model, optimizer=optimizer, loss_fn=noting, val=make_batches(1))
    LiveSubstrate(training).trial(Trial(constant(0.5), 3, evaluate="end"))
    assert len({s[0] for s in seen}) == len({s[1] for s in seen}) == 1 and len({s[2] for s in seen}) == 4


def test_a_probe_started_where_gradients_are_off_is_the_same() -> None:
    trial = Trial(constant(0.1), 3, evaluate="end")
    expected = LiveSubstrate(make_training()).trial(trial)
    training = make_training()
    with untouched(training.model, training.raw_optimizer), torch.no_grad():
        seen = LiveSubstrate(training).trial(trial)
    assert seen == expected
    loop_step(training, make_batches()[0])


def test_a_probe_in_a_thread_is_the_same() -> None:
    trial = Trial(constant(0.1), 3, evaluate="end")
    training, seen = make_training(), []
    thread = threading.Thread(target=lambda: seen.append(LiveSubstrate(training).trial(trial)))
    thread.start()
    thread.join()
    assert seen == [LiveSubstrate(make_training()).trial(trial)]


def test_a_compiled_model_is_probed_without_a_trace() -> None:
    model = torch.compile(make_model(dropout=0.2), backend="eager")
    training = make_training(model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    loop_step(training, make_batches()[0])
    substrate = LiveSubstrate(training)
    trial = Trial(constant(0.1), 2, evaluate="end")
    with untouched(model, training.raw_optimizer):
        assert substrate.trial(trial) == substrate.trial(trial)
