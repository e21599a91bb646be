"""The page is made of the records."""

import pytest

from lrpilot_bench.studies.forecast_page import PAGE, page, what_happened


def test_the_page_is_that_of_the_records() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
    before, _ = page().split("## What a search takes")  # where it depends on the training's length
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
