"""Bracket: search for the smallest of a few expensive values on a lattice of whole numbers."""

import math
from collections.abc import Mapping


def winner(values: Mapping[int, float]) -> int:
    """Position of the smallest value, the lower position where two are equal (all infinite included)."""
    return min(values, key=lambda at: (values[at], at))


def next_position(values: Mapping[int, float], stride: int, low: int, high: int) -> tuple[int | None, int]:
    """What to try next, so that the winner has a known neighbour on each side, ever closer.

    Where the winner is the outermost known, the bracket expands by the stride, so a start far off the
    minimum walks towards it. The upper neighbour goes first: where it wins, the lower one is not needed.
    Where nothing finite is known, the search goes down.

    Args:
        values: value at each position known, at least one; inf is allowed.
        stride: distance of the neighbours now, a power of two.
        low: lowest position allowed.
        high: highest position allowed.

    Returns:
        The position (None when both neighbours at distance 1 are known or not allowed) and the stride at
        which it was chosen.
    """
    best = winner(values)
    down_only = math.isinf(values[best])
    while True:
        for at in (best - stride,) if down_only else (best + stride, best - stride):
            if low <= at <= high and at not in values:
                return at, stride
        if stride == 1:
            return None, stride
        stride //= 2
