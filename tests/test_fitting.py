"""fit: how long it trains, what it charges, and that an interrupted fit ends where an uninterrupted one does."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from lrpilot import Schedule, Training, fit, simulate
from lrpilot.core.actions import Average, Evaluate, Line, Mark, Rewind, Train, Trial
from lrpilot.core.cost import Cost
from lrpilot.core.history import Event
from lrpilot.core.shape import annealed, constant, ramp
from lrpilot.errors import DataError, PolicyError, SettingError, StateError, StepError
from lrpilot.flight.horizon import Budget
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.substrate import STEP
from lrpilot.policies.lr_tuner import LRTuner
from lrpilot.policies.weighted_factors import WeightedFactors
from small_training import (
    Listed,
    OverflowingSteps,
    assert_equal,
    everything,
    loss_fn,
    make_batches,
    make_model,
    make_samples,
    make_training,
    same_tensors,
    untouched,
    weights,
)

SEARCHING = Listed(
    (
        Trial(annealed(0.3, 4), 4, evaluate="end"),
        Train(ramp(0.2, 0.1, 5), 5),
        Mark("m"),
        Trial(annealed(0.1, 3), 3, evaluate="average"),
        Line((0.0, 1.0, 2.0)),
        Train(constant(0.1), 4),
        Evaluate(),
        Rewind("m"),
        Train(ramp(0.1, 0.001, 100), 100),
    )
)
AVERAGED = Listed(
    (
        Trial(constant(0.05), 4, evaluate="end", average=Average(), momentum=constant(0.0)),
        Train(ramp(0.05, 0.1, 5), 5, momentum=constant(0.0), average=Average()),
        Mark("m"),
        Trial(constant(0.2), 3, evaluate="end", average=Average()),
        Trial(constant(0.2), 3),
        Train(constant(0.1), 4),
        Evaluate(),
        Rewind("m"),
        Train(constant(0.1), 100, momentum=constant(0.0), average=Average(0.8, 1.0)),
    )
)
STEPS = 17


def shuffled() -> DataLoader[Any]:
    """Seven batches of three samples each, in an order of their own every epoch."""
    return DataLoader(TensorDataset(*make_samples(21)), batch_size=3, shuffle=True)


def stochastic(data: Any = None, **options: Any) -> Training:
    """A training that draws from every generator at every step."""

    def noisy(model: nn.Module, batch: Any) -> Tensor:
        return loss_fn(model, batch) * (1 + 1e-3 * (random.random() + float(np.random.rand())))

    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    model = make_model(dropout=0.3, batch_norm=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True)
    data = shuffled() if data is None else data
    return make_training(model=model, optimizer=optimizer, data=data, loss_fn=noisy, val=make_batches(2), **options)


# ------------------------------------------------------------------ budgets


@pytest.mark.parametrize("total_steps", [1, 5, STEPS])
def test_total_steps_counts_kept_steps(total_steps: int) -> None:
    result = fit(make_training(), SEARCHING, total_steps=total_steps, progress=False)
    assert result.steps == total_steps == len(result.history.lrs) == len(result.history.losses)
    assert all(np.isfinite(result.history.losses))
    assert result.total_compute == 3 * total_steps + result.cost.forward_equivalents


@pytest.mark.parametrize("budget", [3.0, 31, 100.0, 161.5])
@pytest.mark.parametrize("policy", [Schedule("constant"), SEARCHING], ids=["schedule", "searching"])
def test_a_budget_is_kept_to_within_one_step(policy: Any, budget: float) -> None:
    result = fit(make_training(), policy, budget=budget, progress=False)
    assert budget - 3 < result.total_compute <= budget


@pytest.mark.parametrize("budget", [30.0, 100.0, 250.0, 1000.0])
@pytest.mark.parametrize(
    "policy",
    [
        WeightedFactors(),
        WeightedFactors(7, batches=4),
        WeightedFactors.paper(),
        LRTuner(),
        LRTuner(exploit="saturation"),
        LRTuner.paper("fashion-mnist"),
        Listed((Train(constant(0.1), 5), Trial(annealed(0.1, 300), 300), Train(constant(0.2), 1000))),
        Listed((Train(constant(0.1), 9), Evaluate(), Line((0.0, 0.5, 1.0), 9), Train(constant(0.2), 1000))),
    ],
    ids=lambda policy: policy.name,
)
def test_no_policy_spends_more_than_the_budget(policy: Any, budget: float) -> None:
    result = fit(make_training(), policy, budget=budget, progress=False)
    assert budget - 3 < result.total_compute <= budget
    assert len(result.history.lrs) == result.steps


EVALUATING = Listed(
    (
        Train(constant(0.1), 3),
        Trial(annealed(0.1, 5), 5, evaluate="end"),
        Train(constant(0.1), 3),
        Evaluate(),
        Train(constant(0.1), 1),
        Evaluate(reestimate=True),
        Train(constant(0.1), 1000),
    )
)


@pytest.mark.parametrize("budget", range(20, 120, 7))
@pytest.mark.parametrize("batch_norm", [False, True])
def test_evaluations_are_priced_by_their_samples_and_statistics(budget: float, batch_norm: bool) -> None:
    many = [make_samples(20)]  # two and a half training batches in one
    training = make_training(model=make_model(batch_norm=batch_norm), val=many, eval_batches=None)
    result = fit(training, EVALUATING, budget=budget, progress=False)
    assert budget - 3 < result.total_compute <= budget


@pytest.mark.parametrize("budget", [33.0, 45.0])
@pytest.mark.parametrize("stop_at", range(1, 7))
def test_what_a_budget_affords_is_the_same_after_a_resume(tmp_path: Path, budget: float, stop_at: int) -> None:
    policy = Listed(
        (Train(constant(0.1), 2), Evaluate(), Train(constant(0.2), 2), Evaluate(), Train(constant(0.3), 99))
    )

    def fresh() -> Training:
        return make_training(val=[make_samples(20)], eval_batches=None)

    straight = fit(fresh(), policy, budget=budget, progress=False)
    part = fresh()
    stop_before_step(part, min(stop_at, straight.steps - 1))
    with pytest.raises(KeyboardInterrupt):
        fit(part, policy, budget=budget, progress=False, checkpoint=tmp_path / "c.pt")
    result = fit(fresh(), policy, budget=budget, progress=False, checkpoint=tmp_path / "c.pt", resume=True)
    assert (result.steps, result.coasts_from, result.history.lrs) == (
        straight.steps,
        straight.coasts_from,
        straight.history.lrs,
    )


LATE_TRIAL = Listed((Train(ramp(0.2, 0.1, 5), 5), Trial(annealed(0.3, 40), 40), Train(constant(0.5), 1000)))


def test_what_the_budget_cannot_pay_for_is_left_out_and_the_lr_held() -> None:
    seen: list[Event] = []
    result = fit(make_training(), LATE_TRIAL, budget=60, progress=False, on_event=seen.append)
    assert result.coasts_from == 5 and result.steps == 20 and result.cost.trials == 0
    assert result.history.lrs[5:] == [result.history.lrs[4]] * 15
    (skipped,) = [event for event in seen if event.phase == "skip"]
    assert "trial of 40 steps" in skipped.message and "beyond the budget" in skipped.message

    paid = fit(make_training(), LATE_TRIAL, budget=600, progress=False)
    assert paid.coasts_from is None and paid.cost.trial_steps == 40 and paid.history.lrs[5] == 0.5


def test_a_fit_that_coasts_is_resumed_coasting(tmp_path: Path) -> None:
    whole = make_training()
    straight = fit(whole, LATE_TRIAL, budget=60, progress=False)
    part = make_training()
    stop_before_step(part, 12)
    with pytest.raises(KeyboardInterrupt):
        fit(part, LATE_TRIAL, budget=60, progress=False, checkpoint=tmp_path / "c.pt")
    again = make_training()
    result = fit(again, LATE_TRIAL, budget=60, progress=False, checkpoint=tmp_path / "c.pt", resume=True)
    assert result.coasts_from == 5
    assert result.history.lrs == straight.history.lrs
    assert_equal(final(again), final(whole))


@pytest.mark.parametrize("budget", [11.0, 20.0, 29.5, 47.0, 60.0, 200.0])
@pytest.mark.parametrize("search", [False, True])
def test_a_simulated_budget_is_counted_like_that_of_a_fit(budget: float, search: bool) -> None:
    """One held-out batch of full size costs what a landscape's does; before the first Trial of a fit are two proofs."""
    actions = (
        *((Trial(annealed(0.01, 3), 3, evaluate="end"),) if search else ()),
        Train(constant(0.01), 2),
        Evaluate(),
        Train(constant(0.02), 3),
        Trial(constant(0.01), 4, evaluate="average") if search else Evaluate(),
        Train(constant(0.03), 1000),
    )
    proofs = 2 * STEP if search else 0.0
    flown = fit(make_training(val=make_batches(1)), Listed(actions), budget=budget + proofs, progress=False)
    simulated = simulate(Listed(actions), NoisyQuadratic((1.0,)), lr=0.1, budget=budget)
    assert flown.history.lrs == simulated.history.lrs and flown.coasts_from == simulated.coasts_from
    told = [[e.observation.progress for e in one.history.events if e.observation] for one in (flown, simulated)]
    assert told[0] == told[1]
    assert flown.total_compute - simulated.total_compute == proofs


def test_the_policy_is_told_the_steps_that_are_left() -> None:
    result = fit(make_training(), SEARCHING, budget=200, progress=False)
    told = [event.observation.progress for event in result.history.events]
    costs = [p.remaining + p.step for p in told]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1] == result.steps


def test_a_budget_in_seconds_lays_out_a_schedule_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrpilot.flight.horizon.OVERTIME", math.inf)  # a busy machine must not decide this test

    def slow(model: nn.Module, batch: Any) -> Tensor:
        time.sleep(0.004)
        return loss_fn(model, batch)

    result = fit(make_training(loss_fn=slow), Schedule("linear", lr=0.1), budget=Budget(seconds=0.7), progress=False)
    # the proofs, and one, one and eleven steps of calibration are on the bill
    assert result.cost.backwards == 15 and result.cost.seconds > 0
    assert result.steps > 1 and result.history.lrs[0] == 0.1
    assert result.history.lrs[-1] == pytest.approx(0.1 / result.steps), "the decay ends where the training ends"


def test_a_training_much_slower_than_its_budget_of_seconds_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lrpilot.fitting.seconds_per_step", lambda training: (1e-6, Cost()))
    result = fit(make_training(), Schedule("linear", lr=0.1), budget=Budget(seconds=0.05), progress=False)
    assert 0 < result.steps < 50_000 and result.history.lrs[-1] > 0.01


def test_a_checkpoint_without_the_pace_it_was_planned_at_is_damaged(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.pt"
    fit(make_training(), Schedule("linear"), total_steps=4, progress=False, checkpoint=checkpoint)
    saved = torch.load(checkpoint, weights_only=True)
    del saved["pace"]
    torch.save(saved, checkpoint)
    with pytest.raises(StateError, match=r"whole file written by fit, .*no pace in it"):
        fit(make_training(), Schedule("linear"), total_steps=4, progress=False, checkpoint=checkpoint, resume=True)


@pytest.mark.parametrize("change", [{"total_steps": 9}, {"total_steps": None, "budget": 300.0}])
def test_a_fit_is_resumed_over_the_length_it_was_planned_for(tmp_path: Path, change: dict[str, Any]) -> None:
    checkpoint = tmp_path / "state.pt"
    fit(make_training(), Schedule("linear"), total_steps=4, progress=False, checkpoint=checkpoint)
    with pytest.raises(StateError, match=r"planned for that|with its own total_steps"):
        settings = {"total_steps": 4} | change
        fit(make_training(), Schedule("linear"), progress=False, checkpoint=checkpoint, resume=True, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, r"exactly one of total_steps and budget, got total_steps=None, budget=None\. Say"),
        ({"total_steps": 3, "budget": 9}, r"exactly one .*total_steps=3, budget=9"),
        ({"total_steps": 0}, r"total_steps must be >= 1, got 0"),
        ({"budget": 0}, "one finite number > 0"),
        ({"budget": -1.0}, "one finite number > 0"),
        ({"budget": float("nan")}, "one finite number > 0"),
        ({"budget": float("inf")}, "one finite number > 0"),
        ({"budget": "9"}, r"number of forward-equivalents or a Budget, got '9'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_touched(settings: Any, words: str) -> None:
    training = make_training()
    with untouched(training.model, training.raw_optimizer), pytest.raises(SettingError, match=words):
        fit(training, Schedule("constant"), progress=False, **settings)


def test_a_budget_of_seconds_is_resumed_at_the_pace_it_was_planned_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lrpilot.fitting.seconds_per_step", lambda training: (0.01, Cost(forwards=7.0)))
    monkeypatch.setattr("lrpilot.flight.horizon.OVERTIME", 1e6)  # a busy machine is not what is tested
    file = tmp_path / "run.pt"
    options: dict[str, Any] = {"budget": Budget(seconds=0.2), "progress": False, "checkpoint": file}

    def stop(pilot: Any, loss: Tensor) -> None:
        if pilot.last_epoch == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(make_training(), Schedule("linear", lr=0.1), on_step=stop, **options)
    monkeypatch.setattr("lrpilot.fitting.seconds_per_step", lambda training: pytest.fail("calibrated again"))
    result = fit(make_training(), Schedule("linear", lr=0.1), resume=True, **options)
    assert result.steps == 20 and result.cost.forwards == 7.0, "charged once"
    assert result.history.lrs == pytest.approx([0.1 * (1 - t / 20) for t in range(20)])


@pytest.mark.parametrize("numbers", [{}, {"seconds": 1.0, "forward_equivalents": 3.0}, {"seconds": float("inf")}])
def test_a_budget_is_one_number(numbers: Any) -> None:
    with pytest.raises(SettingError, match="one finite number"):
        Budget(**numbers)


# -------------------------------------------------------------------- the loop


def test_every_epoch_has_an_order_of_its_own_and_every_sample_once() -> None:
    seen: list[float] = []

    def noting(model: nn.Module, batch: Any) -> Tensor:
        seen.extend(batch[0][:, 0].tolist())
        return loss_fn(model, batch)

    fit(make_training(data=shuffled(), loss_fn=noting), Schedule("constant"), total_steps=21, progress=False)
    epochs = [seen[:21], seen[21:42], seen[42:]]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_the_same_seed_flies_the_same() -> None:
    one, two = stochastic(), None
    first = fit(one, SEARCHING, total_steps=STEPS, progress=False)
    two = stochastic()
    second = fit(two, SEARCHING, total_steps=STEPS, progress=False)
    assert first.history.losses == second.history.losses and same_tensors(weights(one.model), weights(two.model))
    other = stochastic(seed=1)
    assert fit(other, SEARCHING, total_steps=STEPS, progress=False).history.losses != first.history.losses


def test_fit_can_be_continued_in_the_users_own_loop() -> None:
    training = make_training()
    result = fit(training, Schedule("linear", lr=0.4), total_steps=3, progress=False)
    training.step(make_batches()[0])
    result.pilot.step(1.0)
    assert result.pilot.done and len(result.pilot.history.lrs) == 4


def test_on_step_is_told_every_kept_step_once_and_before_the_next_measurement() -> None:
    seen: list[tuple[int, float, float, float]] = []

    def on_step(pilot: Any, loss: Tensor) -> None:
        seen.append((pilot.last_epoch, pilot.history.lrs[-1], float(loss), pilot.cost.forward_equivalents))

    result = fit(make_training(), SEARCHING, total_steps=STEPS, progress=False, on_step=on_step)
    steps, lrs, losses, costs = (list(column) for column in zip(*seen, strict=True))
    assert steps == list(range(1, STEPS + 1))
    assert lrs == result.history.lrs and losses == pytest.approx(result.history.losses)
    assert costs == sorted(costs) and costs[4] < costs[5], "the Trial after step 5 is charged to step 6"


def test_a_model_in_eval_mode_is_trained_in_train_mode() -> None:
    training = make_training(model=make_model(dropout=0.5))
    training.model.eval()
    fit(training, Schedule("constant"), total_steps=2, progress=False)
    assert training.model.training


def test_batches_without_a_step_do_not_go_on_for_ever() -> None:
    training = make_training()
    training.step_fn = lambda batch: loss_fn(training.model, batch)
    before = weights(training.model)
    with pytest.raises(StepError, match=r"must end in an optimizer step.*got none in 200 batches"):
        fit(training, Schedule("constant"), total_steps=5, progress=False)
    assert same_tensors(before, weights(training.model))


def test_steps_skipped_by_a_scaler_are_not_counted() -> None:
    training = make_training()
    steps = OverflowingSteps(training)
    result = fit(training, Schedule("constant"), total_steps=4, progress=False)
    assert result.steps == steps.taken == 4 and steps.scaler.get_scale() < 2.0**127


@pytest.mark.parametrize("data", [lambda: iter([]), lambda: iter(())])
def test_data_that_runs_dry_is_named(data: Any) -> None:
    with pytest.raises(DataError, match=r"train_data must yield at least one batch"):
        fit(make_training(data=data), Schedule("constant"), total_steps=3, progress=False)


def test_nothing_is_printed_and_no_file_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fit(make_training(), SEARCHING, total_steps=3)
    assert capsys.readouterr() == ("", "") and not list(tmp_path.iterdir())


# ------------------------------------------------------------------ resuming


def stop_before_step(training: Training, step: int) -> None:
    """Let the training of so many kept steps go on and then interrupt it, as Ctrl-C between two steps does."""
    whole, taken = training.step, 0

    def counted(batch: Any) -> Tensor:
        nonlocal taken
        if not training.probing:
            taken += 1
        if taken > step:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(batch)

    training.step = counted  # type: ignore[method-assign]


def final(training: Training) -> dict[str, Any]:
    seen = everything(training.model, training.raw_optimizer)
    return {k: v for k, v in seen.items() if k not in ("grads", "grad_identity", "hooks", "patched", "lr_identity")}


class GloballyShuffled(Sampler[int]):
    """Draws the order of an epoch from the global generator."""

    def __len__(self) -> int:
        return 21

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(21).tolist())


def drawn_from_global_generators() -> Callable[[], Iterator[Any]]:
    inputs, targets = make_samples(21)

    def epoch() -> Iterator[Any]:
        order = random.sample(range(21), 21)
        for i in range(0, 21, 3):
            yield inputs[order[i : i + 3]], targets[order[i : i + 3]]

    return epoch


DATA: dict[str, Callable[[], Any]] = {
    "shuffling": shuffled,
    "list": lambda: make_batches(7, size=3),
    "callable": drawn_from_global_generators,
    "sampler": lambda: DataLoader(TensorDataset(*make_samples(21)), batch_size=3, sampler=GloballyShuffled()),
}


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("stop_at", [0, 3, 7, 10, 16])
@pytest.mark.parametrize("policy", [SEARCHING, AVERAGED], ids=["searching", "averaged"])
def test_resume_equals_uninterrupted(tmp_path: Path, data: str, policy: Listed, stop_at: int) -> None:
    """Also in the middle of an epoch of seven batches, with dropout and every generator in use."""
    straight = stochastic(DATA[data]())
    expected = fit(straight, policy, total_steps=STEPS, progress=False)
    there = final(straight)
    checkpoint = tmp_path / "state.pt"
    stopped = stochastic(DATA[data]())
    stop_before_step(stopped, stop_at)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, policy, total_steps=STEPS, progress=False, checkpoint=checkpoint)
    resumed = stochastic(DATA[data]())
    torch.rand(7), random.random(), np.random.rand(3)
    result = fit(resumed, policy, total_steps=STEPS, progress=False, checkpoint=checkpoint, resume=True)
    assert result.history.lrs == expected.history.lrs and result.history.losses == expected.history.losses
    assert_equal(final(resumed), there)
    assert result.steps == STEPS


@pytest.mark.parametrize(
    "at",
    [
        "Trial:1",
        "Trial:2",
        "Mark:1",
        "Evaluate:1",
        "Rewind:1",
        "Line:1",
    ],
)
def test_ctrl_c_in_a_measurement_loses_nothing(tmp_path: Path, at: str) -> None:
    straight = stochastic()
    expected = fit(straight, SEARCHING, total_steps=STEPS, progress=False)
    there = final(straight)
    kind, number = at.split(":")
    seen = 0

    def interrupt(event: Event) -> None:
        nonlocal seen
        seen += event.phase == "begin" and type(event.action).__name__ == kind
        if seen == int(number):
            raise KeyboardInterrupt

    checkpoint = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(stochastic(), SEARCHING, total_steps=STEPS, progress=False, checkpoint=checkpoint, on_event=interrupt)
    resumed = stochastic()
    result = fit(resumed, SEARCHING, total_steps=STEPS, progress=False, checkpoint=checkpoint, resume=True)
    assert result.history.lrs == expected.history.lrs
    assert_equal(final(resumed), there)


@pytest.mark.parametrize("batches", [1, 20])
def test_a_step_that_fails_leaves_the_last_whole_checkpoint(tmp_path: Path, batches: int) -> None:
    """A loss that raises after optimizer.step() has run: that state must never reach the file."""
    training = make_training(data=make_batches(batches))
    taken = 0

    def step_fn(batch: Any) -> Tensor:
        nonlocal taken
        training.optimizer.zero_grad()
        loss = loss_fn(training.model, batch)
        loss.backward()
        training.optimizer.step()
        taken += 1
        if taken == 3:
            os.kill(os.getpid(), signal.SIGINT)
        if taken == 4:
            raise RuntimeError("theirs")
        return loss

    training.step_fn = step_fn
    checkpoint = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        fit(training, Schedule("constant"), total_steps=9, progress=False, checkpoint=checkpoint)
    written = checkpoint.read_bytes()
    with pytest.raises(RuntimeError, match="theirs"):
        fit(training, Schedule("constant"), total_steps=9, progress=False, checkpoint=checkpoint, resume=True)
    assert checkpoint.read_bytes() == written and [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_an_error_between_two_steps_is_saved_and_can_be_resumed(tmp_path: Path) -> None:
    def failing(event: Event) -> None:
        if event.phase == "begin" and event.step == 5 and isinstance(event.action, Trial):
            raise RuntimeError("theirs")

    checkpoint = tmp_path / "state.pt"
    straight = stochastic()
    expected = fit(straight, SEARCHING, total_steps=STEPS, progress=False)
    there = final(straight)
    with pytest.raises(RuntimeError, match="theirs"):
        fit(stochastic(), SEARCHING, total_steps=STEPS, progress=False, checkpoint=checkpoint, on_event=failing)
    resumed = stochastic()
    result = fit(resumed, SEARCHING, total_steps=STEPS, progress=False, checkpoint=checkpoint, resume=True)
    assert result.history.lrs == expected.history.lrs
    assert_equal(final(resumed), there)


def test_a_finished_fit_that_is_resumed_does_nothing(tmp_path: Path) -> None:
    training = stochastic()
    fit(training, SEARCHING, total_steps=STEPS, progress=False, checkpoint=tmp_path / "state.pt")
    there = final(training)
    again = stochastic()
    result = fit(
        again, SEARCHING, total_steps=STEPS, progress=False, checkpoint=tmp_path / "state.pt", resume=True
    )  # fmt: skip
    assert result.steps == STEPS
    assert_equal(final(again), there)


def test_resume_without_a_file_starts_anew(tmp_path: Path) -> None:
    result = fit(
        make_training(), SEARCHING, total_steps=3, progress=False, checkpoint=tmp_path / "new" / "s.pt", resume=True
    )
    assert result.steps == 3 and (tmp_path / "new" / "s.pt").exists()


def test_an_existing_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.pt"
    checkpoint.write_bytes(b"precious")
    training = make_training()
    with (
        untouched(training.model, training.raw_optimizer),
        pytest.raises(SettingError, match=r"must not exist yet unless resume=True, got .*state\.pt\. Pass resume=True"),
    ):
        fit(training, SEARCHING, total_steps=3, progress=False, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == b"precious"


def wider() -> Training:
    return make_training(model=nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)))


def averaged() -> Training:
    ema = torch.optim.swa_utils.AveragedModel(make_model())
    return make_training(state={"ema": ema})


@pytest.mark.parametrize(
    ("spoil", "make", "policy", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), make_training, SEARCHING, r"whole file .*state\.pt"),
        (lambda path: path.write_bytes(b""), make_training, SEARCHING, r"whole file .*state\.pt"),
        (
            lambda path: torch.save({"model": 3}, path),
            make_training,
            SEARCHING,
            r"whole file .*no budget, .*pilot",
        ),
        (lambda path: torch.save([1, 2], path), make_training, SEARCHING, r"whole file"),
        (lambda path: None, wider, SEARCHING, r"same training, but the shape of parameter 0 was \(8, 4\)"),
        (lambda path: None, averaged, SEARCHING, r"same training, but the shape of parameter 4 was None"),
        (lambda path: None, make_training, Schedule("constant"), r"with its own policy"),
    ],
    ids=["cut", "empty", "another_file", "a_list", "another_model", "more_state", "another_policy"],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_nothing_is_loaded(
    tmp_path: Path, spoil: Any, make: Any, policy: Any, words: str
) -> None:
    checkpoint = tmp_path / "state.pt"
    fit(make_training(), SEARCHING, total_steps=3, progress=False, checkpoint=checkpoint)
    spoil(checkpoint)
    written = checkpoint.read_bytes()
    training = make()
    with untouched(training.model), pytest.raises(StateError, match=words):
        fit(training, policy, total_steps=3, progress=False, checkpoint=checkpoint, resume=True)
    assert not training.raw_optimizer.state and checkpoint.read_bytes() == written


def test_extra_state_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    def build() -> tuple[Training, Any]:
        training = stochastic()
        ema = torch.optim.swa_utils.AveragedModel(training.model)
        plain = training.step

        def step_fn(batch: Any) -> Tensor:
            training.step_fn = None
            loss = plain(batch)
            training.step_fn = step_fn
            ema.update_parameters(training.model)
            return loss

        training.step_fn, training.extra_state = step_fn, {"ema": ema}
        return training, ema

    straight, expected = build()
    fit(straight, Schedule("cosine"), total_steps=10, progress=False)
    stopped, _ = build()
    stop_before_step(stopped, 4)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, Schedule("cosine"), total_steps=10, progress=False, checkpoint=tmp_path / "s.pt")
    resumed, ema = build()
    fit(resumed, Schedule("cosine"), total_steps=10, progress=False, checkpoint=tmp_path / "s.pt", resume=True)
    assert_equal(ema.state_dict(), expected.state_dict())


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
import time, torch
torch.set_num_threads(1)
from test_fitting import SEARCHING, stochastic
from lrpilot import fit
training = stochastic()
plain = training.loss_fn
def slow(model, batch):
    print("step", flush=True)
    time.sleep(0.02)
    return plain(model, batch)
training.loss_fn = slow
fit(training, SEARCHING, total_steps=17, progress=False, checkpoint=sys.argv[1])
"""


def test_ctrl_c_from_outside_leaves_a_checkpoint_that_can_be_resumed(tmp_path: Path) -> None:
    straight = stochastic()
    expected = fit(straight, SEARCHING, total_steps=STEPS, progress=False)
    there = final(straight)
    checkpoint = tmp_path / "state.pt"
    command = [sys.executable, "-c", SCRIPT.format(tests=str(Path(__file__).parent)), str(checkpoint)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(40):
            assert process.stdout.readline() == "step\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and "KeyboardInterrupt" in errors
    state = torch.load(checkpoint, weights_only=True)
    assert 0 < state["pilot"]["flight"]["state"]["step"] < STEPS
    resumed = stochastic()
    result = fit(resumed, SEARCHING, total_steps=STEPS, progress=False, checkpoint=checkpoint, resume=True)
    assert result.history.lrs == expected.history.lrs
    assert_equal(final(resumed), there)


def test_a_policy_that_breaks_its_contract_is_named() -> None:
    with pytest.raises(PolicyError, match="marks are"):
        fit(make_training(), Listed((Rewind("never set"),)), total_steps=3, progress=False)


# ------------------------------------------------------------ dear measurements


def warnings(result: Any) -> list[str]:
    return [event.message for event in result.history.events if event.phase == "warning"]


def test_a_small_budget_that_goes_into_measurements_is_told_of_once(tmp_path: Path) -> None:
    told: list[Event] = []
    dear = WeightedFactors(window=4, batches=4)  # 24 forwards for every four steps of 3
    result = fit(make_training(), dear, budget=300, progress=False, on_event=told.append, checkpoint=tmp_path / "a")
    (said,) = warnings(result)
    assert "of the budget" in said and said.endswith("[probes]") and said in [event.message for event in told]
    resumed = fit(make_training(), dear, budget=300, progress=False, checkpoint=tmp_path / "a", resume=True)
    assert warnings(resumed) == [said]


@pytest.mark.parametrize("length", [{"total_steps": 60}, {"budget": 3000}])
def test_where_measurements_are_cheap_or_not_part_of_the_length_nothing_is_said(length: Any) -> None:
    policy = WeightedFactors(window=4, batches=4) if "total_steps" in length else WeightedFactors(window=200)
    assert warnings(fit(make_training(), policy, **length, progress=False)) == []
