"""Where the next Trial goes: a walk on a lattice of lrs until the best one stands between two worse ones.

Positions count half decades from the first lr; upwards is tried first, since too small an lr costs a whole Trial and
too large a one ends it.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import attrgetter

from lrpilot.policies.peak_search.trials import Probed, best_of, difference

# Decades between neighbours: an lr that is wrong by a quarter of a decade costs some 4 % under a linear decay.
SPACING = 0.5
ERRORS = 2.0  # standard errors beyond which a difference is none of chance
SINGLE = 1e-6  # a smaller part of the first loss is rounding
LONE_FALL = 3  # lrs whose losses fall in their order, where none is certain by itself
LEAP = 2  # positions at once, where nothing has been gained yet, or where the end is far


def next_position(probed: Sequence[Probed], low: int, high: int, *, from_scratch: bool) -> int | None:
    """The position to try next; None where the best is bracketed, or stands at an end of what is allowed.

    Args:
        probed: the Trials flown so far, at positions of their own.
        low: lowest position allowed.
        high: highest position allowed.
        from_scratch: whether they begin with a training, so that a Trial that gains nothing tells nothing.
    """
    if not probed:
        return min(max(0, low), high)
    tried = {one.position for one in probed}
    wanted = [at for at in _wanted(probed, tried, from_scratch) if low <= at <= high and at not in tried]
    return wanted[0] if wanted else None


def _wanted(probed: Sequence[Probed], tried: set[int], from_scratch: bool) -> list[int]:
    """Positions worth a Trial, the first one most."""
    best = best_of(probed)
    if best is None:
        return [min(tried) - LEAP, min(tried) - 1]
    if from_scratch and not learned(best, probed):
        return _out_of_nowhere(probed, best, tried)
    at = best.position
    return [at + LEAP, at + 1, at - 1] if _is_far(probed, best) else [at + 1, at - 1]


def _is_far(probed: Sequence[Probed], best: Probed) -> bool:
    """Whether the best ends a fall of three on a parabola whose minimum is nearer to a leap than to a step."""
    ending = _up_to(best, probed)[-3:]
    if len(ending) < 3:
        return False
    slopes = [(a.score - b.score) / (b.position - a.position) for a, b in pairwise(ending)]
    middles = [(a.position + b.position) / 2 for a, b in pairwise(ending)]
    bend = (slopes[0] - slopes[1]) / (middles[1] - middles[0])
    to_go = slopes[1] - bend * (best.position - middles[1])  # slope at the best one: that of the minimum is 0
    return slopes[1] > 0 and to_go >= bend * (1 + LEAP) / 2


def _out_of_nowhere(probed: Sequence[Probed], best: Probed, tried: set[int]) -> list[int]:
    """Where to go while no Trial has gained anything.

    Flat is not a minimum: where nothing has moved, the lr is too small to tell, and the way is up. Once an lr has done
    harm, what is above it will too, and the way is down from the lowest one tried.
    """
    up, down = max(tried) + LEAP, min(tried) - LEAP
    if len(tried) == 1:
        return [max(tried) + 1, down]
    return [up, down] if all(not harmed(one, best) for one in probed) else [down, min(tried) - 1, up]


def learned(best: Probed, probed: Sequence[Probed]) -> bool:
    """Whether the best Trial shows that anything can be learned at its lr in so few steps."""
    return gained(best) or beats_smaller(best, probed) or _ends_a_fall(best, probed)


def _ends_a_fall(best: Probed, probed: Sequence[Probed]) -> bool:
    """Whether the losses fall from lr to lr towards the best one: noise puts three in that order one time in six."""
    up_to = _up_to(best, probed)
    return len(up_to) >= LONE_FALL and all(b.score < a.score for a, b in pairwise(up_to))


def _up_to(best: Probed, probed: Sequence[Probed]) -> list[Probed]:
    """Trials that came to their end, from the smallest lr to the best one."""
    return sorted((one for one in probed if one.tail and one.lr <= best.lr), key=attrgetter("lr"))


def gained(one: Probed) -> bool:
    """Whether a Trial ended below the loss of the untrained weights by more than its losses scatter."""
    return one.score < one.first - scatter(one)


def scatter(one: Probed) -> float:
    """How far the mean of a Trial's last losses may be off by its batches: from their range."""
    return (max(one.tail) - min(one.tail)) / len(one.tail) ** 0.5 if one.tail else 0.0


def harmed(one: Probed, best: Probed) -> bool:
    """Whether a Trial is certainly worse than the best one, on the same batches."""
    if not one.tail:
        return True
    by, error = difference(one, best)
    return one is not best and by > ERRORS * error


def beats_smaller(best: Probed, probed: Sequence[Probed]) -> bool:
    """Whether the best Trial is certainly better than one at a smaller lr, which moved the weights less.

    Batch by batch a gain is certain long before it shows in the scatter of batches, as in fine-tuning with small ones.
    """
    smaller = [one for one in probed if one.tail and one.lr < best.lr]
    return any(harmed(one, best) and difference(one, best)[0] > SINGLE * abs(best.first) for one in smaller)


def bracketed(probed: Sequence[Probed]) -> bool:
    """Whether the best Trial stands between two that were tried."""
    best = best_of(probed)
    return best is not None and None not in neighbours(best, probed)


def neighbours(best: Probed, probed: Sequence[Probed]) -> tuple[Probed | None, Probed | None]:
    """The Trials nearest to the best one, below and above; None where there is none."""
    below = [one for one in probed if one.position < best.position]
    above = [one for one in probed if one.position > best.position]
    by_position = attrgetter("position")
    return max(below, key=by_position, default=None), min(above, key=by_position, default=None)
