"""What was tried, read off a history: by hand for Trials and Lines, and over flights."""

import math

import pytest

from lrpilot.core.actions import Evaluate, HeldOut, Line, LineLosses, Progress, Train, Trial, TrialLosses
from lrpilot.core.history import Event, History
from lrpilot.core.policy import Reason
from lrpilot.core.searches import TriedLR, searches_of
from lrpilot.core.shape import annealed, constant
from lrpilot.core.stop import StopReason
from lrpilot.policies.autolrs import AutoLRS
from lrpilot.policies.lr_tuner import LRTuner
from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.testing.flights import fly

HERE = Progress(2, 3)
CHOSEN = Reason("chosen", "lr 0.1 to 0.3")


def trial(lr: float, seen: TrialLosses, reason: Reason | None = None, step: int = 2) -> Event:
    return Event("end", step, Trial(constant(lr), 8), seen, reason)


def test_trials_at_one_step_are_a_search_by_the_loss_that_was_read() -> None:
    events = [
        Event("begin", 2, Trial(constant(0.3), 8)),
        trial(0.3, TrialLosses(HERE, (9.0,) * 8, 0.5, None, cost=8.0)),
        trial(0.1, TrialLosses(HERE, (9.0,) * 8, None, None, readings=(3.0, 0.7), cost=8.5)),
        trial(1.0, TrialLosses(HERE, (9.0, math.inf), None, StopReason.NON_FINITE, cost=2.0)),
        trial(0.2, TrialLosses(HERE, (9.0,) * 6 + (1.0, 2.0), None, None, cost=8.0), CHOSEN),
        Event("end", 2, Evaluate(), HeldOut(HERE, 4.0)),
    ]
    (search,) = searches_of(History([0.1, 0.1, 0.05, 0.3, 0.2], [1.0] * 5, events))
    assert search.tried == (
        TriedLR(0.1, 0.7, 8),
        TriedLR(0.2, 1.5, 8),
        TriedLR(0.3, 0.5, 8),
        TriedLR(1.0, None, 2, "NON_FINITE"),
    )
    assert (search.step, search.cost, search.went_on_at, search.reason) == (2, 26.5, 0.3, CHOSEN)
    assert search.best is search.tried[2]


def test_the_lr_of_a_trial_is_its_peak() -> None:
    seen = TrialLosses(HERE, (1.0,) * 4, math.nan, None)
    (search,) = searches_of(History([], [], [Event("end", 0, Trial(annealed(0.4, 4), 4), seen)]))
    assert search.tried == (TriedLR(0.4, None, 4),) and search.best is None and search.went_on_at is None


def test_lines_are_compared_on_batches_that_all_of_them_have_read() -> None:
    level = Event("end", 2, Line((1.0,), 1), LineLosses(HERE, (1.0,), ((5.0,),)))
    first = Event("end", 2, Line((0.0, 2.0), 2), LineLosses(HERE, (0.0, 2.0), ((4.0, 6.0), (2.0, 1.0))))
    more = Event("end", 2, Line((1.0,), 1, first=1), LineLosses(HERE, (1.0,), ((1.5,),)), CHOSEN)
    (search,) = searches_of(History([0.1, 0.2, 0.4], [1.0] * 3, [level, first, more]))
    assert search.tried == (TriedLR(0.0, 3.0), TriedLR(0.2, 3.25), TriedLR(0.4, 3.5))
    assert search.cost == pytest.approx((1 + 4 + 1) / 3) and search.went_on_at == 0.4
    assert searches_of(History([0.1, 0.2, 0.4], [1.0] * 3, [level])) == (), "a level of the loss is no search"


def test_an_lr_counts_until_the_next_search() -> None:
    first, second = (
        Event("end", step, Trial(constant(0.1), 2), TrialLosses(HERE, (1.0, 1.0), 1.0, None)) for step in (0, 2)
    )
    searches = searches_of(History([0.1, 0.2, 0.9, 0.3], [1.0] * 4, [first, second]))
    assert [search.went_on_at for search in searches] == [0.2, 0.9]


def test_over_a_flight_what_was_tried_is_what_was_measured() -> None:
    flight = fly(AutoLRS(1e-3, 1.0, overhead=2.0))
    searches = searches_of(flight.history)
    assert sum(len(search.tried) for search in searches) == flight.substrate.cost.trials > 0
    held_out = sum(isinstance(event.action, Evaluate) for event in flight.history.events)
    assert sum(search.cost for search in searches) == pytest.approx(flight.substrate.cost.steps - held_out / 3)

    lines = searches_of(fly(LRTuner(0.5, overhead=None, window=5)).history)
    assert lines and all(len(search.tried) >= 2 and search.reason is not None for search in lines)
    assert searches_of(fly(Schedule("cosine", lr=0.1)).history) == ()


def test_a_train_is_no_search() -> None:
    assert searches_of(History([0.1], [1.0], [Event("begin", 0, Train(constant(0.1), 3))])) == ()
