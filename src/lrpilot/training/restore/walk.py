"""What an object holds, found through its attributes and containers: the one walk behind all that is put back.

It goes through dicts, lists, sets, deques, arrays, modules, optimizers, schedulers and plain objects (those of a class
that somebody wrote for a training), and ends at what is no state: functions, classes, data sets and loaders, threads,
files, and the machinery of torch.
"""

import array
import enum
import functools
import random
import sys
import threading
import types
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
CONTAINERS = (dict, list, tuple, set, frozenset, deque, bytearray, array.array, np.ndarray)
SIMPLE = frozenset({bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size})
# Things that one attribute may hold: more of them are a table or a program (a tokenizer), and no state of a step.
MOST = 4096

_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, functools.partial)
_DATA = (Dataset, DataLoader, Sampler)
_OWNERS = (nn.Module, Optimizer, LRScheduler)
_VALUES = (Tensor, *CONTAINERS, *GENERATORS, enum.Enum)
_NOT_PLAIN = (type, types.ModuleType, BaseException, threading.Thread, *_VALUES, *_OWNERS, *_DATA, *_FUNCTIONS)
# Of the standard library's classes only those that merely hold attributes.
_OPEN = frozenset({"collections", "types", "argparse"})


def is_generator(thing: Any) -> bool:
    """Whether it is a random generator with a state."""
    return issubclass(type(thing), GENERATORS) and not issubclass(type(thing), random.SystemRandom)


def is_of_torch(kind: type) -> bool:
    """Whether a class is torch's own."""
    return kind.__module__.partition(".")[0] == "torch"


def is_plain(kind: type) -> bool:
    """Whether an object of this class is its attributes, and nothing that runs."""
    top = kind.__module__.partition(".")[0]
    if top in ("torch", "numpy", "lrpilot") or (top in sys.stdlib_module_names and kind.__module__ not in _OPEN):
        return False
    return not issubclass(kind, _NOT_PLAIN) and not hasattr(kind, "__next__")


def attributes_of(thing: Any, *, through_data: bool = False) -> dict[str, Any] | None:
    """The attributes of an object whose attributes are state, slots included; None of any other."""
    kind = type(thing)  # not isinstance(): some lazy objects warn when their __class__ is looked at
    through = _OWNERS + _DATA if through_data else _OWNERS
    if not (kind is nn.Parameter or issubclass(kind, through) or is_plain(kind)):
        return None
    own: dict[str, Any] = vars(thing) if hasattr(thing, "__dict__") else {}
    slots = slots_of(thing) if is_plain(kind) else {}
    return own | slots if slots else own


def slots_of(thing: Any) -> dict[str, Any]:
    """What an object holds in slots."""
    named = [cls.__dict__.get("__slots__", ()) for cls in type(thing).__mro__]
    slots = [name for names in named for name in ((names,) if isinstance(names, str) else names)]
    return {name: object.__getattribute__(thing, name) for name in slots if _is_filled(thing, name)}


def _is_filled(thing: Any, name: str) -> bool:
    if name.startswith("__"):  # where Python keeps __dict__ and __weakref__; a private slot has another name
        return False
    try:
        object.__getattribute__(thing, name)
    except AttributeError:
        return False
    return True


# Hooks and, of an optimizer, what is put back as a tree (step_state.py).
_HOOKS_OF_MODULES = frozenset(name for name, value in vars(nn.Module()).items() if isinstance(value, (dict, set)))
_HOOKS_OF_OPTIMIZERS = frozenset(
    name for name, value in vars(torch.optim.SGD([torch.zeros(1)])).items() if isinstance(value, OrderedDict)
)
_TREE_OF_OPTIMIZERS = frozenset({"state", "param_groups", "defaults"})


def left_out(thing: Any) -> frozenset[str]:
    """Names of attributes that are none of an object's own state: torch's own hooks and tables."""
    if isinstance(thing, nn.Module):
        return _HOOKS_OF_MODULES
    return _HOOKS_OF_OPTIMIZERS | _TREE_OF_OPTIMIZERS if isinstance(thing, Optimizer) else frozenset()


def is_state(value: Any) -> bool:
    """Whether an attribute of this value is put back: not what is defined (functions), nor torch's machinery."""
    kind = type(value)
    if kind in SIMPLE or issubclass(kind, (*_VALUES, *_OWNERS)):
        return True
    return not issubclass(kind, (type, types.ModuleType, *_FUNCTIONS)) and not is_of_torch(kind)


def parts_of(thing: Any, *, through_code: bool = False, through_data: bool = False) -> Iterator[tuple[str, Any]]:
    """What something holds, one level deep, each with how it is reached."""
    kind = type(thing)
    if issubclass(kind, dict):
        yield from ((f"[{key!r}]" if type(key) in SIMPLE else "[...]", value) for key, value in thing.items())
    elif issubclass(kind, (list, tuple, deque)):
        yield from ((f"[{i}]", value) for i, value in enumerate(thing))
    elif issubclass(kind, _FUNCTIONS):
        yield from _parts_of_code(thing) if through_code else ()
    elif (attributes := attributes_of(thing, through_data=through_data)) is not None:
        hidden = left_out(thing)
        yield from ((f".{name}", value) for name, value in attributes.items() if name not in hidden)
        if issubclass(kind, nn.Module):
            tables = (attributes.get("_parameters"), attributes.get("_buffers"), attributes.get("_modules"))
            yield from ((f".{name}", value) for table in tables for name, value in dict(table or {}).items())


def _parts_of_code(function: Any) -> Iterator[tuple[str, Any]]:
    """What a function uses that is not handed to it: its closure, defaults, bound object, and globals it names."""
    if isinstance(function, functools.partial):
        yield from (("(function)", function.func), ("(arguments)", function.args), ("(arguments)", function.keywords))
    elif isinstance(function, types.MethodType):
        yield from (("(self)", function.__self__), ("", function.__func__))
    elif isinstance(function, types.FunctionType):
        yield from named_by(function)


def named_by(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function uses without being handed it: its closure, its defaults, and globals but for modules."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        if cell != types.CellType():
            yield f"'s variable {name!r}", cell.cell_contents
    yield from ((f"'s default {i}", value) for i, value in enumerate(function.__defaults__ or ()))
    named = ((name, function.__globals__[name]) for name in code.co_names if name in function.__globals__)
    yield from ((f"'s global {name!r}", value) for name, value in named if not isinstance(value, types.ModuleType))


class Walk:
    """Everything that can be reached from one value, each thing once, nearest first.

    Attributes:
        things: what was found, the value itself first; nothing simple.
        whole: whether it is all of it.
        leads_back: whether a plain object on the way leads back to one of ``roots``: it holds the training (a trainer),
            and is not held by it.

    Args:
        value: where to begin.
        surroundings: what the walk does not go through.
        most: the walk ends after so many things.
        widest: it goes into no container of more entries, which is a table.
        through_code: whether to go into functions: their closures, and the globals they name.
        through_data: whether to go into data sets and samplers.
    """

    def __init__(
        self,
        value: Any,
        surroundings: "Surroundings",
        *,
        most: int = MOST,
        widest: int = MOST,
        through_code: bool = False,
        through_data: bool = False,
    ) -> None:
        self.things: list[Any] = []
        self.whole, self.leads_back = True, False
        self._around = surroundings
        self._origins: list[tuple[int, str]] = []
        self._under_plain: list[bool] = []
        self._meet(value, -1, "", under_plain=False)
        for index, thing in enumerate(self.things):  # which grows on the way
            if len(self.things) > most:
                self.whole = False
                return
            if issubclass(type(thing), (dict, list, tuple, deque)) and len(thing) > widest:
                continue  # a table: its entries are taken as they are
            plain = self._under_plain[index] or is_plain(type(thing))
            for how, part in parts_of(thing, through_code=through_code, through_data=through_data):
                if type(part) not in SIMPLE:
                    self._meet(part, index, how, under_plain=plain)

    def _meet(self, value: Any, origin: int, how: str, *, under_plain: bool) -> None:
        if id(value) in self._around.home:
            self.leads_back = self.leads_back or (under_plain and id(value) in self._around.roots)
        elif id(value) not in self._around.seen:
            self._around.seen.add(id(value))
            self.things.append(value)
            self._origins.append((origin, how))
            self._under_plain.append(under_plain)

    def path(self, index: int) -> str:
        """How a thing is reached from where the walk began."""
        steps: list[str] = []
        while index > 0:
            index, how = self._origins[index]
            steps.append(how)
        return "".join(reversed(steps))


class Surroundings:
    """What a walk does not go through.

    Attributes:
        home: ids of what is put back by itself, or left alone.
        roots: ids of what holds everything: a model, an optimizer.
        seen: ids of what walks have been through so far.

    Args:
        home: things that are put back by themselves, or left alone.
        roots: a model, an optimizer; home too.
    """

    def __init__(self, home: Iterable[Any] = (), roots: Iterable[Any] = ()) -> None:
        self.roots = {id(thing) for thing in roots}
        self.home = {id(thing) for thing in home} | self.roots
        self.seen: set[int] = set()


def held_by(owner: Any, surroundings: Surroundings) -> Iterator[tuple[str, Any]]:
    """What an owner (a module, an optimizer) holds in its attributes, each thing with its path.

    Left out is what holds the owner rather than being held (a trainer), and what is too much for state of a step.
    """
    attributes, hidden = attributes_of(owner), left_out(owner)
    for name, value in () if attributes is None else list(attributes.items()):
        if type(value) in SIMPLE or name in hidden:
            continue
        walk = Walk(value, surroundings)
        if walk.whole and not walk.leads_back:
            yield from ((f".{name}{walk.path(i)}", thing) for i, thing in enumerate(walk.things))
