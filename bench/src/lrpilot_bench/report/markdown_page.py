"""A document as Markdown: its words and tables; figures are named, and are on the HTML page."""

import re
from collections.abc import Iterable

from lrpilot_bench.report.document import (
    MARK_SIGNS,
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Either,
    Paragraph,
    Row,
    Section,
    Strong,
    Table,
    Words,
    inlines,
)

GROUP = "group"  # column of tables whose rows are about methods
SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")


def markdown_page(document: Document, *, preface: str = "") -> str:
    """The whole page.

    Args:
        document: what it says.
        preface: a paragraph below the title, already Markdown.
    """
    facts = ", ".join(f"{what}: {number}" for number, what in document.facts)
    banner = f"**{escaped(document.banner)}**" if document.banner else ""
    parts = [f"# {escaped(document.title)}", preface, banner, escaped(document.subtitle), escaped(facts)]
    parts.append(escaped(document.status))
    for section in document.sections:
        parts += _section(section, 2)
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section, level: int) -> Iterable[str]:
    yield f"{'#' * level} {escaped(section.title)}"
    for block in section.blocks:
        yield _block(block)
    for inner in section.inner:
        yield from _section(inner, level + 1)


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return words_markdown(block.words)
    if isinstance(block, Bullets):
        return "\n".join(f"- {words_markdown(item)}" for item in block.items)
    return _table(block) if isinstance(block, Table) else ""


def _table(table: Table) -> str:
    grouped = any(row.group for row in table.rows)
    rule = [":---" if i == 0 or i in table.wordy else "---:" for i in range(len(table.columns))]
    rows = [[words_markdown(row.head), *(_cell(cell) for cell in row.cells)] for row in table.rows]
    lines = [[escaped(column) for column in table.columns], rule, *rows]
    if grouped:  # the page has a coloured bar for it
        for line, group in zip(lines, (GROUP, ":---", *(_group(row) for row in table.rows)), strict=True):
            line.insert(1, group)
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    parts = [f"**{escaped(table.caption)}**", drawn, words_markdown(table.note)]
    return "\n\n".join(part for part in parts if part)


def _group(row: Row) -> str:
    return "other" if row.group == "rest" else row.group or ""


def _cell(cell: Cell) -> str:
    words = words_markdown(cell.words)
    words = f"**{words}**" if cell.best and words else words
    sign = MARK_SIGNS[cell.mark] if cell.mark is not None else ""
    small = f"({escaped(cell.small)})" if cell.small else ""
    return " ".join(part for part in (sign, words, small) if part)


def words_markdown(words: Words) -> str:
    """A text, escaped, on one line."""
    made = []
    for piece in inlines(words):
        if isinstance(piece, Code):
            made.append(_code(piece.text))
        elif isinstance(piece, Strong):
            made.append(f"**{escaped(piece.text).strip()}**")
        elif isinstance(piece, Either):
            made.append(escaped(piece.markdown))
        else:
            made.append(escaped(piece))
    return "".join(made)


def _code(text: str) -> str:
    """Typewriter letters: nothing inside can be escaped, so what would end it or its cell is replaced."""
    kept = " ".join(text.replace("`", "'").replace("|", "/").split())
    return f"`{kept}`" if kept else ""


def escaped(text: str) -> str:
    """Plain text in which Markdown finds no markup, on one line."""
    return SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))
