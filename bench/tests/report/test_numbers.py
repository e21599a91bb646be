import math
from dataclasses import replace

import pytest

from lrpilot_bench.analysis.rows import Regret
from lrpilot_bench.report.cells import ratio_cell
from lrpilot_bench.report.numbers import (
    factor_text,
    hours_text,
    interval_text,
    loss_text,
    lr_text,
    many,
    names_text,
    ratio_text,
    seconds_text,
    short,
)
from lrpilot_bench.stats.intervals import Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0432, "1.043"), (12.34, "12.3"), (12345.0, "1.2e4"), (math.inf, "∞"), (None, "–"), (math.nan, "–")],
)
def test_ratios(value: float | None, text: str) -> None:
    assert ratio_text(value) == text


@pytest.mark.parametrize(
    ("lr", "text"), [(0.1, "0.1"), (0.001, "0.001"), (1e-4, "1e-4"), (1.23e-5, "1.23e-5"), (3.0, "3"), (None, "–")]
)
def test_lrs(lr: float | None, text: str) -> None:
    assert lr_text(lr) == text


@pytest.mark.parametrize(
    ("factor", "text"),
    [
        (30.0, "×30"),
        (1.0, "×1"),
        (0.0333333, "×1/30"),
        (0.25, "×1/4"),
        (154.2, "×154"),
        (1 / 730, "×1/730"),
        (15432.0, "×15,400"),
        (999.7, "×1,000"),
    ],
)
def test_factors(factor: float, text: str) -> None:
    assert factor_text(factor) == text


def test_counts_losses_and_times() -> None:
    assert [many(1, "loss"), many(2, "loss"), many(1000, "run")] == ["1 loss", "2 losses", "1,000 runs"]
    assert [loss_text(0.123456), loss_text(math.inf), loss_text(None)] == ["0.1235", "∞", "–"]
    assert [hours_text(60), hours_text(7200)] == ["1 minute", "2.0 hours"]


def test_seconds_have_one_decimal_and_names_with_commas_stay_apart() -> None:
    assert [seconds_text(1.2345), seconds_text(None), seconds_text(math.inf)] == ["1.2", "–", "∞"]
    assert names_text(["Prodigy", "Prodigy, cosine"]) == "Prodigy · Prodigy, cosine"


def test_one_seed_has_no_interval_and_no_verdict() -> None:
    lone = Interval(1.2, 0.0, math.inf, 1)
    assert interval_text(lone) == "1 seed"
    cell = ratio_cell(Regret(lone, {0: 1.2}, lone, "tie"))
    assert (cell.text, cell.small, cell.mark) == ("1.200", "1 seed", "unknown")


def test_a_regret_shows_its_interval_and_verdict() -> None:
    seen = Interval(0.95, 0.91, 0.99, 10)
    cell = ratio_cell(Regret(seen, {}, seen, "win"))
    assert (cell.text, cell.small, cell.mark) == ("0.950", "0.910 to 0.990", "win")
    assert ratio_cell(Regret(replace(seen, count=9), {}, seen, "win")).mark == "maybe-win"


def test_a_failure_is_shown_whatever_the_verdict() -> None:
    failed = Interval(math.inf, 0.0, math.inf, 3)
    cell = ratio_cell(Regret(failed, {}, Interval(1.05, 0.9, 1.2, 2), "tie"), failed="1 of 3 failed")
    assert (cell.text, cell.small, cell.mark) == ("∞", "1 of 3 failed, rest 1.050", "fail")


def test_what_is_missing_is_a_dash_with_its_reason() -> None:
    cell = ratio_cell(Regret(None, {}, None, None, "no sweep on record"))
    assert (cell.text, cell.small, cell.mark) == ("–", "no sweep on record", None)


def test_a_long_reason_ends_at_a_word() -> None:
    assert short("the default is not worse than the oracle beyond the noise", 30) == "the default is not worse …"
