"""Flight over a substrate of one number: what is asked and told, when, and that it resumes anywhere."""

import json
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpilot.core.actions import (
    Action,
    Average,
    Done,
    Drop,
    Evaluate,
    HeldOut,
    Line,
    LineLosses,
    Mark,
    Moved,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.history import Event
from lrpilot.core.policy import Context, Facts, Policy
from lrpilot.core.shape import Shape, constant, ramp
from lrpilot.core.stop import Stop, StopReason, StopState, check_stop
from lrpilot.errors import PolicyError, StateError
from lrpilot.flight import flight as flight_module
from lrpilot.flight.flight import Flight
from lrpilot.flight.losses import ALARM_AT, ASK_EVERY, READ_EVERY
from lrpilot.flight.substrate import TrialSeen

START_LR = 0.5


class OneNumber:
    """A Substrate whose weight falls by the lr at each step, and whose loss is the weight, and a wobble."""

    def __init__(self, *, reads_are_cheap: bool = True, wobble: float = 0.0) -> None:
        self.cost = Cost()
        self.reads_are_cheap = reads_are_cheap
        self.wobble = wobble
        self.steps = 0
        self.weight = 100.0
        self.marks: dict[str, float] = {}
        self.armed = False
        self.endpoints: tuple[float, float] | None = None
        self.log: list[str] = []
        self.agreed: list[Action] = []
        self.reads: list[int] = []
        self.fail_next: BaseException | None = None
        self.average: Average | None = None
        self.landing_price = 0.0
        self.sound = False  # where a loss is no number
        self.asked: list[bool] = []
        self.leaves_out = 0  # batches that Trials have still to meet
        self.flown: list[Average | None] = []

    def facts(self) -> Facts:
        return Facts(momentum=0.25)

    def fly(self, average: Average | None) -> None:
        self.flown.append(average)
        self.average = average

    def step(self, lr: float) -> float:
        before = self.weight
        self.weight -= lr
        if self.armed:
            self.endpoints, self.armed = (before, self.weight), False
        self.steps += 1
        return before + self.wobble * (self.steps % 3)

    def _measured(self, what: str) -> None:
        if self.fail_next is not None:
            failure, self.fail_next = self.fail_next, None
            raise failure
        self.cost += Cost(forwards=1)
        self.log.append(what)

    def trial(self, action: Trial) -> TrialSeen | None:
        self._measured("trial")
        self.leaves_out -= 1
        if self.leaves_out >= 0:
            return None
        losses, stop, rules = [], None, StopState()
        for step in range(action.steps):
            losses.append(self.weight - sum(action.shape.first(step)))
            rules, stop = check_stop(action.stop, rules, losses[-1])
        return TrialSeen(tuple(losses), losses[-1] if action.evaluate != "no" else None, stop)

    def arm_line(self) -> None:
        self.log.append("arm")
        self.armed = True

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        self._measured("line")
        assert self.endpoints is not None
        before, after = self.endpoints
        return tuple(tuple(before + s * (after - before) for s in action.factors) for _ in range(action.batches))

    def line_shares(self, action: Line) -> tuple[float, ...]:
        return ()

    def release_line(self) -> None:
        self.armed, self.endpoints = False, None

    def evaluate(self, action: Evaluate) -> float:
        self._measured("evaluate")
        return self.weight

    def mark(self, key: str) -> None:
        self._measured(f"mark {key}")
        self.marks[key] = self.weight

    def rewind(self, key: str) -> None:
        self._measured(f"rewind {key}")
        self.weight = self.marks[key]

    def drop(self, key: str) -> None:
        self._measured(f"drop {key}")
        del self.marks[key]

    def read(self, losses: Sequence[Any]) -> list[float]:
        if losses:
            self.reads.append(len(losses))
        return [float(loss) for loss in losses]

    def is_sound(self, *, by_a_batch: bool = False) -> bool:
        self.asked.append(by_a_batch)
        return self.sound

    def agree(self, action: Action) -> None:
        self.agreed.append(action)


@record
class FlightScript(Policy):
    """Asks for its actions one after the other, then for Done with the number of tells."""

    actions: tuple[Any, ...]
    max_marks: ClassVar[int] = 2

    def init(self, context: Context) -> dict[str, int]:
        return {"next": 0, "tells": 0}

    def ask(self, state: dict[str, int]) -> Action:
        index = state["next"]
        return self.actions[index] if index < len(self.actions) else Done(state["tells"])

    def tell(self, state: dict[str, int], observation: Observation) -> dict[str, int]:
        over = not isinstance(observation, Trained) or observation.finished
        return {"next": state["next"] + over, "tells": state["tells"] + 1}


@record
class FlightChangeOfMind(Policy):
    """Trains at the given lrs, going to the next at every observation."""

    lrs: tuple[float, ...]

    def init(self, context: Context) -> int:
        return 0

    def ask(self, state: int) -> Action:
        return Train(constant(self.lrs[min(state, len(self.lrs) - 1)]), 100, observe_every=3)

    def tell(self, state: int, observation: Observation) -> int:
        return state + 1


def train(steps: int, lr: float = 0.1, **options: Any) -> Train:
    return Train(constant(lr), steps, **options)


def fly(
    *actions: Any,
    total: int | None = None,
    reads_are_cheap: bool = True,
    wobble: float = 0.0,
    on_event: Any = None,
) -> tuple[Flight, OneNumber]:
    """A flight of a script, its first measurements done."""
    substrate = OneNumber(reads_are_cheap=reads_are_cheap, wobble=wobble)
    flight = Flight(FlightScript(tuple(actions)), substrate, lr=START_LR, horizon=horizon(total), on_event=on_event)
    flight.start()
    return flight, substrate


def horizon(total: int | None) -> flight_module.StepsLeft:
    return lambda step: None if total is None else total - step


def steps(flight: Flight, substrate: OneNumber, losses: int | Sequence[Any]) -> None:
    """Kept steps: so many with their own loss, or one for each loss given (None: not given)."""
    for loss in [math.inf] * losses if isinstance(losses, int) else losses:
        own = substrate.step(flight.lr)
        flight.kept(own if isinstance(losses, int) else loss)


def told(flight: Flight) -> list[Observation | None]:
    return [event.observation for event in flight.history.events if event.phase != "warning"]


# ------------------------------------------------------- order of asking


def test_construction_measures_nothing() -> None:
    substrate = OneNumber()
    flight = Flight(FlightScript((Evaluate(), train(2))), substrate, lr=START_LR, horizon=horizon(None))
    assert substrate.log == [] and flight.searching and flight.lr == START_LR
    flight.start()
    assert substrate.log == ["evaluate"] and not flight.searching and flight.lr == 0.1


def test_each_observation_answers_its_action() -> None:
    trial = Trial(constant(1.0), 3, evaluate="end")
    flight, substrate = fly(
        Evaluate(), trial, Mark("a"), train(2, 0.125), Line((0.0, 0.5, 1.0), batches=2), Rewind("a"), Drop("a"), total=9
    )
    steps(flight, substrate, 3)
    assert told(flight) == [
        HeldOut(Progress(0, 9), 100.0, cost=0.333333),
        TrialLosses(Progress(0, 9), (100.0, 99.0, 98.0), 98.0, None, cost=0.333333),
        Moved(Progress(0, 9), "a"),
        Trained(Progress(2, 7), 2, (100.0, 99.875), None, True, None),
        LineLosses(Progress(3, 6), (0.0, 0.5, 1.0), ((99.75, 99.6875, 99.625),) * 2),
        Moved(Progress(3, 6), "a"),
        Moved(Progress(3, 6), "a"),
    ]
    assert flight.done and flight.result == 7 and substrate.weight == 100.0 and substrate.marks == {}


def test_every_rank_is_asked_about_every_action_once() -> None:
    script = (Evaluate(), train(3, observe_every=1), Mark("a"), Drop("a"))
    flight, substrate = fly(*script)
    steps(flight, substrate, 3)
    assert substrate.agreed == [*script, Done(5 + 1)]


def test_kept_steps_run_at_the_shape_and_then_hold_its_last_lr() -> None:
    flight, substrate = fly(Train(ramp(0.4, 0.0, 4), 4, momentum=ramp(0.9, 0.5, 4)), Evaluate())
    assert flight.momentum == 0.9
    steps(flight, substrate, 2)
    assert flight.momentum == pytest.approx(0.7)
    steps(flight, substrate, 4)
    assert flight.history.lrs == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.1, 0.1])
    assert flight.done and flight.momentum is None and flight.progress == Progress(6, None)


def test_events_begin_and_end_measurements_and_end_trains() -> None:
    events: list[Event] = []
    flight, substrate = fly(Evaluate(), train(2), Mark("a"), on_event=events.append)
    steps(flight, substrate, 2)
    assert [(e.phase, type(e.action).__name__, e.step) for e in events] == [
        ("begin", "Evaluate", 0),
        ("end", "Evaluate", 0),
        ("end", "Train", 2),
        ("begin", "Mark", 2),
        ("end", "Mark", 2),
    ]


# -------------------------------------------------------- averaged flight


def test_every_train_says_how_it_is_flown_and_nothing_else_does() -> None:
    average = Average(0.8)
    script = (Evaluate(), train(2, average=average), Mark("a"), train(1), train(2, average=Average(0.5)))
    flight, substrate = fly(*script)
    assert substrate.flown == [average], "when it is due, before its first step"
    steps(flight, substrate, 6)
    assert flight.done and substrate.flown == [average, None, Average(0.5)], "Done leaves it as it is"
    assert substrate.average == Average(0.5)


def test_no_line_is_armed_where_an_average_is_flown() -> None:
    flight, substrate = fly(train(1, average=Average()), Line((1.0,)))
    with pytest.raises(PolicyError, match=r"FlightScript asked for one in an averaged flight.*without average first"):
        steps(flight, substrate, 1)
    assert not substrate.armed


def test_a_resumed_flight_leaves_the_average_to_the_substrates_own_state() -> None:
    flight, substrate = fly(train(5, average=Average()))
    steps(flight, substrate, 2)
    again, other = fly(train(5, average=Average()))
    other.flown.clear()
    again.load_state_dict(json.loads(json.dumps(flight.state_dict())))
    assert other.flown == []


def test_what_is_left_out_does_not_end_an_averaged_flight() -> None:
    substrate = OneNumber()
    script = FlightScript((train(3, 0.3, average=Average(0.7)), Evaluate(), train(9)))
    flight = Flight(script, substrate, lr=START_LR, horizon=horizon(20), affords=lambda *_: False)
    steps(flight, substrate, 8)
    assert flight.coasts_from == 3 and substrate.flown == [Average(0.7)] * 2
    assert flight.history.lrs == [0.3] * 8


def test_a_policy_is_told_what_can_be_seen_of_the_training() -> None:
    seen: list[Context] = []

    class Asking(FlightScript):
        def init(self, context: Context) -> Any:
            seen.append(context)
            return super().init(context)

    Flight(Asking((train(1),)), OneNumber(), lr=START_LR, horizon=horizon(7))
    assert seen == [Context(START_LR, Progress(0, 7), False, Facts(momentum=0.25))]


# ---------------------------------------------------------------- trains


def test_an_equal_train_goes_on_where_it_is() -> None:
    flight, substrate = fly(Train(ramp(0.6, 0.1, 5), 5, observe_every=2))
    steps(flight, substrate, 5)
    assert flight.history.lrs == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2])
    seen = told(flight)
    assert [(t.steps, len(t.losses), t.finished) for t in seen if isinstance(t, Trained)] == [
        (2, 2, False),
        (4, 2, False),
        (5, 1, True),
    ]
    assert [loss for t in seen if isinstance(t, Trained) for loss in t.losses] == flight.history.losses


def test_another_train_replaces_it() -> None:
    substrate = OneNumber()
    flight = Flight(FlightChangeOfMind((0.1, 0.2, 0.2)), substrate, lr=START_LR, horizon=horizon(None))
    steps(flight, substrate, 9)
    assert flight.history.lrs == [0.1] * 3 + [0.2] * 6
    assert [t.steps for t in told(flight) if isinstance(t, Trained)] == [3, 3, 6]


def test_a_train_asked_again_when_it_is_over_begins_anew() -> None:
    flight, substrate = fly(Train(ramp(0.2, 0.1, 1), 2), Train(ramp(0.2, 0.1, 1), 2))
    steps(flight, substrate, 4)
    assert flight.history.lrs == [0.2, 0.1, 0.2, 0.1]


def test_without_losses_an_observing_train_reads_held_out_loss() -> None:
    flight, substrate = fly(train(4, observe_every=2), train(2))
    steps(flight, substrate, [None] * 6)
    assert told(flight) == [
        Trained(Progress(2, None), 2, (), pytest.approx(99.8), False, None),
        Trained(Progress(4, None), 4, (), pytest.approx(99.6), True, None),
        Trained(Progress(6, None), 2, (), None, True, None),  # it asked for no losses, so none are paid for
    ]
    assert substrate.log == ["evaluate"] * 2
    assert all(math.isnan(loss) for loss in flight.history.losses)


def test_the_loss_of_a_line_step_is_not_the_next_trains() -> None:
    flight, substrate = fly(Line((1.0,)), train(2, observe_every=1))
    steps(flight, substrate, [7.0, 5.0, 4.0])
    assert [t.losses for t in told(flight) if isinstance(t, Trained)] == [(5.0,), (4.0,)]
    assert flight.history.losses == [7.0, 5.0, 4.0]


def test_the_loss_of_a_step_before_a_search_stops_no_train_after_it() -> None:
    flight, substrate = fly(Line((1.0,)), train(2), reads_are_cheap=False)
    steps(flight, substrate, [math.nan, 5.0, 4.0])
    assert told(flight)[1:] == [Trained(Progress(3, None), 2, (5.0, 4.0), None, True, None)]


@pytest.mark.parametrize("end", [0.0, 1e-400])
def test_an_lr_of_zero_within_a_train_is_refused(end: float) -> None:
    with pytest.raises(PolicyError, match=r"finite and > 0, got 0\.0 among its 5 steps"):
        fly(Train(ramp(0.1, end, 4), 5))


# ------------------------------------------------------------ stop rules


def test_a_loss_that_is_not_finite_reports_at_once() -> None:
    flight, substrate = fly(train(100), train(1, lr=0.01))
    steps(flight, substrate, [3.0, 2.0, math.nan, 1.0])
    first = told(flight)[0]
    assert isinstance(first, Trained)
    assert (first.steps, first.finished, first.stop) == (3, True, StopReason.NON_FINITE)
    assert flight.history.lrs == [0.1, 0.1, 0.1, 0.01]


def test_one_of_sound_weights_weighs_nothing() -> None:
    flight, substrate = fly(train(100, observe_every=4, stop=Stop(patience=2)), train(9, lr=0.01))
    substrate.sound = True
    steps(flight, substrate, [3.0, math.nan, math.inf, 2.0, 1.5, math.nan, math.nan, math.nan])
    assert [seen.losses for seen in told(flight) if isinstance(seen, Trained)] == [(3.0, 2.0), (1.5,)]
    assert flight.history.lrs == [0.1] * 8 and math.isnan(flight.history.losses[1])
    assert substrate.asked == [False] * 5


def test_of_many_in_a_row_the_owner_is_told_once_and_a_batch_is_asked_now_and_then() -> None:
    flight, substrate = fly(train(100))
    substrate.sound = True
    steps(flight, substrate, [math.nan] * (2 * ASK_EVERY + 1) + [1.0] + [math.nan] * 2)
    assert [i for i, by_a_batch in enumerate(substrate.asked, start=1) if by_a_batch] == [ASK_EVERY, 2 * ASK_EVERY]
    (warning,) = [event for event in flight.history.events if event.phase == "warning"]
    assert warning.step == ALARM_AT and "in a row" in warning.message and "data" in warning.message
    substrate.sound = False
    steps(flight, substrate, [math.nan])
    (seen,) = told(flight)
    assert isinstance(seen, Trained) and seen.stop is StopReason.NON_FINITE


def test_of_weights_that_are_no_numbers_the_owner_is_told_once() -> None:
    flight, substrate = fly(*(train(100) for _ in range(9)))
    steps(flight, substrate, [1.0] + [math.nan] * (2 * ALARM_AT))
    (warning,) = [event for event in flight.history.events if event.phase == "warning"]
    assert warning.step == 1 + ALARM_AT and "the weights are none any more" in warning.message


def test_where_a_batch_is_left_out_of_a_trial_it_is_flown_again_and_paid_for() -> None:
    flight, substrate = fly(train(1), Trial(constant(0.1), 2), train(5))
    substrate.leaves_out = 2
    steps(flight, substrate, 1)
    _, seen = told(flight)
    assert isinstance(seen, TrialLosses) and substrate.log.count("trial") == 3
    assert seen.cost == pytest.approx(1.0), "three attempts, a third of a step each"
    assert [event.phase for event in flight.history.events] == ["end", "warning", "warning", "end"]


@pytest.mark.parametrize(
    ("stop", "losses", "reason"),
    [
        (Stop(abort_above=3.0), [3.0, 2.0, 3.1], StopReason.ABORTED),
        (Stop(abort_ratio=2.0), [3.0, 1.0, 2.1], StopReason.ABORTED),
        (Stop(patience=2), [3.0, 3.0, 3.0], StopReason.PATIENCE),
    ],
)
@pytest.mark.parametrize("reads_are_cheap", [True, False])
def test_a_stop_rule_ends_a_train_early(
    stop: Stop, losses: list[float], reason: StopReason, reads_are_cheap: bool
) -> None:
    flight, substrate = fly(train(100, stop=stop), reads_are_cheap=reads_are_cheap)
    steps(flight, substrate, losses)
    assert told(flight) == [Trained(Progress(3, None), 3, tuple(losses), None, True, reason)]


def test_stop_rules_remember_across_observations() -> None:
    flight, substrate = fly(train(100, observe_every=2, stop=Stop(abort_ratio=2.0)))
    steps(flight, substrate, [1.0, 1.5, 1.5, 2.5])
    assert [t.stop for t in told(flight) if isinstance(t, Trained)] == [None, StopReason.ABORTED]


def test_where_reading_stalls_losses_are_read_in_blocks() -> None:
    flight, substrate = fly(train(70), reads_are_cheap=False)
    steps(flight, substrate, [1.0] * 5 + [math.nan] + [1.0] * (READ_EVERY - 6))
    assert substrate.reads == [READ_EVERY]
    (seen,) = told(flight)
    assert isinstance(seen, Trained) and (seen.steps, seen.stop) == (READ_EVERY, StopReason.NON_FINITE)
    assert len(seen.losses) == 6, "what came after the stop is in the history alone"
    assert len(flight.history.losses) == READ_EVERY and flight.history.losses[-1] == 1.0


def test_an_observation_reads_what_is_outstanding() -> None:
    flight, substrate = fly(train(70, observe_every=10), reads_are_cheap=False)
    steps(flight, substrate, 70)
    assert substrate.reads == [10] * 7
    assert [len(t.losses) for t in told(flight) if isinstance(t, Trained)] == [10] * 7


def test_held_out_losses_feed_the_rules_where_none_are_given() -> None:
    flight, substrate = fly(train(50, lr=2.0, observe_every=2, stop=Stop(abort_above=97.0)))
    steps(flight, substrate, [None] * 2)
    assert told(flight) == [Trained(Progress(2, None), 2, (), 96.0, False, None)]
    substrate.weight = 200.0
    steps(flight, substrate, [None] * 2)
    assert told(flight)[1] == Trained(Progress(4, None), 4, (), 196.0, True, StopReason.ABORTED)


# ----------------------------------------------------------------- lines


def test_the_first_line_costs_a_step_and_further_ones_none() -> None:
    flight, substrate = fly(train(1), Line((0.0, 1.0)), Line((2.0,)), Evaluate(), Line((3.0,)))
    assert not substrate.armed
    steps(flight, substrate, 1)
    assert substrate.armed and not flight.searching and flight.lr == 0.1
    steps(flight, substrate, 1)
    assert flight.step == 2 and flight.done
    read = [t.losses[0] for t in told(flight) if isinstance(t, LineLosses)]
    assert read == [pytest.approx((99.9, 99.8)), pytest.approx((99.7,)), pytest.approx((99.6,))]
    assert substrate.log.count("arm") == 1


@pytest.mark.parametrize("between", [train(1), Rewind("a")])
def test_a_train_or_a_rewind_lets_go_of_the_line(between: Action) -> None:
    flight, substrate = fly(Mark("a"), Line((1.0,)), between, Line((0.0,)))
    steps(flight, substrate, 2 + isinstance(between, Train))
    assert flight.done and substrate.log.count("arm") == 2


def test_done_lets_go_of_the_line() -> None:
    flight, substrate = fly(Line((1.0,)))
    steps(flight, substrate, 1)
    assert flight.done and substrate.endpoints is None


# ----------------------------------------------------------------- marks


def test_a_policy_may_hold_the_marks_it_declared() -> None:
    flight, substrate = fly(Mark("a"), Mark("b"), Mark("b"), Drop("a"), Mark("c"))
    assert flight.done and set(substrate.marks) == {"b", "c"}
    with pytest.raises(PolicyError, match=r"may hold 2 marks, got mark 'c' on top of \['a', 'b'\]"):
        fly(Mark("a"), Mark("b"), Mark("c"))


@pytest.mark.parametrize("action", [Rewind("a"), Drop("a")])
def test_a_mark_must_be_set_before_it_is_used(action: Action) -> None:
    with pytest.raises(PolicyError, match="must be set before it is used, got 'a'"):
        fly(action)
    with pytest.raises(PolicyError, match="must be set before it is used, got 'a'"):
        fly(Mark("a"), Drop("a"), action)


# ----------------------------------------------------------- bad policies


def coasting(limit: int) -> tuple[Flight, OneNumber]:
    """A flight that can pay for measurements up to so many kept steps, on a script with a Line and a Mark at 3."""
    substrate = OneNumber()
    script = FlightScript((train(3, 0.3), Mark("m"), Line((0.0, 1.0)), train(3, 0.1), Evaluate(), train(9, 0.7)))
    flight = Flight(script, substrate, lr=START_LR, horizon=horizon(20), affords=lambda _, step: step <= limit)
    flight.start()
    return flight, substrate


@pytest.mark.parametrize("limit, since, lr", [(0, 3, 0.3), (3, 4, 0.3), (6, 7, 0.1)])
def test_what_cannot_be_paid_for_is_left_out_and_the_policy_is_not_asked_again(
    limit: int, since: int, lr: float
) -> None:
    flight, substrate = coasting(limit)
    steps(flight, substrate, 20)
    assert flight.coasts_from == since
    assert flight.history.lrs[since:] == [lr] * (20 - since)
    assert "evaluate" not in substrate.log and not flight.searching and not flight.done


def test_what_can_be_paid_for_is_measured() -> None:
    flight, substrate = coasting(100)
    steps(flight, substrate, 12)
    assert flight.coasts_from is None and "evaluate" in substrate.log


@pytest.mark.parametrize("stop_at", range(12))
def test_a_flight_that_coasts_resumes_coasting(stop_at: int) -> None:
    straight, substrate = coasting(3)
    steps(straight, substrate, 12)
    first, substrate = coasting(3)
    steps(first, substrate, stop_at)
    again, other = coasting(3)
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    other.weight, other.steps, other.marks = substrate.weight, substrate.steps, dict(substrate.marks)
    other.armed, other.endpoints = substrate.armed, substrate.endpoints
    steps(again, other, 12 - stop_at)
    assert again.history.lrs == straight.history.lrs and again.coasts_from == straight.coasts_from == 4


def test_an_endless_search_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight_module, "MAX_MEASUREMENTS_IN_A_ROW", 50)
    with pytest.raises(PolicyError, match="A search must end, but FlightScript asked for 50 measurements"):
        fly(*[Evaluate()] * 51)
    assert fly(*[Evaluate()] * 49)[0].done


def test_an_unknown_action_is_an_error() -> None:
    with pytest.raises(PolicyError, match="one of the known actions, got 'train'"):
        fly("train")


# ---------------------------------------------------------- interruptions


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), RuntimeError("out of memory")])
@pytest.mark.parametrize("again", ["start", "kept"])
def test_an_interrupted_measurement_stays_pending(failure: BaseException, again: str) -> None:
    flight, substrate = fly(train(2), Trial(constant(0.1), 2), train(5, lr=0.2))
    steps(flight, substrate, 1)
    substrate.fail_next = failure
    with pytest.raises(type(failure)):
        steps(flight, substrate, 1)
    assert flight.searching and flight.step == 2 and substrate.log == []
    if again == "start":
        flight.start()
    else:
        assert flight.lr == 0.1, "the present lr holds until the search is over"
        steps(flight, substrate, 1)
    assert substrate.log == ["trial"] and flight.lr == 0.2
    assert [type(t).__name__ for t in told(flight)] == ["Trained", "TrialLosses"]


# ----------------------------------------------------------------- resume

EVERYTHING = (
    Evaluate(),
    Mark("a"),
    Train(ramp(0.4, 0.1, 4, "cosine"), 4, observe_every=2, stop=Stop(patience=3), momentum=ramp(0.9, 0.8, 4)),
    Line((0.5, 1.0)),
    Line((2.0,)),
    Trial(constant(0.1), 2, evaluate="end"),
    Rewind("a"),
    train(5),
    Mark("b"),
    Drop("a"),
    Line((0.5,)),
    Rewind("b"),
    train(10, stop=Stop(abort_ratio=1.05)),
    train(20, lr=0.001, stop=Stop(patience=2)),
    train(20, lr=1e-9, observe_every=3, stop=Stop(patience=5)),
    train(20, lr=0.2),
)


def resumed(flight: Flight, substrate: OneNumber, total: int) -> tuple[Flight, OneNumber]:
    """The flight in a new process: weights and marks from the checkpoint, everything else from its state."""
    saved = json.loads(json.dumps(flight.state_dict()))
    fresh = OneNumber(reads_are_cheap=substrate.reads_are_cheap, wobble=substrate.wobble)
    again = Flight(flight.policy, fresh, lr=123.0, horizon=horizon(total))
    again.load_state_dict(saved)
    fresh.weight, fresh.steps, fresh.marks = substrate.weight, substrate.steps, dict(substrate.marks)
    return again, fresh


def same_flight(actions: Sequence[Action], reads_are_cheap: bool, stop_at: int, length: int = 60) -> None:
    whole, substrate = fly(*actions, total=length, reads_are_cheap=reads_are_cheap, wobble=3.0)
    steps(whole, substrate, stop_at)
    again, fresh = resumed(whole, substrate, length)
    for _ in range(length - stop_at):
        assert (again.lr, again.momentum, again.searching) == (whole.lr, whole.momentum, whole.searching)
        steps(whole, substrate, 1)
        steps(again, fresh, 1)
        assert fresh.weight == substrate.weight
    assert again.history.to_plain() == whole.history.to_plain()
    assert again.state_dict() == whole.state_dict()
    assert again.result == whole.result and fresh.cost == substrate.cost


@pytest.mark.parametrize("reads_are_cheap", [True, False])
@pytest.mark.parametrize("stop_at", range(56))
def test_saved_at_any_step_a_flight_resumes_as_if_never_stopped(stop_at: int, reads_are_cheap: bool) -> None:
    same_flight(EVERYTHING, reads_are_cheap, stop_at)


asked = st.one_of(
    st.builds(
        train,
        st.integers(1, 8),
        st.floats(0.01, 1.0),
        observe_every=st.none() | st.integers(1, 4),
        stop=st.builds(Stop, abort_above=st.none() | st.floats(98, 100), patience=st.none() | st.integers(1, 3)),
    ),
    st.builds(Line, st.tuples(st.floats(0, 2), st.floats(0, 2)), st.integers(1, 3)),
    st.builds(Trial, st.just(ramp(0.1, 0.0, 4)), st.integers(1, 4), st.sampled_from(["no", "end", "average"])),
    st.just(Evaluate()),
)


@given(st.lists(asked, max_size=8), st.booleans(), st.integers(0, 30))
def test_any_script_resumes_anywhere(actions: list[Action], reads_are_cheap: bool, stop_at: int) -> None:
    same_flight(actions, reads_are_cheap, stop_at, length=40)


def test_a_stop_seen_only_while_saving_is_not_lost() -> None:
    flight, substrate = fly(train(70), train(9, lr=0.2), total=80, reads_are_cheap=False)
    steps(flight, substrate, [1.0, math.nan, 1.0])
    assert not told(flight) and flight.lr == 0.1
    again, fresh = resumed(flight, substrate, 80)
    for one, its in ((flight, substrate), (again, fresh)):
        steps(one, its, [1.0])
        (seen,) = told(one)
        assert isinstance(seen, Trained) and (seen.steps, seen.stop) == (4, StopReason.NON_FINITE) and one.lr == 0.2


def test_a_search_that_was_interrupted_is_flown_after_loading() -> None:
    flight, substrate = fly(train(1), Trial(constant(0.1), 2), train(5, lr=0.2))
    substrate.fail_next = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        steps(flight, substrate, 1)
    again, fresh = resumed(flight, substrate, 10)
    assert again.searching
    again.start()
    assert fresh.log == ["trial"] and again.lr == 0.2


def test_loading_measures_nothing_and_brings_the_result() -> None:
    flight, substrate = fly(Evaluate())
    again, fresh = resumed(flight, substrate, 10)
    assert again.done and again.result == flight.result == 1
    assert fresh.log == [] and fresh.cost == substrate.cost == Cost(forwards=1)


@pytest.mark.parametrize("other", [FlightScript((train(4),)), FlightChangeOfMind((0.1,))])
def test_a_state_of_other_settings_is_refused(other: Policy) -> None:
    flight, _ = fly(train(3))
    elsewhere = Flight(other, OneNumber(), lr=0.1, horizon=horizon(None))
    with pytest.raises(StateError, match="must be resumed with its own policy"):
        elsewhere.load_state_dict(flight.state_dict())


@given(st.integers(0, 60))
def test_a_history_has_an_lr_and_a_loss_for_every_step(count: int) -> None:
    flight, substrate = fly(*EVERYTHING, reads_are_cheap=False)
    steps(flight, substrate, count)
    assert len(flight.history.lrs) == len(flight.history.losses) == flight.step == count
    assert all(math.isfinite(loss) for loss in flight.history.losses)


def test_a_report_that_needs_a_measurement_stays_due_when_that_fails() -> None:
    substrate = OneNumber()
    train = Train(ramp(0.1, 0.0, 4), 4, observe_every=4)
    flight = Flight(FlightScript((train,)), substrate, lr=START_LR, horizon=lambda step: None)
    for _ in range(3):
        flight.kept()
    substrate.fail_next = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        flight.kept()
    assert flight.step == 4 and flight.searching and flight.lr > 0
    saved = json.loads(json.dumps(flight.state_dict()))
    resumed = Flight(FlightScript((train,)), substrate, lr=START_LR, horizon=lambda step: None)
    resumed.load_state_dict(saved)
    for one in (flight, resumed):
        one.start()
        (event,) = [e for e in one.history.events if isinstance(e.action, Train)]
        assert isinstance(event.observation, Trained)
        assert (event.observation.steps, event.observation.finished) == (4, True)
        assert event.observation.held_out == substrate.weight and one.done
    assert flight.history.lrs == resumed.history.lrs and len(flight.history.lrs) == 4


def test_a_zero_beside_a_jump_within_a_train_is_refused() -> None:
    shape = Shape((0.0, 2.0, 2.0, 6.0), (0.1, 0.1, 0.0, 0.1), ("hold", "hold", "linear"))
    with pytest.raises(PolicyError, match="among its 5 steps"):
        Flight(FlightScript((Train(shape, 5),)), OneNumber(), lr=START_LR, horizon=lambda step: None)
    before_the_jump = Shape((0.0, 2.0, 2.0, 6.0), (0.1, 0.0, 0.1, 0.1), ("linear", "hold", "hold"))
    Flight(FlightScript((Train(before_the_jump, 5),)), OneNumber(), lr=START_LR, horizon=lambda step: None)


def test_losses_do_not_pile_up_after_done() -> None:
    substrate = OneNumber(reads_are_cheap=False)
    flight = Flight(FlightScript((Train(constant(0.1), 2),)), substrate, lr=START_LR, horizon=lambda step: None)
    for _ in range(5 * READ_EVERY):
        flight.kept(substrate.step(flight.lr))
    assert flight.done and sum(substrate.reads) >= 4 * READ_EVERY
