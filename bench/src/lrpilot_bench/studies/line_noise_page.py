"""The part of docs/evidence.md about the noise of superbatches, from records/line_noise.json."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.line_noise import SIZES
from lrpilot_bench.studies.markdown import Row

OPTIMIZERS = {"plain_sgd": "SGD", "sgd": "momentum"}


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


def noise_numbers() -> dict[str, Any]:
    """What the section names (``templates/noise.md.jinja``), from the record."""
    record = json.loads((RECORDS / "line_noise.json").read_text())
    places = [
        {
            **{name: seen[name] for name in ("step", "loss", "factor")},
            "optimizer": OPTIMIZERS[seen["family"]],
            "enough": enough_paired(seen["sizes"]),
            "rows": noise_rows(seen["sizes"]),
        }
        for seen in record["places"]
    ]
    return {
        **{name: record[name] for name in ("pool", "draws")},
        "lr": record["places"][0]["lr"],
        "largest": SIZES[-1],
        "places": places,
    }
