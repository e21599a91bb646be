"""Axes of the figures: where a value lies, where the ticks are and what they are called."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: position of ``low``, in units of the drawing.
        end: position of ``high``.
        log: logarithmic; both values are positive then.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Position of a value; it may lie beyond the ends."""
        low, high, at = (math.log(x) for x in (self.low, self.high, value)) if self.log else self._plain(value)
        return self.start + (self.end - self.start) * (at - low) / (high - low)

    def _plain(self, value: float) -> tuple[float, float, float]:
        return self.low, self.high, value

    def clipped(self, value: float) -> float:
        """Position of a value, at the nearer end if it lies beyond."""
        return self(min(max(value, self.low), self.high))

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    def ticks(self, at_most: int = 6) -> list[float]:
        """Round values on the axis, ascending; at least two where two round values fit."""
        return _log_ticks(self.low, self.high, at_most) if self.log else _plain_ticks(self.low, self.high, at_most)


def padded(values: Iterable[float], *, share: float = 0.05, log: bool = False) -> tuple[float, float]:
    """Lowest and highest value with a margin on either side; a lone value gets room too."""
    kept = [math.log(v) if log else v for v in values]
    low, high = min(kept), max(kept)
    margin = (high - low) * share or (0.1 if log else abs(low) * 0.1 or 1.0)
    low, high = low - margin, high + margin
    return (math.exp(low), math.exp(high)) if log else (low, high)


def _plain_ticks(low: float, high: float, at_most: int) -> list[float]:
    rough = (high - low) / max(1, at_most - 1)
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(m * decade for m in (1, 2, 2.5, 5, 10) if m * decade >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = 2 - math.floor(math.log10(step))
    return [round(k * step, digits) for k in range(first, last + 1)]


# Digits within a decade, from coarse to fine.
LADDERS = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9))


def _log_ticks(low: float, high: float, at_most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fits: list[float] = []
    for ladder in LADDERS:
        ticks = [round(m * 10.0**k, 12 - k) for k in decades for m in ladder if low <= m * 10.0**k <= high]
        if len(ticks) > at_most:
            break
        fits = ticks
    if len(fits) >= 2:
        return fits
    whole = [10.0**k for k in decades if low <= 10.0**k <= high]
    if len(whole) > at_most:
        return whole[:: math.ceil(len(whole) / at_most)]
    return _plain_ticks(low, high, at_most)  # less than an octave: even steps read best


def plain_label(value: float) -> str:
    """A value with as few digits as it needs."""
    return f"{value:.6g}"
