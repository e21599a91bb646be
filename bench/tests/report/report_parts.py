"""Reading the pages that a report makes, for its tests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder

from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.report.findings import Findings, find
from lrpilot_bench.report.pages import html_page, markdown_page

Record = dict[str, Any]
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Tree(HTMLParser):
    """An HTML page as elements; that every tag is closed in order is checked on the way."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._open: list[str] = []
        self._made = TreeBuilder()
        self.feed(text)
        assert self._open == []
        self.root: Element = self._made.close()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._made.start(tag, {name: value or "" for name, value in attrs})
        self._made.end(tag)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            self.handle_startendtag(tag, attrs)
        else:
            self._open.append(tag)
            self._made.start(tag, {name: value or "" for name, value in attrs})

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self._made.end(tag)

    def handle_data(self, data: str) -> None:
        if self._open:
            self._made.data(data)


def words_of(element: Element | None) -> str:
    """What a reader sees of it, without its drawings; white space is one space."""
    return " ".join(_said(element).split()) if element is not None else ""


def _said(element: Element) -> str:
    inner = ("" if child.tag in ("svg", "style") else _said(child) for child in element)
    tails = (child.tail or "" for child in element)
    return (element.text or "") + "".join(said + tail for said, tail in zip(inner, tails, strict=True))


@dataclass(frozen=True)
class Cell:
    """A cell as a reader sees it: sign, words, and what stands small below them."""

    words: str
    small: str = ""
    mark: str | None = None
    best: bool = False


def cell_of(element: Element) -> Cell:
    sign, small = element.find("span"), element.find("small")
    words = words_of(element).removeprefix(words_of(sign)).removesuffix(words_of(small)).strip()
    mark = None if sign is None else sign.get("class", "").removeprefix("sign ")
    return Cell(words, words_of(small), mark, element.find("b") is not None)


@dataclass(frozen=True)
class Row:
    group: str
    head: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    folded: str
    note: str

    def row(self, head: str) -> Row:
        return next(row for row in self.rows if row.head == head)

    def cell(self, head: str, column: str) -> Cell:
        return self.row(head).cells[self.columns.index(column) - 1]


def table_of(element: Element, folded: str, note: str) -> Table:
    rows = [
        Row(row.get("class", "").removeprefix("g-"), words_of(row.find("th")), tuple(map(cell_of, row.findall("td"))))
        for row in element.findall("tbody/tr")
    ]
    columns = tuple(words_of(column) for column in element.findall("thead/tr/th"))
    return Table(words_of(element.find("caption")), columns, tuple(rows), folded, note)


@dataclass(frozen=True)
class Figure:
    title: str
    told: str
    drawing: Element
    caption: str

    @property
    def labels(self) -> list[str]:
        return [words_of(text) for text in self.drawing.iter("text")]


class Section:
    """A section of the page."""

    def __init__(self, element: Element) -> None:
        self.element = element

    @property
    def words(self) -> list[str]:
        """Its paragraphs and statements."""
        return [words_of(part) for part in self.element.iter() if part.tag in ("p", "li")]

    @cached_property
    def tables(self) -> list[Table]:
        found = []
        for holder in self.element.iter():
            for part, after in pairwise([*holder, None]):
                table = part.find("table") if part is not None and part.get("class") == "scroll" else None
                if table is not None:
                    note = words_of(after) if after is not None and after.get("class") == "note" else ""
                    found.append(table_of(table, words_of(holder.find("summary")), note))
        return found


class Page:
    """The HTML page, taken apart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.root = Tree(text).root

    def section(self, name: str) -> Section:
        (found,) = (part for part in self.root.iter("section") if part.get("id") == name)
        return Section(found)

    @property
    def sections(self) -> list[str]:
        return [str(part.get("id")) for part in self.root.findall("body/main/section")]

    @cached_property
    def words(self) -> str:
        return words_of(self.root.find("body"))

    def by_class(self, name: str) -> str:
        return words_of(next((part for part in self.root.iter("p") if part.get("class") == name), None))

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """By what the ids of the drawing begin with."""
        found = {}
        for part in self.root.iter("figure"):
            title, drawing = part.findall("div")
            svg = drawing.find("svg")
            assert svg is not None
            name = next(str(each.get("id")) for each in svg).removesuffix("-figure_1")
            caption = words_of(part.find("figcaption"))
            found[name] = Figure(words_of(title), drawing.get("aria-label", ""), svg, caption)
        return found


def page_of(bench: Bench | Findings, expected: Mapping[str, Mapping[str, Any]] | None = None) -> Page:
    """The HTML page of records, without its figures: drawing takes seconds."""
    return Page(html_page(bench if isinstance(bench, Findings) else find(bench, expected), {}))


def markdown_of(bench: Bench | Findings, expected: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    return markdown_page(bench if isinstance(bench, Findings) else find(bench, expected))


def plain(record: Record) -> bool:
    return bool(record["lr_factor"] == record["horizon"] == 1.0)
