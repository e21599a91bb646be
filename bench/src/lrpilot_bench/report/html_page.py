"""A document as one HTML page that needs nothing else: no network, no scripts, no fonts."""

from collections.abc import Iterable
from html import escape
from importlib.resources import files

from lrpilot_bench.report.document import (
    MARK_SIGNS,
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Either,
    Figure,
    Gallery,
    Key,
    Paragraph,
    Row,
    Section,
    Strong,
    Table,
    Words,
    inlines,
)
from lrpilot_bench.report.svg import marker_path


def html_page(document: Document) -> str:
    """The whole page."""
    style = files("lrpilot_bench.report").joinpath("style.css").read_text(encoding="utf-8")
    body = "\n".join(_section(section, 2) for section in document.sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(document.title)}</title>
<style>
{style}</style>
</head>
<body>
<header class="page-head">
<h1>{escape(document.title)}</h1>
{_banner(document.banner)}
<p class="subtitle">{escape(document.subtitle)}</p>
{_facts(document.facts)}
{_status(document.status)}
{_contents(document.sections)}
</header>
<main>
{body}
</main>
</body>
</html>
"""


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(number)}</dd></div>" for number, what in facts)
    return f'<dl class="facts">{items}</dl>'


def _status(words: str) -> str:
    return f'<p class="status">{escape(words)}</p>' if words else ""


def _banner(words: str) -> str:
    return f'<p class="banner" role="note">{escape(words)}</p>' if words else ""


def _contents(sections: Iterable[Section]) -> str:
    items = []
    for section in sections:
        inner = "".join(f'<li><a href="#{s.name}">{escape(s.title)}</a></li>' for s in section.inner)
        nested = f"<ul>{inner}</ul>" if inner else ""
        items.append(f'<li><a href="#{section.name}">{escape(section.title)}</a>{nested}</li>')
    return f'<nav aria-label="Contents"><ol>{"".join(items)}</ol></nav>'


def _section(section: Section, level: int) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    inner = "\n".join(_section(s, level + 1) for s in section.inner)
    title = f"<h{level}>{escape(section.title)}</h{level}>"
    return f'<section id="{escape(section.name)}">\n{title}\n{blocks}\n{inner}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        lead = ' class="lead"' if block.lead else ""
        return f"<p{lead}>{words_html(block.words)}</p>"
    if isinstance(block, Bullets):
        return f"<ul>{''.join(f'<li>{words_html(item)}</li>' for item in block.items)}</ul>"
    if isinstance(block, Gallery):
        return f'<div class="gallery">{"".join(_figure(figure) for figure in block.figures)}</div>'
    return _figure(block) if isinstance(block, Figure) else _table(block)


def words_html(words: Words) -> str:
    """A text, escaped."""
    made = []
    for piece in inlines(words):
        if isinstance(piece, Code):
            made.append(f"<code>{escape(piece.text)}</code>")
        elif isinstance(piece, Strong):
            made.append(f"<strong>{escape(piece.text)}</strong>")
        elif isinstance(piece, Either):
            made.append(escape(piece.html))
        else:
            made.append(escape(piece))
    return "".join(made)


# ------------------------------------------------------------------ tables


def _table(table: Table) -> str:
    heads = "".join(
        f'<th scope="col"{_wordy(table, i)}>{escape(column)}</th>' for i, column in enumerate(table.columns)
    )
    rows = "\n".join(_row(table, row) for row in table.rows)
    note = f'<p class="note">{words_html(table.note)}</p>' if table.note else ""
    scrolled = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.caption)}">\n<table>'
        f"<caption><span>{escape(table.caption)}</span></caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>{note}"
    )
    if table.folded:
        return f"<details><summary>{escape(table.folded)}</summary>{scrolled}</details>"
    return scrolled


def _wordy(table: Table, index: int) -> str:
    return ' class="w"' if index == 0 or index in table.wordy else ""


def _row(table: Table, row: Row) -> str:
    group = f' class="g-{row.group}"' if row.group else ""
    cells = "".join(_cell(cell, _wordy(table, i)) for i, cell in enumerate(row.cells, start=1))
    return f'<tr{group}><th scope="row">{words_html(row.head)}</th>{cells}</tr>'


def _cell(cell: Cell, wordy: str) -> str:
    sign = ""
    if cell.mark is not None:
        said = cell.mark.replace("maybe-", "provisional ")
        sign = f'<span class="sign {cell.mark}" role="img" aria-label="{said}">{MARK_SIGNS[cell.mark]}</span> '
    words = words_html(cell.words)
    small = f"<small>{escape(cell.small)}</small>" if cell.small else ""
    return f"<td{wordy}>{sign}{f'<b>{words}</b>' if cell.best else words}{small}</td>"


# ------------------------------------------------------------------ figures


def _figure(figure: Figure) -> str:
    legend = (
        f'<ul class="legend">{"".join(_key(key) for key in figure.legend)}</ul>' if figure.legend else "<span></span>"
    )
    caption = f"<figcaption>{words_html(figure.caption)}</figcaption>"
    wide = ' class="wide"' if figure.wide else ""
    return (
        f'<figure{wide}><div class="figure-title">{escape(figure.title)}</div>'
        f"{legend}{figure.drawing}{caption}</figure>"
    )


def _key(key: Key) -> str:
    kind = "" if key.style.endswith(" level") else "line "
    line = f'<path class="{kind}{key.style}" d="M1 7H27"/>' if key.line else ""
    mark = f'<path class="mark {key.style}" d="{marker_path(key.marker, 14, 7, 4)}"/>' if key.marker else ""
    swatch = f'<svg class="swatch" viewBox="0 0 28 14" aria-hidden="true">{line}{mark}</svg>'
    return f"<li>{swatch}{escape(key.label)}</li>"
