"""What a report says, before it is HTML or Markdown: sections of paragraphs, tables and figures.

Every text is plain: it is escaped by whoever writes it out, so that a record cannot inject markup.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mark = Literal[
    "win", "tie", "loss", "maybe-win", "maybe-tie", "maybe-loss", "fail", "good", "bad", "unknown", "missing"
]
Group = Literal["oracle", "lrpilot", "peer", "schedule", "default", "rest"]

MARK_SIGNS: dict[Mark, str] = {
    "win": "▲",
    "tie": "=",
    "loss": "▽",
    "maybe-win": "(▲)",
    "maybe-tie": "(=)",
    "maybe-loss": "(▽)",
    "fail": "✕",
    "good": "✓",
    "bad": "✕",
    "unknown": "?",
    "missing": "–",
}


@dataclass(frozen=True)
class Code:
    """Text in typewriter letters."""

    text: str


@dataclass(frozen=True)
class Strong:
    """Text that carries the sentence."""

    text: str


@dataclass(frozen=True)
class Either:
    """Text about the page itself, which looks different in HTML and in Markdown."""

    html: str
    markdown: str


Inline = str | Code | Strong | Either
Words = Inline | tuple[Inline, ...]


def inlines(words: Words) -> tuple[Inline, ...]:
    """The pieces of a text."""
    return words if isinstance(words, tuple) else (words,)


@dataclass(frozen=True)
class Paragraph:
    """One paragraph.

    Attributes:
        words: its text.
        lead: it opens the section and is set larger.
    """

    words: Words
    lead: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of short statements."""

    items: tuple[Words, ...]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        words: what it says.
        small: a second line: an interval, a count.
        mark: a sign in front that says how to take it.
        best: it is the best of its column.
    """

    words: Words
    small: str = ""
    mark: Mark | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        head: first cell, the row's name.
        cells: one for each further column.
        group: what kind of method the row is about: a bar at its left in HTML, a column in Markdown.
    """

    head: Words
    cells: tuple[Cell, ...]
    group: Group | None = None


@dataclass(frozen=True)
class Table:
    """A table with a caption.

    Attributes:
        caption: what it shows and in which units.
        columns: names of all columns, the first that of the rows' heads.
        rows: see :class:`Row`.
        wordy: columns that hold text and are set to the left (index 0 always is).
        folded: in HTML, shown when asked for; the label to ask with.
        note: how to read it.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    wordy: frozenset[int] = frozenset()
    folded: str = ""
    note: Words = ""


@dataclass(frozen=True)
class Key:
    """One entry of a figure's legend.

    Attributes:
        style: CSS class of its colour and line.
        marker: its sign; "" for none.
        label: what it stands for.
        line: it is drawn as a line.
    """

    style: str
    label: str
    marker: str = ""
    line: bool = True


OFF_SCALE = Key("s-rest", "off the scale, or failed", "up", line=False)


@dataclass(frozen=True)
class Figure:
    """A picture that can be read without the text around it.

    Attributes:
        title: what it shows.
        drawing: an SVG element, or HTML that holds some; already escaped.
        caption: how to read it.
        legend: what its signs stand for.
        wide: it takes the whole width.
    """

    title: str
    drawing: str
    caption: Words
    legend: tuple[Key, ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Figures side by side."""

    figures: tuple[Figure, ...]


Block = Paragraph | Bullets | Table | Figure | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        name: its anchor.
        title: its heading.
        blocks: what it says.
        inner: sections one level below.
    """

    name: str
    title: str
    blocks: Sequence[Block]
    inner: "Sequence[Section]" = ()


@dataclass(frozen=True)
class Document:
    """The whole report.

    Attributes:
        title: its heading.
        subtitle: one sentence below.
        facts: (number, what it counts), for the reader's first glance.
        sections: in reading order.
        status: one sentence on how complete the benchmark is; "" where nothing is said.
        banner: what the records are not good for, above everything else; "" where nothing is said.
    """

    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: Sequence[Section]
    status: str = ""
    banner: str = ""
