"""Groups of micro-batches: what one optimizer step takes where gradients are accumulated.

Wherever training data is opened, micro-batches are put together to groups; from there on a group is a batch. Only what
counts samples and what computes a loss knows that it has parts.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any


class MicroBatches(list[Any]):
    """The micro-batches of one optimizer step."""


def grouped(batches: Iterable[Any], size: int) -> Iterator[MicroBatches]:
    """Groups of ``size`` batches each; the last one may be smaller."""
    iterator = iter(batches)
    while group := MicroBatches(islice(iterator, size)):
        yield group
