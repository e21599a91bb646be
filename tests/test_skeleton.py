"""The walking skeleton: one scripted policy that uses every action, flown in every environment.

It retires the risk of inverted control: in a user's loop the pilot owns neither data, nor loss, nor step,
nor count, and still every environment must see the same learning rates and end at the same weights.
"""

import math
import multiprocessing
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

import skeleton_env as env
from lrpilot import Autopilot, Pilot, Training
from lrpilot.core.actions import Done, Drop, Evaluate, Line, Mark, Rewind, Train, Trial
from skeleton_policy import Script


@pytest.fixture(scope="module")
def plain() -> env.Flown:
    return env.plain_loop()


def assert_same(flown: env.Flown, expected: env.Flown) -> None:
    assert flown.lrs == expected.lrs
    for mine, theirs in zip(flown.weights, expected.weights, strict=True):
        assert torch.equal(mine, theirs)


def test_the_script_uses_every_action() -> None:
    used = {type(a) for a in Script(True).script(0.1)}
    assert used == {Train, Line, Trial, Evaluate, Mark, Rewind, Drop} and Done not in used


def test_plain_loop_follows_the_script(plain: env.Flown) -> None:
    lrs = plain.lrs
    assert len(lrs) == env.STEPS
    assert lrs[:4] == pytest.approx([env.LR * f for f in (1.0, 0.95, 0.9, 0.85)])
    assert lrs[4] == lrs[3], "a Line's step is taken at the present lr"
    assert lrs[5] == pytest.approx(2 * env.LR, rel=0.02), "the doubled lr of the Train that its stop rule ends"
    assert lrs[6:9] == pytest.approx([2 * env.LR] * 3, rel=0.02)
    assert lrs[6] != lrs[5], "the stop rule fired after one step and the policy was told"
    assert lrs[9:12] == pytest.approx([env.LR] * 3, rel=0.02)


def test_measurements_only_happen_inside_pilot_step() -> None:
    model, data = env.make_model(), env.make_data()
    optimizer = env.make_optimizer(model)
    events: list[Any] = []
    before = [p.clone() for p in model.parameters()]
    pilot = Pilot(Training(model, optimizer, env.loss_fn, data, data), Script(True), env.STEPS, events.append)
    assert not events and pilot.cost.forward_equivalents == 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert 0 < optimizer.param_groups[0]["lr"] < env.LR * 1e-6, "a negligible lr until the search has run"
    pilot.start()
    assert events and optimizer.param_groups[0]["lr"] == pytest.approx(env.LR, rel=0.01)
    assert optimizer.param_groups[1]["lr"] == pytest.approx(optimizer.param_groups[0]["lr"] / 4)


def test_fit(plain: env.Flown) -> None:
    assert_same(env.fit_loop(), plain)


def test_fit_and_plain_loop_agree_when_the_policy_begins_with_a_search() -> None:
    assert_same(env.fit_loop(Script(True)), env.plain_loop(Script(True)))


@pytest.fixture(scope="module")
def accumulated() -> env.Flown:
    return env.accumulation_loop(pilot_every_micro_batch=False)


def test_accumulation_and_grad_scaler(plain: env.Flown, accumulated: env.Flown) -> None:
    # BatchNorm sees half batches, so losses differ from the plain loop's; the rhythm must not.
    assert len(accumulated.lrs) == len(plain.lrs)
    assert accumulated.lrs == pytest.approx(plain.lrs, rel=0.02)


def test_stepping_the_pilot_for_every_micro_batch_changes_nothing(accumulated: env.Flown) -> None:
    assert_same(env.accumulation_loop(pilot_every_micro_batch=True), accumulated)


def test_a_step_skipped_by_the_scaler_is_not_counted(accumulated: env.Flown) -> None:
    assert_same(env.accumulation_loop(pilot_every_micro_batch=False, overflow_at=12), accumulated)


def test_accelerate(plain: env.Flown) -> None:
    assert_same(env.accelerate_loop(), plain)


@pytest.mark.filterwarnings("default")  # Lightning's own deprecations are not ours to fail on
def test_lightning_manual_optimization(plain: env.Flown, tmp_path: Path) -> None:
    assert_same(env.lightning_loop(tmp_path), plain)


@pytest.mark.filterwarnings("default")  # Lightning's own deprecations are not ours to fail on
def test_lightning_automatic_optimization(plain: env.Flown, tmp_path: Path) -> None:
    assert_same(env.lightning_automatic_loop(tmp_path), plain)


def test_two_ranks(plain: env.Flown, tmp_path: Path) -> None:
    results = str(tmp_path / "rank")
    torch.multiprocessing.spawn(env.rank_loop, (2, str(tmp_path / "rendezvous"), results), nprocs=2)
    flown = [env.Flown(**torch.load(f"{results}.{rank}", weights_only=True)) for rank in range(2)]
    assert_same(flown[0], flown[1])
    assert_same(flown[0], plain)


@pytest.fixture(scope="module")
def fresh() -> ForkServerContext:
    """Processes that have loaded what they need and done nothing else: loading takes longer than the run."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["skeleton_env", "torch._dynamo"])
    return context


@pytest.mark.parametrize(
    "kill_at",
    [
        *("Trial:1", "Trial:2", "Line:2", "Evaluate:1", "Mark:1", "step:7", "Rewind:1", "step:10", "Drop:1"),
        *("Trial:3", "step:14", "Trial:4", "step:17", "step:19", "step:25"),  # in averaged flight, and after a landing
    ],
)
def test_killed_and_resumed(plain: env.Flown, tmp_path: Path, fresh: ForkServerContext, kill_at: str) -> None:
    checkpoint = tmp_path / "state.pt"
    killed = run_killable(fresh, checkpoint, kill_at)
    assert killed == -9, "the run must really have died"
    assert run_killable(fresh, checkpoint, "") == 0
    flown = env.Flown(**torch.load(checkpoint.with_suffix(".done"), weights_only=True))
    assert_same(flown, plain)


def run_killable(fresh: ForkServerContext, checkpoint: Path, kill_at: str, *flown: Any) -> int | None:
    process = fresh.Process(target=env.killable_loop, args=(checkpoint, kill_at, *flown))
    process.start()
    process.join(timeout=120)
    return process.exitcode


def test_everything_measured_is_finite_and_charged() -> None:
    model, data = env.make_model(), env.make_data()
    optimizer = env.make_optimizer(model)
    pilot = Pilot(Training(model, optimizer, env.loss_fn, data, data), Script(), env.STEPS)
    for step in range(env.STEPS):
        loss = env.loss_fn(model, env.cycle(data)(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pilot.step(loss)
    assert all(math.isfinite(x) for x in pilot.history.losses)
    # check: 1 step; linearity: 4 steps; Trials: 3 + 3 + 2 + 2 + 2 steps
    assert pilot.cost.backwards == 1 + 4 + 12
    # lines 4 x 2 + 2 x 1; evaluations of 10 batches: Evaluate, end, average (16 of BatchNorm each for the
    # Trials), Evaluate(reestimate), two averaged Trials; the landing: a tenth of 90
    assert pilot.cost.forwards == 17 + 8 + 2 + 10 + (10 + 16) * 2 + (10 + 16) + (10 + 16) * 2 + 9
    assert pilot.cost.trials == 5 and pilot.cost.lines == 2 and pilot.cost.evaluations == 6


# ------------------------------------------- Autopilot in the same environments

LONG = 90  # steps that a search is paid out of
ARMS = {"averaged": Autopilot(arm="averaged"), "ordinary": Autopilot(arm="ordinary")}


@pytest.fixture(scope="module", params=ARMS)
def arm(request: pytest.FixtureRequest) -> tuple[Autopilot, env.Flown]:
    """A policy, and what it does in a plain loop."""
    policy = ARMS[request.param]
    flown = env.plain_loop(policy, LONG)
    assert len(set(flown.lrs)) >= 4
    return policy, flown


def test_autopilot_flies_the_same_everywhere(arm: tuple[Autopilot, env.Flown]) -> None:
    policy, expected = arm
    for loop in (env.fit_loop, env.accelerate_loop):
        assert_same(loop(policy, LONG), expected)


@pytest.mark.filterwarnings("default")  # Lightning's own deprecations are not ours to fail on
def test_autopilot_in_lightning(arm: tuple[Autopilot, env.Flown], tmp_path: Path) -> None:
    assert_same(env.lightning_loop(tmp_path, arm[0], LONG), arm[1])


@pytest.mark.parametrize("kill_at", ["Trial:2", "Mark:1", "step:1", "step:33"])
def test_autopilot_killed_and_resumed(
    arm: tuple[Autopilot, env.Flown], tmp_path: Path, fresh: ForkServerContext, kill_at: str
) -> None:
    policy, expected = arm
    checkpoint = tmp_path / "state.pt"
    assert run_killable(fresh, checkpoint, kill_at, policy, LONG) == -9, "the run must really have died"
    assert run_killable(fresh, checkpoint, "", policy, LONG) == 0
    assert_same(env.Flown(**torch.load(checkpoint.with_suffix(".done"), weights_only=True)), expected)


def test_autopilot_on_two_ranks(tmp_path: Path) -> None:
    expected = env.plain_loop(ARMS["averaged"], LONG)
    results = str(tmp_path / "rank")
    arguments = (2, str(tmp_path / "rendezvous"), results, ARMS["averaged"], LONG)
    torch.multiprocessing.spawn(env.rank_loop, arguments, nprocs=2)
    for rank in range(2):
        assert_same(env.Flown(**torch.load(f"{results}.{rank}", weights_only=True)), expected)
