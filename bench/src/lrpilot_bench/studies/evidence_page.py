"""Write docs/evidence.md from records/{probe_cost,autopilot_price,peak_prior,invariances}.json and those of Lines."""

import json
from collections.abc import Iterable
from typing import Any

from lrpilot_bench.studies.autopilot_price import tables
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.line_cost_page import line_numbers
from lrpilot_bench.studies.line_noise_page import noise_numbers
from lrpilot_bench.studies.markdown import Row, render, verdict
from lrpilot_bench.studies.peak_prior_page import peak_numbers

PAGE = DOCS / "evidence.md"

COSTS = (
    ("trial / plain steps", "ratio", "A Trial of 20 steps with its snapshot and restore ÷ 20 plain steps"),
    ("snapshot + restore / copying", "ratio", "Snapshot and restore ÷ copying the same tensors out and back"),
    (
        "pilot.step / LambdaLR.step",
        "ratio_without_optimizer_step",
        "`pilot.step(loss)` without a new optimizer step ÷ `LambdaLR.step()`",
    ),
    ("pilot.step / LambdaLR.step", "ratio", "`pilot.step(loss)` in the middle of a schedule ÷ `LambdaLR.step()`"),
    ("import lrpilot (ms)", "milliseconds", "`import lrpilot`, milliseconds beyond bare Python"),
    ("memory of a Trial / snapshot", "ratio", "Tensor bytes a Trial holds beyond plain steps ÷ one snapshot"),
    (
        "the same with gradients alive",
        "ratio",
        "The same where the loop still holds its gradients, counted as part of the snapshot",
    ),
)


def cost_rows(record: dict[str, Any]) -> Iterable[Row]:
    """One row for each measured cost."""
    for key, field, words in COSTS:
        limit, seen = record[key].get("limit", 1.0), record[key][field]
        # Bytes are compared exactly but for a few kilobytes of scalars.
        holds = seen <= limit + (0.01 if "limit" not in record[key] else 0.0)
        yield words, f"{seen:.3g}", f"{limit:g}", verdict(holds)


def invariance_rows(rows: list[dict[str, Any]]) -> Iterable[Row]:
    """One row for each change of the training."""
    for row in rows:
        seen = row.get("shift_decades", row.get("spread_decades"))
        expected = f"{row['expected_decades']:+.0f} ± 0.1" if "expected_decades" in row else "at most 0.3"
        yield row["optimizer"], row["target"], row["change"], expected, f"{seen:+.3f}", verdict(row["holds"])


def page() -> str:
    """The whole page."""
    cost = json.loads((RECORDS / "probe_cost.json").read_text())
    invariances = json.loads((RECORDS / "invariances.json").read_text())
    price = json.loads((RECORDS / "autopilot_price.json").read_text())
    return render(
        "evidence",
        {
            "step_ms": cost["trial / plain steps"]["step_ms"],
            "torch": cost["machine"]["torch"],
            "costs": cost_rows(cost),
            "autopilot": tables(price),
            "peak": peak_numbers(),
            "lines": line_numbers(),
            "noise": noise_numbers(),
            "invariances": invariance_rows(invariances["rows"]),
        },
    )


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
