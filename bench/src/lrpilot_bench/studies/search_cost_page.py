"""The section of docs/forecasts.md on what a search takes, from its record alone."""

import json
from collections.abc import Iterable
from typing import Any

from lrpilot_bench.store.records import Record
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.markdown import Row, verdict

BUSY = 1.2  # wall time of a plain step ÷ its processor time, above which something else was running


def holds(record: Record, row: Record) -> bool:
    """Whether a search keeps the limit, which is one of wall time."""
    return bool(row["ratio"]["wall"] <= record["limit"])


def in_words(values: Iterable[float]) -> str:
    """From the least to the largest, one decimal each."""
    seen = sorted(values)
    low, high = f"{seen[0]:.1f}", f"{seen[-1]:.1f}"
    return low if low == high else f"{low} to {high}"


def reading(row: Record) -> float:
    """What a held-out reading takes, in plain steps of processor time; one was made before the Trials."""
    return float((row["ratio"]["cpu"] - 1) * row["trial_steps"] / (row["trials"] + 1))


def search_rows(record: Record) -> Iterable[Row]:
    """One row for each search."""
    for row in record["rows"]:
        ratios = [f"{row[key][clock]:.3f}" for key in ("ratio", "median") for clock in ("wall", "cpu")]
        yield (
            row["setting"],
            f"{row['steps']:,}",
            f"{row['trials']}, {row['trial_steps'] / row['trials']:.0f} steps each",
            *ratios,
            f"{row['ratio_of_work']['cpu']:.3f}",
            f"{100 * row['shares']['decisions']['cpu']:.2f} %",
            verdict(holds(record, row)),
        )


def beside(record: Record) -> str:
    """What a step takes, and whether the machine did something else meanwhile."""
    cpu, wall = ([row["step_ms"][clock] for row in record["rows"]] for clock in ("cpu", "wall"))
    words = f"{in_words(cpu)} ms of processor time a step"
    if max(wall) < BUSY * min(cpu):
        return words
    took = f"{min(wall):.0f} to {max(wall):.0f} ms"
    return f"{words} (other work\nran beside it: a step took {took}, and wall time is rough)"


def at_most(record: Record, part: str, *, forecasting: bool) -> str:
    """The largest share of a search's processor time that a part takes, where there are forecasts or where none are."""
    of_rows = [row["shares"][part]["cpu"] for row in record["rows"] if (row["setting"] != "default") is forecasting]
    return f"{100 * max(of_rows):.2f} %"


def search_numbers() -> dict[str, Any]:
    """What the section names (``templates/search.md.jinja``), from records/search_cost.json."""
    record: dict[str, Any] = json.loads((RECORDS / "search_cost.json").read_text())
    default = [row for row in record["rows"] if row["setting"] == "default"]
    return {
        **{name: record[name] for name in ("task", "batch_size", "limit")},
        "beside": beside(record),
        "rows": search_rows(record),
        "reading": in_words(map(reading, default)),
        # The steps from which on the default's readings are within the limit.
        "enough": max(reading(row) * (1 + 1 / row["trials"]) for row in default) / (record["limit"] - 1),
        "surrogate_default": at_most(record, "surrogate", forecasting=False),
        "surrogate": at_most(record, "surrogate", forecasting=True),
        "forecast": at_most(record, "forecast", forecasting=True),
        "slowest": max(row["decision_ms"] for row in record["rows"]),
    }
