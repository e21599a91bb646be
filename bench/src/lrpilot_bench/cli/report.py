"""``lrpilot bench report``: one HTML page of everything and the page of the docs, from records alone."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lrpilot.cli.report import say
from lrpilot.errors import SettingError
from lrpilot_bench.cli.options import RECORDS, Plugins, ReadRecords, load_plugins, tell_torn, tell_uncounted

OUT = Path("benchmark.html")
MARKDOWN_NAME = "benchmark.md"


def report(
    *,
    records: ReadRecords = RECORDS,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The page to write.")] = OUT,
    markdown: Annotated[
        Path | None,
        typer.Option(
            "--markdown", metavar="FOLDER", help=f"Write {MARKDOWN_NAME}, the page a person reads, there too."
        ),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Make a page of all records: tables, figures, failures and what was not run."""
    load_plugins(plugin)
    write_report(records, out, markdown=markdown)


def write_report(records: Path, out: Path, *, markdown: Path | None = None, suites: Sequence[str] = ("all",)) -> None:
    """Write the page of a file of records, and say where.

    Args:
        records: of JSON lines, as ``lrpilot bench run`` writes them.
        out: the page.
        markdown: folder that gets the page that a person reads, in Markdown; None for none.
        suites: names of the parts of the protocol that were planned: what the page lists as not run.

    Raises:
        DataError: nothing to report on.
        SettingError: a place that cannot be written.
    """
    tell_torn(records)
    from lrpilot_bench.report.figures import drawings
    from lrpilot_bench.report.findings import find
    from lrpilot_bench.report.pages import html_page, markdown_page
    from lrpilot_bench.report.reading import NOT_REGISTERED, read_bench

    bench, planned = read_bench(records, suites=suites)
    unknown = [one for one in bench.left_out if one.reason.endswith(NOT_REGISTERED)]
    names = Counter(one.method if one.task in bench.catalogue.tasks else one.task for one in unknown)
    tell_uncounted(0, names)  # how many are of earlier versions is on the page
    findings = find(bench, planned)
    _write(out, html_page(findings, drawings(findings)), "--out")
    if markdown is not None:
        _write(markdown / MARKDOWN_NAME, markdown_page(findings), "--markdown")


def _write(path: Path, text: str, option: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingError(
            f"{option} must name a place that can be written, got {path} ({error.strerror}). Name another one."
        ) from error
    say(f"Wrote {path} ({len(text.encode()) / 1000:,.0f} kB).")
