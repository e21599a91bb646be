"""The section of docs/forecasts.md on what a search takes, from its record alone."""

import json
from collections.abc import Iterable
from typing import Any

from lrpilot_bench.store.records import Record
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.markdown import Row, table, verdict

BUSY = 1.2  # wall time of a plain step ÷ its processor time, above which something else was running
COLUMNS = (
    "setting",
    "steps of the training",
    "Trials",
    "÷ plain steps, wall",
    "processor",
    "median of Trials, wall",
    "processor",
    "÷ its work, processor",
    "deciding",
    "",
)


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


def parts(record: Record) -> str:
    """What a decision is made of, where there are forecasts and where there are none."""
    rows = record["rows"]

    def at_most(part: str, *, forecasting: bool) -> str:
        of_rows = [row["shares"][part]["cpu"] for row in rows if (row["setting"] != "default") is forecasting]
        return f"{100 * max(of_rows):.2f} %"

    slowest = max(row["decision_ms"] for row in rows)
    return f"""Of the processor time of a search the surrogate takes at most {at_most("surrogate", forecasting=False)}
(default) or {at_most("surrogate", forecasting=True)} (with forecasts), and the forecasts at most
{at_most("forecast", forecasting=True)}. A decision takes {slowest:.1f} ms at most, on the mean of a search."""


def why(record: Record) -> str:
    """Where the default's surplus comes from."""
    default = [row for row in record["rows"] if row["setting"] == "default"]
    enough = max(reading(row) * (1 + 1 / row["trials"]) for row in default) / (record["limit"] - 1)
    return f"""What goes beyond is the default's held-out reading, one before the Trials and one after each. It takes
{in_words(map(reading, default))} plain steps of processor time on this net: 16 batches to estimate the statistics of
BatchNorm anew, and 16 to judge by. The limit does not allow for readings; the bill does, and the column "÷ its work"
sets the search against all that is in it. So the default keeps the limit where its Trials have {enough:.0f} steps or
more in the mean, and not in a short training."""


def search_section() -> str:
    """From records/search_cost.json."""
    record: dict[str, Any] = json.loads((RECORDS / "search_cost.json").read_text())
    return f"""## What a search takes

From `studies/search_cost.py`: the first search of a training of `{record["task"]}` in batches of
{record["batch_size"]}, one thread, {beside(record)}.
After every Trial as many plain steps are taken on a second training. Wall and processor time of the whole search ÷
those of the plain steps, the same ratio of single Trials (median), and ÷ the plain steps that all of its forward and
backward passes come to. "Deciding" is the share of everything that the policy does between Trials. The limit is
{record["limit"]:g}, in wall time.

{table(COLUMNS, search_rows(record))}

{why(record)}

{parts(record)}"""
