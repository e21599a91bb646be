"""HTML and Markdown: the same words and numbers, and nothing from a record becomes markup."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

from fake_records import CATALOGUE
from hypothesis import given
from hypothesis import strategies as st
from report_parts import Page, Record, Tree, markdown_of, page_of, words_of

from lrpilot_bench.analysis.catalogue import Catalogue
from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.report.cells import Cell
from lrpilot_bench.report.findings import Findings
from lrpilot_bench.report.pages import escaped, in_typewriter, markdown_cell, squeezed

BAR = re.compile(r"(?<!\\)\|")


def markdown_tables(text: str) -> dict[str, list[list[str]]]:
    """Rows of cells by the caption of their table, with escapes and emphasis taken off."""
    found: dict[str, list[list[str]]] = {}
    for caption, lines in re.findall(r"\n\*\*([^\n]*)\*\*\n\n((?:\|[^\n]*\n)+)", text):
        rows = [BAR.split(line)[1:-1] for line in lines.strip().split("\n")]
        bare = [[re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)[*`]", "", cell)).strip() for cell in row] for row in rows]
        found[caption] = [bare[0], *bare[2:]]
    return found


def test_markdown_tables_are_whole(markdown: str) -> None:
    tables = markdown_tables(markdown)
    assert len(tables) == 6
    for caption, (columns, *rows) in tables.items():
        assert rows and {len(row) for row in rows} == {len(columns)}, caption


def test_tables_say_the_same_in_both(page: Page, markdown: str) -> None:
    tables = markdown_tables(markdown)
    start = next(rows for caption, rows in tables.items() if caption.startswith("Mean regret from multiples"))
    (shown,) = page.section("start-lr").tables
    assert 1 < len(start) - 1 <= len(shown.rows)
    for (head, group, *cells), row in zip(start[1:], shown.rows, strict=False):
        signs = {"fail": "✕ "}
        said = [f"{signs.get(c.mark or '', '')}{c.words}{f' ({c.small})' if c.small else ''}" for c in row.cells]
        assert (head, group, cells) == (row.head, row.group, said[: len(cells)]) and len(cells) == 3
    over = next(rows for caption, rows in tables.items() if caption.startswith("Mean regret at equal"))
    everywhere = page.section("headline").tables[0]
    assert len(over) > 10
    for head, group, mean, worst, failed in over[1:]:
        assert mean.removeprefix("✕ ").split(" ")[0] == everywhere.cell(head, "regret, mean").words
        assert failed.replace("/", " of ") == everywhere.cell(head, "failed runs").words
        assert group == everywhere.row(head).group
        if mean.startswith("✕"):
            assert [everywhere.cell(head, task).mark for task in worst.split(", ")] == ["fail"] * len(worst.split(", "))
        else:
            task, regret = worst.split(" ")
            assert regret == everywhere.cell(head, task).words == everywhere.cell(head, "worst task").words


def test_markdown_names_the_group_that_html_colours(page: Page, markdown: str) -> None:
    grouped = [rows for rows in markdown_tables(markdown).values() if rows[0][1] == "group"]
    groups = {row[0]: row[1] for rows in grouped for row in rows}
    assert (groups["method"], groups["schedule-free"], groups["linear, default lr"]) == ("group", "peer", "schedule")
    assert page.section("headline").tables[0].row("schedule-free").group == "peer"


def test_what_is_said_of_the_page_fits_its_medium(page: Page, markdown: str) -> None:
    assert "The bar at the left" in page.words and "below each mean stands" in page.words
    assert "comparisons on this page" in page.words and "on this page" not in markdown
    assert "bar at the left" not in markdown and "below each mean" not in markdown


def test_a_banner_stands_on_top_of_both(records: list[Record]) -> None:
    digits = replace(CATALOGUE.tasks["digits"], smoke=True)
    bench = load([r for r in records if r["task"] == "digits"], Catalogue({"digits": digits}, CATALOGUE.methods))
    made = page_of(bench)
    head = next(part for part in made.root.iter("header"))
    assert [part.get("class") or part.tag for part in head][:3] == ["h1", "banner", "subtitle"]
    first, _, banner, _ = markdown_of(bench).split("\n\n")[:4]
    assert first == f"# {words_of(head.find('h1'))}" and banner == f"**{escaped(made.by_class('banner'))}**"


def test_links_lead_somewhere_and_ids_are_unique(page: Page) -> None:
    ids = [str(part.get("id")) for part in page.root.iter() if "id" in part.attrib]
    assert len(ids) == len(set(ids))
    links = {str(part.get("href")).removeprefix("#") for part in page.root.iter() if "href" in part.attrib}
    links |= set(re.findall(r"url\(#(.+?)\)", page.text))
    assert len(links) > 100 and links <= set(ids)


def test_the_page_needs_nothing_else(page: Page) -> None:
    for fetched in ("http:", "https:", "<script", "<link", "<img", "@import", "src="):
        assert fetched not in page.text.lower(), fetched
    assert set(re.findall(r"url\((.)", page.text)) <= {"#"}


def test_tables_and_figures_are_accessible(page: Page) -> None:
    scrolled = [part for part in page.root.iter("div") if part.get("class") == "scroll"]
    assert len(scrolled) == len(list(page.root.iter("table"))) == page.text.count("<caption>") > 10
    for part in scrolled:
        assert (part.get("role"), part.get("tabindex")) == ("region", "0")
        assert part.get("aria-label") == words_of(part.find("table/caption"))
    levels = [int(level) for level in re.findall(r"<h(\d)>", page.text)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_figure_has_a_title_and_says_what_it_shows(page: Page, findings: Findings) -> None:
    names = {"forest", "profile", "time-profile", "start-all", "finders"}
    names |= {f"{kind}-{task}" for kind in ("sweep", "loss", "lr", "start") for task in findings.tasks}
    names |= {f"horizon-{task}" for task in ("fashion_plain", "diamonds")}
    assert set(page.figures) == names
    assert len({figure.title for figure in page.figures.values()}) == len(names)
    for name, figure in page.figures.items():
        assert figure.title and len(figure.told) > 20 and "  " not in figure.told, name
        assert figure.caption or name.startswith("start-"), name
    assert page.text.count("<svg") == page.text.count('<div class="drawing" role="img" aria-label="') == len(names)


def test_a_figure_names_its_axes_and_its_lines(page: Page) -> None:
    words = page.figures["sweep-digits"].labels
    assert {"peak learning rate", "final validation loss", "linear", "cosine", "WSD", "best"} <= set(words)
    assert "off the scale, or failed" in page.figures["start-all"].labels, "what lies above is an arrow, and explained"
    assert "off the scale, or failed" not in page.figures["profile"].labels
    assert {"schedule-free", "∞, 3 of 18 runs failed"} <= set(page.figures["forest"].labels)


def test_figures_carry_no_date_and_no_digits_that_nobody_sees(page: Page) -> None:
    assert "<metadata" not in page.text and "matplotlib v" not in page.text.lower()
    drawn = "".join(re.findall(r"<svg.*?</svg>", page.text, flags=re.DOTALL))
    assert not re.search(r"[ML ]\d+\.\d{3,}", drawn) and "<style" not in drawn


def test_what_is_wide_fits_a_phone(page: Page) -> None:
    """Drawings take the width they are given; what is wider than that, and every table, scrolls in its own box."""
    for figure in page.figures.values():
        assert set(figure.drawing.attrib) == {"viewbox"}, "an HTML parser's small letters"
    style = page.text.split("<style>")[1].split("</style>")[0]
    for box in (".scroll", ".drawing"):
        assert re.search(rf"^{re.escape(box)} {{[^}}]*overflow-x: auto", style, flags=re.MULTILINE), box
    fixed = re.findall(r"([^{}]*){[^}]*?[^-]width: \d+px", style)
    assert fixed == [] and 'name="viewport" content="width=device-width' in page.text


def test_words_from_records_stay_words(page: Page, findings: Findings) -> None:
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page.text
    (told,) = (row.cells[4].words for row in page.section("failures").tables[0].rows if "alert" in row.cells[4].words)
    assert told == "RuntimeError: <script>alert('x')</script> | `a` & _b_ (poll, line 7)"


NASTY = st.text(st.sampled_from("<>&\"'|*_`[]\\#~$ \nab"), max_size=12)


@given(NASTY, NASTY)
def test_any_cell_survives(words: str, small: str) -> None:
    """It stays one cell of its row, and no words of it are read as HTML before they are Markdown."""
    for code in (False, True):
        made = str(markdown_cell(Cell(words, small=small, code=code)))
        assert len(BAR.split(f"| {made} |")) == 3 and "\n" not in made and "&amp;" not in made


NAMES = ("<b>bold</b>", "a|b", "*x* _y_", "`code` & [link](x)", "$\\alpha$ ~ #1", "{{ found }} {% if %}")


def test_any_title_survives(records: list[dict[str, Any]]) -> None:
    """Titles of a stranger's methods on both pages: as they are, in their cell."""
    methods = {
        name: replace(method, title=f"{NAMES[i % len(NAMES)]} {i}")
        for i, (name, method) in enumerate(CATALOGUE.methods.items())
    }
    bench = load(records, Catalogue(CATALOGUE.tasks, methods))
    made = page_of(bench)
    heads = {row.head for table in made.section("headline").tables for row in table.rows}
    assert {method.title for method in methods.values() if method.trains} == heads
    for columns, *rows in markdown_tables(markdown_of(bench)).values():
        assert {len(row) for row in rows} <= {len(columns)}


@given(NASTY)
def test_escaped_markdown_can_be_read_back(words: str) -> None:
    assert re.sub(r"\\([\\`*_\[\]<>|#~])", r"\1", escaped(words)) == re.sub(r"\s+", " ", words)


@given(NASTY)
def test_typewriter_letters_cannot_be_ended_from_inside(words: str) -> None:
    made = in_typewriter(words)
    assert made == "" or (made.count("`") == 2 and made[0] == made[-1] == "`" and "|" not in made)


def test_words_of_a_template_stand_on_one_line() -> None:
    assert squeezed("a\n  b ;\n c (\n d ) .\n") == "a b; c (d)."
    assert squeezed("x < y") == "x &lt; y" and squeezed("at .5") == "at .5"


def test_a_page_that_does_not_close_its_tags_is_seen() -> None:
    try:
        Tree("<div><p></div>")
    except AssertionError:
        return
    raise AssertionError("the tests would not see it")
