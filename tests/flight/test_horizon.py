"""How many steps are left, by hand: of steps, of forward-equivalents, of seconds."""

from collections.abc import Sequence

import pytest

from lrpilot.core.actions import Action, Evaluate, Mark
from lrpilot.core.cost import Cost
from lrpilot.errors import SettingError
from lrpilot.flight.horizon import Budget, Clock, StepHorizon, TimeHorizon, WorkHorizon, as_budget
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulatedSubstrate


class Priced(SimulatedSubstrate):
    """Something that has spent what it is told to have, and whose measurements cost 10."""

    def __init__(self, cost: Cost) -> None:
        super().__init__(NoisyQuadratic((1.0,)))
        self.cost = cost

    def price(self, action: Action) -> float:
        return 10.0


class Averaged(Priced):
    """The same in an averaged flight, whose landing costs 6."""

    landing_price = 6.0


class StoppedClock(Clock):
    """Stands where it is set."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.now = seconds

    @property
    def seconds(self) -> float:
        return self.now


def own(values: Sequence[float]) -> list[float]:
    """What one rank agrees on with itself."""
    return list(values)


def test_steps_are_counted_whatever_measurements_cost() -> None:
    left = StepHorizon(10)
    assert [left(step) for step in (0, 9, 10, 11)] == [10, 1, 0, 0]
    assert left.affords(Evaluate(), 10) and left.probe_share == 0.0
    assert (left.total_steps, left.pace) == (10, None)


def test_an_open_horizon_has_no_end() -> None:
    left = StepHorizon(None)
    assert left(10**9) is None and left.affords(Evaluate(), 10**9) and left.total_steps is None


@pytest.mark.parametrize("total_steps", [0, -3])
def test_a_horizon_has_a_step(total_steps: int) -> None:
    with pytest.raises(SettingError, match=f"total_steps must be >= 1, got {total_steps}. Use None for an open end"):
        StepHorizon(total_steps)


def test_a_step_costs_three_forwards_and_measurements_what_they_cost() -> None:
    left = WorkHorizon(100.0, Priced(Cost(forwards=20.0, backwards=10.0)))  # 40 spent
    assert [left(step) for step in (0, 1, 19, 20, 21, 99)] == [20, 19, 1, 0, 0, 0]
    assert left.probe_share == pytest.approx(0.4)
    assert [left.affords(Evaluate(), step) for step in (0, 16, 17)] == [True, True, False]  # 60, 12 and 9 left
    assert (left.total_steps, left.pace) == (None, None)


def test_what_is_free_can_be_paid_for_when_nothing_is_left() -> None:
    substrate = SimulatedSubstrate(NoisyQuadratic((1.0,)))
    left = WorkHorizon(2.0, substrate)
    assert left(0) == 0 and left.affords(Mark("m"), 5)
    assert not left.affords(Evaluate(), 1) and left.affords(Evaluate(), 0)


def test_seconds_are_planned_at_a_pace_and_kept_to_when_it_drifts() -> None:
    clock = StoppedClock(3.0)
    left = TimeHorizon(10.0, Priced(Cost(seconds=2.0)), clock=clock, pace=0.5, shared=own)
    assert [left(step) for step in (0, 6, 16, 20)] == [16, 10, 0, 0]
    clock.now = 12.5  # a fifth and more too late is cut short
    assert left(6) == 10
    clock.now = 12.6
    assert left(6) == 0
    assert left.probe_share == pytest.approx(0.2) and left.pace == 0.5


def test_what_a_landing_costs_is_held_back() -> None:
    left = WorkHorizon(100.0, Averaged(Cost(forwards=20.0, backwards=10.0)))  # 40 spent, 6 held back
    assert [left(step) for step in (0, 17, 18)] == [18, 1, 0]
    assert [left.affords(Evaluate(), step) for step in (14, 15)] == [True, False]  # 12 and 9 left
    seconds = TimeHorizon(10.0, Averaged(Cost(seconds=2.0)), clock=StoppedClock(3.0), pace=0.5, shared=own)
    assert seconds(0) == 14, "two steps less"


def test_statistics_are_estimated_on_fifty_batches_or_a_tenth_of_a_short_run() -> None:
    substrate = Priced(Cost())
    seconds = TimeHorizon(10.0, substrate, clock=StoppedClock(0.0), pace=0.1, shared=own)
    horizons = (StepHorizon(None), StepHorizon(5000), StepHorizon(100), StepHorizon(2), WorkHorizon(99.0, substrate))
    assert [left.norm_batches for left in (*horizons, seconds)] == [50, 50, 30, 1, 9, 30]


def test_ranks_stop_at_the_same_step() -> None:
    def shared(values: Sequence[float]) -> list[float]:
        return [2 * value for value in values]  # the other rank is three times as slow

    left = TimeHorizon(10.0, Priced(Cost(seconds=1.0)), clock=StoppedClock(1.0), pace=0.25, shared=shared)
    assert left(0) == 16


def test_a_clock_counts_an_earlier_run_too() -> None:
    clock = Clock()
    clock.resume_at(100.0)
    assert 100.0 <= clock.seconds < 160.0


def test_a_number_is_a_budget_of_forward_equivalents() -> None:
    given = Budget(seconds=3.0)
    assert as_budget(30) == Budget(forward_equivalents=30) and as_budget(given) is given and as_budget(None) is None
    with pytest.raises(SettingError, match="a number of forward-equivalents or a Budget, got '9'"):
        as_budget("9")  # type: ignore[arg-type]
