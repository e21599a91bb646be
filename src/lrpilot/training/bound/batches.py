"""What any batch is made of: the one walk by which it is moved, copied, measured and its samples are counted.

A batch is a tensor (nested, jagged and sparse ones too), a container of whatever class, a dataclass, a named tuple or
any object with attributes, and these in each other.
"""

import copy
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sized
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils.data import DataLoader, Dataset

from lrpilot.training.restore.tree import LIBRARIES, fields_of

_SEQUENCES = (list, tuple, deque)
# What a batch may refer to and is not made of.
_APART = (type, ModuleType, FunctionType, nn.Module, Dataset, DataLoader, Iterator)
# Under these names batches of graphs (PyG, DGL) and the like say how many samples they hold.
_SAID = ("num_graphs", "batch_size")


def copy_batch(batch: Any) -> Any:
    """A batch of one's own: new containers, objects, tensors and arrays; what cannot be copied is shared."""
    return _Mapped(lambda t: t.detach().clone().requires_grad_(t.requires_grad), _copy_other)(batch)


def to_device(batch: Any, device: torch.device) -> Any:
    """Every tensor of a batch on ``device``, the batch itself left as it is.

    Whatever has a ``.to`` of its own (a packed sequence, a graph, a tokenizer's batch) is asked to move, a copy of it
    if it can be had, for some move in place. Nothing is copied that is on the device already.
    """
    return _Mapped(lambda t: t if t.device == device else t.to(device), lambda other: other, device)(batch)


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor of a batch, depth first, each once."""
    seen: list[Any] = []
    known: set[int] = set()

    def walk(value: Any) -> Iterator[Tensor]:
        if id(value) in known:
            return
        known.add(id(value))
        seen.append(value)  # alive, or its id would be given to another
        if isinstance(value, Tensor):
            yield value
        else:
            for part in _parts(value).values():
                yield from walk(part)

    yield from walk(batch)


def bytes_of(batch: Any) -> int:
    """Memory of the tensors of a batch; 0 where there are none to be seen."""
    return sum(_bytes_of(tensor) for tensor in tensors_in(batch))


def _bytes_of(tensor: Tensor) -> int:
    if tensor.layout in (torch.strided, torch.jagged):
        return tensor.numel() * tensor.element_size()
    if tensor.layout is torch.sparse_coo:
        entries = tensor.detach().coalesce()
        return _bytes_of(entries.indices()) + _bytes_of(entries.values())
    # Of compressed layouts the indices are about as large as the values.
    return 2 * _bytes_of(tensor.detach().values())


# ------------------------------------------------------------------ samples


def count_samples(batch: Any) -> int:
    """Number of samples in a batch; 1 where nothing tells it (see :func:`samples_of`)."""
    count = samples_of(batch)
    return 1 if count is None else count


def samples_of(batch: Any) -> int | None:
    """Number of samples in a batch, as far as it can be seen; None where nothing tells it.

    What the batch says of itself (``num_graphs``, ``batch_size`` of an object that can move), or else the length of
    the first dimension that most of its tensors and arrays share (of equally many: the first); a list of strings or
    of objects has its length. Of a list of containers that are alike (samples, micro-batches) it is the sum.
    """
    seen = _seen_samples(batch)
    if seen is None and isinstance(batch, Sized) and not isinstance(batch, (str, bytes, Mapping, Tensor)):
        return len(batch)
    return seen


def _seen_samples(batch: Any) -> int | None:
    """The same, without what has nothing but a length."""
    said = _said(batch)
    if said is not None:
        return said
    if isinstance(batch, _SEQUENCES) and _are_alike(batch):
        counts = [_seen_samples(part) for part in batch]
        return sum(1 if count is None else count for count in counts)
    votes = Counter(length for lengths in _lengths(batch) for length in lengths)
    # An empty part (no box in any of the images) does not make an empty batch.
    return max(votes, key=lambda length: (length > 0, votes[length])) if votes else None


def _said(batch: Any) -> int | None:
    if isinstance(batch, PackedSequence):
        return int(batch.batch_sizes[0])
    if isinstance(batch, (Tensor, Mapping, *_SEQUENCES)) or not _moves_itself(batch):
        return None
    said = (getattr(batch, name, None) for name in _SAID)
    return next((count for count in said if isinstance(count, int)), None)


def _are_alike(parts: Any) -> bool:
    """Whether these are containers of one kind, each of the same parts."""
    kinds = {(type(part), *((key, type(value)) for key, value in _parts(part).items())) for part in parts}
    return len(kinds) == 1 and len(next(iter(kinds))) > 1


def _lengths(value: Any, *, top: bool = True) -> Iterator[list[int]]:
    """For each part of a batch the numbers of samples that it may hold, the likeliest first."""
    said = _said(value)
    if said is not None:
        yield [said]
    elif isinstance(value, (Tensor, np.ndarray)):
        if value.ndim:
            yield [_first_dimension(value)]
    elif isinstance(value, _SEQUENCES) and value and not top:
        # Views of all samples, or one entry a sample: the rest of the batch decides.
        inner = {length for part in value for lengths in _lengths(part, top=False) for length in lengths}
        yield list(dict.fromkeys([*(inner if len(inner) == 1 else ()), len(value)]))
    else:
        for part in _parts(value).values():
            yield from _lengths(part, top=False)


def _first_dimension(value: Any) -> int:
    # Not shape: nested tensors of the strided layout have none.
    return int(value.size(0)) if isinstance(value, Tensor) else int(value.shape[0])


# ---------------------------------------------------------------- the walk


def _parts(value: Any) -> dict[Any, Any]:
    """What a container or an object of a batch holds, by key, index or attribute; nothing of what is no such thing."""
    if isinstance(value, Mapping):  # transformers' BatchEncoding is a mapping and no dict
        return dict(value.items())
    if isinstance(value, _SEQUENCES):
        return dict(enumerate(value))
    return _attributes(value)


def _attributes(value: Any) -> dict[str, Any]:
    """The attributes of an object that a batch may be; none of anything else."""
    if isinstance(value, (Tensor, *_APART)) or type(value).__module__.partition(".")[0] in LIBRARIES:
        return {}
    return fields_of(value)


def _moves_itself(value: Any) -> bool:
    """Whether its class has a ``.to``; a key or field of that name is none."""
    return callable(getattr(type(value), "to", None)) and not isinstance(value, (Tensor, *_APART))


class _Mapped:
    """One walk over a batch that makes another: what is met twice is one thing there too.

    Args:
        on_tensor: makes the tensors.
        on_other: makes what is neither tensor nor container nor object with attributes.
        device: where things with a ``.to`` of their own are asked to move; None walks into them.
    """

    def __init__(
        self, on_tensor: Callable[[Tensor], Tensor], on_other: Callable[[Any], Any], device: torch.device | None = None
    ) -> None:
        self._on_tensor, self._on_other, self._device = on_tensor, on_other, device
        self._made: dict[int, tuple[Any, Any]] = {}  # with what it was made of: an id is its own only while that lives

    def __call__(self, value: Any) -> Any:
        known = self._made.get(id(value))
        if known is not None:
            return known[1]
        made = self._make(value)
        self._made[id(value)] = (value, made)
        return made

    def _make(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._on_tensor(value)
        if self._device is not None and _moves_itself(value):
            own = _own(value)
            moved = own.to(self._device)
            return own if moved is None else moved
        if isinstance(value, tuple):
            return _tuple_like(value, [self(part) for part in value])
        if isinstance(value, MutableMapping):
            return self._filled(value, _put_items)
        if isinstance(value, Mapping):
            return type(value)({key: self(part) for key, part in value.items()})  # type: ignore[call-arg]
        if isinstance(value, (list, deque)):
            return self._filled(value, _put_all)
        if _attributes(value):
            return self._filled(value, _put_attributes)
        return self._on_other(value)

    def _filled(self, value: Any, put: Callable[[Any, dict[Any, Any]], None]) -> Any:
        """Another such container or object, with other parts in it."""
        made = _own(value)
        if made is value:
            return value  # it cannot be copied: shared
        self._made[id(value)] = (value, made)  # before its parts, which may lead back to it
        put(made, {key: self(part) for key, part in _parts(value).items()})
        return made


def _own(value: Any) -> Any:
    """A shallow copy, or the thing itself where it cannot be copied."""
    try:
        return copy.copy(value)
    except Exception:  # somebody else's class: whatever it raises, there is no copy
        return value


def _copy_other(value: Any) -> Any:
    return value if isinstance(value, _APART) else _own(value)


def _tuple_like(value: tuple[Any, ...], parts: list[Any]) -> Any:
    if isinstance(value, PackedSequence):
        return PackedSequence(*parts)
    if hasattr(value, "_fields"):
        return type(value)(*parts)
    return tuple(parts) if type(value) is tuple else type(value)(parts)


def _put_items(made: Any, parts: dict[Any, Any]) -> None:
    for key, part in parts.items():
        made[key] = part


def _put_all(made: Any, parts: dict[Any, Any]) -> None:
    made.clear()
    made.extend(parts.values())


def _put_attributes(made: Any, parts: dict[str, Any]) -> None:
    for name, part in parts.items():
        object.__setattr__(made, name, part)  # also of a frozen dataclass
