"""Pages of the studies: the prose is a template's (``templates/``), numbers and rows are Python's."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

Row = tuple[str, ...]


def render(template: str, numbers: Mapping[str, Any]) -> str:
    """A page, or a part of one.

    Args:
        template: name of a file in ``templates/``, without its ending. Filters of its own: ``fmt`` (Python's format
            of a number), ``percent`` and ``table``.
        numbers: what it names; a name that is missing is an error.
    """
    return _environment().get_template(f"{template}.md.jinja").render(numbers)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("lrpilot_bench.studies"),
        autoescape=False,  # Markdown, of our own records
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
    )
    made.filters |= {"fmt": format, "percent": percent, "table": _under}
    return made


def _under(rows: Iterable[Row], *header: str | Iterable[str]) -> str:
    """Rows under a header of words and of lists of words: the filter of templates."""
    return table(tuple(word for words in header for word in ([words] if isinstance(words, str) else words)), rows)


def table(header: Row, rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(share: float) -> str:
    """A share in percent, three digits of it at most."""
    return f"{100 * share:.3g} %"


def verdict(holds: bool) -> str:
    """What the last column of a table says of a limit."""
    return "holds" if holds else "**does not hold**"
