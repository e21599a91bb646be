"""What a finder keeps of the Trials it has flown, and when it gives up on one."""

import math
from collections.abc import Iterable

from lrpilot.core.actions import TrialLosses
from lrpilot.core.codec import record
from lrpilot.core.stop import Stop
from lrpilot.errors import SettingError

# How many times the range of training losses seen in the best Trial a losing one may climb above it.
# Generous on purpose: a good lr may overshoot for a step or two, and a Trial is short anyway.
ROOM = 10.0


@record
class Tried:
    """One Trial that was flown.

    Attributes:
        lr: its (peak) lr, natural units.
        loss: held-out loss after it; inf where it diverged or was given up.
        low: smallest training loss inside it; inf where it diverged.
        high: largest training loss inside it; inf where it diverged.
    """

    lr: float
    loss: float
    low: float
    high: float

    @property
    def diverged(self) -> bool:
        """Whether it has no loss to compare."""
        return not math.isfinite(self.loss)


def read_trial(lr: float, seen: TrialLosses) -> Tried:
    """Keep what matters of a Trial at ``lr``."""
    held_out = seen.held_out
    if seen.stop is not None or held_out is None or not math.isfinite(held_out):
        return Tried(lr, math.inf, math.inf, math.inf)
    return Tried(lr, held_out, min(seen.losses), max(seen.losses))


def best_of(tried: Iterable[Tried]) -> Tried | None:
    """The Trial with the lowest loss (the smaller lr where two are equal), None where all diverged."""
    finite = [one for one in tried if not one.diverged]
    return min(finite, key=lambda one: (one.loss, one.lr), default=None)


def give_up(tried: Iterable[Tried]) -> Stop:
    """Stop rule for the next Trial: end it where it is hopeless beside the best one flown so far.

    The limit is measured in the range of training losses that the best Trial went through, so that it
    means the same when the loss is scaled or shifted, negative losses included. A ratio to the best loss
    would not.
    """
    best = best_of(tried)
    if best is None or best.high == best.low:
        return Stop()
    return Stop(abort_above=best.high + ROOM * (best.high - best.low))


def check_range(min_lr: float, max_lr: float) -> None:
    """Raise unless both are finite, positive and in order.

    Raises:
        SettingError: they are not.
    """
    for name, lr in (("min_lr", min_lr), ("max_lr", max_lr)):
        if not (math.isfinite(lr) and lr > 0):
            raise SettingError(f"{name} must be a finite number > 0, got {lr}. The defaults are 1e-7 and 10.")
    if not min_lr < max_lr:
        raise SettingError(f"min_lr must be < max_lr, got {min_lr} and {max_lr}. Swap them, or widen the range.")


def check_num_steps(num_steps: int) -> None:
    """Raise unless a Trial has at least one step.

    Raises:
        SettingError: it has none.
    """
    if num_steps < 1:
        raise SettingError(f"num_steps must be >= 1, got {num_steps}. The default is 20.")
