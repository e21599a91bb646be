"""What LRTuner and WeightedFactors say of their decisions: true to the lrs, and without a part in them."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from lrpilot import LRTuner, WeightedFactors, simulate
from lrpilot.core.actions import Line
from lrpilot.core.history import Event
from lrpilot.core.policy import Policy
from lrpilot.flight.landscape import NoisyQuadratic

QUADRATIC = NoisyQuadratic.log_spaced(8, condition=30.0, noise=0.3)
POLICIES = {
    "lr_tuner": LRTuner(0.5, overhead=None, exploit="saturation"),
    "lr_tuner_paper": replace(LRTuner.paper("mnist", epochs=10), lr=None, superbatch=4),
    "weighted_factors": WeightedFactors(),
    "weighted_factors_paper": WeightedFactors.paper(window=10),
}
CODES = {
    "lr_tuner": {
        "minimiser", "limited", "other_way", "uncertain", "unforeseen", "saturated", "unsaturated",
        "undone", "wrecked", "no_number", "bad_data",
    },
    "weighted_factors": {"weighted", "searched", "taken_back", "no_number", "bad_data", "decays"},
}  # fmt: skip


def reasons(policy: Policy, lr: float, **options: Any) -> list[Event]:
    result = simulate(policy, QUADRATIC, lr=lr, total_steps=300, **options)
    return [event for event in result.history.events if event.reason is not None]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("lr", [0.003, 100.0])
def test_every_change_of_lr_is_told_from_what_to_what(name: str, lr: float) -> None:
    policy = POLICIES[name]
    result = simulate(policy, QUADRATIC, lr=lr, total_steps=300)
    told = [event for event in result.history.events if event.reason is not None]
    assert {event.reason.code for event in told} <= CODES[name.removesuffix("_paper")] and told
    changes = [re.search(r"lr (\S+) to (\S+):", event.reason.sentence) for event in told]
    pairs = [(float(found[1]), float(found[2])) for found in changes if found]
    assert pairs and all(a[1] == b[0] for a, b in pairwise(pairs)), "each begins where one ended"
    assert pairs[0][0] == pytest.approx(lr, rel=1e-2)
    seen = {f"{x:.3g}" for x in result.history.lrs}
    assert {f"{after:.3g}" for _, after in pairs[:-1]} <= seen | {f"{x:.3g}" for x, _ in pairs[1:]}


def test_a_line_that_changes_nothing_says_why() -> None:
    told = reasons(LRTuner(0.5, overhead=None, exploit="saturation"), 0.3)
    held = [event for event in told if isinstance(event.action, Line) and "lr stays" in event.message]
    assert held and all(": " in event.reason.sentence and event.message.endswith("]") for event in held)


@pytest.mark.parametrize("name", POLICIES)
def test_saying_it_has_no_part_in_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loud = simulate(POLICIES[name], QUADRATIC, lr=1.0, total_steps=200).history
    monkeypatch.setattr(type(POLICIES[name]), "explain", Policy.explain)
    silent = simulate(POLICIES[name], QUADRATIC, lr=1.0, total_steps=200).history
    assert silent.lrs == loud.lrs and all(event.reason is None for event in silent.events)
