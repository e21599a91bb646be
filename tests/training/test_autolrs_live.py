"""AutoLRS on a live model: in a user's own loop and under fit, saved, killed and resumed, and on bad input."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lrpilot import AutoLRS, Autopilot, LRTuner, Pilot, WeightedFactors, fit
from lrpilot.core.policy import Policy
from lrpilot.policies.autolrs import LRStage, PublishedAutoLRS, StageCode
from lrpilot.policies.beam_search import BeamSearch
from small_training import (
    assert_resumes_bit_for_bit,
    loop_step,
    make_batches,
    make_training,
    own_loop,
    same_tensors,
    training_at,
    weights,
)

TESTS = Path(__file__).parents[1]
STEPS = 60
POLICIES = {
    "default": AutoLRS(1e-2, 1.0, overhead=2.0),
    "published": AutoLRS.paper(1e-2, 1.0, tau=10, max_tau=20),
    "beam search": BeamSearch(window=4),
}


def stages(result: object) -> tuple[LRStage, ...]:
    assert isinstance(result, tuple) and result
    return result


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
def test_an_own_loop_and_fit_train_the_same(policy: Policy) -> None:
    one, other = training_at(0.01), training_at(0.01)
    pilot = Pilot(one, policy, STEPS)
    pilot.start()
    own_loop(one, pilot, STEPS)
    result = fit(other, policy, total_steps=STEPS, progress=False)
    assert pilot.last_epoch == STEPS == len(pilot.history.losses), "the loop sees its own steps alone"
    assert pilot.history.lrs == result.history.lrs and len(set(pilot.history.lrs)) > 1
    assert same_tensors(weights(one.model), weights(other.model))


SCALES: dict[str, Callable[[Tensor], Tensor | None]] = {
    "share of a micro-batch": lambda loss: loss / 4,
    "sum": lambda loss: loss * 32,
    "another term": lambda loss: loss + 5,
    "another sign": lambda loss: loss - 50,
    "none": lambda loss: None,
}


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "policy",
    [AutoLRS(1e-2, 1.0, overhead=2.0), LRTuner(overhead=0.3), WeightedFactors()],
    ids=lambda policy: policy.name,
)
def test_a_loss_of_another_kind_than_loss_fns_decides_as_the_same(policy: Policy, scale: str) -> None:
    lrs = []
    for hand_over in (lambda loss: loss, SCALES[scale]):
        training = training_at(0.01)
        pilot = Pilot(training, policy, 120)
        pilot.start()
        for batch in islice(cycle(make_batches(20, size=32)), 120):
            pilot.step(hand_over(loop_step(training, batch).detach()))
        lrs.append(pilot.history.lrs)
    assert lrs[1] == lrs[0]


def test_a_stage_that_dies_is_taken_back_whatever_kind_the_loss_is_of() -> None:
    training = training_at(0.01)
    pilot = Pilot(training, AutoLRS(1e-2, 1.0, overhead=2.0), 200)
    pilot.start()
    for number, batch in enumerate(islice(cycle(make_batches(20, size=32)), 200)):
        loss = loop_step(training, batch).detach()
        pilot.step(32 * loss if not 80 <= number < 110 else 3200 * loss)
    assert any(stage.rewinds for stage in stages(pilot.result))


@pytest.mark.parametrize("policy", [AutoLRS(), LRTuner(), Autopilot()], ids=lambda policy: policy.name)
def test_a_training_that_is_too_short_for_a_search_says_so_as_a_warning(policy: Policy) -> None:
    training = training_at(0.01)
    pilot = Pilot(training, policy, 20)
    own_loop(training, pilot, 20)
    said = [e.reason.code for e in pilot.history.events if e.alarms and e.reason is not None]
    assert said == ["not_searched"]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())
@pytest.mark.parametrize("stop", [1, 9, 31])
def test_it_resumes_bit_for_bit(policy: Policy, stop: int) -> None:
    assert_resumes_bit_for_bit(policy, STEPS, stop)


@pytest.mark.slow
def test_killed_at_any_moment_it_resumes_to_the_same_weights(tmp_path: Path) -> None:
    driver = [sys.executable, str(TESTS / "autolrs_kill_driver.py"), str(tmp_path), "24", "7"]
    done = subprocess.run(driver, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen) == 24 and all(one["killed"] for one in seen)
    assert sum(one["in_search"] for one in seen) >= 8 and sum(one["begun"] for one in seen) >= 8
    continuing = [one for one in seen if one["continued"]]
    assert len(continuing) == 8 and sum(one["begun"] for one in continuing) >= 3, "after the first Trial continued"
    assert [i for i, one in enumerate(seen) if not one["same"]] == []


# ------------------------------------------------------- bad input and faults


@pytest.mark.parametrize("policy", [AutoLRS(1e12, 1e15, overhead=2.0), AutoLRS.paper(1e12, 1e15)])
def test_where_every_lr_diverges_the_training_goes_on_below_them(policy: Policy) -> None:
    model = torch.nn.Linear(4, 3)

    def square_loss(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return (model(batch[0]) ** 2).sum(1).mean()

    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    training = make_training(model=model, optimizer=optimizer, loss_fn=square_loss)
    before = training.evaluate()
    first = stages(fit(training, policy, total_steps=STEPS, progress=False).pilot.result)[0]
    assert first.code is StageCode.ALL_DIVERGED and first.lr == 0.05 and min(first.lrs) >= 1e12
    assert training.evaluate() < before


@pytest.mark.parametrize("policy", [AutoLRS(1e-3, 1.0, overhead=2.0), AutoLRS.paper(1e-3, 1.0, tau=20, max_tau=20)])
def test_where_nothing_moves_the_training_ends_as_it_began(policy: Policy) -> None:
    training = make_training(loss_fn=lambda model, batch: 0.0 * model(batch[0]).sum() + 1.0)
    before = weights(training.model)
    result = fit(training, policy, total_steps=STEPS, progress=False)
    assert same_tensors(weights(training.model), before)
    assert all(math.isfinite(lr) and lr > 0 for lr in result.history.lrs)
    if not isinstance(policy, PublishedAutoLRS):
        assert {stage.code for stage in stages(result.pilot.result)} <= {StageCode.FLAT, StageCode.NOT_SEARCHED}
        assert stages(result.pilot.result)[0].lr == 0.1, "the optimizer's own"


@pytest.mark.parametrize("policy", [POLICIES["default"], AutoLRS.paper(1e-2, 0.1, tau=10, max_tau=10)])
def test_without_validation_data_reserved_batches_judge(policy: Policy) -> None:
    training = make_training(data=make_batches(24))
    assert "reserved" in training.probe_data.metric
    result = fit(training, policy, total_steps=STEPS, progress=False)
    assert result.cost.evaluations > 0
    assert result.history.losses[-1] < result.history.losses[0]


@pytest.mark.parametrize("policy", [AutoLRS(1e-2, 1.0, stage=5000, overhead=2.0), AutoLRS.paper(1e-2, 1.0)])
def test_a_stage_longer_than_the_training_is_as_long_as_that(policy: Policy) -> None:
    (stage,) = stages(fit(training_at(0.01), policy, total_steps=STEPS, progress=False).pilot.result)
    assert stage.steps == STEPS and stage.search is not None and stage.search.steps <= STEPS


@pytest.mark.parametrize("policy", [AutoLRS(1e-2, 1.0, stage=5000), AutoLRS.paper(1e-2, 1.0)])
def test_under_a_budget_a_stage_is_as_long_as_what_the_search_leaves(policy: Policy) -> None:
    result = fit(training_at(0.01), policy, budget=3.0 * 400, progress=False)
    assert result.coasts_from is None and result.total_compute <= 1200
    (stage,) = stages(result.pilot.result)
    assert result.steps == stage.steps == len(result.history.lrs)
    assert result.steps > (300 if not isinstance(policy, PublishedAutoLRS) else 180)
