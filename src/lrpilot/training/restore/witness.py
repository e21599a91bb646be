"""What can be seen of things without copying them: whether something has changed, and what it was."""

import itertools
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrpilot.training.restore.rng import get_generator
from lrpilot.training.restore.tree import tensors_of
from lrpilot.training.restore.walk import SIMPLE, Surroundings, Walk, is_generator, parts_of
from lrpilot.training.torch_private import local_of

_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_ITERATORS = (itertools.count, itertools.cycle, itertools.repeat)
_FEW = 64  # of long containers the first entries tell
MOST = 20_000


def checksum(tensor: Tensor) -> int:
    """The sum of a tensor's bits as whole numbers: no copy of a dense one, and one number to read from a device."""
    own = local_of(tensor.detach())
    if own.is_meta:
        return 0
    if own.layout is not torch.strided:
        own = own.to_dense()
    if own.is_complex():
        own = torch.view_as_real(own)
    bits = own.contiguous().reshape(-1).view(_WORDS[own.element_size()])
    return int(bits.sum(dtype=torch.int64))


def checksums(tree: Any, names: Mapping[int, str]) -> dict[str, int]:
    """A checksum of every tensor in a tree, by its name or by its number among those without.

    Args:
        tree: nested containers.
        names: of tensors, by their id.
    """
    found: dict[str, int] = {}
    for i, tensor in enumerate(tensors_of(tree)):
        found[names.get(id(tensor), f"tensor {i}")] = checksum(tensor)
    return found


def fingerprints(roots: Mapping[str, Any], apart: Surroundings) -> dict[str, Any]:
    """What can be seen of everything that some things reach, by how it is reached; through functions and data too.

    Args:
        roots: where to begin, by name.
        apart: what is left out.
    """
    found: dict[str, Any] = {}
    for name, root in roots.items():
        walk = Walk(root, apart, most=MOST, widest=_FEW, through_code=True, through_data=True)
        for index, thing in enumerate(walk.things):
            path = name + walk.path(index)
            seen = _print_of(thing)
            if seen is not None:
                found[path] = seen
            simple = ((how, part) for how, part in parts_of(thing, through_code=True, through_data=True))
            found |= {path + how: part for how, part in itertools.islice(simple, MOST) if type(part) in SIMPLE}
    return found


def _print_of(thing: Any) -> Any:
    """What tells whether a thing itself has changed, and None for what only its parts tell."""
    if isinstance(thing, Tensor):
        return checksum(thing)
    if isinstance(thing, np.ndarray):
        return (thing.shape, thing.tobytes())
    if is_generator(thing):
        return str(get_generator(thing))
    if isinstance(thing, _ITERATORS):
        return repr(thing)
    if isinstance(thing, types.GeneratorType):
        values = {} if thing.gi_frame is None else thing.gi_frame.f_locals
        return (thing.gi_frame is None, str({k: v for k, v in values.items() if type(v) in SIMPLE}))
    if isinstance(thing, (set, frozenset, bytearray)):
        return repr(thing)
    return len(thing) if isinstance(thing, (dict, list, tuple)) or hasattr(thing, "maxlen") else None
