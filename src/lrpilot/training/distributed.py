"""What ranks must share so that they decide alike. Every function is a no-op on one process."""

import hashlib
import json
from collections.abc import Sequence
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


def share_step(loss: float, failure: BaseException | None) -> float:
    """Share one probe step: the mean loss, or the same failure everywhere.

    Args:
        loss: this rank's loss (ignored when it failed).
        failure: the exception this rank's step raised, or None.

    Raises:
        RanksDisagreeError: another rank failed.
        BaseException: this rank failed; its own exception is raised again.
    """
    if not is_distributed():
        if failure is not None:
            raise failure
        return loss
    shared = torch.tensor([0.0 if failure else loss, 1.0 if failure else 0.0], dtype=torch.float64, device=_device())
    dist.all_reduce(shared)
    if failure is not None:
        raise failure
    total, failed = shared.tolist()
    if failed:
        raise RanksDisagreeError(
            f"A probe must succeed on every rank, but it failed on {int(failed)} other rank(s). "
            "Look at the error of those ranks; everything has been restored on this one."
        )
    return float(total / dist.get_world_size())


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
