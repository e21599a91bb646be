"""Horizons and budgets: how many steps are left, given what everything has cost so far. No torch."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from lrpilot.core.actions import Action
from lrpilot.core.codec import record
from lrpilot.errors import SettingError
from lrpilot.flight.substrate import STEP, Substrate

# A training slower than its plan may take this many times its budget of seconds before it is cut short.
OVERTIME = 1.25
# Most batches over which BatchNorm statistics are estimated for an average that is to be kept, and the part of a short
# run's forward-equivalents that they may take.
NORM_BATCHES = 50
NORM_SHARE = 0.1


@record
class Budget:
    """Total compute of a training: its steps plus every probe. Give one of the three.

    Attributes:
        forward_equivalents: forward passes over a training batch, a backward counting 2 (a step is 3).
        seconds: wall time.
        epochs: what so many passes over the training data take, at 3 forward-equivalents a batch; they need not be
            whole. Only where the data says how many batches it has.
    """

    forward_equivalents: float | None = None
    seconds: float | None = None
    epochs: float | None = None

    def __post_init__(self) -> None:
        given = [x for x in (self.forward_equivalents, self.seconds, self.epochs) if x is not None]
        if len(given) != 1 or not 0 < given[0] < math.inf:
            raise SettingError(
                f"A budget must be one finite number > 0, of forward_equivalents, of seconds or of epochs, got {self}."
            )

    def work(self, epoch_steps: int | None) -> float | None:
        """It in forward-equivalents; None for a budget in seconds.

        Args:
            epoch_steps: optimizer steps of a pass over the training data; None where that is not known.

        Raises:
            SettingError: it is in epochs, and that is not known, or it does not pay for a step.
        """
        if self.epochs is None:
            return self.forward_equivalents
        if epoch_steps is None:
            raise SettingError(
                f"A budget in epochs needs training data that says how many batches it has, got one without a length "
                f"and {self.epochs:g} epochs. Give total_steps, or a budget in forward-equivalents (a step is 3)."
            )
        work = STEP * self.epochs * epoch_steps
        if work < STEP:
            raise SettingError(
                f"A budget in epochs must pay for a step, got {self.epochs:g} epochs of {epoch_steps} steps. Raise it."
            )
        return work


def as_budget(budget: float | Budget | None) -> Budget | None:
    """A budget as users give it: a number is one of forward-equivalents.

    Raises:
        SettingError: it is neither a number nor a budget.
    """
    if budget is None or isinstance(budget, Budget):
        return budget
    if not isinstance(budget, (int, float)):
        raise SettingError(f"budget must be a number of forward-equivalents or a Budget, got {budget!r}.")
    return Budget(forward_equivalents=budget)


class Clock:
    """Wall time of a training, over interruptions."""

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


class Horizon(ABC):
    """Kept steps left after so many were taken, given what the measurements have spent.

    Attributes:
        total_steps: kept steps in all, where these are what is counted; None for an open end or under a budget.
        pace: seconds per step that a budget of seconds was planned at; None for the others.
        end: kept steps after which a cooldown ends the training, whatever was planned; None where there is none. A
            budget may still end it before.
    """

    total_steps: int | None = None
    pace: float | None = None
    end: int | None = None

    def __call__(self, step: int) -> int | None:
        """Kept steps left after ``step`` of them; None when the end is open."""
        left = self.planned(step)
        if self.end is None:
            return left
        to_end = max(0, self.end - step)
        return to_end if left is None else min(left, to_end)

    @abstractmethod
    def planned(self, step: int) -> int | None:
        """The same but for a cooldown."""

    def affords(self, action: Action, step: int) -> bool:
        """Whether a measurement can be paid for after ``step`` kept steps."""
        return True

    @property
    def probe_share(self) -> float:
        """Part of the budget that measurements have taken so far; 0 where steps are counted, and probes are not."""
        return 0.0

    @property
    @abstractmethod
    def work(self) -> float | None:
        """Forward-equivalents of the whole training, as far as it is planned; None when the end is open."""

    @property
    def norm_batches(self) -> int:
        """Batches over which BatchNorm statistics are estimated for an average that is to be kept."""
        return NORM_BATCHES if self.work is None else max(1, min(NORM_BATCHES, int(NORM_SHARE * self.work)))


class StepHorizon(Horizon):
    """So many kept steps, whatever the measurements cost.

    Args:
        total_steps: kept steps; None for an open end.

    Raises:
        SettingError: ``total_steps`` < 1.
    """

    def __init__(self, total_steps: int | None) -> None:
        if total_steps is not None and total_steps < 1:
            raise SettingError(f"total_steps must be >= 1, got {total_steps}. Use None for an open end.")
        self.total_steps = None if total_steps is None else int(total_steps)

    def __call__(self, step: int) -> int | None:
        """Kept steps left after ``step`` of them; a cooldown may end later than what was planned."""
        return self.planned(step) if self.end is None else max(0, self.end - step)

    def planned(self, step: int) -> int | None:
        """The same but for a cooldown."""
        return None if self.total_steps is None else max(0, self.total_steps - step)

    @property
    def work(self) -> float | None:
        """3 a step; None when the end is open."""
        total = self.total_steps if self.end is None else self.end
        return None if total is None else STEP * total


class WorkHorizon(Horizon):
    """A budget in forward-equivalents: a step costs 3, and no measurement is begun that what is left cannot pay for.

    Where an average is flown, what leaving it in the model costs is held back.

    Args:
        forward_equivalents: of everything.
        substrate: that knows what its measurements have cost, and what one would.
    """

    def __init__(self, forward_equivalents: float, substrate: Substrate) -> None:
        self._budget = forward_equivalents
        self._substrate = substrate

    def planned(self, step: int) -> int:
        """Kept steps left after ``step`` of them."""
        return max(0, int(self._left(step) // STEP))

    def _left(self, step: int) -> float:
        spent = self._substrate.cost.forward_equivalents + self._substrate.landing_price
        return self._budget - spent - STEP * step

    def affords(self, action: Action, step: int) -> bool:
        """Whether a measurement can be paid for after ``step`` kept steps; what is free always can."""
        return self._substrate.price(action) <= max(0.0, self._left(step))

    @property
    def probe_share(self) -> float:
        """Part of the budget that measurements have taken so far."""
        return self._substrate.cost.forward_equivalents / self._budget

    @property
    def work(self) -> float:
        """The budget."""
        return self._budget


Shared = Callable[[Sequence[float]], list[float]]
"""Numbers that every rank agrees on, from its own: their means."""


class TimeHorizon(Horizon):
    """A budget in seconds, at the pace measured before the first step.

    The plan is kept even when the pace drifts: a schedule laid out over it must end where it was to end. A
    training that comes out much slower is cut short.

    Args:
        seconds: of everything.
        substrate: that knows what its measurements have cost.
        clock: of the training.
        pace: seconds per step that it is planned at.
        shared: makes ranks agree: they do not tick alike, and all must stop at the same step.
    """

    def __init__(self, seconds: float, substrate: Substrate, *, clock: Clock, pace: float, shared: Shared) -> None:
        self._budget = seconds
        self._substrate = substrate
        self._clock = clock
        self.pace: float = pace
        self._shared = shared

    def planned(self, step: int) -> int:
        """Kept steps left after ``step`` of them."""
        elapsed, spent, pace = self._shared([self._clock.seconds, self._substrate.cost.seconds, self.pace])
        if elapsed > OVERTIME * self._budget:
            return 0
        landing = pace * self._substrate.landing_price / STEP
        return max(0, int((self._budget - spent - landing) / pace) - step)

    @property
    def probe_share(self) -> float:
        """Part of the budget that measurements have taken so far."""
        return self._substrate.cost.seconds / self._budget

    @property
    def work(self) -> float:
        """3 a step, at the pace that it was planned at."""
        return STEP * self._budget / self.pace
