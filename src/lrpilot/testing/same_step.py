"""check_same_step: proof that Trials train exactly as the user's own loop does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lrpilot.training.bound.batches import copy_batch
from lrpilot.training.bound.state import ExtraState, Snapshot, clear_gradients, live_tree
from lrpilot.training.restore.rng import get_rng
from lrpilot.training.restore.tree import clone_tree
from lrpilot.training.training import Training


def check_same_step(user_step: Callable[[Any], Any], training: Training, batch: Any) -> None:
    """Prove bitwise that ``training.step(batch)`` does what ``user_step(batch)`` does.

    Both start from the present state and the same random generators; afterwards everything is put back.
    Compared are parameters, buffers, optimizer state and param groups, the extra state, the random generators,
    and the loss where the user's step returns one.

    Args:
        user_step: takes one optimizer step on a batch, as your own loop does.
        training: whose ``step`` Trials and ``fit`` use.
        batch: one batch as your data yields it.

    Raises:
        AssertionError: they differ; the message names the first difference.
    """
    start = Snapshot(training)
    try:
        with training.as_probe():
            clear_gradients(training)
            theirs_loss = user_step(training.move(copy_batch(batch)))
            theirs = _state(training)
            start.restore()
            clear_gradients(training)
            ours_loss = training.step(copy_batch(batch))
            ours = _state(training)
    finally:
        start.restore()
    names = [name for name, _ in training.model.named_parameters()]
    difference = _first_difference(theirs, ours)
    if difference is None and isinstance(theirs_loss, Tensor):
        difference = _first_difference(theirs_loss.detach().reshape(()), ours_loss.reshape(()), "loss")
    if difference is not None:
        raise AssertionError(
            f"training.step must equal the user's step bit for bit, but {difference} (parameters are numbered as in "
            f"{names[:4]}...). Pass step_fn=your step to Training if it clips, accumulates or scales."
        )


def _state(training: Training) -> dict[str, Any]:
    return {**clone_tree(live_tree(training)), "extra": ExtraState(training).saved, "random": get_rng()}


def _first_difference(theirs: Any, ours: Any, where: str = "state") -> str | None:
    """The first place where two trees differ, in words; None if they are bitwise equal."""
    if isinstance(theirs, Tensor) and isinstance(ours, Tensor):
        if theirs.shape == ours.shape and theirs.dtype == ours.dtype and _bitwise_equal(theirs, ours):
            return None
        return f"{where} differs" + _by_how_much(theirs, ours)
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if theirs.keys() != ours.keys():
            return f"{where} has keys {sorted(map(str, theirs))} in one and {sorted(map(str, ours))} in the other"
        pairs = [(theirs[k], ours[k], f"{where}.{k}") for k in theirs]
    elif isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)) and len(theirs) == len(ours):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(theirs, ours, strict=True))]
    else:
        return None if theirs == ours else f"{where} is {theirs!r} in one and {ours!r} in the other"
    return next((d for d in (_first_difference(*pair) for pair in pairs) if d is not None), None)


def _bitwise_equal(a: Tensor, b: Tensor) -> bool:
    if a.layout is not torch.strided:
        return bool(torch.equal(a.to_dense(), b.to_dense()))
    return bool(torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8)))


def _by_how_much(a: Tensor, b: Tensor) -> str:
    if a.shape != b.shape or not a.is_floating_point():
        return ""
    return f" by up to {float((a - b).abs().max()):.3g}"
