"""Events and the history: what a log line says, what is kept, and what is printed of it."""

import json

from lrpilot.core.actions import Average, Line, LineLosses, Progress, Train, Trained, Trial, TrialLosses
from lrpilot.core.history import Event, History, describe
from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.core.shape import constant

LINE = Line((0.5, 1.0), 2)
SEEN = LineLosses(Progress(7, 3), (0.5, 1.0), ((1.0, 2.0), (1.0, 2.0)))
RAISED = Reason("minimiser", "lr 0.1 to 0.2: the minimum of the loss along the step")
BAD = Reason("bad_data", "lr stays 0.1: no number", alarms=True)


def events() -> list[Event]:
    train = Train(constant(0.1), 3)
    return [
        Event("end", 7, LINE, SEEN, RAISED),
        Event("end", 10, train, Trained(Progress(10, 0), 3, (1.0,), None, True, None)),
        Event("skip", 10, LINE),
        Event("warning", 10, train, reason=BAD),
    ]


def test_a_message_says_what_was_decided_and_why() -> None:
    said = [event.message for event in events()]
    line = "line of 2 factors on 2 batches"
    assert said[0] == f"step 7: {line} -> done; lr 0.1 to 0.2: the minimum of the loss along the step [minimiser]"
    assert said[2] == f"step 10: {line} is beyond the budget: the lr is held to the end"
    assert said[3] == "step 10: lr stays 0.1: no number [bad_data]"
    assert [event.alarms for event in events()] == [False, False, False, True]


def test_a_trial_is_known_by_the_last_held_out_loss_that_it_has() -> None:
    trial, here = Trial(constant(0.1), 4, read_every=2), Progress(0, 3)
    said = [
        Event("end", 0, trial, TrialLosses(here, (4.0, 3.0), held_out, None, readings=readings)).message
        for held_out, readings in ((None, ()), (None, (2.0, 1.0)), (0.5, (2.0, 1.0)))
    ]
    assert [message.split(" -> ")[1] for message in said] == ["loss 3", "loss 1", "loss 0.5"]


def test_an_averaged_flight_is_shown_as_such() -> None:
    assert describe(Train(constant(0.1), 3)) == "train 3 steps, lr 0.1 to 0.1"
    published = Train(constant(0.1), 3, average=Average())
    assert describe(published) == "train 3 steps, lr 0.1 to 0.1, averaged (mix 0.9)"
    trial = Trial(constant(0.1), 3, average=Average(0.85, 2.0))
    assert describe(trial) == "trial of 3 steps, lr 0.1 to 0.1, averaged (mix 0.85, power 2)"
    history = History([0.1], [2.0], [Event("end", 3, published), Event("end", 3, trial)])
    assert History.from_plain(json.loads(json.dumps(history.to_plain()))) == history


def test_lrs_in_words() -> None:
    assert lr_from_to(0.1, 0.25) == "lr 0.1 to 0.25" and lr_from_to(0.1, 0.1) == "lr stays 0.1"


def test_what_was_left_out_and_why_survive_json() -> None:
    history = History([0.1], [2.0], events())
    assert History.from_plain(json.loads(json.dumps(history.to_plain()))) == history


def test_a_history_of_an_earlier_version_is_read() -> None:
    plain = History([], [], events()[:1]).to_plain()
    plain["events"] = [event[:3] for event in plain["events"]]
    assert History.from_plain(plain).events == [Event("end", 7, LINE, SEEN)]


def test_a_long_history_is_printed_in_one_line() -> None:
    history = History([0.1] * 5000 + [0.0125], [2.0] * 5000 + [0.3], events())
    assert repr(history) == "History(5001 steps, 4 events, last lr 0.0125, last loss 0.3)"
    assert repr(History()) == "History(0 steps, 0 events)"
