"""What a finder keeps of the Trials it has flown, and when it gives up on one."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

from lrpilot.core.actions import Observation, TrialLosses
from lrpilot.core.codec import record
from lrpilot.core.policy import not_asked_for
from lrpilot.core.stop import Stop

# How many times the range of training losses seen in the best Trial a losing one may climb above it.
# Generous on purpose: a good lr may overshoot for a step or two, and a Trial is short anyway.
ROOM = 10.0
# A gain below this many standard errors of a Trial's mean training loss is none.
ERRORS = 2.0


@record
class Tried:
    """One Trial that was flown.

    Attributes:
        lr: its (peak) lr, natural units.
        loss: held-out loss after it; inf where it diverged or was given up.
        low: smallest training loss inside it; inf where it diverged.
        high: largest training loss inside it; inf where it diverged.
        error: standard error of the mean of its training losses, its drift left out; 0 where it diverged.
    """

    lr: float
    loss: float
    low: float
    high: float
    error: float = 0.0

    @property
    def diverged(self) -> bool:
        """Whether it has no loss to compare."""
        return not math.isfinite(self.loss)


def read_trial(lr: float, seen: TrialLosses) -> Tried:
    """Keep what matters of a Trial at ``lr``."""
    held_out = seen.held_out
    if seen.stop is not None or held_out is None or not math.isfinite(held_out):
        return Tried(lr, math.inf, math.inf, math.inf)
    return Tried(lr, held_out, min(seen.losses), max(seen.losses), standard_error(seen.losses))


def standard_error(losses: Sequence[float]) -> float:
    """Standard error of the mean of a Trial's training losses, were it not for their drift.

    From the differences of neighbours, which a slow fall hardly moves (von Neumann 1941); their median, so
    that a few steep first steps do not count as scatter.

    Args:
        losses: n finite training losses of successive steps.

    Returns:
        In units of the loss; 0 for fewer than three losses.
    """
    if len(losses) < 3:
        return 0.0
    scatter = 1.4826 * median(abs(b - a) for a, b in pairwise(losses)) / math.sqrt(2.0)
    return scatter / math.sqrt(len(losses))


def gained_nothing(tried: Iterable[Tried], start_loss: float) -> bool:
    """Whether the best Trial gained no more than single batches scatter by: its curve says nothing of a long run.

    Held-out losses on fixed batches can be told apart far below that, and then order lrs by what they do in a
    few steps of noise. In fine-tuning with small batches that put the pick 40 times below the best lr.
    """
    best = best_of(tried)
    return best is not None and start_loss - best.loss < ERRORS * best.error


def expect_trial(observation: Observation, name: str) -> TrialLosses:
    """What was seen in a Trial that the policy ``name`` asked for.

    Raises:
        PolicyError: it was told of something else.
    """
    if not isinstance(observation, TrialLosses):
        raise not_asked_for(name, observation, asked_for="a Trial")
    return observation


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
