"""A Trial of the search: how it is flown in each way to train, and what of its losses is kept.

All Trials of a search start from the same state and see the same batches with the same random masks, so that their
losses are compared batch by batch: what the batches scatter by is the same for all and cancels.
"""

import math
from collections.abc import Sequence
from statistics import fmean, median

from lrpilot.core.actions import Average, Trial, TrialLosses
from lrpilot.core.codec import record
from lrpilot.core.shape import Shape, constant
from lrpilot.core.stop import Stop, StopReason

# Of a Trial's steps, those in which the lr rises: short beside the decay of an annealed Trial; an averaged one has no
# decay, and its average begins with the large steps only after the rise.
ANNEALED_WARMUP = 1 / 6
AVERAGED_WARMUP = 0.4
# Losses of the last third are read: fewer scatter more, earlier ones tell of the rise.
READ = 1 / 3
FEWEST_READ = 3
HUGE = 1e100  # a loss beyond is as good as none: its square is no number
# Sound losses before one that is no number, of which it is known that they did not rise.
FEWEST_SOUND = 4
# A Trial whose loss rose by so many times what it gained in the end, or scatters by, has wrecked the weights, even
# where a dead net's loss is below that of the untrained one (unscaled inputs). Trials of 25 steps at the best lr rose
# by at most 0.8 times their gain on twelve trainings, and by 4.8 times on one with unscaled inputs.
BLOWN = 10.0


@record
class Way:
    """A way to train, as far as a Trial must copy it.

    Attributes:
        average: flown averaged; None for the optimizer as it is, on a schedule that ends at zero.
        momentum: of the optimizer (beta1) in it; None leaves it alone.
        rises: whether the lr rises first: it does at the beginning of a training.
    """

    average: Average | None = None
    momentum: float | None = None
    rises: bool = True

    @property
    def momentum_shape(self) -> Shape | None:
        """Its momentum as actions take it."""
        return None if self.momentum is None else constant(self.momentum)

    def trial(self, lr: float, steps: int, stop: Stop, *, first: int = 0) -> Trial:
        """A Trial with this peak lr (natural units), short enough to be one of several, from batch ``first`` on."""
        shape, momentum = self._shape(lr, steps), self.momentum_shape
        return Trial(shape, steps, stop=stop, first=first, momentum=momentum, average=self.average)

    def _shape(self, lr: float, steps: int) -> Shape:
        part = ANNEALED_WARMUP if self.average is None else AVERAGED_WARMUP
        rise = max(1, round(part * steps)) if self.rises else 1
        if self.average is None:
            return Shape((0.0, rise - 1.0, float(steps)), (lr / rise, lr, 0.0), ("linear", "linear"))
        return Shape((0.0, rise - 1.0), (lr / rise, lr), ("linear",))


@record
class Probed:
    """What is kept of one Trial.

    Attributes:
        position: of its lr on the lattice of the search.
        lr: its peak, natural units.
        first: loss of the first batch before any step, the same for all.
        tail: losses of the last steps; empty where it diverged, was given up, or has wrecked the weights.
        low: smallest loss in it.
        high: largest loss in it.
    """

    position: int
    lr: float
    first: float
    tail: tuple[float, ...]
    low: float
    high: float

    @property
    def score(self) -> float:
        """Mean loss of its last steps; inf where it has none."""
        return fmean(self.tail) if self.tail else math.inf


def read(position: int, lr: float, seen: TrialLosses) -> Probed:
    """Keep what matters of a Trial."""
    finite = [loss for loss in seen.losses if abs(loss) < HUGE]
    first = seen.losses[0] if seen.losses else math.nan
    low, high = min(finite, default=math.inf), max(finite, default=math.inf)
    if seen.stop is not None or len(finite) < len(seen.losses) or not finite:
        return Probed(position, lr, first, (), low, high)
    many = min(len(finite), max(FEWEST_READ, round(READ * len(finite))))
    tail = tuple(finite[-many:])
    moved = max(first - fmean(tail), max(tail) - min(tail))
    return Probed(position, lr, first, () if high - first > BLOWN * moved else tail, low, high)


def breaks_suddenly(seen: TrialLosses) -> bool:
    """Whether a loss that is no number came out of sound ones: what an lr drives apart rises first."""
    if seen.stop is not StopReason.NON_FINITE:
        return False
    sound = [loss for loss in seen.losses if math.isfinite(loss)]
    half = len(sound) // 2
    return len(sound) >= FEWEST_SOUND and median(sound[half:]) <= max(sound[:half])


def difference(a: Probed, b: Probed) -> tuple[float, float]:
    """Mean of the paired differences a - b of the losses read, and its standard error.

    Args:
        a: one Trial, not diverged.
        b: another one, read at as many steps.
    """
    pairs = [x - y for x, y in zip(a.tail, b.tail, strict=True)]
    return fmean(pairs), _standard_error(pairs)


def best_of(probed: Sequence[Probed]) -> Probed | None:
    """The lowest score (the smaller lr where two are equal); None where all diverged."""
    finite = [one for one in probed if one.tail]
    return min(finite, key=lambda one: (one.score, one.lr), default=None)


def _standard_error(values: Sequence[float]) -> float:
    if len(values) < 2:
        return math.inf
    mean = fmean(values)
    # hypot, which does not overflow where a sum of squares does.
    return math.hypot(*(value - mean for value in values)) / math.sqrt((len(values) - 1) * len(values))
