"""Records, the frozen dataclasses of every state and result: how they are declared, and made plain data and back.

A checkpoint must load with ``torch.load(weights_only=True)`` and a history must be JSON, so nothing but
dicts, lists, strings, numbers, booleans and None may leave a policy. ``@record`` declares a frozen
dataclass that ``encode`` and ``decode`` know by its name: lrpilot's own by the class name alone, so that they can be
moved; anybody else's as "module:Class", so that two packages may each have a State.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, dataclass_transform

from lrpilot.errors import StateError

T = TypeVar("T")
EnumT = TypeVar("EnumT", bound=type[Enum])

_RECORD = "$record"
_ENUM = "$enum"
_records: dict[str, type] = {}
_enums: dict[str, type[Enum]] = {}


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass that the codec can encode and decode."""
    made = dataclasses.dataclass(frozen=True)(cls)
    if getattr(made, "HOLDS_SETTINGS", False):
        _take_plain_numbers(made)
    _register(_records, made)
    return made


def plain_number(value: Any) -> Any:
    """Python's own number for one of NumPy or torch, also inside tuples and lists; anything else as it is."""
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(plain_number, value))
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def _take_plain_numbers(cls: type) -> None:
    """Whatever numbers a user hands over, those of the record are Python's: what comes of them can be saved."""
    construct: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @functools.wraps(construct)
    def __init__(self: Any, *given: Any, **named: Any) -> None:  # noqa: N807
        construct(self, *map(plain_number, given), **{name: plain_number(value) for name, value in named.items()})

    cls.__init__ = __init__  # type: ignore[misc]


def coded_enum(cls: EnumT) -> EnumT:
    """Class decorator: an Enum that the codec encodes by member name."""
    _register(_enums, cls)
    return cls


def _register(table: dict[str, type[Any]], cls: type) -> None:
    name = _name_of(cls)
    known = table.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        raise StateError(
            f"Record names must be unique, got {name!r} from {cls.__module__} and from "
            f"{known.__module__}. Rename one of the classes."
        )
    table[name] = cls


def _name_of(cls: type) -> str:
    own = cls.__module__.partition(".")[0] == "lrpilot"
    return cls.__name__ if own else f"{cls.__module__}:{cls.__qualname__}"


def encode(value: Any) -> Any:
    """Turn a record, or nested containers of records, into plain data.

    Tuples become lists; NumPy scalars become numbers.

    Raises:
        StateError: a value is neither plain nor a record.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Enum):
        return {_ENUM: _name_of(type(value)), "name": value.name}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)  # np.float64 is a float that torch.load refuses
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_record(value)
    if isinstance(value, Mapping):
        return {_key(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return encode(value.item())
    raise StateError(
        f"Policy state must be numbers, strings, None, tuples, dicts or records, got {type(value).__name__}. "
        "Declare the class with @record, or keep the value as plain numbers."
    )


def _encode_record(value: Any) -> dict[str, Any]:
    cls: type = type(value)
    name = _name_of(cls)
    if _records.get(name) is not cls:
        raise StateError(
            f"Only classes declared with @record can be encoded, got {cls.__name__}. Decorate it with @record."
        )
    fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    return {_RECORD: name, **fields}


def _key(key: Any) -> str:
    if not isinstance(key, str) or key.startswith("$"):
        raise StateError(f"Keys in policy state must be strings not starting with '$', got {key!r}. Rename the key.")
    return key


def decode(value: Any) -> Any:
    """Inverse of :func:`encode`; sequences come back as tuples.

    Raises:
        StateError: the data names an unknown record or does not fit its fields.
    """
    if isinstance(value, Mapping):
        if _RECORD in value:
            return _decode_record(value)
        if _ENUM in value:
            return _decode_enum(value)
        return {k: decode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(decode(v) for v in value)
    return value


def _decode_enum(value: Mapping[str, Any]) -> Any:
    members = _look_up(_enums, value[_ENUM]).__members__
    if value["name"] not in members:
        raise StateError(
            f"A saved {value[_ENUM]} must be one of {', '.join(members)}, got {value['name']!r}. "
            "The state was probably written by another version of lrpilot."
        )
    return members[value["name"]]


def _decode_record(value: Mapping[str, Any]) -> Any:
    cls: Callable[..., Any] = _look_up(_records, value[_RECORD])
    fields = {k: decode(v) for k, v in value.items() if k != _RECORD}
    try:
        return cls(**fields)
    except TypeError as error:
        raise StateError(
            f"Saved fields must fit {value[_RECORD]}, got {sorted(fields)} ({error}). "
            "The state was probably written by another version of lrpilot."
        ) from error


def _look_up(table: Mapping[str, Any], name: str) -> Any:
    if name not in table:
        raise StateError(
            f"A saved state may name only known records, got {name!r}. "
            "Import the module that defines it before loading."
        )
    return table[name]
