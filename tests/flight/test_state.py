"""FlightState: what follows from it, and that saving it forgets nothing."""

import json
from dataclasses import fields
from typing import Any

import pytest

from lrpilot.core.actions import Action, Done, Evaluate, Line, Mark, Train, Trial
from lrpilot.core.shape import constant, ramp
from lrpilot.core.stop import Stop, StopReason, StopState
from lrpilot.flight.state import FlightState

TRAIN = Train(ramp(0.4, 0.0, 4), 4, momentum=ramp(0.9, 0.5, 4))


def state(action: Action = TRAIN, **options: Any) -> FlightState:
    made = FlightState({"seen": (1, 2)}, action, lr=0.7, told_left=9, continues=False)
    for name, value in options.items():
        setattr(made, name, value)
    return made


def test_the_running_train_says_the_next_lr_and_else_the_last_is_held() -> None:
    assert [state(position=at).next_lr for at in range(5)] == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.7])
    assert [state(position=at).momentum for at in (0, 4)] == pytest.approx([0.9, 0.5])
    assert state(Evaluate()).next_lr == 0.7 and state(Evaluate()).momentum is None
    assert state(Train(constant(0.1), 3)).momentum is None


@pytest.mark.parametrize(
    ("action", "options", "searching"),
    [
        (TRAIN, {}, False),
        (TRAIN, {"report_due": True}, True),
        (Line((1.0,)), {}, False),
        (Line((1.0,)), {"line_held": True}, True),
        (Evaluate(), {}, True),
        (Mark("a"), {"coasts_from": 0}, False),
        (TRAIN, {"cools_from": 0, "report_due": True}, False),
        (Done(), {}, False),
    ],
)
def test_what_is_due_before_the_next_step(action: Action, options: Any, searching: bool) -> None:
    assert state(action, **options).searching is searching


def test_a_train_is_finished_at_its_last_step_or_where_a_rule_stops_it() -> None:
    assert [state(position=at).finished for at in (3, 4)] == [False, True]
    stopped = state(Train(constant(0.1), 9, stop=Stop(abort_above=2.0)))
    stopped.watch(stopped.action, 1.0)  # type: ignore[arg-type]
    assert not stopped.finished and stopped.stop_state.best == 1.0
    stopped.watch(stopped.action, 3.0)  # type: ignore[arg-type]
    assert stopped.finished and stopped.stop is StopReason.ABORTED


FULL: dict[str, Any] = {
    "step": 12, "position": 3, "window": [0.5, 0.25], "stop_state": StopState(0.25, 2), "stop": StopReason.PATIENCE,
    "report_due": True, "marks": ("a", "b"), "ends": ("x",), "end_taken": True, "line_held": True, "coasts_from": 5,
    "cools_from": 6, "excused": 2,
}  # fmt: skip


def test_every_field_is_saved() -> None:
    full = state(Trial(constant(0.1), 3, keep="x"), **FULL)
    empty = state()
    own = {each.name for each in fields(FlightState)} - {"policy_state", "lr", "told_left", "continues"}
    assert {name for name in own if getattr(full, name) != getattr(empty, name)} == {*FULL, "action"} == own
    plain = json.loads(json.dumps(full.to_plain()))
    assert plain.keys() == {each.name for each in fields(FlightState)}
    assert FlightState.from_plain(plain) == full
    assert FlightState.from_plain(json.loads(json.dumps(empty.to_plain()))) == empty


def test_another_action_begins_with_nothing_done() -> None:
    begun = state(**FULL)
    begun.begin(TRAIN)
    told_of = {
        "step": 12,
        "marks": ("a", "b"),
        "ends": ("x",),
        "end_taken": True,
        "line_held": True,
        "coasts_from": 5,
        "cools_from": 6,
        "excused": 2,
    }
    assert begun == state(TRAIN, **told_of), "but what is held, and how far the training is"


def test_a_saved_state_is_a_copy() -> None:
    live = state(window=[1.0])
    saved = live.to_plain()
    live.window.append(2.0)
    again = FlightState.from_plain(saved)
    again.window.append(3.0)
    assert saved["window"] == [1.0]
