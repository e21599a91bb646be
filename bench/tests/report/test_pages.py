"""HTML and Markdown: the same words and numbers, nothing from a record becomes markup."""

import re
from html.parser import HTMLParser
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from lrpilot_bench.report.document import Bullets, Cell, Code, Document, Paragraph, Row, Section, Strong, Table
from lrpilot_bench.report.html_page import html_page
from lrpilot_bench.report.markdown_page import escaped, markdown_page

HEADS = {"method", "task", "check", "finder", "part", "processor"}  # first words of the tables' heads
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
    written = squeezed(without_groups(markdown_rows(markdown_page(document))))
    assert len(written) > 100
    assert squeezed(told.rows) == written


def without_groups(rows: list[list[str]]) -> list[list[str]]:
    """What is a bar at the left of a row in HTML is a column in Markdown; a head starts each table."""
    kept, grouped = [], False
    for row in rows:
        is_head = row[0] in HEADS
        grouped = row[1] == "group" if is_head else grouped
        kept.append([row[0], *row[2:]] if grouped else row)
    return kept


def test_markdown_names_the_group_that_html_colours(document: Document, page: str) -> None:
    groups = {row[0]: row[1] for row in markdown_rows(markdown_page(document)) if len(row) > 9}
    assert (groups["method"], groups["schedule-free"], groups["SGD 0.1, steps"]) == ("group", "peer", "default")
    assert 'class="g-peer"><th scope="row">schedule-free' in page


def test_what_is_said_of_the_page_fits_its_medium(document: Document, page: str) -> None:
    text = markdown_page(document)
    assert "The bar at the left" in page and "below each mean stands" in page
    assert "bar at the left" not in text and "below each mean" not in text
    assert "in brackets behind each mean stands" in text and "The second column tells the group" in text


def test_a_banner_stands_on_top_of_both() -> None:
    made = Document("title", "subtitle", (), (), banner="no <comparison>")
    assert '<p class="banner" role="note">no &lt;comparison&gt;</p>' in html_page(made)
    assert markdown_page(made).startswith("# title\n\n**no \\<comparison\\>**\n\nsubtitle")


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
    assert len(re.split(r"(?<!\\)\|", row)) == 9  # the bar in the error has not made a column


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
