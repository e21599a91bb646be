"""A loss that is no number is not yet a divergence: who is to blame, and which batches weigh nothing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from lrpilot import AutoLRS, Autopilot, LRTuner, Pilot, Training, WeightedFactors, find_lr
from lrpilot.core.actions import Evaluate, Line, Trial
from lrpilot.core.policy import Policy
from lrpilot.core.shape import constant
from lrpilot.core.stop import StopReason
from lrpilot.errors import DataError, LossError
from lrpilot.flight.substrate import TrialSeen
from lrpilot.training.bound.probe_data import LeftOut
from lrpilot.training.measure.soundness import is_sound
from lrpilot.training.measure.substrate import LiveSubstrate
from small_training import loss_fn, make_batches, make_model, make_training, untouched

Batch = tuple[Tensor, Tensor]
IGNORED = -100  # of cross entropy


def ignored(batch: Batch) -> Batch:
    """Its loss is no number, and its gradients are zero."""
    return batch[0], torch.full_like(batch[1], IGNORED)


def empty(batch: Batch) -> Batch:
    return batch[0][:0], batch[1][:0]


def poisoned(batch: Batch) -> Batch:
    """Its step takes the weights with it."""
    return torch.full_like(batch[0], math.nan), batch[1]


KINDS: dict[str, Callable[[Batch], Batch]] = {"ignored": ignored, "empty": empty, "poisoned": poisoned}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def spoiled(at: set[int], kind: Callable[[Batch], Batch], *, count: int = 12, seed: int = 1) -> list[Batch]:
    return [kind(batch) if i in at else batch for i, batch in enumerate(make_batches(count, seed=seed))]


def without(at: set[int], *, count: int = 12, seed: int = 1) -> list[Batch]:
    return [batch for i, batch in enumerate(make_batches(count, seed=seed)) if i not in at]


VAL = make_batches(3, seed=5)


def flown(substrate: LiveSubstrate, trial: Trial) -> tuple[TrialSeen, int]:
    """What a Trial sees in the end, and the attempts it took."""
    for attempt in range(1, 20):
        seen = substrate.trial(trial)
        if seen is not None:
            return seen, attempt
    raise AssertionError("it is left out again and again")


# ---------------------------------------------------------------------- Trials


@kinds
@pytest.mark.parametrize("at", [{0}, {3}, {2, 5}, {0, 1, 2}])
def test_a_trial_is_that_of_the_data_without_its_bad_batches(kind: Any, at: set[int]) -> None:
    trial = Trial(constant(0.1), 6, evaluate="end")
    training = make_training(data=spoiled(at, kind), val=VAL)
    substrate = LiveSubstrate(training)
    with untouched(training.model, training.raw_optimizer):
        seen, attempts = flown(substrate, trial)
    assert seen == LiveSubstrate(make_training(data=without(at), val=VAL)).trial(trial)
    assert attempts <= 1 + len(at)
    again, attempts = flown(substrate, trial)
    assert again == seen and attempts == 1, "what was left out stays so"


def test_an_attempt_that_met_one_is_charged() -> None:
    substrate = LiveSubstrate(make_training(data=spoiled({3}, poisoned), val=VAL))
    flown(substrate, Trial(constant(0.1), 6))
    # the proofs, four steps, the batch and a witness at the weights before, six steps
    assert substrate.cost.backwards == 2 + 4 + 2 + 6


def test_weights_that_are_driven_apart_are_the_lrs_fault_and_a_batch_that_gave_a_number_is_not_asked() -> None:
    training = make_training(loss_fn=lambda model, batch: model(batch[0]).square().mean())
    substrate = LiveSubstrate(training)
    substrate.trial(Trial(constant(0.01), 9))
    before = substrate.cost
    seen, attempts = flown(substrate, Trial(constant(1e30), 9))
    assert seen.stop is StopReason.NON_FINITE and attempts == 1
    assert (substrate.cost - before).backwards == len(seen.losses)


def test_finite_weights_that_are_far_too_large_are_too() -> None:
    """The step leaves out gradients that are no numbers, and so the weights stay finite for ever."""
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(batch: Batch) -> Tensor:
        optimizer.zero_grad()
        loss = model(batch[0]).square().sum() ** 8
        loss.backward()
        if all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None):
            optimizer.step()
        return loss.detach()

    training = make_training(model=model, optimizer=optimizer, step_fn=step, val=VAL)
    seen, _ = flown(LiveSubstrate(training), Trial(constant(1e12), 9))
    assert seen.stop is StopReason.NON_FINITE and not training.left_out.places


def test_where_no_batch_gives_a_number_the_first_error_is_the_trainings() -> None:
    training = make_training(data=spoiled(set(range(12)), poisoned), val=VAL)
    with untouched(training.model, training.raw_optimizer), pytest.raises(LossError, match="finite at the start"):
        training.check()


@kinds
def test_find_lr_finds_what_it_finds_without_them(kind: Any) -> None:
    at = {1, 7}
    training = make_training(data=spoiled(at, kind), val=VAL)
    first, found = (find_lr(training, progress=False) for _ in range(2))
    clean = find_lr(make_training(data=without(at), val=VAL), progress=False)
    assert (found.lr, found.code, found.losses) == (clean.lr, clean.code, clean.losses)
    assert first.lr is not None and clean.lr is not None and 1 / 3 < first.lr / clean.lr < 3, "it had less to spend"
    assert first.cost.steps < 160


# ------------------------------------------------------------- the user's code


class Gaussian(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.out = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.out(inputs)
        return out


def checked_density(model: nn.Module, batch: Batch) -> Tensor:
    """As people write it: the distribution checks its arguments, and raises a ValueError where they are none."""
    mean, log_scale = model(batch[0]).unbind(1)
    density: Tensor = torch.distributions.Normal(mean, log_scale.exp()).log_prob(batch[0][:, 0])
    return -density.mean()


def density_training(**options: Any) -> Training:
    model = Gaussian()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return make_training(model=model, optimizer=optimizer, loss_fn=checked_density, val=VAL, **options)


@pytest.mark.parametrize("lr", [1e6, 1e20])
def test_a_check_that_raises_at_a_huge_lr_is_a_divergence(lr: float) -> None:
    training = density_training()
    with untouched(training.model, training.raw_optimizer):
        seen, attempts = flown(LiveSubstrate(training), Trial(constant(lr), 9, evaluate="end"))
    assert seen.stop is not None and seen.held_out is None and attempts == 1
    found = find_lr(training, progress=False, max_lr=1e6)
    assert found.lr is not None and found.lr < 1.0


def test_so_is_one_that_raises_where_the_end_is_judged() -> None:
    training = density_training()
    seen, _ = flown(LiveSubstrate(training), Trial(constant(1e20), 1, evaluate="end"))
    assert seen.stop is StopReason.RAISED and seen.held_out is None and len(seen.losses) == 1
    read, _ = flown(LiveSubstrate(training), Trial(constant(1e20), 9, read_every=1))
    assert read.stop is StopReason.RAISED and read.readings == ()


class OwnError(Exception):
    pass


@pytest.mark.parametrize("at", [0, 2])
def test_what_raises_at_the_weights_before_too_is_the_users_own_and_unchanged(at: int) -> None:
    mine, bad = OwnError("label 7 of 3"), make_batches(12)[at][0]

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        if torch.equal(batch[0], bad):
            raise mine
        return loss_fn(model, batch)

    training = make_training(loss_fn=loss, data=make_batches(12), val=VAL)
    with untouched(training.model, training.raw_optimizer), pytest.raises(OwnError) as raised:
        LiveSubstrate(training).trial(Trial(constant(1e20), 6))
    assert raised.value is mine and raised.value.__cause__ is None


@pytest.mark.parametrize("error", [MemoryError("no memory"), OwnError("once")], ids=["memory", "once"])
def test_what_does_not_come_again_or_is_for_want_of_memory_is_the_users_own(error: Exception) -> None:
    calls = []

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        calls.append(1)
        large = model[0].weight.abs().max() > 5
        if large and (isinstance(error, MemoryError) or calls.count(1) == 4):
            raise error
        return loss_fn(model, batch)

    training = make_training(loss_fn=loss, data=make_batches(12), val=VAL)
    with untouched(training.model, training.raw_optimizer), pytest.raises(type(error)) as raised:
        LiveSubstrate(training).trial(Trial(constant(1e4), 6))
    assert raised.value is error


# ----------------------------------------------------------------------- Lines


def line_of(training: Training, lr: float, line: Line) -> tuple[tuple[tuple[float, ...], ...], LiveSubstrate]:
    """A Line along a step of the user's own."""
    substrate = LiveSubstrate(training)
    substrate.lrs.set(lr)
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(make_batches(1, seed=9)[0])
    substrate.after_kept_step()
    return substrate.line(line), substrate


@kinds
@pytest.mark.parametrize("factors", [(0.5, 1.0, 2.0), (1.0,)])
@pytest.mark.parametrize(("at", "batches"), [({1}, 4), ({0}, 1), ({0, 1, 3}, 2)])
def test_a_line_is_that_of_the_data_without_its_bad_batches(
    kind: Any, factors: tuple[float, ...], at: set[int], batches: int
) -> None:
    training = make_training(data=spoiled(at, kind), val=VAL)
    losses, substrate = line_of(training, 0.1, Line(factors, batches))
    clean, _ = line_of(make_training(data=without(at), val=VAL), 0.1, Line(factors, batches))
    assert losses == clean
    assert substrate.line(Line(factors, batches)) == clean, "read again it is the same"


def test_a_step_that_spoils_the_weights_is_not_the_batches_fault() -> None:
    training = make_training(loss_fn=lambda model, batch: model(batch[0]).square().mean(), val=VAL)
    losses, _ = line_of(training, 1e30, Line((1.0,), 3))
    assert not any(math.isfinite(row[0]) for row in losses) and not training.left_out.places


def test_beyond_the_step_a_check_that_raises_is_an_infinite_loss_and_before_it_the_users_error() -> None:
    training = density_training()
    losses, _ = line_of(training, 0.01, Line((0.0, 1.0, 1e9), 2))
    assert all(
        math.isfinite(before) and math.isfinite(after) and beyond == math.inf for before, after, beyond in losses
    )
    substrate = LiveSubstrate(density_training())
    substrate.arm_line()
    substrate.before_kept_step()
    substrate.training.step(make_batches(1)[0])
    substrate.after_kept_step()
    with torch.no_grad():
        substrate.training.model.out.bias.fill_(math.nan)  # type: ignore[union-attr]
    substrate.training.loss_fn = lambda model, batch: _refuse()
    with pytest.raises(OwnError):
        substrate.line(Line((0.0, 1.0)))


def _refuse() -> Tensor:
    raise OwnError


# -------------------------------------------------------------- held-out losses


@kinds
@pytest.mark.parametrize("at", [{2}, {0}, {0, 1}])
def test_a_held_out_mean_is_that_of_the_others(kind: Any, at: set[int]) -> None:
    val = spoiled(at, kind, count=5, seed=5)
    training, clean = make_training(val=val), make_training(val=without(at, count=5, seed=5))
    assert training.evaluate() == clean.evaluate()
    trial = Trial(constant(0.1), 3, evaluate="average", read_every=1)
    seen, _ = flown(LiveSubstrate(make_training(val=val)), trial)
    assert seen == LiveSubstrate(clean).trial(trial)


def test_where_none_gives_a_number_neither_does_the_mean() -> None:
    assert math.isnan(make_training(val=spoiled({0, 1}, poisoned, count=2, seed=5)).evaluate())
    with pytest.raises(DataError, match="needs samples"):
        make_training(val=[empty(make_batches(1)[0])]).evaluate()


def test_statistics_are_not_estimated_on_a_batch_that_spoils_them() -> None:
    at = {4}
    training = make_training(model=make_model(batch_norm=True), data=spoiled(at, poisoned), val=VAL)
    clean = make_training(model=make_model(batch_norm=True), data=without(at), val=VAL)
    evaluate = Evaluate(reestimate=True)
    with untouched(training.model):
        mine = LiveSubstrate(training).evaluate(evaluate)
    assert mine == pytest.approx(LiveSubstrate(clean).evaluate(evaluate), rel=1e-3)
    assert training.left_out.places == [4, 16], "the stream begins anew after 12"


def test_a_diverged_end_is_judged_without_asking_again_what_has_given_a_number() -> None:
    training = make_training(val=VAL)
    substrate = LiveSubstrate(training)
    assert math.isfinite(substrate.evaluate(Evaluate()))
    seen, attempts = flown(substrate, Trial(constant(1e38), 1, evaluate="end"))
    assert attempts == 1 and seen.held_out is not None and not math.isfinite(seen.held_out)
    assert substrate.cost.evaluations == 2


# -------------------------------------------------------------------- the index


@given(st.lists(st.integers(0, 12), max_size=6), st.integers(0, 8))
def test_what_is_left_out_is_not_counted(adds: list[int], index: int) -> None:
    left_out, stream = LeftOut(), list(range(40))
    for add in adds:
        left_out.add(add)
        del stream[add]  # the obvious way
    assert left_out.places == sorted(set(range(40)) - set(stream)) and left_out.place(index) == stream[index]


def test_it_is_saved_with_the_flight() -> None:
    training = make_training(data=spoiled({1, 3}, poisoned), val=spoiled({0}, poisoned, count=3, seed=5))
    substrate = LiveSubstrate(training)
    flown(substrate, Trial(constant(0.1), 4, evaluate="end"))
    fresh = make_training(data=spoiled({1, 3}, poisoned), val=spoiled({0}, poisoned, count=3, seed=5))
    LiveSubstrate(fresh).load_state_dict(substrate.state_dict())
    assert (fresh.left_out.places, fresh.left_out_held.places) == ([1, 3], [0])
    assert (fresh.left_out.known, fresh.left_out_held.known) == (training.left_out.known, training.left_out_held.known)


# ------------------------------------------------------------- the user's loop


def test_what_is_sound() -> None:
    def spoil_parameter(training: Training) -> None:
        next(training.model.parameters()).data.view(-1)[3] = math.inf

    def spoil_buffer(training: Training) -> None:
        training.model[1].running_mean[2] = math.nan  # type: ignore[index,union-attr]

    def spoil_optimizer(training: Training) -> None:
        next(iter(training.raw_optimizer.state.values()))["momentum_buffer"].view(-1)[0] = math.nan

    def mask(training: Training) -> None:
        training.model.register_buffer("mask", torch.full((2, 2), -math.inf))

    for spoil, sound in ((spoil_parameter, False), (spoil_buffer, False), (spoil_optimizer, False), (mask, True)):
        training = make_training(model=make_model(batch_norm=True))
        training.step(make_batches(1)[0])
        assert is_sound(training)
        spoil(training)
        assert is_sound(training) is sound, spoil.__name__


POLICIES: dict[str, Policy] = {
    "autopilot": Autopilot(),
    "lr_tuner": LRTuner(lr=0.05),
    "lr_tuner_paper": LRTuner.paper("mnist", optimizer="momentum"),
    "weighted_factors": WeightedFactors(),
    "weighted_factors_paper": WeightedFactors.paper(window=20),
    "autolrs": AutoLRS(0.01, 1.0),
    "autolrs_paper": AutoLRS.paper(0.01, 1.0, tau=0.05, max_tau=0.4),
}


def own_flight(policy: Policy, bad: Callable[[int], bool]) -> Pilot:
    """In a loop whose step is left out, and whose loss is no number, where a batch is bad."""
    training = make_training(data=make_batches(24), val=VAL)
    pilot, batches = Pilot(training, policy, 160), make_batches(24)
    pilot.start()
    for step in range(160):
        loss = training.step(batches[step % 24])
        pilot.step(loss * math.nan if bad(step) else loss)
    return pilot


@pytest.mark.parametrize("rate", [20, 3])
@pytest.mark.parametrize("name", POLICIES)
def test_losses_of_sound_weights_that_are_no_number_are_never_held_against_the_lr(name: str, rate: int) -> None:
    whole = own_flight(POLICIES[name], lambda step: False)
    told = own_flight(POLICIES[name], lambda step: step % rate == 0 or (rate == 3 and step % rate == 1))
    codes = {event.reason.code for event in told.history.events if event.reason is not None}
    assert not codes & {"no_number", "spoiled", "bad_batch"}
    assert sorted(told.history.lrs)[80] > 0.3 * sorted(whole.history.lrs)[80]


@pytest.mark.parametrize("name", ["lr_tuner", "lr_tuner_paper", "weighted_factors", "weighted_factors_paper"])
def test_what_is_decided_by_measurements_alone_is_decided_as_without_them(name: str) -> None:
    whole = own_flight(POLICIES[name], lambda step: False)
    told = own_flight(POLICIES[name], lambda step: step % 20 == 0)
    assert told.history.lrs == whole.history.lrs


@pytest.mark.parametrize("name", POLICIES)
def test_batches_whose_labels_are_all_ignored_are_borne_in_loop_and_probes(name: str) -> None:
    data = spoiled({5, 6, 13, 22}, ignored, count=24)
    training = make_training(data=data, val=[*VAL, ignored(VAL[0])])
    before = training.evaluate()
    pilot = Pilot(training, POLICIES[name], 160)
    pilot.start()
    for step in range(160):
        pilot.step(training.step(data[step % 24]))
    assert training.evaluate() < 0.8 * before
    assert all(torch.isfinite(p).all() for p in training.model.parameters())
