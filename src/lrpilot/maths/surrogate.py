"""Surrogate: a Gaussian process that guesses the loss of every lr from the few that were tried.

Notation: x = log10 lr, in decades; z = the loss, shifted and scaled so that the best loss tried is 0 and the upper
quartile 1; f(x) = the noise-free z. The regression is :mod:`lrpilot.maths.gaussian_process`; here are the losses
before it, and the choice of the next lr after it.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lrpilot.core.codec import record
from lrpilot.core.settings import check_range
from lrpilot.errors import SettingError
from lrpilot.maths.gaussian_process import Vector, regress

GRID = 0.02  # decades between the lrs at which the surrogate is read, or half the spacing where that is less
MOST_GAPS = 1000  # of a grid that is finer because of it
RECORD = 0.1  # decades between those that are recorded
SPACING = 0.2  # decades between the lrs of a search: closer ones tell the same twice
# Where the first lrs lie in the interval. The middle comes first: it is the best guess of one who knows nothing.
STARTS = (1 / 2, 1 / 6, 5 / 6)
# Losses further above the best than this many times the upper quartile are bad and nothing else: they are compressed
# into the range up to WORST. One lr that exploded would else make all others look equal.
QUANTILE = 0.75
LINEAR, WORST = 2.0, 3.0
# An lr that failed is put so far above its nearest neighbour that did not. A fixed, high value would be a wall beside
# the valley, and teach the surrogate that losses jump: where every lr fails half a decade above the minimum it finds
# two minima of five, and this nine of ten (lrpilot_bench.studies.surrogate_minima).
FAILED = 0.5
# Decades between the best lr and its neighbours tried within which a surrogate may be certain of it.
BRACKET = 0.5


@record
class Surrogate:
    """What a few Trials tell of the loss at every lr.

    Attributes:
        log_lrs: n places, log10 lr, ascending, :data:`RECORD` decades apart.
        mean: expected loss at each, in units of the loss (compressed far above the median).
        std: standard deviation of what is believed there, likewise; without the noise of a single reading. Where all
            losses tried are equal nothing says how far losses range: it is then that of losses that range by 1.
        best_lr: where the mean is smallest, natural units.
        best_loss: mean there.
        interval: lrs between which the smallest loss plausibly lies: mean - std is no higher than ``best_loss``.
        bracket: decades from ``best_lr`` to the nearer lr tried, or end of the interval, on its emptier side.
        expected_gain: how much lower than ``best_loss`` the loss of the most promising lr is expected to be.
        noise: standard deviation of a single reading about the mean.
        next_lr: what to try next; None where no lr is far enough from all that were tried.
    """

    log_lrs: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    best_lr: float
    best_loss: float
    interval: tuple[float, float]
    bracket: float
    expected_gain: float
    noise: float
    next_lr: float | None

    def is_certain(self, *, share: float = 0.25, of_range: float = 0.02) -> bool:
        """Whether a further Trial would tell little.

        Args:
            share: the expected gain is small below this share of the noise of a reading ...
            of_range: ... or of the range of the mean.
        """
        span = max(self.mean) - min(self.mean)
        return self.bracket <= BRACKET and self.expected_gain <= max(share * self.noise, of_range * span)


def fit_surrogate(
    lrs: Sequence[float],
    losses: Sequence[float],
    *,
    min_lr: float,
    max_lr: float,
    kappa: float = 2.0,
    spacing: float = SPACING,
    failed_above: float = math.inf,
) -> Surrogate | None:
    """Fit the surrogate and choose the next lr by its lower confidence bound.

    Args:
        lrs: n lrs tried, natural units, > 0, any order; they may lie outside the interval.
        losses: loss of each; one that is not finite counts as failed, which is worse than its neighbours.
        min_lr: lower end of the interval that is searched.
        max_lr: its upper end.
        kappa: the next lr has the smallest mean - kappa · std. 0 exploits; 1e6 fills the space, whatever the losses.
        spacing: decades that it keeps from every lr tried.
        failed_above: a higher loss counts as failed too, in the unit of the loss.

    Returns:
        The surrogate; None where every lr failed.

    Raises:
        SettingError: an argument is out of range.
    """
    check_range(min_lr, max_lr)
    _check(lrs, losses, kappa, spacing)
    x = np.log10(np.asarray(lrs, dtype=float))
    ok = np.array([math.isfinite(loss) and loss <= failed_above for loss in losses], dtype=bool)
    if not ok.any():
        return None
    scaled = _Scale.of([loss for loss, is_ok in zip(losses, ok, strict=True) if is_ok])
    grid, recorded = _grid(min_lr, max_lr, spacing)
    believed = regress(x, _heights(x, losses, ok, scaled), grid)
    mean, std = believed.mean, believed.std
    best = int(np.argmin(mean))
    free = np.min(np.abs(grid[:, None] - x[None]), axis=1) >= spacing - 1e-9
    bound = np.where(free, mean - kappa * std, np.inf)
    plausible = grid[mean - std <= mean[best]]
    gain = _expected_gain(mean[free], std[free], float(mean[best])) if free.any() else 0.0
    return Surrogate(
        log_lrs=tuple(grid[::recorded].tolist()),
        mean=tuple(scaled.back(float(m)) for m in mean[::recorded]),
        std=tuple(scaled.width(float(s)) for s in std[::recorded]),
        best_lr=_lr(grid[best], min_lr, max_lr),
        best_loss=scaled.back(float(mean[best])),
        interval=(_lr(plausible[0], min_lr, max_lr), _lr(plausible[-1], min_lr, max_lr)),
        bracket=_bracket(float(grid[best]), [*x.tolist(), float(grid[0]), float(grid[-1])]),
        expected_gain=scaled.width(gain),
        noise=scaled.width(believed.noise),
        next_lr=_lr(grid[int(np.argmin(bound))], min_lr, max_lr) if free.any() else None,
    )


def start_lrs(min_lr: float, max_lr: float) -> tuple[float, ...]:
    """The lrs to try before a surrogate can choose, in this order: the middle of the interval, and two beside it."""
    low, high = math.log10(min_lr), math.log10(max_lr)
    return tuple(_lr(low + (high - low) * place, min_lr, max_lr) for place in STARTS)


def smaller_lr(lrs: Sequence[float], *, min_lr: float, spacing: float = SPACING) -> float | None:
    """The lr to try where all that were tried diverged.

    Half way (in log lr) between the smallest of them and ``min_lr``, then ``min_lr`` itself.

    Args:
        lrs: tried, natural units, at least one.
        min_lr: the smallest allowed.
        spacing: decades below which two lrs tell the same.

    Returns:
        The lr; None where there is no room below.
    """
    low, lowest = math.log10(min_lr), math.log10(min(lrs))
    if lowest - low < spacing:
        return None
    return max(min_lr, 10.0 ** (0.5 * (low + lowest))) if lowest - low >= 2 * spacing else min_lr


# -------------------------------------------------------------------- losses


@record
class _Scale:
    """From losses to z: the best becomes 0, the upper quartile 1, and none is above :data:`WORST`.

    Attributes:
        lowest: the best loss.
        unit: half of what one unit of z is worth: the difference of two huge losses must not overflow.
    """

    lowest: float
    unit: float

    @classmethod
    def of(cls, losses: Sequence[float]) -> "_Scale":
        """Of finite losses, at least one."""
        lowest = min(losses)
        heights = sorted(min(0.5 * loss - 0.5 * lowest, 1e300) for loss in losses)
        unit = heights[int(QUANTILE * len(heights))] or heights[-1]
        return cls(lowest, unit or 0.5)

    def __call__(self, loss: float) -> float:
        """The z of a finite loss."""
        z = (0.5 * loss - 0.5 * self.lowest) / self.unit
        room = WORST - LINEAR
        return z if z <= LINEAR else LINEAR + room * math.tanh((z - LINEAR) / room)

    def back(self, z: float) -> float:
        """The loss at z where it is not compressed; above, what it would be were it not."""
        return self.lowest + 2.0 * self.unit * z

    def width(self, z: float) -> float:
        """A difference of z as one of losses."""
        return 2.0 * self.unit * z


def _heights(x: Vector, losses: Sequence[float], ok: NDArray[np.bool_], scaled: _Scale) -> Vector:
    """The z at every place; one that failed lies above its nearest neighbour that did not."""
    z = np.array([scaled(loss) if is_ok else math.nan for loss, is_ok in zip(losses, ok, strict=True)])
    sound = np.flatnonzero(ok)
    for at in np.flatnonzero(~ok):
        z[at] = z[sound[int(np.argmin(np.abs(x[sound] - x[at])))]] + FAILED
    return z


# ------------------------------------------------------------------- helpers


def _expected_gain(mean: Vector, std: Vector, best: float) -> float:
    """Largest expectation of max(0, best - f) on the grid, f normal."""
    from scipy.special import erf

    sure = np.maximum(std, 1e-12)
    u = (best - mean) / sure
    density = np.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
    return float(np.max(sure * (0.5 * u * (1.0 + erf(u / math.sqrt(2.0))) + density)))


def _grid(min_lr: float, max_lr: float, spacing: float) -> tuple[Vector, int]:
    """Places, log10 lr, and how many gaps between them lie from one that is recorded to the next."""
    low, high = math.log10(min_lr), math.log10(max_lr)
    gaps, recorded = max(1, math.ceil((high - low) / GRID - 1e-9)), round(RECORD / GRID)
    finer = math.ceil(min(2 * (high - low) / spacing, MOST_GAPS) - 1e-9) if spacing < 2 * GRID else 0
    if finer > gaps:  # on the coarser grid an lr may be free, and none of its places
        gaps, recorded = finer, max(1, round(RECORD * finer / (high - low)))
    return np.linspace(low, high, gaps + 1), recorded


def _bracket(best: float, places: Sequence[float]) -> float:
    """Distance from ``best`` to the nearest place on its emptier side; a place at ``best`` is on both."""
    below = min((best - place for place in places if place <= best + 1e-9), default=0.0)
    above = min((place - best for place in places if place >= best - 1e-9), default=0.0)
    return max(0.0, below, above)


def _lr(log_lr: float, min_lr: float, max_lr: float) -> float:
    return min(max(float(10.0 ** float(log_lr)), min_lr), max_lr)


def _check(lrs: Sequence[float], losses: Sequence[float], kappa: float, spacing: float) -> None:
    if len(lrs) != len(losses):
        raise SettingError(f"A surrogate needs a loss for each lr, got {len(losses)} for {len(lrs)}.")
    if not all(0 < lr < math.inf for lr in lrs):
        raise SettingError(f"lrs must be finite and > 0, got {list(lrs)}.")
    if not (0 <= kappa < math.inf and 0 < spacing < math.inf):
        raise SettingError(f"kappa must be >= 0 and spacing > 0, got {kappa} and {spacing}. Use 2.0 and {SPACING}.")
