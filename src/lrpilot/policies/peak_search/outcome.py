"""What a search has come to, as a finder says it: whether its Trials could tell, and how far the best lr may lie."""

import math

from lrpilot.core.found import FindCode
from lrpilot.policies.peak_search.pick import Pick
from lrpilot.policies.peak_search.search import PeakSearch
from lrpilot.policies.peak_search.trials import Probed, difference
from lrpilot.policies.peak_search.walk import ERRORS, SINGLE, beats_smaller, scatter

FLAT = 0.01  # differences below this part of the losses' range in the best Trial are none
# Beyond an end where no worse Trial stands nothing was seen: the interval reaches this many times as far there.
OPEN_REACH = 2.0


def outcome_of(search: PeakSearch) -> FindCode:
    """Whether the Trials of a search that has ended could tell, and what stands in the way."""
    best = search.best
    if best is None or not math.isfinite(best.first):
        return FindCode.ALL_DIVERGED
    if not certainly_learned(search, best):
        return _nothing_learned(search, best)
    low, high = search.ends
    if best.position == high:
        return FindCode.AT_UPPER_EDGE
    if best.position == low:
        return FindCode.AT_LOWER_EDGE
    return FindCode.OK if search.bracketed else FindCode.NOT_BRACKETED


def certainly_learned(search: PeakSearch, best: Probed) -> bool:
    """Whether the best Trial has certainly gained: on the untrained weights, or on a smaller lr.

    The walk goes on by less (:func:`~lrpilot.policies.peak_search.walk.learned`): there an error costs a Trial.
    """
    gain = best.first - best.score
    return gain > max(ERRORS * scatter(best), SINGLE * abs(best.first)) or beats_smaller(best, search.probed)


def interval_of(search: PeakSearch, pick: Pick) -> tuple[float, float]:
    """Lrs between which the best peak lies nine times in ten; wider on a side where no worse Trial stands."""
    low, high = pick.interval
    best, tried = search.best, {one.position for one in search.probed}
    assert best is not None  # there is a pick of it
    below, above = (1.0 if best.position + side in tried else OPEN_REACH for side in (-1, 1))
    return pick.lr * math.pow(low / pick.lr, below), pick.lr * math.pow(high / pick.lr, above)


def _nothing_learned(search: PeakSearch, best: Probed) -> FindCode:
    if best.score > best.first + ERRORS * scatter(best):
        return FindCode.RISING
    apart = [abs(difference(one, best)[0]) for one in search.probed if one.tail]
    limit = max(FLAT * (best.high - best.low), SINGLE * abs(best.first))
    return FindCode.FLAT if max(apart) <= limit else FindCode.WITHIN_NOISE
