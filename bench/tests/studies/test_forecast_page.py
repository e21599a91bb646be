"""What the page on forecasts says."""

import pytest

from lrpilot_bench.studies.forecast_page import PAGE, what_happened


def test_every_limit_before_the_searches_holds() -> None:
    before, _ = PAGE.read_text(encoding="utf-8").split(
        "## What a search takes"
    )  # where it depends on the training's length
    assert "does not hold" not in before


@pytest.mark.parametrize(
    ("level", "end", "code", "words"),
    [
        (1.0, 1.02, "OK", "nothing"),
        (1.0, 1.1, "RISING", "rose later"),
        (1.0, 0.9, "RISING", "did not last"),
        (1.0, 0.9, "OK", "fell later"),
    ],
)
def test_what_happened_by_hand(level: float, end: float, code: str, words: str) -> None:
    assert words in what_happened({"level": level, "end": end, "code": code})
