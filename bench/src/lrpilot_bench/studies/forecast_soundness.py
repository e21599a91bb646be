"""Whether the forecast ever fails: every form on 10,000 generated series of many kinds.

    python -m lrpilot_bench.studies.forecast_soundness        # two minutes on one core

The series have up to 200 readings: decays slow and fast, noise, straight lines, walks, steps, spikes, constants, heavy
tails, explosions, magnitudes from 1e-300 to 1e300, and readings that are not finite. A forecast is sound that raises
nothing, warns of nothing, has no NaN, lies inside of its interval, and holds a decay where its code says so.

Writes ``records/forecast_soundness.json``: how many forecasts came about in which way, and what was unsound.
"""

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from lrpilot.maths.forecast import Forecast, forecast
from lrpilot_bench.studies.checkout import RECORDS

RECORD = RECORDS / "forecast_soundness.json"
SERIES = 10_000
LENGTHS = (0, 1, 2, 3, 4, 5, 10, 16, 17, 29, 30, 31, 50, 100, 100, 200)
FORMS: tuple[tuple[Literal["default", "paper"], Literal["training", "validation"]], ...] = (
    ("default", "training"),  # to this form the two series are one
    ("paper", "training"),
    ("paper", "validation"),
)


def generated(seed: int) -> Any:
    """One of many kinds of series, of any length, with holes, in any unit."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice(LENGTHS))
    x, e = np.arange(n), rng.standard_normal(n)
    kinds = (
        lambda: np.exp(-x / max(1, n) * 10 ** rng.uniform(-2, 2)) + 0.1 * e,
        lambda: np.exp(-5 * x / max(1, n)) * 10.0 ** rng.integers(-9, 9),
        lambda: 0.1 * x + e,
        lambda: -1.0 * x,
        lambda: np.full(n, rng.standard_normal()),
        lambda: np.where(rng.random(n) < 0.1, 1e6, 1.0) + 0.01 * e,
        lambda: np.cumsum(e),
        lambda: rng.choice([0.0, 1.0], n),
        lambda: 10.0 ** rng.uniform(-300, 300, n),
        lambda: rng.choice([math.nan, math.inf, -math.inf, 1.0, 2.0, 1e308, -1e308, 5e-324], n),
        lambda: rng.standard_cauchy(n),
        lambda: np.exp(np.minimum(0.3 * x, 600)),
        lambda: np.where(x < n // 2, 5.0, 1.0),
        lambda: np.round(e, 1),
    )
    losses = np.array(kinds[rng.integers(len(kinds))](), dtype=float)
    if n and rng.random() < 0.15:
        losses[rng.integers(n, size=max(1, n // 30))] = rng.choice([math.nan, math.inf])
    with np.errstate(all="ignore"):
        return losses * (10 ** rng.uniform(-200, 200) if rng.random() < 0.3 else 1.0)


def fault(seen: Forecast) -> str | None:
    """What is unsound about a forecast."""
    if not seen.lower <= seen.value <= seen.upper:  # a NaN is in no order
        return "not inside of its interval"
    if any((number is not None) != seen.code.from_model for number in (seen.a, seen.b, seen.c, seen.tail)):
        return "its code and its decay do not agree"
    return None


def check(seeds: Iterable[int]) -> dict[str, Any]:
    """All forms of these series.

    Returns:
        ``codes``: by form and kind of series, how many forecasts came about in which way. ``unsound``: the others.
    """
    codes: dict[str, Counter[str]] = {f"{form}, {series}": Counter() for form, series in FORMS}
    unsound = []
    for seed in seeds:
        losses = generated(seed)
        for form, series in FORMS:
            try:
                with warnings.catch_warnings(), np.errstate(all="warn"):
                    warnings.simplefilter("error")
                    seen = forecast(losses, horizon=10.0 * max(1, len(losses)), form=form, series=series)
            except Exception as error:  # whatever it is, it is what is looked for
                unsound.append({"seed": seed, "form": form, "series": series, "fault": f"{error!r:.200}"})
                continue
            codes[f"{form}, {series}"][seen.code.name] += 1
            if (wrong := fault(seen)) is not None:
                unsound.append({"seed": seed, "form": form, "series": series, "fault": wrong})
    return {"codes": {name: dict(sorted(seen.items())) for name, seen in codes.items()}, "unsound": unsound}


def main() -> None:
    """Check, show, write."""
    record = {"series": SERIES, **check(range(SERIES))}
    print(json.dumps(record, indent=1))
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
