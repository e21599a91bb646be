"""Reads a data frame from an R data file, of the few kinds that R packages carry: numbers and factors.

The format: "R Internals", section 1.8, "Serialization Formats", versions 2 and 3, written as XDR (big-endian).
"""

import lzma
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from lrpilot.errors import DataError

MAGIC = (b"RDX2\nX\n", b"RDX3\nX\n")

# Kinds of objects, in the lowest byte of the flags before each.
NOTHING, REFERENCE, SYMBOL, PAIRS, TEXT = 254, 255, 1, 2, 9
LOGICALS, INTEGERS, REALS, TEXTS, ITEMS = 10, 13, 14, 16, 19
HAS_ATTRIBUTES, HAS_TAG = 1 << 9, 1 << 10
MISSING_TEXT = -1


def data_frame(content: bytes) -> dict[str, list[Any]]:
    """Columns of the one data frame in a file, by name.

    Args:
        content: of the file, compressed by xz as R packages are.

    Returns:
        Lists of one length: numbers, or for a factor the names of its levels, None where one is missing.

    Raises:
        DataError: it is no such file, or holds another kind of object.
    """
    try:
        plain = lzma.decompress(content)
    except lzma.LZMAError as error:
        raise DataError(f"An R data file must be compressed by xz, got one that is not ({error}).") from error
    if plain[:7] not in MAGIC:
        raise DataError(f"An R data file must begin with one of {MAGIC}, got {plain[:7]!r}.")
    variables = _Reader(plain[7:]).file()
    (frame,) = variables.values()  # of a package's data file
    names = frame["attributes"]["names"]["values"]
    return {name: _column(item) for name, item in zip(names, frame["values"], strict=True)}


def _column(item: Mapping[str, Any]) -> list[Any]:
    levels = item["attributes"].get("levels")
    if levels is None:
        return list(item["values"])
    names = [None, *levels["values"]]  # R counts from 1; what is missing is the smallest integer
    return [names[max(number, 0)] for number in item["values"]]


class _Reader:
    """Reads one object after the other; an object is its values and its attributes by name."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._symbols: list[str] = []  # in the order of their first mention; later ones refer to it

    def file(self) -> dict[str, Any]:
        """What a file holds: variables by name."""
        version, *_ = (self._integer() for _ in range(3))  # then the R versions that wrote and can read it
        if version == 3:
            self._take(self._integer())  # the encoding of texts without one
        variables: dict[str, Any] = self._item()
        return variables

    def _item(self) -> Any:
        flags = self._integer()
        kind = flags & 0xFF
        if kind == NOTHING:
            return None
        if kind == REFERENCE:
            return self._symbols[(flags >> 8) - 1]
        if kind == SYMBOL:
            self._symbols.append(self._item())
            return self._symbols[-1]
        if kind == PAIRS:
            return self._pairs(flags)
        if kind == TEXT:
            length = self._integer()
            return None if length == MISSING_TEXT else self._take(length).decode("latin-1")
        values = self._values(kind)
        attributes = self._item() if flags & HAS_ATTRIBUTES else None
        return {"values": values, "attributes": attributes or {}}

    def _pairs(self, flags: int) -> dict[str, Any]:
        pairs: dict[str, Any] = {}
        while flags & 0xFF == PAIRS:
            if flags & HAS_ATTRIBUTES or not flags & HAS_TAG:
                raise DataError("The pairs of an R data file must have names and no attributes, got others.")
            name = self._item()
            pairs[name] = self._item()
            flags = self._integer()
        return pairs  # what ends it is NOTHING

    def _values(self, kind: int) -> list[Any]:
        length = self._integer()
        if kind in (LOGICALS, INTEGERS):
            return list(np.frombuffer(self._take(4 * length), ">i4").tolist())
        if kind == REALS:
            return list(np.frombuffer(self._take(8 * length), ">f8").tolist())
        if kind in (TEXTS, ITEMS):
            return [self._item() for _ in range(length)]
        raise DataError(f"An R data frame must be made of numbers and factors, got an object of kind {kind}.")

    def _integer(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def _take(self, many: int) -> bytes:
        taken = self._content[self._at : self._at + many]
        if len(taken) < many:
            raise DataError(f"An R data file must be whole, got one that ends {many - len(taken)} bytes too early.")
        self._at += many
        return taken
