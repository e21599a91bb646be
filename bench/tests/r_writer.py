"""Writes the R data file of a data frame: XDR, one variable, factors and numbers; the reader goes the other way."""

import lzma
import struct
from collections.abc import Mapping, Sequence

MISSING = -(2**31)
Column = Sequence[int] | Sequence[float] | Sequence[str | None]


def integers(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}i", *numbers)


def text(value: str) -> bytes:
    return integers(9 | 1 << 18, len(value.encode())) + value.encode()


def texts(values: Sequence[str]) -> bytes:
    return integers(16, len(values)) + b"".join(map(text, values))


class Writer:
    """Names are written once and referred to afterwards."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def name(self, name: str) -> bytes:
        if name in self.names:
            return integers((self.names.index(name) + 1) << 8 | 255)
        self.names.append(name)
        return integers(1) + text(name)

    def pair(self, name: str, value: bytes) -> bytes:
        return integers(2 | 1 << 10) + self.name(name) + value

    def column(self, values: Column) -> bytes:
        if isinstance(values[0], float):
            return integers(14, len(values)) + struct.pack(f">{len(values)}d", *values)
        if isinstance(values[0], int):
            return integers(13, len(values), *values)  # type: ignore[arg-type]
        levels = sorted({value for value in values if isinstance(value, str)})
        numbers = [MISSING if value is None else levels.index(str(value)) + 1 for value in values]
        attributes = self.pair("levels", texts(levels)) + self.pair("class", texts(["factor"])) + integers(254)
        return integers(13 | 1 << 9 | 1 << 8, len(numbers), *numbers) + attributes

    def frame(self, columns: Mapping[str, Column]) -> bytes:
        items = integers(19 | 1 << 9 | 1 << 8, len(columns)) + b"".join(map(self.column, columns.values()))
        rows = integers(13, 2, MISSING, -len(next(iter(columns.values()))))
        attributes = self.pair("names", texts(list(columns))) + self.pair("row.names", rows)
        return items + attributes + self.pair("class", texts(["data.frame"])) + integers(254)


def r_file(columns: Mapping[str, Column], *, version: int = 2) -> bytes:
    """Content of the file that R would save."""
    writer = Writer()
    variable = integers(2 | 1 << 10) + writer.name("Table") + writer.frame(columns) + integers(254)
    encoding = integers(5) + b"UTF-8" if version == 3 else b""
    head = b"RDX%d\nX\n" % version + integers(version, 0x030601, 0x020300)
    return lzma.compress(head + encoding + variable)
