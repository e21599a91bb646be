"""The part of docs/evidence.md about the noise of superbatches, from records/line_noise.json."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.line_cost_page import Row, table
from lrpilot_bench.studies.line_noise import SIZES

OPTIMIZERS = {"plain_sgd": "SGD", "sgd": "momentum"}
HEADER = (
    "minibatches",
    "loss",
    "lr factor, paired",
    "lr factor, fresh",
    "right side, paired",
    "right side, fresh",
)


def noise_rows(sizes: Iterable[dict[str, Any]]) -> Iterable[Row]:
    """One row for each size of a superbatch."""
    for row in sizes:
        paired, fresh = row["paired"], row["fresh"]
        yield (
            f"{row['minibatches']}",
            f"{row['loss']['deviation']:.4f}",
            *(f"{seen['deviation']:.3f}" for seen in (paired, fresh)),
            *(f"{100 * seen['same_sign']:.0f} %" for seen in (paired, fresh)),
        )


def enough_paired(sizes: Sequence[dict[str, Any]]) -> int:
    """The fewest paired minibatches whose factor scatters no more than that of the largest fresh superbatch."""
    limit = sizes[-1]["fresh"]["deviation"]
    return int(next(row["minibatches"] for row in sizes if row["paired"]["deviation"] <= limit))


def place(seen: dict[str, Any]) -> str:
    """The table of one place of a training."""
    return f"""{OPTIMIZERS[seen["family"]]}, after {seen["step"]} steps. Of all minibatches together: loss \
{seen["loss"]:.3f}, factor {seen["factor"]:.2f}.
{enough_paired(seen["sizes"])} paired minibatches fix the factor as well as {SIZES[-1]} fresh ones.

{table(HEADER, noise_rows(seen["sizes"]))}"""


def noise_section() -> str:
    """The section, from the record."""
    record = json.loads((RECORDS / "line_noise.json").read_text())
    places = "\n\n".join(place(seen) for seen in record["places"])
    lr = record["places"][0]["lr"]
    return f"""## How large a superbatch must be

From `studies/line_noise.py`: AutoLR's Figure 7 (the standard deviation of a superbatch's loss against its size,
published as a curve without numbers, for which the papers chose 100), and what that noise does to the lr. The papers'
4-layer net on 12,000 Fashion-MNIST images, batch 64, seed lr {lr:g}; one step is read at the five published factors on
{record["pool"]} minibatches, and superbatches are drawn from these with replacement, {record["draws"]:,} times each.
"lr factor" is the standard deviation of 1 + ε*/η, the factor that the parabola multiplies the lr by, within [0.1, 3].
*Paired*: the same minibatches for all five factors, as the papers and LRTuner have it; *fresh*: other ones for each.
"Right side": how often the factor lies on the same side of 1 as with all minibatches. Where the parabola has no
minimum, as is common with few fresh minibatches, the best of the five factors stands for it, which limits the spread.

{places}"""
