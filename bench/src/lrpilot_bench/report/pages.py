"""The two pages, made from their templates: everything on an HTML page, what a person reads in Markdown."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lrpilot_bench.analysis.sensitivity import failed_runs
from lrpilot_bench.report import audit, digest, overview, pilot_tables, tables
from lrpilot_bench.report.cells import SIGNS, Cell, finished_text
from lrpilot_bench.report.findings import ENTRY, GROUP_WORDS, Findings
from lrpilot_bench.report.looks import COLOURS
from lrpilot_bench.report.numbers import factor_text, loss_text, lr_text, many, names_text, ratio_text, schedule_name
from lrpilot_bench.report.numbers import short as shortened
from lrpilot_bench.store.schema import NO_BETTER

SPECIAL = re.compile(r"([\\`*_\[\]<>|#~])")  # of Markdown
BEFORE_STOP, AFTER_BRACKET = re.compile(r"\s+(?=[;,.:)](?:\s|$|[;,.:)]))"), re.compile(r"(?<=\()\s+")
OPTIMIZERS = {"sgd": "SGD with momentum", "adamw": "AdamW"}

VOCABULARY = {
    "audit": audit,
    "colours": COLOURS,
    "digest": digest,
    "distance_of": overview.distance_text,
    "enough": overview.ENOUGH,
    "entry": ENTRY,
    "factor": factor_text,
    "failed_runs": failed_runs,
    "failures": overview.failures_text,
    "fine_tuning_task": overview.FINE_TUNING,
    "finished": finished_text,
    "group_words": GROUP_WORDS,
    "loss": loss_text,
    "lr": lr_text,
    "many": many,
    "more": tables.more_text,
    "names": names_text,
    "no_better": NO_BETTER,
    "optimizers": OPTIMIZERS,
    "overview": overview,
    "pilot": pilot_tables,
    "ratio": ratio_text,
    "schedule_name": schedule_name,
    "score": overview.score_text,
    "short": shortened,
    "signs": SIGNS,
    "span": overview.span,
    "tables": tables,
}


def html_page(findings: Findings, drawings: Mapping[str, str]) -> str:
    """The page of everything, which needs nothing else: no network, no scripts, no fonts.

    Args:
        findings: what the records say.
        drawings: SVG by name, as ``figures.drawings`` makes them; a figure that is not among them is left out.
    """
    made = _html().get_template("page.html.jinja").render(_context(findings), drawings=drawings)
    return "".join(line for line in made.splitlines(keepends=True) if line.strip())


def markdown_page(findings: Findings) -> str:
    """The page that a person reads: the findings in short, and the tables that carry them."""
    made = _markdown().get_template("benchmark.md.jinja").render(_context(findings))
    return re.sub(r"\n\s*\n", "\n\n", made).strip() + "\n"


def _context(findings: Findings) -> dict[str, Any]:
    return {
        "found": findings,
        "answer": overview.answer(findings),
        "coverage": overview.coverage(findings),
        "facts": overview.facts(findings),
        "unranked": overview.unranked(findings),
    }


@cache
def _html() -> Environment:
    return _environment(
        strong=lambda text: Markup("<strong>{}</strong>").format(text),
        code=lambda text: Markup("<code>{}</code>").format(text),
    )


@cache
def _markdown() -> Environment:
    """Autoescape is on here too: what is not marked as Markdown becomes it, before HTML could see it."""
    return _environment(
        finalize=lambda value: value if hasattr(value, "__html__") else Markup(escaped(str(value))),
        strong=lambda text: Markup(f"**{escaped(text)}**"),
        code=lambda text: Markup(in_typewriter(text)),
        cell=markdown_cell,
    )


def _environment(finalize: Callable[[Any], Any] | None = None, **words: Callable[..., Any]) -> Environment:
    made = Environment(
        loader=PackageLoader("lrpilot_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        lstrip_blocks=True,
    )
    made.globals |= VOCABULARY | words
    made.filters |= {"squeeze": squeezed, "won": overview.tasks_won}
    return made


def squeezed(text: str) -> Markup:
    """Words on one line, with no space before a stop: in a template they stand on as many lines as they need."""
    one = " ".join(escape(text).split())
    return Markup(AFTER_BRACKET.sub("", BEFORE_STOP.sub("", one)))


# ------------------------------------------------------------------ Markdown


def escaped(text: str) -> str:
    """Plain text in which Markdown finds no markup, on one line."""
    return SPECIAL.sub(r"\\\1", re.sub(r"\s+", " ", text))


def in_typewriter(text: str) -> str:
    """Typewriter letters: nothing inside can be escaped, so what would end it or its cell is replaced."""
    kept = " ".join(text.replace("`", "'").replace("|", "/").split())
    return f"`{kept}`" if kept else ""


def markdown_cell(cell: Cell | str) -> Markup:
    """A cell of a table: sign, words, and in brackets what is small on the HTML page."""
    if isinstance(cell, str):
        return Markup(escaped(cell))
    words = in_typewriter(cell.text) if cell.code else escaped(cell.text)
    words = f"**{words}**" if cell.best and words else words
    sign = SIGNS[cell.mark] if cell.mark is not None else ""
    small = f"({escaped(cell.small)})" if cell.small else ""
    return Markup(" ".join(part for part in (sign, words, small) if part))
