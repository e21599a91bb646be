"""What ranks must share so that they decide alike. Every function is a no-op on one process."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor

from lrpilot.core.codec import encode
from lrpilot.errors import RanksDisagreeError

# A rank that has failed waits so long for the others to come and be told: longer than any step of theirs takes, shorter
# than the half hour that a collective waits for a rank that will not come.
PATIENCE = timedelta(seconds=60)
# Bytes of gradients that are averaged by one call, as many as a bucket of DistributedDataParallel has.
BUCKET = 25 * 2**20

# A group of our own beside each default group: what a rank that has failed says there can meet no other collective.
_groups: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def is_distributed() -> bool:
    """Whether more than one rank runs."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _group() -> Any:
    """The group that we talk in; made by all ranks together at their first exchange."""
    world = dist.group.WORLD
    if world not in _groups:
        _groups[world] = dist.new_group(backend="gloo") if dist.is_gloo_available() else world
    return _groups[world]


def _exchange(values: Sequence[float], op: Any = dist.ReduceOp.SUM, patience: timedelta | None = None) -> list[float]:
    """Each value reduced over the ranks, by one all-reduce.

    Args:
        values: of this rank, as many on every rank.
        op: how they are reduced.
        patience: how long to wait for the others; None for as long as a collective waits.
    """
    group = _group()
    gloo = dist.get_backend(group) == "gloo"
    # float64 keeps the mean of equal values exact, so that one process and many equal ones agree bitwise.
    shared = torch.tensor(values, dtype=torch.float64, device="cpu" if gloo else "cuda")
    work = dist.all_reduce(shared, op, group, async_op=True)
    assert work is not None  # this rank is in its group
    work.wait() if patience is None else work.wait(patience)
    reduced: list[float] = shared.tolist()
    return reduced


def mean_over_ranks(values: Sequence[float]) -> list[float]:
    """Each value averaged over the ranks, by one all-reduce."""
    if not values or not is_distributed():
        return list(values)
    return [total / dist.get_world_size() for total in _exchange(values)]


@contextmanager
def all_or_none() -> Iterator[None]:
    """What fails inside on one rank fails on every one; each leaves the block only when all have come to its end.

    Lies inside a :func:`together`, which does not tell again of a failure that has been told.

    Raises:
        RanksDisagreeError: another rank failed.
    """
    if not is_distributed():
        yield
        return
    _group()
    try:
        yield
    except Exception as error:
        if not hasattr(error, _TOLD):
            _tell(error)
        raise
    try:
        failed = int(_exchange([0.0])[0])
    except RuntimeError as error:
        raise _lost() from error
    if failed:
        raise _told(
            f"A probe must succeed on every rank, but it failed on {failed} other rank(s). "
            "Look at the error of those ranks; everything has been restored on this one."
        )


_TOLD = "_lrpilot_told"  # an attribute of an error that the other ranks know of, until it has left `together`


def _told(message: str) -> RanksDisagreeError:
    """An error that the others know of, since it came of an exchange."""
    error = RanksDisagreeError(message)
    setattr(error, _TOLD, True)
    return error


def _tell(failure: Exception) -> None:
    """Tell the other ranks that this one has failed.

    Raises:
        RanksDisagreeError: another has ended before, which is why this one failed.
    """
    setattr(failure, _TOLD, True)
    try:
        _exchange([1.0], patience=PATIENCE)
    except RuntimeError as error:
        if "timed out" not in str(error).lower():
            raise _lost() from failure
        failure.add_note(
            f"lrpilot: the other ranks did not come to be told within {PATIENCE.total_seconds():.0f} s: they wait for "
            "this one inside a collective, and end with an error when this process does."
        )


def _lost() -> RanksDisagreeError:
    return _told(
        "A probe must succeed on every rank, but another rank has ended while this one waited for it in a collective. "
        "Look at the error of that rank, which is the first, and start anew from a checkpoint."
    )


def together(work: Callable[[], Sequence[float]]) -> list[float]:
    """Do one rank's part of a measurement: its values averaged over the ranks, or a failure on every rank.

    Args:
        work: measures on this rank; as many values on every rank.

    Raises:
        RanksDisagreeError: another rank failed.
        Exception: this rank failed; its own exception goes on.
    """
    try:
        with all_or_none():
            values = list(work())
    except Exception as error:
        if hasattr(error, _TOLD):
            delattr(error, _TOLD)  # raised in another measurement, it is told again
        raise
    return mean_over_ranks(values)


def same_on_every_rank(thing: Any) -> bool:
    """Whether plain data is the same on every rank."""
    if not is_distributed():
        return True
    digest = hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).digest()
    number = float(int.from_bytes(digest[:6], "big"))  # 48 bits, which a double holds
    highest, lowest = _exchange([number, -number], dist.ReduceOp.MAX)
    return highest == -lowest


def require_same_action(action: Any) -> None:
    """Raise unless every rank is about to take this action.

    Raises:
        RanksDisagreeError: the ranks differ.
    """
    if is_distributed() and not same_on_every_rank(encode(action)):
        raise RanksDisagreeError(
            f"Every rank must take the same action, got {action!r} on this rank. "
            "Give all ranks the same policy, total_steps and learning rates, and seed them alike."
        )


# ------------------------------------------------------------------- gradients


def are_replicas(parameters: Sequence[Tensor]) -> bool:
    """Whether these parameters are the same on every rank, as those of one model are that many train."""
    shapes = [[*p.shape, str(p.dtype)] for p in parameters]
    if not is_distributed() or not same_on_every_rank(shapes):
        return False
    return same_on_every_rank([str(float(p.detach().double().sum())) for p in parameters])


def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Average the gradients of replicas over the ranks, as DistributedDataParallel does, by its own arithmetic.

    A parameter without a gradient on some ranks counts as 0 there; without one on all of them it stays without.
    """
    here = [float(p.grad is not None) for p in parameters]
    somewhere = _exchange(here, dist.ReduceOp.MAX)
    bucket: list[Tensor] = []
    for parameter, is_there in zip(parameters, somewhere, strict=True):
        if not is_there:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        if bucket and (_bytes(bucket) >= BUCKET or _kind(bucket[0]) != _kind(parameter.grad)):
            _average(bucket)
            bucket = []
        bucket.append(parameter.grad)
    _average(bucket)


def _average(gradients: list[Tensor]) -> None:
    if not gradients:
        return
    flat = torch.cat([g.detach().reshape(-1) for g in gradients]) / dist.get_world_size()
    dist.all_reduce(flat)
    with torch.no_grad():
        for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _bytes(tensors: list[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _kind(tensor: Tensor) -> tuple[torch.dtype, torch.device]:
    return tensor.dtype, tensor.device
