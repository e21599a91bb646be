"""What the objects behind a user's data hold and move as they are read, put back.

A stream counts how far it has come, a data set knows its epoch, a shuffle buffer fills, a file has a position. To read
such data beside a loop in flight is to begin where it once stood, and to leave it as the loop had it.
"""

import ctypes
import functools
import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import is_
from types import FunctionType, GeneratorType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from lrpilot.errors import DataError
from lrpilot.training.restore.rng import get_generator, set_generator
from lrpilot.training.restore.tree import LIBRARIES, fields_of
from lrpilot.training.restore.walk import is_generator, named_by

_DEPTH = 8  # dataset.dataset.transform.transforms[0].rng, and as deep again
_FEW = 64  # longer containers hold samples, not parts: their entries are not gone into
_MOST = 2**14  # entries of a buffer (a shuffle buffer has a thousand); longer containers are the data
_SMALL = 2**16  # bytes of a tensor or an array; larger ones are the data
_SCALARS = (bool, int, float, complex, str, bytes, type(None), np.generic)
_CONTAINERS = (list, dict, set, deque, bytearray)
_DEFINED = (type, ModuleType)
_NOTHING = (*_DEFINED, FunctionType, MethodType, *_SCALARS)
_DATA = (Dataset, DataLoader, Sampler)
# What ctypes' numbers have in common: processes share an epoch as one.
_Number: Any = ctypes.c_int.__mro__[1]


class DataState:
    """What can be seen to move when data is read: attributes, buffers, generators, positions of files.

    Args:
        owners: searched through attributes and short containers, a few levels deep; what functions among it use without
            being handed it, where that is a generator or data.
        in_order: whether they are read from a beginning on, as a stream is, and not at any place.

    Attributes:
        start: as it was when it was found.
        one_shot: name and type of something among it that can be read once and not be put back; None without.
    """

    def __init__(self, *owners: Any, in_order: bool = False) -> None:
        self.one_shot: tuple[str, str] | None = None
        self._things: list[tuple[Any, _Kind]] = []
        self._find([("", owner, in_order) for owner in owners])
        self.start = self.get()

    def _find(self, level: list[tuple[str, Any, bool]]) -> None:
        seen: set[int] = set()
        for _ in range(_DEPTH):
            below: list[tuple[str, Any, bool]] = []
            for name, value, in_order in level:
                if isinstance(value, (*_DEFINED, *_SCALARS)) or id(value) in seen:
                    continue
                seen.add(id(value))
                if is_one_shot(value):
                    self.one_shot = self.one_shot or (name, type(value).__name__)
                    continue
                streams = in_order or isinstance(value, IterableDataset)
                kind = _kind_of(value)
                if kind is not None:
                    self._things.append((value, _STREAM if kind is _OBJECT and streams else kind))
                below += [(part_name, part, streams) for part_name, part in _parts(value)]
            level = below

    def get(self) -> list[Any]:
        """The state of each thing; attributes and entries by reference.

        Raises:
            DataError: a file cannot tell where it stands.
        """
        return [kind.get(thing) for thing, kind in self._things]

    def set(self, states: Sequence[Any]) -> None:
        """Put back what :meth:`get` returned.

        Each kind: test_data_state.py::test_what_moves_is_put_back

        Raises:
            DataError: something has moved that cannot be put back.
        """
        for (thing, kind), state in zip(self._things, states, strict=True):
            kind.put(thing, state)

    def plain(self) -> dict[str, Any]:
        """The part of it that can go into a file, as ``torch.load(weights_only=True)`` accepts it.

        ``lost`` names what has moved and cannot (a reader, a buffer of large samples).
        """
        lost: list[str] = []
        states = [
            kind.plain(state, start, lost)
            for (_, kind), state, start in zip(self._things, self.get(), self.start, strict=True)
        ]
        return {"states": states, "lost": lost}

    def set_plain(self, saved: dict[str, Any]) -> None:
        """Put back what :meth:`plain` returned, in this process or in another that has built the same."""
        for (thing, kind), state in zip(self._things, saved["states"], strict=True):
            if state is not None:
                kind.put_plain(thing, state)


# ----------------------------------------------------------------- the search


def is_one_shot(value: Any) -> bool:
    """Whether reading it moves it where nobody can see: a generator, a zip; a loader whose workers are in its loop."""
    if isinstance(value, DataLoader):
        return value._iterator is not None
    return isinstance(value, Iterator) and not isinstance(value, io.IOBase) and _is_closed(type(value))


def _is_closed(kind: type) -> bool:
    """Whether a class is somebody's who does not write data sets, and its attributes no state of one."""
    return kind.__module__.partition(".")[0] in LIBRARIES and not issubclass(kind, _DATA)


def _parts(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, (list, tuple, set, deque)):
        return [("", part) for part in value] if len(value) <= _FEW else []
    if isinstance(value, dict):
        return [(str(key), part) for key, part in value.items()] if len(value) <= _FEW else []
    if isinstance(value, FunctionType):
        return [("", thing) for _, thing in named_by(value) if is_generator(thing) or isinstance(thing, _DATA)]
    if isinstance(value, MethodType):
        return [("", value.__self__)]
    if isinstance(value, functools.partial):
        return [("", part) for part in (value.func, *value.args, *value.keywords.values())]
    if isinstance(value, DataLoader):
        return [(name, getattr(value, name)) for name in ("dataset", "collate_fn", "sampler", "batch_sampler")]
    if hasattr(value, "get_obj"):  # a number that processes share, behind its lock
        return [("", value.get_obj())]
    return list(fields_of(value).items()) if _has_state(value) else []


def _has_state(value: Any) -> bool:
    """Whether the attributes of an object are state of the data: not those of the model that it may know."""
    if isinstance(value, nn.Module):  # a transform
        return next(value.parameters(), None) is None
    return not isinstance(value, (Tensor, np.ndarray, *_NOTHING)) and not _is_closed(type(value))


# ------------------------------------------------------------------ the kinds


@dataclass(frozen=True)
class _Kind:
    """How a thing of one kind is read and put back, as it is and as plain data.

    Attributes:
        get: its state.
        put: puts that back.
        plain: of a state, the one at the start and the names of what is lost: plain data, None where there is none.
        put_plain: puts that back.
    """

    get: Callable[[Any], Any]
    put: Callable[[Any, Any], None]
    plain: Callable[[Any, Any, list[str]], Any]
    put_plain: Callable[[Any, Any], None]


def _kind_of(value: Any) -> "_Kind | None":
    if is_generator(value):
        return _GENERATOR
    if isinstance(value, Tensor):
        small = value.layout is torch.strided and value.numel() * value.element_size() <= _SMALL
        return _TENSOR if small and not value.requires_grad else None
    if isinstance(value, np.ndarray):
        return _ARRAY if value.nbytes <= _SMALL and value.flags.writeable and value.dtype.kind in "biufc" else None
    if isinstance(value, _CONTAINERS):
        if len(value) <= _MOST:
            return _CONTAINER
        return _QUEUE if isinstance(value, (list, deque)) else None  # a long dict is a cache, which may grow
    if isinstance(value, io.IOBase):
        return _FILE if value.seekable() else None
    if isinstance(value, _Number):
        return _NUMBER
    if isinstance(value, DataLoader):
        return _LOADER
    return _OBJECT if _has_state(value) else None


def _same(state: Any, start: Any, lost: list[str]) -> Any:
    return state


def _nothing(state: Any, start: Any, lost: list[str]) -> None:
    return None


def _write_tensor(tensor: Tensor, content: Tensor) -> None:
    if not torch.equal(tensor, content):
        with torch.no_grad():
            tensor.copy_(content)


def _write_array(array: Any, content: Any) -> None:
    array[...] = content


def _set_number(number: Any, value: Any) -> None:
    number.value = value


def _copy_container(container: Any) -> Any:
    if isinstance(container, dict):
        return dict(container)
    return bytes(container) if isinstance(container, bytearray) else list(container)


def _write_container(container: Any, content: Any) -> None:
    if isinstance(container, (list, bytearray)):
        container[:] = content
        return
    container.clear()
    (container.extend if isinstance(container, deque) else container.update)(content)


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(entry) for key, entry in value.items())
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, _SCALARS) or (isinstance(value, Tensor) and _kind_of(value) is _TENSOR)


def _plain_value(value: Any) -> Any:
    if isinstance(value, dict):
        return {_plain_value(key): _plain_value(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(_plain_value, value)) if type(value) in (tuple, list) else list(map(_plain_value, value))
    if isinstance(value, Tensor):
        return value.detach().clone()
    return value.item() if isinstance(value, np.generic) else value


def _plain_container(content: Any, start: Any, lost: list[str]) -> Any:
    """None for what nobody has moved: it is built again."""
    if isinstance(content, bytes) or _is_plain(content):
        return _plain_value(content)
    same = len(content) == len(start) and all(map(is_, _entries(content), _entries(start)))
    if not same:
        lost.append(f"a {type(content).__name__} of {len(content)} entries")
    return None


def _entries(content: Any) -> Any:
    return content.values() if isinstance(content, dict) else content


def _plain_attributes(attributes: dict[str, Any], start: dict[str, Any], lost: list[str]) -> dict[str, Any]:
    plain = {}
    for name, value in attributes.items():
        if not isinstance(value, _SCALARS) and start.get(name) is value:
            continue  # the very thing: put back in place
        if _is_plain(value):
            plain[name] = _plain_value(value)
        elif not isinstance(value, _NOTHING):
            lost.append(name)
    return plain


def _plain_array(array: Any, start: Any, lost: list[str]) -> Tensor:
    return torch.from_numpy(array)


def _require_length(queue: Any, length: int) -> None:
    if len(queue) != length:
        raise DataError(
            f"Reading the data may not use it up, but a {type(queue).__name__} of {length} entries that it holds has "
            f"{len(queue)} now. Pass a zero-argument callable that returns a fresh iterable of batches instead."
        )


def _position(file: Any) -> int:
    try:
        return int(file.tell())
    except OSError as error:
        raise DataError(
            f"The data holds an open file that cannot be put back where the loop has it ({error}). "
            "Open it in __iter__, or pass a zero-argument callable that returns a fresh iterable of batches."
        ) from error


def _put_attributes(thing: Any, saved: dict[str, Any]) -> None:
    _put(thing, saved, everything=True)


def _put_but_opened(thing: Any, saved: dict[str, Any]) -> None:
    """The same, but what was opened at the first reading (a handle, an index) stays open."""
    _put(thing, saved, everything=False)


def _put(thing: Any, saved: dict[str, Any], *, everything: bool) -> None:
    live = fields_of(thing)
    for name, value in live.items():
        if name not in saved and (everything or _moves(value)):
            object.__delattr__(thing, name)
    for name, value in saved.items():
        opened = value is None and not everything and not _moves(live.get(name))
        if (name not in live or live[name] is not value) and not opened:
            object.__setattr__(thing, name, value)


def _moves(value: Any) -> bool:
    """Whether a value of an attribute can be how far a reading has come."""
    return isinstance(value, (*_SCALARS, tuple, Iterator)) or _kind_of(value) not in (None, _OBJECT)


def _add_attributes(thing: Any, saved: dict[str, Any]) -> None:
    for name, value in saved.items():
        object.__setattr__(thing, name, value)


_GENERATOR = _Kind(get_generator, set_generator, _same, set_generator)
_TENSOR = _Kind(lambda t: t.detach().clone(), _write_tensor, _same, _write_tensor)
_ARRAY = _Kind(np.copy, _write_array, _plain_array, _write_array)
_CONTAINER = _Kind(_copy_container, _write_container, _plain_container, _write_container)
_QUEUE = _Kind(len, _require_length, _nothing, _require_length)
_FILE = _Kind(_position, lambda file, at: file.seek(at), _same, lambda file, at: file.seek(at))
_NUMBER = _Kind(lambda number: number.value, _set_number, _same, _set_number)
_OBJECT = _Kind(fields_of, _put_but_opened, _plain_attributes, _add_attributes)
_LOADER = _Kind(fields_of, _put_attributes, _nothing, _add_attributes)
_STREAM = _Kind(fields_of, _put_attributes, _plain_attributes, _add_attributes)


def data_named_by(function: Any) -> list[Any]:
    """Data sets, loaders, samplers and generators in the middle of a reading, which a function uses unasked."""
    owner, code = getattr(function, "__self__", None), getattr(function, "__func__", function)
    used = [thing for _, thing in named_by(code)] if isinstance(code, FunctionType) else []
    named = [*used, owner, *fields_of(owner).values()]
    return [thing for thing in named if isinstance(thing, (*_DATA, GeneratorType)) or _reads_a_loader(thing)]


def _reads_a_loader(thing: Any) -> bool:
    # Not any iterator: a function may count its calls by one.
    return isinstance(thing, Iterator) and type(thing).__module__.startswith(("torch.utils.data", "torchdata"))
