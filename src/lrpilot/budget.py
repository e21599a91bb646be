"""Budgets of a fit: how many steps are left, given what everything has cost so far."""

import math
import time
from abc import ABC, abstractmethod

from lrpilot.core.actions import Action, Trial
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.shape import constant
from lrpilot.errors import SettingError
from lrpilot.training.distributed import mean_over_ranks
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.training import Training

NOTHING = Cost()
CALIBRATION_STEPS = 10
# A training slower than its plan may take this many times its budget of seconds before it is cut short.
OVERTIME = 1.25


@record
class Budget:
    """Total compute of a fit: training plus every probe. Give one of the two.

    Attributes:
        forward_equivalents: forward passes over a training batch, a backward counting 2 (a step is 3).
        seconds: wall time.
    """

    forward_equivalents: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.forward_equivalents, self.seconds) if x is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise SettingError(
                f"A budget must be one finite number > 0, of forward_equivalents or of seconds, got {self}."
            )


def as_budget(total_steps: int | None, budget: float | Budget | None) -> Budget | None:
    """The budget of a fit, None where it is counted in steps.

    Raises:
        SettingError: not exactly one of the two is given, or the budget is not one.
    """
    if (total_steps is None) == (budget is None):
        raise SettingError(
            f"fit needs exactly one of total_steps and budget, got total_steps={total_steps}, budget={budget}. "
            "Say how long to train."
        )
    if budget is None or isinstance(budget, Budget):
        return budget
    if not isinstance(budget, (int, float)):
        raise SettingError(f"budget must be a number of forward-equivalents or a Budget, got {budget!r}.")
    return Budget(forward_equivalents=budget)


class Clock:
    """Wall time of a fit, over interruptions."""

    def __init__(self) -> None:
        self._before = 0.0
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.perf_counter() - self._start

    def resume_at(self, seconds: float) -> None:
        """Count the seconds of an earlier run too."""
        self._before = seconds


class BudgetHorizon(ABC):
    """Kept steps left after so many were taken, given what the measurements have spent.

    Attributes:
        pace: seconds per step that a budget of seconds was planned at; None for the others.
    """

    pace: float | None = None

    def __init__(self, calibration: Cost = NOTHING) -> None:
        self._calibration = calibration
        self._flown: LiveSubstrate | None = None

    def charge_to(self, substrate: LiveSubstrate) -> None:
        """From now on the cost of what is flown counts, and what the calibration has cost is part of it."""
        self._flown = substrate
        substrate.cost += self._calibration

    @property
    def spent(self) -> Cost:
        """What all measurements have cost so far."""
        return self._calibration if self._flown is None else self._flown.cost

    @abstractmethod
    def __call__(self, step: int) -> int:
        """Kept steps left after ``step`` of them."""

    def affords(self, action: Action, step: int) -> bool:
        """Whether a measurement can be paid for after ``step`` kept steps."""
        return True

    @property
    def probe_share(self) -> float:
        """Part of the budget that measurements have taken so far; 0 where steps are counted, and probes are not."""
        return 0.0


class _StepHorizon(BudgetHorizon):
    def __init__(self, total_steps: int) -> None:
        super().__init__()
        self._total = total_steps

    def __call__(self, step: int) -> int:
        return max(0, self._total - step)


class _WorkHorizon(BudgetHorizon):
    """A budget in forward-equivalents: a step costs 3."""

    def __init__(self, forward_equivalents: float) -> None:
        super().__init__()
        self._budget = forward_equivalents

    def __call__(self, step: int) -> int:
        return max(0, int(self._left(step) // 3.0))

    def _left(self, step: int) -> float:
        return self._budget - self.spent.forward_equivalents - 3.0 * step

    def affords(self, action: Action, step: int) -> bool:
        """Whether a measurement can be paid for after ``step`` kept steps; what is free always can."""
        due = 0.0 if self._flown is None else self._flown.price(action)
        return due <= max(0.0, self._left(step))

    @property
    def probe_share(self) -> float:
        """Part of the budget that measurements have taken so far."""
        return self.spent.forward_equivalents / self._budget


class _TimeHorizon(BudgetHorizon):
    """A budget in seconds, at the pace measured before the first step.

    The plan is kept even when the pace drifts: a schedule laid out over it must end where it was to end. A
    training that comes out much slower is cut short.
    """

    def __init__(self, seconds: float, clock: Clock, seconds_per_step: float, calibration: Cost) -> None:
        super().__init__(calibration)
        self._budget = seconds
        self._clock = clock
        self.pace: float = seconds_per_step

    def __call__(self, step: int) -> int:
        # Ranks do not tick alike, and all must stop at the same step.
        elapsed, spent, pace = mean_over_ranks([self._clock.seconds, self.spent.seconds, self.pace])
        if elapsed > OVERTIME * self._budget:
            return 0
        return max(0, int((self._budget - spent) / pace) - step)

    @property
    def probe_share(self) -> float:
        """Part of the budget that measurements have taken so far."""
        return self.spent.seconds / self._budget


def make_horizon(
    training: Training, budget: Budget | None, total_steps: int | None, clock: Clock, *, pace: float | None = None
) -> BudgetHorizon:
    """The horizon of a fit; a budget in seconds is calibrated by rewound Trials, which are charged.

    Args:
        training: what is trained.
        budget: its budget; None where it is counted in steps.
        total_steps: kept steps, where there is no budget.
        clock: of the fit.
        pace: seconds per step of the run that is resumed: it was calibrated and charged then, and a schedule
            laid out over another length would not end where it was to end.
    """
    if budget is None:
        assert total_steps is not None  # as_budget has seen to it
        return _StepHorizon(total_steps)
    if budget.seconds is None:
        assert budget.forward_equivalents is not None  # Budget holds exactly one
        return _WorkHorizon(budget.forward_equivalents)
    measured = _seconds_per_step(training) if pace is None else (pace, NOTHING)
    return _TimeHorizon(budget.seconds, clock, *measured)


def _seconds_per_step(training: Training) -> tuple[float, Cost]:
    """The pace of training, and what it cost to measure it."""
    substrate = LiveSubstrate(training)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        substrate.trial(Trial(constant(substrate.lrs.reference), steps))
        return time.perf_counter() - start

    seconds(1)  # the first step of a process pays for warming up
    bracket = seconds(1)  # snapshot, restore, and one step
    pace = (seconds(1 + CALIBRATION_STEPS) - bracket) / CALIBRATION_STEPS
    return max(pace, 1e-6), substrate.cost
