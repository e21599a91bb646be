"""How the default LRTuner reads losses.

A Line is read on as few batches and at as few factors as the decision needs. The superbatch is the same throughout, so
that a rise of its loss can be told from noise.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from lrpilot.maths.line_fit import fit_line, t_quantile
from lrpilot.policies.lr_tuner.rules import BOUNDS, allowed, rate_over
from lrpilot.policies.lr_tuner.state import Direction, LossDrop

FIRST_BATCHES = 2
# What the first block of a decision costs, in forwards: no decision is begun that cannot pay for it.
FIRST_COST = 3 * FIRST_BATCHES
# Two ends of an interval whose ratio is smaller lead to the same training, as far as anyone can tell.
SAME_SIZE = 1.5
# Lines of shrinking width for one decision before the lr is held.
MAX_ATTEMPTS = 3


# ------------------------------------------------------------------- a Line


class Block(NamedTuple):
    """The batches to read next: ``size`` from index ``first``; ``outer`` if factor 1 is known for them."""

    first: int
    size: int
    outer: bool


class Verdict(NamedTuple):
    """What a Line says.

    Attributes:
        kind: "hold" the lr, read "more" batches, or "go" to ``factor``.
        factor: 1 unless it is "go".
        limited: whether the region, not the parabola, decided the factor.
    """

    kind: Literal["hold", "more", "go"]
    factor: float = 1.0
    limited: bool = False


def three_factors(radius: float) -> tuple[float, float, float]:
    """Half way to the ends of a trust region, so that a check at an end asks something new."""
    return 1.0 - radius / 2, 1.0, 1.0 + radius / 2


def next_block(read: int, known: int) -> Block:
    """Twice as many batches as were read so far.

    Args:
        read: batches read.
        known: batches whose loss at factor 1 is known already.
    """
    end = max(FIRST_BATCHES, 2 * read)
    if read < known:
        return Block(read, min(end, known) - read, True)
    return Block(read, end - read, False)


def full_rows(seen: Sequence[Sequence[float]], known: Sequence[float], block: Block) -> tuple[tuple[float, ...], ...]:
    """Rows of three losses from what a block was told.

    Args:
        seen: its losses, batches x 2 (outer factors) or batches x 3.
        known: loss at factor 1 by batch.
        block: that was read.
    """
    if not block.outer:
        return tuple(tuple(row) for row in seen)
    return tuple((low, known[block.first + i], high) for i, (low, high) in enumerate(seen))


def region(radius: float, room: float) -> tuple[float, float]:
    """Smallest and largest factor that a decision may take.

    Args:
        radius: of the trust region.
        room: largest factor below an lr that failed before.
    """
    return max(BOUNDS[0], 1.0 - radius), min(BOUNDS[1], 1.0 + radius, room)


def weigh(
    rows: Sequence[Sequence[float]],
    factors: Sequence[float],
    within: tuple[float, float],
    direction: Direction,
    *,
    step_factor: float,
    confidence: float,
) -> Verdict:
    """What the batches read so far say.

    Args:
        rows: losses, batches x factors, at least one row, all finite.
        factors: of the columns.
        within: smallest and largest factor allowed.
        direction: the only one in which the lr may move.
        step_factor: σ; the lr aims at σ times the line's minimiser.
        confidence: of the interval of the minimiser.

    Returns:
        "more" where the sign or the size of the step is not certain yet; then ``factor`` is what would be done if
        no more can be had. Where not even the sign is certain, an increase is not made; a decrease is asked for only
        when the lr has served its purpose, and then the estimate is followed.
    """
    fit = fit_line(factors, rows)
    if fit.flat:
        return Verdict("hold")
    low, high = within
    ends = fit.interval(low / step_factor, high / step_factor, confidence)
    near, far = sorted((allowed(step_factor * end, direction) for end in ends), key=lambda s: abs(s - 1.0))
    if far == 1.0:
        return Verdict("hold")
    if near == 1.0 and direction == "up":
        return Verdict("more")
    # Without a minimum: only as far as the loss certainly falls.
    wanted = near if fit.minimiser is None else step_factor * fit.minimiser
    factor = min(max(wanted, min(near, far)), max(near, far))
    certain = max(near, far) <= SAME_SIZE * min(near, far)
    beyond = near == far if fit.minimiser is None else not low <= wanted <= high
    return Verdict("go" if certain else "more", factor, limited=beyond)


# ------------------------------------------------------ the same superbatch


def later_rate(drops: Sequence[LossDrop]) -> float:
    """The present drop rate of the default: that of the later half of the windows.

    The longer an lr is held, the smaller is the rate that must be told from noise, and the longer the half.
    """
    return rate_over(drops[len(drops) // 2 :])


def certain_rollback(
    before: LossDrop, after: LossDrop, old: Sequence[float], new: Sequence[float], *, confidence: float
) -> bool:
    """The loss certainly rose after a decision, and by more per step than it had moved before.

    A rate that merely falls is the course of every training, and a rise is part of the noise of a large lr.

    Args:
        before: the window before the decision.
        after: the window after it.
        old: losses of the superbatch at the decision, n >= 2 batches.
        new: losses of the same batches after the window.
        confidence: two-sided, in (0, 1).
    """
    if after.rate >= -abs(before.rate):
        return False
    mean, error = _paired(old, new)
    return mean > t_quantile(0.5 + confidence / 2, len(old) - 1) * error


def certainly_fell(old: Sequence[float], new: Sequence[float], *, confidence: float) -> bool:
    """Whether the loss is certainly lower than it was.

    Args:
        old: losses of the superbatch, n >= 2 batches.
        new: later losses of the same batches.
        confidence: two-sided, in (0, 1).
    """
    mean, error = _paired(old, new)
    return mean < -t_quantile(0.5 + confidence / 2, len(old) - 1) * error


def _paired(old: Sequence[float], new: Sequence[float]) -> tuple[float, float]:
    """Mean rise from n losses to n others, and its standard error."""
    rises = [b - a for a, b in zip(old, new, strict=True)]
    n, mean = len(rises), sum(rises) / len(rises)
    return mean, math.sqrt(sum((rise - mean) ** 2 for rise in rises) / (n - 1) / n)
