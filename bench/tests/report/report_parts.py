"""Reading a report's parts, for its tests."""

from typing import Any

from lrpilot_bench.report.document import Document, Section, Table

Record = dict[str, Any]


def section(document: Document, name: str) -> Section:
    return next(part for part in document.sections if part.name == name)


def tables(part: Section) -> list[Table]:
    return [block for block in part.blocks if isinstance(block, Table)]


def cell(table: Table, row: str, column: str) -> str:
    line = next(line for line in table.rows if line.head == row)
    return str(line.cells[table.columns.index(column) - 1].words)


def first_words(document: Document, name: str) -> str:
    return str(section(document, name).blocks[0].words)


def plain(record: Record) -> bool:
    return bool(record["lr_factor"] == record["horizon"] == 1.0)
