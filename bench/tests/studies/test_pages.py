"""Every page of the studies is that of the committed records, byte for byte; and a template names nothing in vain."""

from collections.abc import Callable

import pytest
from jinja2 import UndefinedError

from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.studies import evidence_page, forecast_page, line_experiments, trial_experiments
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.line_experiments import read
from lrpilot_bench.studies.markdown import render, table

PAGES: dict[str, Callable[[], str]] = {
    "evidence": evidence_page.page,
    "forecasts": forecast_page.page,
    "line-experiments": lambda: line_experiments.page(*of("lr_tuner", "weighted_factors", "bench")),
    "trial-experiments": lambda: trial_experiments.page(*of("autolrs", "bench")),
}


def of(*names: str) -> list[Bench]:
    return [read(RECORDS / f"{name}.jsonl") for name in names]


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_that_of_the_records(name: str) -> None:
    assert PAGES[name]() == (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_a_number_that_a_template_names_must_be_there() -> None:
    with pytest.raises(UndefinedError, match="'search' is undefined"):
        render("search", {})


def test_a_table_by_hand() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
