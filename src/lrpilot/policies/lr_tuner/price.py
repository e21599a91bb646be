"""What the measurements of the default LRTuner may cost, in forwards: a step costs 3 of them."""

import math

from lrpilot.policies.lr_tuner.reading import FIRST_COST

# No decision may eat up more than this part of what all measurements may cost, but for the least it needs.
DECISION_SHARE = 1 / 4
# Before its first Line a live training proves that its step is linear in lr, in four scratch steps of 3 forwards.
RESERVED = 12


def overhead_left(overhead: float, total: int | None) -> float:
    """The share of the compute that is left for Lines."""
    return overhead if total is None else max(0.0, overhead - RESERVED / (3.0 * total))


def allowance(overhead: float | None, total: int | None) -> float:
    """Forwards that a training of so many steps may spend in all; inf where there is no limit."""
    if overhead is None or total is None:
        return math.inf
    return 3.0 * overhead_left(overhead, total) * total


def can_afford(whole: float, spent: int, decision: int) -> bool:
    """Whether measurements fit into what the training may spend in all, and on one decision.

    Args:
        whole: forwards that it may spend in all.
        spent: forwards in all, these included.
        decision: forwards of this decision, these included.
    """
    return spent <= whole and decision <= max(DECISION_SHARE * whole, FIRST_COST)


def affordable_step(spent: float, *, overhead: float, total: int | None, explore_end: float) -> float:
    """The step by which measurements that cost ``spent`` forwards in all are within their share of the compute.

    A step costs 3 forwards. Half of the whole belongs to explore, where every window may bring a decision.

    Args:
        spent: forwards.
        overhead: share of the training's own compute, >= 0.
        total: steps of the training; None for an open horizon.
        explore_end: step at which explore ends, 0 for no explore.

    Returns:
        The step, inf where the whole training does not earn that much.
    """
    if overhead == 0:
        return math.inf
    if total is None:
        return spent / (3.0 * overhead)
    share = spent / (3.0 * overhead * total)
    if share > 1:
        return math.inf
    if not 0 < explore_end < total:
        return share * total
    if share <= 0.5:
        return 2.0 * share * explore_end
    return explore_end + (2.0 * share - 1.0) * (total - explore_end)
