"""The fake benchmark that the report's tests share, and the path it lies on."""

from typing import Any

import pytest
from fake_records import CATALOGUE, bench_records
from report_parts import Page

from lrpilot_bench.analysis.recorded import load
from lrpilot_bench.report.figures import drawings
from lrpilot_bench.report.findings import Findings, find
from lrpilot_bench.report.pages import html_page, markdown_page


@pytest.fixture(scope="session")
def records() -> list[dict[str, Any]]:
    return bench_records()


@pytest.fixture(scope="session")
def findings(records: list[dict[str, Any]]) -> Findings:
    names = ("task", "method", "seed", "family", "lr", "lr_factor", "horizon", "repeat")
    expected = {f"{r['run']}-again": {name: r[name] for name in names} for r in records[-30:]}
    return find(load(records, CATALOGUE), expected)


@pytest.fixture(scope="session")
def page(findings: Findings) -> Page:
    """The whole page, with every figure."""
    return Page(html_page(findings, drawings(findings)))


@pytest.fixture(scope="session")
def markdown(findings: Findings) -> str:
    return markdown_page(findings)
