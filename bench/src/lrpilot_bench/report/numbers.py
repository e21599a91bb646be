"""How the report writes numbers; the one place, for HTML and Markdown alike."""

import math
from collections.abc import Iterable

from lrpilot_bench.stats.intervals import Interval

NOTHING = "–"  # not measured, or undefined
INFINITE = "∞"


def ratio_text(value: float | None) -> str:
    """A ratio to three decimals, fewer where it is large."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return INFINITE
    if value < 10:
        return f"{value:.3f}"
    return f"{value:.1f}" if value < 1000 else f"{value:.1e}".replace("e+0", "e").replace("e+", "e")


def loss_text(value: float | None) -> str:
    """A loss or score to four digits."""
    if value is None or math.isnan(value):
        return NOTHING
    return INFINITE if math.isinf(value) else f"{value:.4g}"


def hours_text(seconds: float) -> str:
    """A long time in hours, a short one in minutes."""
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else many(round(seconds / 60), "minute")


def seconds_text(value: float | None) -> str:
    """Seconds ÷ a plain run's, to one decimal: more would be noise of the machine."""
    return f"{value:.1f}" if value is not None and math.isfinite(value) else ratio_text(value)


def names_text(names: Iterable[str]) -> str:
    """Titles in a row; several hold commas, so none stands between them."""
    return " · ".join(names)


def lr_text(value: float | None) -> str:
    """An lr in natural units, to three digits: "0.012", "3e-05"."""
    if value is None:
        return NOTHING
    text = f"{value:.3g}" if value >= 1e-3 else f"{value:.2e}"
    mantissa, _, exponent = text.partition("e")
    if not exponent:
        return text
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def schedule_name(kind: str) -> str:
    """A schedule as its users write it: "one-cycle", "WSD"."""
    return "WSD" if kind == "wsd" else kind.replace("_", "-")


def multiple_text(value: float) -> str:
    """How many times: three digits, without an exponent where it can be read: "30", "1/730", "15,400"."""
    if value < 1:
        return f"1/{multiple_text(1 / value)}"
    return f"{value:.3g}" if value < 999.5 or value >= 1e7 else f"{float(f'{value:.3g}'):,.0f}"


def factor_text(value: float) -> str:
    """A multiple with its sign: "×30", "×1/30", "×1"."""
    return f"×{multiple_text(value)}"


def interval_text(interval: Interval) -> str:
    """The ends of an interval; how many seeds it stands on where one says nothing."""
    if interval.count < 2:
        return "1 seed"
    return f"{ratio_text(interval.low)} to {ratio_text(interval.high)}"


def many(count: int, what: str) -> str:
    """A count and its noun: "1 task", "2 tasks"; of the nouns that end in s: "2 losses"."""
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def short(reason: str, at_most: int = 40) -> str:
    """A reason that fits below a cell."""
    words = reason.rstrip(".")
    return words if len(words) <= at_most else words[: at_most - 1].rsplit(" ", 1)[0] + " …"
