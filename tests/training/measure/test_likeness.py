"""A pilot notices that the loop does not step as Trials do, says so once, and is silent where it does."""

import copy
import pickle
import re
from itertools import cycle, islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lrpilot import Autopilot, Pilot, Schedule, Training, find_lr
from lrpilot.core.actions import Done, Evaluate, Train, Trial
from lrpilot.core.shape import constant
from lrpilot.driver import LOOP
from small_training import Listed, loss_fn, make_batches, make_model

MICRO = make_batches(40, size=4)
SEARCH = Listed((Trial(constant(1e-3), 6, "end"), Trial(constant(1e-2), 6), Train(constant(1e-3), 100)))
FACTOR = 50.0  # so that gradients are larger than what clips them


def scaled(model: nn.Module, batch: Any) -> Tensor:
    return FACTOR * loss_fn(model, batch)


class Loop:
    """A user's loop that accumulates, casts, clips and hands over a loss, or does not."""

    def __init__(self, training: Training, **does: Any) -> None:
        self.training = training
        self.does = {"accumulate": 1, "clip_norm": None, "clip_value": None, "autocast": None, "told": "mean"} | does
        self.stream = cycle(MICRO)

    def run(self, pilot: Pilot, steps: int) -> None:
        for _ in range(steps):
            pilot.step(self.step())

    def step(self) -> Any:
        model, does, losses = self.training.model, self.does, []
        self.training.optimizer.zero_grad()
        for batch in islice(self.stream, does["accumulate"]):
            with torch.autocast("cpu", torch.bfloat16, enabled=does["autocast"] is not None):
                loss = scaled(model, batch)
            (loss / does["accumulate"]).backward()
            losses.append(loss.detach())
        if does["clip_norm"]:
            nn.utils.clip_grad_norm_(model.parameters(), does["clip_norm"])
        if does["clip_value"]:
            nn.utils.clip_grad_value_(model.parameters(), does["clip_value"])
        self.training.optimizer.step()
        mean = torch.stack(losses).mean()
        return {"mean": mean, "share": losses[-1] / len(losses), "shifted": mean + 500, "none": None}[does["told"]]


def bound(**options: Any) -> Training:
    model = make_model(batch_norm=True)
    return Training(model, torch.optim.SGD(model.parameters(), lr=1e-3), scaled, MICRO, make_batches(2), **options)


def warnings_of(pilot: Pilot) -> list[str]:
    return [str(e.reason) for e in pilot.history.events if e.reason is not None and e.reason.code == LOOP]


def told(options: dict[str, Any], does: dict[str, Any], *, steps: int = 12) -> list[str]:
    training = bound(**options)
    pilot = Pilot(training, SEARCH, 100)
    pilot.start()
    Loop(training, **does).run(pilot, steps)
    return warnings_of(pilot)


SAME: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate": {"accumulate": 4},
    "clip_norm": {"clip_norm": 1.0},
    "clip_value": {"clip_value": 0.1},
    "autocast": {"autocast": torch.bfloat16},
    "all": {"accumulate": 4, "clip_norm": 1.0, "autocast": torch.bfloat16},
}


@pytest.mark.parametrize("name", SAME)
def test_a_loop_that_does_what_training_says_hears_nothing(name: str) -> None:
    assert told(SAME[name], SAME[name]) == []
    assert told(SAME[name], SAME[name] | {"told": "none"}) == []


@pytest.mark.parametrize(
    ("options", "does", "words"),
    [
        ({}, {"accumulate": 8}, "takes 8 forward passes a step and they take 1: give Training accumulate=8"),
        ({"accumulate": 2}, {"accumulate": 8}, "takes 8 .* they take 2: give Training accumulate=8"),
        ({"accumulate": 8}, {}, "takes 1 .* they take 8: give Training accumulate=1"),
        ({}, {"clip_norm": 1.0}, r"clips gradients \(clip_norm\) to 1 and Trials .*: give Training clip_norm=1"),
        ({"clip_norm": 1.0}, {"clip_norm": 0.1}, r"\(clip_norm\) to 0\.1 and .*: give Training clip_norm=0\.1"),
        ({}, {"clip_value": 0.25}, r"clips gradients \(clip_value\) to 0\.25 .*: give Training clip_value=0\.25"),
        ({"clip_norm": 1.0}, {}, r"Trials clip gradients \(clip_norm\) to 1 and the loop has up to .*: clip in the"),
        (
            {},
            {"autocast": torch.bfloat16},
            "under autocast to torch.bfloat16 .*: give Training autocast=torch.bf",
        ),
        ({"autocast": torch.bfloat16}, {}, "without autocast and theirs under .*: cast in the loop too, or leave"),
        (
            {"accumulate": 8},
            {"accumulate": 8, "told": "share"},
            "losses handed to pilot.step.* hand over the mean",
        ),
        (
            {},
            {"told": "shifted"},
            r"losses handed to pilot.step\(\) are about 5\d\d.* of the very loss",
        ),
        (
            {},
            {"accumulate": 8, "clip_norm": 1.0},
            "give Training accumulate=8; the loop clips .* give Training clip_norm=1",
        ),
    ],
)
def test_what_differs_is_said_once_with_the_remedy(options: Any, does: Any, words: str) -> None:
    said = told(options, does, steps=20)
    assert len(said) == 1
    assert re.search(words, said[0]), said[0]


def test_the_warning_is_logged_and_an_event(caplog: pytest.LogCaptureFixture) -> None:
    training, events = bound(), []
    pilot = Pilot(training, SEARCH, 100, on_event=events.append)
    pilot.start()
    with caplog.at_level("WARNING", "lrpilot"):
        Loop(training, accumulate=8).run(pilot, 6)
    assert [e.phase for e in events if e.alarms] == ["warning"]
    assert "accumulate=8" in caplog.text


def test_a_schedule_with_what_find_lr_found_is_noticed_too() -> None:
    for options, expected in (({}, 1), ({"accumulate": 8, "clip_norm": 1.0}, 0)):
        training = bound(**options)
        find_lr(training, num_steps=9, progress=False)
        pilot = Pilot(training, Schedule("constant"), 100)
        Loop(training, accumulate=8, clip_norm=1.0, told="share").run(pilot, 8)
        assert len(warnings_of(pilot)) == expected


def test_nothing_is_compared_where_nothing_was_measured() -> None:
    training = bound()
    pilot = Pilot(training, Schedule("constant"), 100)
    Loop(training, accumulate=8).run(pilot, 8)
    assert warnings_of(pilot) == []


def test_a_search_of_autopilot_is_compared_with_the_loop() -> None:
    training = bound()
    pilot = Pilot(training, Autopilot(), 400)
    pilot.start()
    Loop(training, accumulate=8).run(pilot, 6)
    assert len(warnings_of(pilot)) == 1


def test_passes_that_train_nothing_do_not_count() -> None:
    training = bound()
    pilot, loop = Pilot(training, SEARCH, 100), Loop(training)
    pilot.start()
    for _ in range(8):
        training.model.eval()
        scaled(training.model, MICRO[0])
        training.model.train()
        with torch.no_grad():
            scaled(training.model, MICRO[1])
        training.evaluate()
        find_lr(training, target="constant", num_steps=2, progress=False)
        pilot.step(loop.step())
    assert warnings_of(pilot) == []


class Checkpointed(nn.Module):
    """Computes its passes a second time in backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_model()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_and_several_passes_by_design_are_no_difference(reentrant: bool) -> None:
    def twice(model: nn.Module, batch: Any) -> Tensor:
        inputs, targets = batch
        out = checkpoint(model, inputs.requires_grad_(), use_reentrant=reentrant)
        return nn.functional.cross_entropy(out, targets) + 0.1 * (out - model(inputs + 0.1)).square().mean()

    model = Checkpointed()
    training = Training(model, torch.optim.SGD(model.parameters(), lr=1e-3), twice, MICRO, make_batches(2))
    pilot = Pilot(training, SEARCH, 100)
    pilot.start()
    for batch in islice(cycle(MICRO), 8):
        training.optimizer.zero_grad()
        loss = twice(model, (batch[0].clone(), batch[1]))
        loss.backward()
        training.optimizer.step()
        pilot.step(loss)
    assert warnings_of(pilot) == []


def test_one_odd_step_is_no_difference() -> None:
    training = bound(accumulate=8)
    pilot, loop = Pilot(training, SEARCH, 100), Loop(training, accumulate=8)
    pilot.start()
    scaled(training.model, MICRO[0])  # a pass before the loop, to look at the shapes, say
    for step in range(8):
        loop.does["accumulate"] = 2 if step % 3 == 2 else 8  # a pass over the data ends in a smaller group
        pilot.step(loop.step())
    assert warnings_of(pilot) == []


def test_looking_leaves_nothing_behind_and_changes_nothing() -> None:
    flown, alone = bound(), bound()
    pilot = Pilot(flown, SEARCH, 100)
    pilot.start()
    assert flown.model._forward_pre_hooks
    copied, read = copy.deepcopy(flown.model), pickle.loads(pickle.dumps(flown.model))
    for other in (copied, read):
        other(MICRO[0][0])
    Loop(flown).run(pilot, 6)
    assert not flown.model._forward_pre_hooks
    reference = Loop(alone)
    for _ in range(6):
        reference.step()
    for mine, theirs in zip(flown.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_pilot_that_is_given_up_takes_its_hooks_along() -> None:
    training = bound()
    before = len(training.raw_optimizer._optimizer_step_pre_hooks)
    pilot = Pilot(training, SEARCH, 100)
    pilot.start()
    del pilot
    assert not training.model._forward_pre_hooks
    assert len(training.raw_optimizer._optimizer_step_pre_hooks) == before


def test_a_finder_leaves_no_hook() -> None:
    training = bound()
    find_lr(training, num_steps=9, progress=False)
    assert not training.model._forward_pre_hooks and not training.raw_optimizer._optimizer_step_pre_hooks


def test_measurements_without_steps_are_not_compared() -> None:
    training = bound()
    pilot = Pilot(training, Listed((Evaluate(), Train(constant(1e-3), 100), Done())), 100)
    pilot.start()
    Loop(training, accumulate=4).run(pilot, 8)
    assert warnings_of(pilot) == []
