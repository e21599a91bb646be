"""Every method that trains a whole run by itself: exact bills, spent budgets, untouched training, repeatability."""

import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.data import digits
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.methods import defaults, distance, gen, greedy, nadamw, plateau, polling, schedule_free
from lrpilot_bench.methods import packages as packages_module
from lrpilot_bench.methods.loops import fly_on_validation
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.packages import quiet, require
from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.execute import execute
from lrpilot_bench.run.recording import weights_digest
from lrpilot_bench.session import DivergedError, Session
from lrpilot_bench.tasks.registry import get_task
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

FILES = (defaults, schedule_free, nadamw, distance, gen, greedy, plateau, polling)
METHODS = tuple(method for file in FILES for method in file.METHODS)
NAMES = [method.name for method in METHODS]
KINDS = ("sgd", "adamw")
STEPS = 60


def images() -> Splits:
    return Splits(*(Split(part.inputs.reshape(-1, 1, 8, 8), part.targets) for part in digits()))


def conv_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(128, 10),
    )


FAMILIES = (
    OptimizerFamily("sgd", lr_grid(0.1), default="sgd_step", weight_decay=5e-4),
    OptimizerFamily("adamw", lr_grid(0.008), default="adamw_constant", weight_decay=0.01),
)
CONV = Task(
    name="conv",
    title="digits, a small conv net with batch normalisation and dropout",
    module=__name__,
    load=images,
    make_model=conv_net,
    criterion=class_loss,
    score=class_accuracy,
    steps=STEPS,
    batch_size=32,
    families=FAMILIES,
)
MLP = replace(get_task("digits"), families=FAMILIES)
TASKS = {"conv": CONV, "mlp": MLP}


def open_session(method: Method, kind: str, *, task: Task = CONV, factor: float = 1.0, steps: int = STEPS) -> Session:
    default = method.lr_for(kind)
    return Session(
        task,
        task.family(kind),
        seed=3,
        steps=steps,
        lr=None if default is None else default * factor,  # type: ignore[arg-type]
    )


def trained(name: str, kind: str, **options: Any) -> Session:
    """The session after the method, whether it diverged or not."""
    method = get_method(name)
    session = open_session(method, kind, **options)
    with suppress(DivergedError):
        method.train(session)
    session.finish()
    return session


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# ------------------------------------------------------------------ the battery


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_declares_exactly_what_it_does_and_spends_its_budget(name: str, kind: str, task: str) -> None:
    session = trained(name, kind, task=TASKS[task])
    assert session.declared.to_dict() == session.counter.tally.to_dict()
    assert session.declared.backwards == session.kept_steps * 32
    assert session.budget - 3.0 < session.compute <= session.budget
    assert session.curve.val_loss[-1] < 2.4  # nothing went wrong: chance is 2.30


@pytest.mark.parametrize("factor", [1 / 30, 30])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [method.name for method in METHODS if method.lrs is not None])
def test_a_wrong_start_lr_may_diverge_but_neither_crashes_nor_cheats(name: str, kind: str, factor: float) -> None:
    session = trained(name, kind, factor=factor)
    assert session.declared.to_dict() == session.counter.tally.to_dict()
    assert session.compute <= session.budget


@pytest.mark.parametrize("name", NAMES)
def test_non_finite_weights_end_the_run_as_a_divergence(name: str) -> None:
    method = get_method(name)
    session = open_session(method, "sgd")
    with torch.no_grad():
        next(session.model.parameters()).fill_(float("nan"))
    with suppress(DivergedError):
        method.train(session)
    assert session.declared.to_dict() == session.counter.tally.to_dict()
    assert session.compute <= session.budget


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_two_runs_agree_bit_for_bit(name: str, kind: str) -> None:
    first, second = trained(name, kind), trained(name, kind)
    assert weights_digest(first.model) == weights_digest(second.model)
    assert first.curve.to_dict() == second.curve.to_dict()


def draws_of_training(name: str) -> list[tuple[bytes, bytes]]:
    """For each training pass: the batch, and the generator's state that its dropout draws from."""
    method = get_method(name)
    session = open_session(method, "sgd")
    seen = []

    def note(model: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            seen.append((args[0].numpy().tobytes(), torch.get_rng_state().numpy().tobytes()))

    session.model.register_forward_pre_hook(note)
    method.train(session)
    return seen


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sgd_step"])
def test_every_method_sees_the_same_batches_and_draws_the_same_dropout(name: str) -> None:
    plain, seen = draws_of_training("sgd_step"), draws_of_training(name)
    assert len(seen) > STEPS // 3
    assert seen == plain[: len(seen)]


@pytest.mark.parametrize("name", NAMES)
def test_is_silent(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(name, "adamw", steps=12)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_single_step_is_enough(name: str) -> None:
    session = trained(name, "sgd", steps=1)
    assert session.kept_steps <= 1
    assert session.declared.to_dict() == session.counter.tally.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_is_named_with_its_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}")

    monkeypatch.setattr(packages_module, "import_module", missing)
    if get_method(name).packages:
        with pytest.raises(MissingDependencyError, match="pip install"):
            trained(name, "sgd", steps=2)
    else:
        trained(name, "sgd", steps=2)


def test_a_record_is_made_of_it() -> None:
    record = execute(Job("digits", "prodigy_cosine", horizon=0.05))
    assert record["status"] == "finished"
    assert record["declared"] == record["counted"]
    assert record["notes"]["distance"] > 0
    assert record["settings"] == {"cosine": True, "safeguard_warmup": True, "use_bias_correction": True}


# ------------------------------------------------------------------ one by one


def lrs_of(name: str, kind: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[float]:
    """The lr of every kept step, as ticked."""
    lrs: list[float] = []
    original = Session.tick

    def tick(self: Session, loss: float, lr: float, **rest: Any) -> float:
        lrs.append(lr)
        return original(self, loss, lr, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "tick", tick)
        trained(name, kind, **options)
    return lrs


def test_sgd_steps_down_at_a_half_and_three_quarters(monkeypatch: pytest.MonkeyPatch) -> None:
    lrs = lrs_of("sgd_step", "adamw", monkeypatch)
    assert lrs == pytest.approx([0.1] * 30 + [0.01] * 15 + [0.001] * 15)


def test_nadamw_warms_up_and_falls_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    lrs = lrs_of("nadamw_fixed", "sgd", monkeypatch, steps=100)
    assert lrs[:2] == [0.0, lrs[2] / 2]  # 2 % of the steps
    assert lrs[2] == max(lrs) == 0.0017486387539278373
    assert lrs[51] == pytest.approx(lrs[2] / 2) and lrs[99] < lrs[2] / 1000


def test_nadamw_is_the_published_update_with_the_momentums_correction_a_step_ahead() -> None:
    (b1, b2), lr, decay = (0.9, 0.99), 0.1, 0.5
    weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    optimizer = nadamw.nadamw([weight], lr, betas=(b1, b2), weight_decay=decay)
    expected, m, v = weight.detach().clone(), torch.zeros(2), torch.zeros(2)
    for t in range(1, 6):
        optimizer.zero_grad()
        (0.5 * weight.square() * torch.tensor([1.0, 3.0])).sum().backward()
        optimizer.step()
        g = expected * torch.tensor([1.0, 3.0])
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        nesterov = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        expected = expected * (1 - lr * decay) - lr * nesterov / ((v / (1 - b2**t)).sqrt() + 1e-8)
        torch.testing.assert_close(weight.detach(), expected)


def test_adamw_falls_linearly_from_its_lr_to_one_step_before_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    lrs = lrs_of("adamw_linear_5e5", "sgd", monkeypatch, steps=4)
    assert lrs == pytest.approx([5e-5, 3.75e-5, 2.5e-5, 1.25e-5])


def test_defaults_bring_their_optimizer_whatever_the_family() -> None:
    assert weights_digest(trained("adamw_constant", "sgd").model) != weights_digest(trained("sgd_step", "sgd").model)
    optimizer = defaults._adamw(open_session(get_method("adamw_constant"), "sgd"))
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 5e-4


def test_cosine_takes_prodigys_lr_to_zero_and_constant_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    constant, cosine = (lrs_of(name, "adamw", monkeypatch) for name in ("prodigy", "prodigy_cosine"))
    assert constant == sorted(constant)  # the estimate never falls
    assert cosine[-1] < 0.01 * max(cosine)


def test_dadapts_sgd_lr_is_the_one_torch_would_step_at() -> None:
    # Slow reference: one weight, loss w, so the gradient is 1 for ever and the estimate stands still.
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = require("dadaptation", "dadaptation").DAdaptSGD([weight], lr=1.0, momentum=0.9, growth_rate=1.0)
    twin, lr = torch.zeros(1, dtype=torch.float64, requires_grad=True), None
    for _ in range(5):
        weight.grad = torch.ones(1, dtype=torch.float64)
        optimizer.step()
        lr = distance._sgd_lr(optimizer.param_groups[0])
    reference = torch.optim.SGD([twin], lr=lr, momentum=0.9)
    for _ in range(5):
        twin.grad = torch.ones(1, dtype=torch.float64)
        reference.step()
    assert lr == pytest.approx(0.1 * 1e-6)
    torch.testing.assert_close(weight.detach(), twin.detach(), rtol=1e-10, atol=0.0)


def test_schedule_free_ends_as_the_weighted_mean_of_what_sgd_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's definition, kept in double precision: x = sum of lr_max^2 z over sum of lr_max^2."""
    package, sums = require("schedulefree", "schedulefree"), []
    original = package.SGDScheduleFree.step

    def step(self: Any, closure: None = None) -> None:
        original(self, closure)
        (group,) = self.param_groups
        weight = group["lr_max"] ** 2
        sums.append((weight, [weight * self.state[p]["z"].double() for p in group["params"]]))

    monkeypatch.setattr(package.SGDScheduleFree, "step", step)
    model = trained("schedule_free", "sgd", task=MLP, factor=0.1).model
    total = sum(weight for weight, _ in sums)
    for index, parameter in enumerate(model.parameters()):
        mean = sum(tensors[index] for _, tensors in sums) / total
        torch.testing.assert_close(parameter.detach().double(), mean, rtol=1e-3, atol=1e-4)


def test_schedule_free_reserves_and_charges_the_renewal_of_statistics_only_where_there_are_any() -> None:
    # Budget 180: a tenth is 18 forwards, which is 6 steps.
    with_norm, without = trained("schedule_free", "sgd"), trained("schedule_free", "sgd", task=MLP)
    assert (with_norm.kept_steps, with_norm.declared.forwards) == (54, (54 + 18) * 32)
    assert (without.kept_steps, without.declared.forwards) == (60, 60 * 32)


def test_evaluating_schedule_free_changes_nothing_of_its_training(monkeypatch: pytest.MonkeyPatch) -> None:
    often = trained("schedule_free", "sgd")
    monkeypatch.setattr("lrpilot_bench.session.GRID_POINTS", 1)
    seldom = trained("schedule_free", "sgd")
    assert len(often.curve.steps) > len(seldom.curve.steps)
    assert weights_digest(often.model) == weights_digest(seldom.model)


def test_inside_an_evaluation_schedule_free_shows_the_average_with_statistics_of_its_own() -> None:
    session = open_session(get_method("schedule_free"), "sgd")
    optimizer = schedule_free._optimizer(session, session.lr, 0)
    optimizer.train()
    for _, batch in zip(range(10), session.batches(), strict=False):
        session.step(optimizer, batch)
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    forwards = session.counter.tally.forwards
    with session.counter.paused(), schedule_free._averaged(session, optimizer, 5):
        inside = {name: value.clone() for name, value in session.model.state_dict().items()}
    after = session.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(before["5.weight"], inside["5.weight"])
    assert not torch.equal(before["1.running_mean"], inside["1.running_mean"])
    assert session.counter.tally.forwards == forwards
    assert session.model.training


def test_gen_pays_for_a_parabola_every_fourth_step() -> None:
    # Budget 180: four steps and a parabola cost 4 * 3 + 3 = 15, so 12 rounds, 48 steps and 12 * 3 probes.
    session = trained("gen", "adamw")
    assert (session.kept_steps, session.declared.forwards) == (48, (48 + 36) * 32)


def test_gen_moves_the_lr_at_most_a_tenth_of_a_doubling_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lrs = lrs_of("gen", "sgd", monkeypatch)
    ratios = [b / a for a, b in pairwise(lrs)]
    moved = [index for index, ratio in enumerate(ratios) if ratio != 1.0]
    assert moved and all((index + 2) % 4 == 0 for index in moved)  # at the 4th, 8th, ... step
    assert all(0.9 <= ratio <= 1.1 + 1e-9 for ratio in ratios)


def test_gen_leaves_no_copies_of_the_weights_behind() -> None:
    session = trained("gen", "sgd")
    assert not any(hasattr(parameter, "previous") for parameter in session.model.parameters())


class Recorder:
    """A scheduler that only listens."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def step(self, metrics: float) -> None:
        self.heard.append(metrics)


@pytest.mark.parametrize(
    ("batches", "rounds", "steps", "samples"),
    [
        # Budget 180, every 6th step costs 18 + 300 / 32 = 27.375: six rounds are 164.25, then 5 steps of 3 fit.
        (100, 6, 41, 300),
        # Every 6th step costs 18 + 2: eight rounds are 160, then 6 steps of 3 leave nothing to train with.
        (2, 8, 54, 64),
    ],
)
def test_validation_losses_come_at_regular_steps_and_are_paid_for(
    batches: int, rounds: int, steps: int, samples: int
) -> None:
    session = open_session(get_method("plateau"), "sgd")
    recorder = Recorder()
    fly_on_validation(session, session.optimizer(0.1), recorder, evaluations=10, eval_batches=batches)
    assert (len(recorder.heard), session.kept_steps) == (rounds, steps)
    assert session.declared.forwards == steps * 32 + rounds * samples


def test_plateau_lowers_an_lr_that_cannot_improve() -> None:
    method = get_method("plateau")
    session = open_session(method, "sgd", factor=1e-9, steps=200)  # nothing moves: 11 evaluations, then down
    notes = method.train(session)
    assert notes["final_lr"] == pytest.approx(0.1 * 1e-9, rel=1e-4)  # torch leaves changes below eps (1e-8) out
    session = open_session(method, "sgd", factor=30.0, steps=200)
    assert method.train(session)["final_lr"] == pytest.approx(0.3)


def test_greedy_raises_an_lr_that_improves_and_keeps_above_its_floor() -> None:
    method = get_method("greedy")
    session = open_session(method, "adamw", steps=200)
    assert method.train(session)["final_lr"] > 2e-4


def test_polling_pays_three_trials_a_poll_and_one_forward_pass_a_rollback() -> None:
    session = open_session(get_method("polling"), "adamw", task=MLP, steps=300)
    notes = polling.fly_polling(session, multiplier=10.0, lr_max=1e6)  # never folded into the ceiling
    assert notes["polls"] > 0 and notes["rollbacks"] > 0
    assert session.declared.forwards == (session.kept_steps + notes["rollbacks"] + 3 * notes["polls"]) * 32
    assert session.declared.backwards == session.kept_steps * 32


def test_quiet_swallows_what_is_printed_and_warned(capsys: pytest.CaptureFixture[str]) -> None:
    with quiet():
        print("noise")
        warnings.warn("noise", stacklevel=1)
    print("heard")
    assert capsys.readouterr().out == "heard\n"


def test_require_returns_the_module_and_names_the_package() -> None:
    assert require("math", "math") is __import__("math")
    with pytest.raises(MissingDependencyError, match="pip install some-package"):
        require("no_such_module_at_all", "some-package")
