"""Health: whether a loss, read on a few batches now and then, says that a training is wrecked."""

import math
from collections.abc import Sequence
from dataclasses import replace

from lrpilot.core.codec import record
from lrpilot.maths.peak import wrecked_above

# Share of the gain whose loss is a wreck. At a half networks died in instalments, a window at a time (digits, SGD with
# momentum, started at 30 times a good lr: two seeds of six). A quarter takes more back on very noisy quadratics, and
# ends no higher there.
SHARE = 0.25
# Spreads over the batches by which a loss must rise where little has been gained yet.
NOISE_ROOM = 2.0
# Means of equal losses differ by this part of them.
ROUNDING = 1e-12
# A loss that is no number at this part of an lr at which it was none before is none at any lr: it is the data.
NEARLY_ZERO = 1e-6
# Losses in a row that are no number, before anybody is told.
FIRST_ALARM = 3


@record
class Health:
    """Losses of a training while it was sound, on the same few batches each time, in the unit of the loss.

    Attributes:
        start: mean loss when the training began.
        lowest: smallest mean loss so far.
        noise: standard deviation over the batches when last read, or more where a loss was sound for the sake of noise
            alone; 0 with a single batch.
    """

    start: float
    lowest: float
    noise: float

    @classmethod
    def at_start(cls, losses: Sequence[float]) -> "Health":
        """Before the first step.

        Args:
            losses: n >= 1, one per batch.
        """
        mean, spread = mean_and_spread(losses)
        return cls(mean, mean, spread)

    @property
    def limit(self) -> float:
        """The largest loss of a sound training: a quarter of the gain lost, or more than the batches differ by."""
        limit = max(wrecked_above(self.lowest, self.start, SHARE), self.lowest + NOISE_ROOM * self.noise)
        return limit + ROUNDING * abs(limit)

    def is_wreck(self, loss: float) -> bool:
        """Whether a mean loss is above the limit, or not finite."""
        return not -math.inf < loss <= self.limit

    def after(self, losses: Sequence[float]) -> "Health":
        """With the losses of one more place where the training was sound, one per batch.

        A loss that was sound stays sound, and so does one a little above it: it may be where a rewind goes back to, and
        where that is a wreck by a new limit, every rewind ends in the next.
        """
        return self.after_mean(*mean_and_spread(losses))

    def after_mean(self, mean: float, spread: float) -> "Health":
        """The same of losses that are known by their mean, and by what it may be wrong by."""
        lowest = min(self.lowest, mean)
        if wrecked_above(lowest, self.start, SHARE) < mean <= self.limit:
            spread = max(spread, mean - lowest)
        return replace(self, lowest=lowest, noise=spread)


@record
class Blame:
    """Losses that were no number: whether the lr can be their cause.

    It is lowered for them, until it moves nothing any more. What is no number then is none at any lr: the data is bad,
    and the lr is given back.

    Attributes:
        failed_lr: largest lr at which a loss was no number, natural units; 0 for none.
        blameless: whether such losses are known not to be the lr's fault.
    """

    failed_lr: float = 0.0
    blameless: bool = False

    def after(self, lr: float) -> "Blame":
        """With one more such loss, at ``lr``."""
        failed = max(self.failed_lr, lr)
        return Blame(failed, self.blameless or lr <= NEARLY_ZERO * failed)


def is_alarming(times: int) -> bool:
    """Whether so many losses in a row that are no number are to be told of: the 3rd, the 6th, the 12th, ..."""
    doubled = times // FIRST_ALARM
    return times % FIRST_ALARM == 0 and doubled > 0 and doubled & (doubled - 1) == 0


def alarm(times: int) -> str:
    """What to say of so many losses in a row that are no number; nothing where it is not time to."""
    return f", {times} times in a row: look for such values in the data and the model" if is_alarming(times) else ""


def mean_and_spread(losses: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (divisor n - 1); 0 for a single loss, and where the mean is not finite."""
    mean = sum(loss / len(losses) for loss in losses)
    if len(losses) == 1 or not math.isfinite(mean):
        return mean, 0.0
    # hypot, which does not overflow where a sum of squares does.
    return mean, math.hypot(*(loss - mean for loss in losses)) / math.sqrt(len(losses) - 1)
