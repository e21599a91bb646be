"""A batch, whatever it is made of: copied, counted, and moved to a device."""

import copy
from collections.abc import MutableMapping
from typing import Any

import torch
from torch import Tensor

from lrpilot.training.restore.tree import map_leaves, map_tensors, tensors_of


def copy_batch(batch: Any) -> Any:
    """A batch of one's own: new containers and tensors; what else it holds is copied one level deep."""
    return map_leaves(batch, lambda t: t.detach().clone().requires_grad_(t.requires_grad), _copy_leaf)


def _copy_leaf(leaf: Any) -> Any:
    if isinstance(leaf, MutableMapping):
        made = copy.copy(leaf)
        made.update({key: copy_batch(value) for key, value in leaf.items()})
        return made
    try:
        return copy.copy(leaf)
    except TypeError:  # what cannot be copied is shared
        return leaf


def count_samples(batch: Any) -> int:
    """Number of samples in a batch: the first dimension of its first tensor (1 if it has none)."""
    for tensor in tensors_of(batch):
        return int(tensor.shape[0]) if tensor.ndim else 1
    if isinstance(batch, (list, tuple)):
        return max(1, len(batch))
    return 1


def to_device(batch: Any, device: torch.device) -> Any:
    """Every tensor of a batch on ``device``; objects with their own ``.to`` are asked to move."""
    if not isinstance(batch, (Tensor, dict, list, tuple)) and hasattr(batch, "to"):
        return batch.to(device)
    return map_tensors(batch, lambda t: t if t.device == device else t.to(device))
