"""What ranks must share so that they decide alike. Every function is a no-op on one process."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from lrpilot.core.codec import encode
from lrpilot.errors import RanksDisagreeError


def is_distributed() -> bool:
    """Whether more than one rank runs."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def mean_over_ranks(values: Sequence[float]) -> list[float]:
    """Each value averaged over the ranks, by one all-reduce."""
    if not values or not is_distributed():
        return list(values)
    # float64 keeps the mean of equal values exact, so that one process and many equal ones agree bitwise.
    shared = torch.tensor(values, dtype=torch.float64, device=_device())
    dist.all_reduce(shared)
    averaged: list[float] = (shared / dist.get_world_size()).tolist()
    return averaged


def together(work: Callable[[], Sequence[float]], count: int = 1) -> list[float]:
    """Do one rank's part of a measurement: its values averaged over the ranks, or a failure on every rank.

    Args:
        work: measures on this rank; must not wait for another rank after it has failed on one.
        count: number of values it returns.

    Raises:
        RanksDisagreeError: another rank failed.
        Exception: this rank failed; its own exception goes on.
    """
    if not is_distributed():
        return list(work())
    values: Sequence[float] = [math.nan] * count
    failure: Exception | None = None
    try:
        values = work()
    except Exception as error:
        failure = error
    shared = torch.tensor([*values, 0.0 if failure is None else 1.0], dtype=torch.float64, device=_device())
    dist.all_reduce(shared)
    if failure is not None:
        raise failure
    *totals, failed = shared.tolist()
    if failed:
        raise RanksDisagreeError(
            f"A probe must succeed on every rank, but it failed on {int(failed)} other rank(s). "
            "Look at the error of those ranks; everything has been restored on this one."
        )
    return [total / dist.get_world_size() for total in totals]


def require_same_action(action: Any) -> None:
    """Raise unless every rank is about to take this action.

    Raises:
        RanksDisagreeError: the ranks differ.
    """
    if not is_distributed():
        return
    text = json.dumps(encode(action), sort_keys=True).encode()
    digest = int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
    ends = torch.tensor([digest, -digest], dtype=torch.int64, device=_device())
    dist.all_reduce(ends, op=dist.ReduceOp.MAX)
    if ends[0].item() != -ends[1].item():
        raise RanksDisagreeError(
            f"Every rank must take the same action, got {action!r} on this rank. "
            "Give all ranks the same policy, total_steps and learning rates, and seed them alike."
        )
