"""Going on from a Trial: bitwise what training on its batches gives, paid for once, saved and resumed."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lrpilot import AutoLRS, Pilot, Training, fit
from lrpilot.core.actions import Action, Continue, Evaluate, Mark, Rewind, Train, Trial
from lrpilot.core.history import Event
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import PolicyError, StateError
from lrpilot.policies.autolrs import LRStage
from lrpilot.training.bound.state import SavedState
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import (
    CLASSES,
    FEATURES,
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
    weights,
)

STEPS = 5
SEED = 4


class Counting(nn.Module):
    """Keeps a counter and a memory as plain attributes, and a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(FEATURES, CLASSES)
        self.calls, self.seen = 0, [0.0]
        self.noise = torch.Generator().manual_seed(4)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        out = self.inner(x) * (1 + 0.01 * self.calls) + 0.1 * torch.randn(CLASSES, generator=self.noise)
        if self.training:
            self.seen.append(float(out.detach().mean()))
        return out

    def attributes(self) -> list[Any]:
        return [self.calls, self.seen, self.noise.get_state().tolist()]


MODELS: dict[str, Callable[[], nn.Module]] = {
    "dropout and batch norm": lambda: make_model(dropout=0.3, batch_norm=True),
    "attributes": Counting,
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "adam fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "tensor lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
}


def build(model: str = "dropout and batch norm", optimizer: str = "sgd", **options: Any) -> Training:
    net = MODELS[model]()
    options.setdefault("val", make_batches(2, seed=5))
    return make_training(model=net, optimizer=OPTIMIZERS[optimizer](net.parameters()), seed=SEED, **options)


def kept(steps: int = STEPS, lr: float = 0.05, key: str = "a", **options: Any) -> Trial:
    return Trial(constant(lr), steps, keep=key, **options)


def train(steps: int, lr: float = 0.02) -> Train:
    return Train(constant(lr), steps)


def fly(training: Training, *actions: Action, total: int | None = None, **options: Any) -> Any:
    length = {"total_steps": total} if total is not None else {}
    torch.manual_seed(9)
    return fit(training, Listed(actions), progress=False, continue_trials=True, **length, **options)


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def state_of(training: Training) -> dict[str, Any]:
    seen = everything(training.model, training.raw_optimizer)
    kept = {name: seen[name] for name in ("parameters", "buffers", "optimizer", "modes")}
    kept["attributes"] = training.model.attributes() if isinstance(training.model, Counting) else None
    for group in kept["optimizer"]["param_groups"]:
        group.pop("initial_lr", None)  # which a scheduler notes
        group["lr"] = float(group["lr"])
    return kept


# ---------------------------------------------------------------- bit for bit


@pytest.mark.parametrize("evaluate", ["no", "end", "average"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_is_bitwise_what_training_on_the_trials_batches_gives(model: str, optimizer: str, evaluate: Any) -> None:
    """After its steps at constant lr: weights, buffers, optimizer state and the modules' own state."""
    flown, plain = build(model, optimizer), build(model, optimizer)
    result = fly(flown, kept(evaluate=evaluate), kept(lr=0.2, key="b"), Continue("a"), total=STEPS)
    seed_everything(SEED)
    losses = []
    for batch in make_batches()[:STEPS]:
        for group in plain.raw_optimizer.param_groups:
            group["lr"] = torch.tensor(0.05) if isinstance(group["lr"], Tensor) else 0.05
        losses.append(float(plain.step(batch)))
    assert_equal(state_of(flown), state_of(plain))
    assert result.steps == STEPS and result.history.lrs == [0.05] * STEPS and result.history.losses == losses
    assert result.cost.trial_steps == STEPS and result.pilot.last_epoch == STEPS, "the other Trial was a measurement"


def test_two_in_a_row_are_what_training_on_the_batches_of_both_gives() -> None:
    """The second begins where the first ended in the Trials' own data, and draws masks of its own."""
    flown, plain = build(), build()
    fly(flown, kept(4), Continue("a"), kept(5, key="b"), kept(5, key="a", lr=0.3), Continue("b"), total=9)
    batches = (make_batches() * 2)[:9]
    for first, count in ((0, 4), (4, 5)):
        seed_everything(SEED + first)
        for batch in batches[first : first + count]:
            plain.raw_optimizer.param_groups[0]["lr"] = 0.05
            plain.step(batch)
    assert_equal(state_of(flown), state_of(plain))


def test_the_loops_own_data_and_generators_have_not_moved() -> None:
    def masks_and_batches(*actions: Action) -> tuple[list[Any], Tensor]:
        training, seen = build(data=make_batches(9)), []
        step = training.step

        def note(batch: Any) -> Tensor:
            if not training.probing:
                seen.append((batch[0].clone(), torch.get_rng_state()))
            return step(batch)

        training.step = note  # type: ignore[method-assign]
        fly(training, *actions, total=12)
        return seen, torch.get_rng_state()

    alone, _ = masks_and_batches(train(12))
    continued, _ = masks_and_batches(train(2), kept(STEPS), Continue("a"), train(12 - 2 - STEPS))
    assert len(continued) == 12 - STEPS
    assert_equal(continued, alone[: len(continued)])


def test_a_kept_trial_that_is_not_continued_leaves_no_trace() -> None:
    one, other = build(), build()
    result = fly(one, train(3), kept(), kept(key="b", evaluate="average"), train(9), total=12)
    plain = fly(other, train(3), Trial(constant(0.05), 2), train(9), total=12)
    assert_equal(state_of(one), state_of(other))
    assert result.history.losses == plain.history.losses and not result.pilot.driver.substrate.ends.state_dict()["held"]


def test_a_stage_that_goes_on_from_it_can_be_taken_back_to_its_beginning() -> None:
    training = build()
    before = weights(training.model)
    fly(training, kept(), Mark("m"), Continue("a"), Rewind("m"), total=STEPS)
    assert same_tensors(weights(training.model), before)


def test_steps_that_a_scaler_skips_are_no_kept_steps() -> None:
    training = build()
    steps = OverflowingSteps(training)
    result = fly(training, kept(12), Continue("a"), train(20), total=20)
    (moved,) = [e for e in result.history.events if isinstance(e.action, Continue)]
    assert 0 < moved.step < 12 and result.steps == 20 == len(result.history.lrs)
    assert steps.scaler.get_scale() < 2.0**127, "the scale is the Trial's"
    skipped = 12 - moved.step
    assert result.cost.trial_steps == skipped and steps.taken == 20, "each step once"


def test_ctrl_c_while_going_on_waits_until_all_of_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    training = build("attributes")
    substrate = LiveSubstrate(training)
    before, rewind = weights(training.model), SavedState.rewind
    substrate.trial(kept())

    def interrupted(self: SavedState, training: Training) -> None:
        signal.raise_signal(signal.SIGINT)
        rewind(self, training)

    monkeypatch.setattr(SavedState, "rewind", interrupted)
    with pytest.raises(KeyboardInterrupt):
        substrate.continue_trial("a")
    assert not same_tensors(weights(training.model), before)
    assert training.model.calls == STEPS == substrate.ends.passed


# ------------------------------------------------------------------- the bill


class Tally:
    """A loss that counts its passes by samples, and knows whether gradients follow."""

    def __init__(self) -> None:
        self.forwards = self.backwards = 0.0

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        loss = loss_fn(model, batch)
        share = len(batch[0]) / 8
        self.forwards += share
        self.backwards += share if torch.is_grad_enabled() else 0.0
        return loss

    @property
    def forward_equivalents(self) -> float:
        return self.forwards + 2 * self.backwards


def ragged(sizes: tuple[int, ...]) -> list[Any]:
    inputs, targets = make_samples(sum(sizes))
    return list(zip(inputs.split(sizes), targets.split(sizes), strict=True))


SEARCH = (
    kept(6),
    kept(4, key="b", evaluate="end"),
    Continue("a"),
    train(5),
    Evaluate(),
    kept(7, key="b"),
    Trial(constant(0.3), 3),
    Continue("b"),
    train(1000),
)


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 300), st.sampled_from([(8,), (8, 8, 8), (8, 8, 3), (8, 2), (8, 4, 8, 2)]))
def test_a_budget_is_kept_and_every_pass_is_counted_once(budget: int, sizes: tuple[int, ...]) -> None:
    tally = Tally()
    training = make_training(data=ragged(sizes), val=make_batches(2, seed=5), loss_fn=tally)
    result = fly(training, *SEARCH, budget=float(budget))
    assert budget - 3 < result.total_compute <= budget
    assert len(result.history.lrs) == len(result.history.losses) == result.steps
    if set(sizes) == {8}:  # a kept step counts 3 whatever its batch
        assert result.total_compute == tally.forward_equivalents


def test_what_is_continued_is_not_charged_twice() -> None:
    budget = 3.0 * 60
    once = fly(build(), kept(20), Continue("a"), train(1000), budget=budget)
    thrown_away = fly(build(), Trial(constant(0.05), 20), train(1000), budget=budget)
    assert once.total_compute == budget == thrown_away.total_compute
    assert once.steps == 58 and thrown_away.steps == 38, "two steps more prove that the training works"
    assert once.cost.trials == 1 and once.cost.trial_steps == 0


def test_a_budget_in_seconds_gives_back_the_seconds_of_the_steps() -> None:
    one = fly(build(), train(1), kept(30), Continue("a"), total=40)
    two = fly(build(), train(1), kept(30), total=40)
    assert 0 <= one.cost.seconds < two.cost.seconds


# ------------------------------------------------------------------ resuming

RESUMED = (
    train(3),
    kept(4, evaluate="average"),
    kept(4, key="b", lr=0.1),
    Mark("m"),
    Continue("b"),
    train(4),
    kept(3, key="b"),
    Continue("b"),
    Train(ramp(0.02, 0.001, 99), 99),
)


def test_ctrl_c_in_any_measurement_loses_nothing(tmp_path: Path) -> None:
    straight = build("dropout and batch norm", "adamw")
    expected = fly(straight, *RESUMED, total=20)
    measurements = sum(not isinstance(e.action, Train) for e in expected.history.events)
    assert measurements == 6
    for phase in ("begin", "end"):
        for at in range(measurements):
            checkpoint = tmp_path / f"{phase}{at}.pt"
            seen = 0

            def interrupt(event: Event, phase: str = phase, at: int = at) -> None:
                nonlocal seen
                if event.phase == phase and not isinstance(event.action, Train):
                    seen += 1
                    if seen == at + 1:
                        raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                fly(build(optimizer="adamw"), *RESUMED, total=20, checkpoint=checkpoint, on_event=interrupt)
            resumed = build(optimizer="adamw")
            result = fly(resumed, *RESUMED, total=20, checkpoint=checkpoint, resume=True)
            assert result.history.lrs == expected.history.lrs, (phase, at)
            assert result.history.losses == expected.history.losses
            assert_equal(state_of(resumed), state_of(straight))


def test_a_fit_is_resumed_with_the_rule_that_it_began_with(tmp_path: Path) -> None:
    for granted in (False, True):
        checkpoint = tmp_path / f"{granted}.pt"
        policy = Listed((train(9),))
        fit(
            build(), policy, total_steps=3, progress=False, checkpoint=checkpoint, continue_trials=granted
        )  # fmt: skip
        with pytest.raises(StateError, match=f"own continue_trials, saved was {granted}, got {not granted}"):
            fit(
                build(), policy, total_steps=3, progress=False, checkpoint=checkpoint, resume=True,
                continue_trials=not granted,
            )  # fmt: skip
        written = torch.load(checkpoint, weights_only=True)["pilot"]
        assert written["flight"]["state"]["continues"] is granted and not written["substrate"]["ends"]["held"]


# ------------------------------------------------------------- where it holds


def test_in_a_users_own_loop_no_trial_is_kept() -> None:
    training = build()
    pilot = Pilot(training, Listed((kept(), Continue("a"))), 10)
    with pytest.raises(PolicyError, match="Trials are rewound unless"):
        pilot.start()
    assert pilot.last_epoch == 0 and pilot.cost.trials == 0


def test_a_fit_does_not_grant_it_unasked() -> None:
    with pytest.raises(PolicyError, match="asked to keep one as 'a'"):
        fit(build(), Listed((kept(),)), total_steps=10, progress=False)


def test_more_steps_than_are_left_are_refused_before_they_are_flown() -> None:
    training = build()
    with pytest.raises(PolicyError, match="got 5 steps and 4 left"):
        fly(training, train(3), kept(5), total=7)
    assert training.raw_optimizer.param_groups[0]["lr"] == 0.02


# ------------------------------------------------------------------- AutoLRS

PUBLISHED = AutoLRS.paper(1e-2, 1.0, tau=20, max_tau=40)


def stages(result: Any) -> tuple[LRStage, ...]:
    found: tuple[LRStage, ...] = result.pilot.result
    return found


def test_published_stages_go_on_from_the_trial_that_chose_their_lr() -> None:
    result = fit(build(), PUBLISHED, total_steps=100, progress=False, continue_trials=True)
    assert [(s.begin, s.steps, s.continued) for s in stages(result)] == [(0, 20, 2), (20, 40, 4), (60, 40, 4)]
    assert result.history.lrs == [s.lr for s in stages(result) for _ in range(s.steps)]
    events = result.history.events
    for stage in stages(result):
        assert stage.search is not None and stage.lr == stage.lrs[stage.scores.index(min(stage.scores))]
        seen = [e.observation.losses for e in events if isinstance(e.action, Trial) and e.action.shape(0) == stage.lr]
        assert result.history.losses[stage.begin : stage.begin + stage.continued] in [list(one) for one in seen]
    assert result.cost.trial_steps == 10 * (2 + 4 + 4) - (2 + 4 + 4)


@pytest.mark.parametrize("budget", [300.0, 600.0])
def test_under_a_budget_the_steps_that_it_saves_are_trained(budget: float) -> None:
    plain, continuing = (
        fit(build(), PUBLISHED, budget=budget, progress=False, continue_trials=granted) for granted in (False, True)
    )
    assert continuing.coasts_from is None
    assert budget - 3 < continuing.total_compute <= budget
    assert continuing.steps >= plain.steps and continuing.cost.trial_steps < plain.cost.trial_steps
    begins = [stage.begin for stage in stages(continuing)]
    assert begins == [sum(stage.steps for stage in stages(continuing)[:i]) for i in range(len(begins))]


@pytest.mark.parametrize("stop_at", [1, 2, 9, 11, 22])
def test_autolrs_resumes_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    """Interrupted before any, the second and a late Trial of a search, and where a stage goes on from one."""
    options: dict[str, Any] = {"total_steps": 60, "progress": False, "continue_trials": True}
    straight = build()
    expected = fit(straight, PUBLISHED, **options)
    seen = 0

    def interrupt(event: Event) -> None:
        nonlocal seen
        seen += event.phase == "begin"
        if seen == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(build(), PUBLISHED, checkpoint=tmp_path / "c.pt", on_event=interrupt, **options)
    resumed = build()
    result = fit(resumed, PUBLISHED, checkpoint=tmp_path / "c.pt", resume=True, **options)
    assert result.history.lrs == expected.history.lrs
    assert_equal(state_of(resumed), state_of(straight))
