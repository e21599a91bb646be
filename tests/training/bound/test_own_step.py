"""The step without a step_fn: groups of micro-batches everywhere, clipping, precision, skipped batches, maximizing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrpilot import AutoLRS, Budget, LRTuner, Pilot, Schedule, Training, WeightedFactors, find_lr, fit
from lrpilot.core.actions import Evaluate, Line, Trial
from lrpilot.core.shape import constant
from lrpilot.errors import LossError, StepError
from lrpilot.testing import check_same_step
from lrpilot.training.bound.batches import copy_batch, count_samples, is_group, to_device
from lrpilot.training.bound.groups import MicroBatches, grouped
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import loss_fn, make_batches, make_model, make_samples, make_training, same_tensors, weights

MICRO = make_batches(24, size=4)  # three steps of eight micro-batches
VAL = make_batches(3, seed=9)


def adamw(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, **options)


def written_out(model: nn.Module, optimizer: torch.optim.Optimizer, limit: float) -> Callable[[Any], Tensor]:
    """The step of the README's loop that accumulates and clips."""

    def step(group: Any) -> Tensor:
        optimizer.zero_grad()
        total = torch.zeros(())
        for batch in group:
            loss = loss_fn(model, batch) / len(group)
            loss.backward()
            total = total + loss.detach()
        nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        return total

    return step


def by_arguments(**options: Any) -> Training:
    model = make_model(batch_norm=True)
    return Training(model, adamw(model), loss_fn, MICRO, VAL, accumulate=8, clip_norm=1.0, **options)


def by_step_fn() -> Training:
    """The same, written out: groups are the user's own, and so is the loss of one."""
    model = make_model(batch_norm=True)
    optimizer = adamw(model)
    groups = [MICRO[i : i + 8] for i in range(0, 24, 8)]
    return Training(model, optimizer, loss_fn, groups, VAL, step_fn=written_out(model, optimizer, 1.0))


# ------------------------------------------------------------ the same as written out


@pytest.mark.parametrize("target", ["decay", "constant"])
def test_find_lr_is_that_of_a_right_step_fn(target: Any) -> None:
    steps = 9 if target == "decay" else 5
    found, reference = (
        find_lr(make(), target=target, num_steps=steps, progress=False) for make in (by_arguments, by_step_fn)
    )
    assert found.lr is not None
    assert (found.lr, found.lrs, found.losses) == (reference.lr, reference.lrs, reference.losses)
    assert found.cost.forwards == reference.cost.forwards and found.cost.trial_steps == reference.cost.trial_steps


@pytest.mark.parametrize("policy", [LRTuner(overhead=0.3), WeightedFactors(), AutoLRS()])
def test_fit_is_that_of_a_right_step_fn(policy: Any) -> None:
    trainings = by_arguments(), by_step_fn()
    results = [fit(training, policy, total_steps=80, progress=False) for training in trainings]
    assert results[0].history.lrs == results[1].history.lrs
    assert results[0].history.losses == results[1].history.losses
    assert results[0].cost.forwards == results[1].cost.forwards
    assert same_tensors(weights(trainings[0].model), weights(trainings[1].model))


def test_the_simplest_own_loop_loops_over_groups() -> None:
    training, by_hand = by_arguments(), by_step_fn()
    pilot = Pilot(training, Schedule("constant"), 3)
    for group in training.grouped(MICRO):
        pilot.step(training.step(group))
    assert pilot.steps_left == 0
    for i in range(0, 24, 8):
        by_hand.step(MICRO[i : i + 8])
    assert same_tensors(weights(training.model), weights(by_hand.model))


def test_a_single_micro_batch_is_refused_and_nothing_is_touched() -> None:
    training = by_arguments()
    before = weights(training.model)
    for wrong in (MICRO[0], list(MICRO[0]), MICRO[:8]):
        with pytest.raises(StepError, match=r"accumulate=8 .*group of micro-batches, got one (tuple|list)\. Loop over"):
            training.step(wrong)
    assert same_tensors(weights(training.model), before)
    assert all(p.grad is None for p in training.model.parameters())


def test_without_accumulation_groups_are_the_batches_themselves() -> None:
    training = make_training()
    assert training.grouped(MICRO) is MICRO
    check_same_step(lambda batch: training.step(batch), training, MICRO[0])


# ------------------------------------------------------------------------- groups


def test_the_last_group_of_a_pass_is_a_step_of_fewer_and_their_mean() -> None:
    training = make_training(data=MICRO[:10], accumulate=8)
    sizes = [len(group) for _ in range(2) for group in training.train_source.epoch()]
    assert sizes == [8, 2, 8, 2]
    group = MicroBatches(MICRO[8:10])
    loss = training.step(group)
    reference = make_training()
    expected = sum(loss_fn(reference.model, batch).detach() / 2 for batch in MICRO[8:10])
    assert loss is not None and torch.equal(loss, expected)
    # A pass of ten micro-batches is two steps.
    assert Budget(epochs=3).work(LiveSubstrate(training).facts().epoch_steps) == 3 * 3 * 2


def test_micro_batches_weigh_the_same_whatever_their_size() -> None:
    uneven = MicroBatches([(MICRO[0][0][:1], MICRO[0][1][:1]), MICRO[1]])
    training = make_training(accumulate=2)
    one, other = (float(loss_fn(training.model, batch).detach()) for batch in uneven)
    assert float(training.loss(uneven).detach()) == pytest.approx((one + other) / 2, rel=1e-6)


def test_a_group_is_counted_copied_and_moved_as_its_parts() -> None:
    group = MicroBatches([{"x": torch.ones(4, 2)}, {"x": torch.ones(3, 2)}])
    for made in (copy_batch(group), to_device(group, torch.device("cpu")), to_device(group, torch.device("meta"))):
        assert type(made) is MicroBatches and count_samples(made) == 7
    copy_batch(group)[0]["x"].zero_()
    assert group[0]["x"].sum() == 8
    assert count_samples(MicroBatches([torch.ones(4), torch.ones(4)])) == 8
    assert list(grouped([], 3)) == [] and [len(g) for g in grouped(range(7), 3)] == [3, 3, 1]


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ([[torch.ones(4, 2), torch.ones(4)]] * 3, 12),  # a user's own group
        (((torch.ones(4, 2), torch.ones(4)), (torch.ones(3, 2), torch.ones(3))), 7),
        ([{"x": torch.ones(4, 2)}, {"x": torch.ones(2, 2)}], 6),
        ((torch.ones(4, 2), torch.ones(4, 2)), 4),  # inputs and targets
        ([torch.ones(4, 2), torch.ones(4)], 4),
        (({"x": torch.ones(4, 2)}, {"y": torch.ones(4)}), 4),  # inputs and targets in dicts
        ({"x": [torch.ones(4, 2)]}, 4),
    ],
)
def test_groups_are_told_from_batches(batch: Any, expected: int) -> None:
    assert count_samples(batch) == expected
    assert is_group(batch) == (expected in (12, 7, 6))


def test_the_bill_of_a_group_is_one_training_batch() -> None:
    substrate = LiveSubstrate(by_arguments(prove=False))
    assert substrate.training.probe_data.batch_size == 32
    substrate.trial(Trial(constant(0.01), 2))
    proof = 1
    assert (substrate.cost.forwards, substrate.cost.backwards) == (2 + proof, 2 + proof)
    before = substrate.cost
    substrate.evaluate(Evaluate())
    assert (substrate.cost - before).forwards == pytest.approx(3 * 8 / 32)  # three held-out batches of eight
    assert substrate.facts().batch_size == 32 and substrate.facts().epoch_steps == 3


def test_groups_are_reserved_where_there_is_no_validation_data() -> None:
    training = make_training(model=make_model(), data=make_batches(80, size=4), accumulate=8)
    assert training.probe_data.metric == "loss on 5 reserved training batches"
    with torch.no_grad():
        expected = sum(float(loss_fn(training.model, b)) for b in make_batches(80, size=4)[:40]) / 40
    assert training.evaluate() == pytest.approx(expected, rel=1e-6)


def test_a_line_is_read_on_groups() -> None:
    training = by_arguments()
    substrate = LiveSubstrate(training)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(next(iter(training.grouped(MICRO))))
    substrate.after_kept_step()
    (row,) = substrate.line(Line((1.0,)))
    with torch.no_grad():
        expected = sum(float(loss_fn(training.model, batch)) for batch in MICRO[:8]) / 8
    assert row[0] == pytest.approx(expected, rel=1e-6)
    assert substrate.cost.forwards == 1


def test_a_shuffling_loader_is_grouped_and_resumed_alike(tmp_path: Any) -> None:
    def make() -> Training:
        data = DataLoader(TensorDataset(*make_samples(88)), batch_size=4, shuffle=True)
        model = make_model(dropout=0.2)
        return Training(model, adamw(model), loss_fn, data, VAL, accumulate=4, clip_value=0.1, seed=3)

    whole = make()
    fit(whole, Schedule("cosine", lr=0.02), total_steps=15, progress=False)
    path = tmp_path / "run.pt"
    seen: list[int] = []
    stopped = make()

    def stop(pilot: Pilot, loss: Tensor) -> None:
        seen.append(pilot.last_epoch)
        if len(seen) == 8:  # in the middle of an epoch of six steps
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(stopped, Schedule("cosine", lr=0.02), total_steps=15, progress=False, checkpoint=path, on_step=stop)
    resumed = make()
    fit(resumed, Schedule("cosine", lr=0.02), total_steps=15, progress=False, checkpoint=path, resume=True)
    assert same_tensors(weights(resumed.model), weights(whole.model))


def test_a_loss_that_takes_whole_groups_is_given_them() -> None:
    seen: list[int] = []

    def of_group(model: nn.Module, batch: Any) -> Tensor:
        parts = batch if isinstance(batch, list) else [batch]
        seen.append(len(parts))
        return sum(loss_fn(model, part) for part in parts) / len(parts)

    training = by_step_fn()
    training.loss_fn = of_group
    training.loss(MICRO[:8])
    assert seen == [8]


def test_the_error_of_a_loss_that_takes_neither_a_group_nor_its_parts_is_its_own() -> None:
    training = by_step_fn()

    def broken(model: nn.Module, batch: Any) -> Tensor:
        raise KeyError("pixels")

    training.loss_fn = broken
    with pytest.raises(KeyError, match="pixels"):
        training.loss(MICRO[:8])


# --------------------------------------------------------------------- precision


def test_every_loss_is_computed_under_autocast() -> None:
    seen: list[bool] = []

    def watching(model: nn.Module, batch: Any) -> Tensor:
        seen.append(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") is torch.bfloat16)
        return loss_fn(model, batch)

    training = make_training(loss_fn=watching, val=VAL, autocast=torch.bfloat16, model=make_model(batch_norm=True))
    find_lr(training, num_steps=9, progress=False)
    fit(training, LRTuner(overhead=0.5), total_steps=40, progress=False)
    training.evaluate()
    assert len(seen) > 100 and all(seen)
    assert not torch.is_autocast_enabled("cpu")


def test_a_scaler_is_part_of_the_state_and_its_skipped_steps_are_none() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    training = make_training(loss_fn=lambda m, b: 100 * loss_fn(m, b), scaler=scaler)
    assert training.extra_state == {"scaler": scaler}
    result = fit(training, Schedule("constant", lr=0.01), total_steps=5, progress=False)
    assert result.steps == 5 and scaler.get_scale() < 2.0**127
    scale = scaler.get_scale()
    find_lr(training, num_steps=9, progress=False)
    assert scaler.get_scale() == scale
    named = make_training(scaler=scaler, state={"amp": scaler})
    assert named.extra_state == {"amp": scaler}


# ----------------------------------------------------------------- skipped batches


def test_a_step_fn_may_skip_batches() -> None:
    data = make_batches(12)
    training = make_training(data=data, val=VAL)
    small = [batch for i, batch in enumerate(data) if i % 3]

    def step_fn(batch: Any) -> Tensor | None:
        if any(torch.equal(batch[0], data[i][0]) for i in range(0, 12, 3)):
            return None
        training.optimizer.zero_grad()
        loss = loss_fn(training.model, batch)
        loss.backward()
        training.optimizer.step()
        return loss

    training.step_fn = step_fn
    without = make_training(data=small, val=VAL)
    for _ in range(2):  # a skipped batch is as one that is not there
        seen = [LiveSubstrate(each).trial(Trial(constant(0.05), 6, "end")) for each in (training, without)]
        assert seen[0] == seen[1]
    results = [fit(each, Schedule("constant", lr=0.05), total_steps=20, progress=False) for each in (training, without)]
    assert results[0].history.losses == results[1].history.losses
    assert same_tensors(weights(training.model), weights(without.model))


def test_a_batch_that_is_none_is_no_batch() -> None:
    data = [*make_batches(4), None, *make_batches(4, seed=7)]
    with_none, without = (make_training(data=each) for each in (data, [b for b in data if b is not None]))
    results = [fit(each, Schedule("constant"), total_steps=20, progress=False) for each in (with_none, without)]
    assert results[0].history.losses == results[1].history.losses
    assert find_lr(with_none, num_steps=9, progress=False).lr == find_lr(without, num_steps=9, progress=False).lr


def test_a_step_fn_that_skips_every_batch_is_refused() -> None:
    training = make_training(step_fn=lambda batch: None)
    with pytest.raises(StepError, match=r"step on some batches, got None for 200 in a row"):
        find_lr(training, progress=False)
    with pytest.raises(StepError, match=r"got none in 200 batches"):
        fit(training, Schedule("constant"), total_steps=3, progress=False)


def test_a_step_that_was_taken_without_a_loss_is_refused_in_fit_too() -> None:
    training = make_training()

    def step_fn(batch: Any) -> None:
        training.optimizer.zero_grad()
        loss_fn(training.model, batch).backward()
        training.optimizer.step()

    training.step_fn = step_fn
    with pytest.raises(LossError, match=r"must return the loss, got None\. Add"):
        fit(training, Schedule("constant"), total_steps=3, progress=False)


# --------------------------------------------------------------------- maximizing


def mirrored(*, maximize: bool) -> Training:
    model = make_model(batch_norm=True)
    sign = -1.0 if maximize else 1.0
    objective = lambda m, b: sign * loss_fn(m, b)  # noqa: E731
    return Training(model, adamw(model, maximize=maximize), objective, make_batches(12), VAL)


@pytest.mark.parametrize("target", ["decay", "constant"])
def test_an_objective_that_is_maximized_is_its_mirror_image(target: Any) -> None:
    steps = 9 if target == "decay" else 5
    found, reference = (
        find_lr(mirrored(maximize=up), target=target, num_steps=steps, progress=False) for up in (True, False)
    )
    assert found.lr is not None
    assert (found.lr, found.losses) == (reference.lr, reference.losses)
    assert found.metric == f"minus the {reference.metric} (maximize=True)"


@pytest.mark.parametrize("policy", [LRTuner(overhead=0.3), WeightedFactors(), AutoLRS()])
def test_a_flight_that_maximizes_is_its_mirror_image(policy: Any) -> None:
    up, down = mirrored(maximize=True), mirrored(maximize=False)
    results = [fit(each, policy, total_steps=80, progress=False) for each in (up, down)]
    assert results[0].history.lrs == results[1].history.lrs
    assert results[0].history.losses == results[1].history.losses  # of decisions: the lower the better
    assert same_tensors(weights(up.model), weights(down.model))
    assert up.evaluate() == -down.evaluate()  # the user's own
    assert math.isfinite(up.evaluate())
