"""HTML and Markdown: the same words and numbers, nothing from a record becomes markup."""

import re
from html.parser import HTMLParser
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lrpilot.bench.report.document import Bullets, Cell, Code, Document, Paragraph, Row, Section, Strong, Table
from lrpilot.bench.report.html_page import html_page
from lrpilot.bench.report.markdown_page import escaped, markdown_page

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Tables(HTMLParser):
    """Text of every table cell; and whether every tag was closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        self.ids += [str(known["id"])] if "id" in known else []
        self.links += [str(known["href"])] if "href" in known else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "small" and "td" in self.open:
            self.rows[-1][-1] += " ("

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "small" and "td" in self.open:
            self.rows[-1][-1] += ")"

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def markdown_rows(text: str) -> list[list[str]]:
    """Cells of every table row, with escapes and emphasis taken off."""
    rows = []
    for line in text.split("\n"):
        if line.startswith("|") and not re.fullmatch(r"[|:\- ]+", line):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            rows.append([re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)[*`]", "", cell)).strip() for cell in cells])
    return rows


def squeezed(rows: list[list[str]]) -> list[list[str]]:
    return [[re.sub(r"[\s`|/']+", "", cell) for cell in row] for row in rows]


def test_tables_say_the_same_in_both(document: Document, page: str) -> None:
    told = Tables(page)
    written = squeezed(markdown_rows(markdown_page(document)))
    assert len(written) > 100
    assert squeezed(told.rows) == written


def test_links_lead_somewhere_and_ids_are_unique(page: str) -> None:
    told = Tables(page)
    assert len(told.ids) == len(set(told.ids))
    assert {link.removeprefix("#") for link in told.links} <= set(told.ids)


def test_the_page_needs_nothing_else(page: str) -> None:
    for fetched in ("http:", "https:", "<script", "<link", "<img", "@import", "src="):
        assert fetched not in page.lower(), fetched
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_tables_and_figures_are_accessible(page: str) -> None:
    assert page.count("<table>") == page.count("<caption>") == page.count('<div class="scroll" role="region"')
    for drawing in re.findall(r"<svg[^>]*>", page):
        nested = 'overflow="visible"' in drawing
        assert nested or 'aria-hidden="true"' in drawing or 'aria-label="' in drawing, drawing
    levels = [int(level) for level in re.findall(r"<h(\d)>", page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_words_from_records_stay_words(page: str, document: Document) -> None:
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    row = next(line for line in markdown_page(document).split("\n") if "alert" in line)
    assert len(re.split(r"(?<!\\)\|", row)) == 8  # the bar in the error has not made a column


NASTY = st.text(st.sampled_from("<>&\"'|*_`[]\\#~ \nab"), max_size=12)


@given(NASTY, NASTY, NASTY)
def test_any_text_survives(title: str, words: str, small: str) -> None:
    table = Table(title, ("a", "b"), (Row((Code(words), words), (Cell(words, small=small),)),))
    blocks = (Paragraph(words), Bullets((words, (Strong(words),))), table)
    document = Document(title, words, ((words, small),), (Section("s", title, blocks),))
    assert Tables(html_page(document)).rows[0] == ["a", "b"]
    lines = [line for line in markdown_page(document).split("\n") if line.startswith("|")]
    assert {len(re.split(r"(?<!\\)\|", line)) for line in lines} == {4}


@given(NASTY)
def test_escaped_markdown_can_be_read_back(words: str) -> None:
    assert re.sub(r"\\([\\`*_\[\]<>|#~])", r"\1", escaped(words)) == re.sub(r"\s+", " ", words)
