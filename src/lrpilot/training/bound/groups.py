"""Groups of micro-batches: what one optimizer step takes where gradients are accumulated.

Wherever training data is opened, micro-batches are put together to groups; from there on a group is a batch. Only what
counts samples and what computes a loss knows that it has parts.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from lrpilot.training.restore.tree import tensors_of


class MicroBatches(list[Any]):
    """The micro-batches of one optimizer step."""


def grouped(batches: Iterable[Any], size: int) -> Iterator[MicroBatches]:
    """Groups of ``size`` batches each; the last one may be smaller."""
    iterator = iter(batches)
    while group := MicroBatches(islice(iterator, size)):
        yield group


def is_group(batch: Any) -> bool:
    """Whether a batch has parts of the same make, each of which has the tensors of a batch.

    So are the groups that a user's own code puts together for a ``step_fn``: lists of micro-batches.
    """
    if isinstance(batch, MicroBatches):
        return True
    if not isinstance(batch, (list, tuple)) or hasattr(batch, "_fields") or not batch:
        return False
    makes = [_make(part) for part in batch]
    return makes[0] is not None and all(make == makes[0] for make in makes)


def _make(part: Any) -> tuple[Any, ...] | None:
    """What batches of one loader have in common; None for what is no container of tensors."""
    if not isinstance(part, (list, tuple, Mapping)):
        return None
    tensors = [(tensor.dtype, tensor.ndim) for tensor in tensors_of(part)]
    return (type(part), *tensors) if tensors else None
