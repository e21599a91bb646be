"""The part of docs/evidence.md that is about the search for a peak, from records/peak_prior.json."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from lrpilot.policies.peak_search.pick import trial_error
from lrpilot.policies.peak_search.prior import expected
from lrpilot_bench.analysis.oracle import Sweep
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.studies.find_lr_calibration import judged
from lrpilot_bench.studies.markdown import Row as Line
from lrpilot_bench.studies.peak_prior_record import Row, Searched, read

NAMES = {"adam": "AdamW", "sgd": "SGD"}
NONE = "–"

Pick = Callable[[Row, Searched], float | None]
# What a search is worth with all that it knows, and without a part of it.
PICKS: dict[str, Pick] = {
    "pick": lambda _, one: one.pick,
    "expected alone": lambda row, _: row.prior,
    "bias ignored": lambda _, one: one.unbiased,
    "trial's best": lambda _, one: one.trial,
}


class Spread(NamedTuple):
    """Decades by which something lies beside the best lr, over trainings.

    Attributes:
        mean: over trainings, of the means of their seeds.
        median: of the same: one training may lie decades off.
        deviation: of the single values; nan where there is one alone.
        error: standard error of the mean, by trainings; nan where there is one alone.
        trainings: how many.
    """

    mean: float
    median: float
    deviation: float
    error: float
    trainings: int


def spread(by_training: Sequence[Sequence[float]]) -> Spread | None:
    """Of values by training; None where there are none."""
    kept = [values for values in by_training if values]
    if not kept:
        return None
    means, single = [statistics.fmean(values) for values in kept], [value for values in kept for value in values]
    return Spread(
        statistics.fmean(means),
        statistics.median(means),
        statistics.stdev(single) if len(single) > 1 else math.nan,
        statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else math.nan,
        len(kept),
    )


# ---------------------------------------------------------------------- groups


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by what the constants tell apart, and with BatchNorm or without where both are there."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.pretrained, row.optimizer, row.arm)):
        if row.pretrained:
            found["pretrained"].append(row)
            continue
        name = f"{NAMES[row.optimizer]}, {row.arm}"
        found[name].append(row)
        found[f"{name}, {'with' if row.batchnorm else 'no'} BatchNorm"].append(row)
    return {name: of for name, of in found.items() if not _is_repeated(name, of, found)}


def _is_repeated(name: str, of: Sequence[Row], found: dict[str, list[Row]]) -> bool:
    whole = found.get(name.removesuffix(" BatchNorm").rsplit(", ", 1)[0], ())
    return name.endswith("BatchNorm") and len(whole) == len(of)


def lengths(rows: Iterable[Row]) -> list[int]:
    """Of the Trials in them, in steps."""
    return sorted({one.steps for row in rows for one in row.searches})


# ---------------------------------------------------------------------- tables


def trial_spread(rows: Sequence[Row], steps: int) -> Spread | None:
    """log10 of the lr that was best for a Trial ÷ the best lr, of the searches that learned anything."""

    def seen(row: Row) -> list[float]:
        told = [one.trial for one in row.searches if one.steps == steps and one.learned]
        return [math.log10(lr / row.best) for lr in told if lr is not None]

    return spread([seen(row) for row in rows])


def error_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """One line for each group and length: what was measured, and what the code holds."""
    for name, of in groups(rows).items():
        for steps in lengths(of):
            seen = trial_spread(of, steps)
            holds = {trial_error(row.facts, steps, averaged=row.arm == "averaged") for row in of}
            told = ", ".join(f"{one.bias:+.2f} ± {one.scatter:.2f}" for one in sorted(holds, key=lambda one: one.bias))
            agrees = NONE if seen is None or len(holds) > 1 else within(seen, next(iter(holds)).bias)
            yield name, str(steps), *_cells(seen), told, agrees


def prior_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """One line for each optimizer and way to fly: log10 of the best lr ÷ what was expected."""
    for name, of in groups(rows).items():
        if "BatchNorm" in name:
            continue
        seen = spread([[math.log10(row.best / row.prior)] for row in of])
        assert seen is not None  # a row has a best lr
        held = expected(of[0].facts, None).spread
        yield name, *_cells(seen), f"{held:.2f}", within(seen, 0.0)


def regret_lines(rows: Sequence[Row]) -> Iterator[Line]:
    """One line for each group and length: mean and worst regret of each pick, and how often intervals hold."""
    for name, of in groups(rows).items():
        for steps in lengths(of):
            found = [(row, one) for row in of for one in row.searches if one.steps == steps]
            cells = [_regrets([regret(row, lr(row, one)) for row, one in found]) for lr in PICKS.values()]
            held = [holds for row, one in found if (holds := one.holds(row.best)) is not None]
            yield name, str(steps), *cells, f"{sum(held)} of {len(held)}"


def regret(row: Row, lr: float | None) -> float:
    """Final loss at an lr ÷ the best of the sweep, interpolated; at its nearest point beyond its ends."""
    return judged(Sweep(row.arm, row.lrs, row.finite, (), None), lr)[0]


def within(seen: Spread, held: float) -> str:
    """Whether a number of the code is within a standard error of the mean; no word of a single training."""
    if math.isnan(seen.error):
        return NONE
    return "within" if abs(seen.mean - held) <= seen.error else f"**off by {held - seen.mean:+.2f}**"


def _cells(seen: Spread | None) -> Line:
    if seen is None:
        return "0", NONE, NONE, NONE
    deviation = NONE if math.isnan(seen.deviation) else f"{seen.deviation:.2f}"
    error = "" if math.isnan(seen.error) else f" (± {seen.error:.2f})"
    return str(seen.trainings), f"{seen.mean:+.2f}{error}", f"{seen.median:+.2f}", deviation


def _regrets(values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    lost = f", {len(values) - len(finite)} failed" if len(finite) < len(values) else ""
    return f"{geometric_mean(finite):.3f}, {max(finite):.2f}{lost}" if finite else "all failed"


def peak_numbers(rows: Sequence[Row] | None = None) -> dict[str, Any]:
    """What the part of the page names; of the rows on record where none are given."""
    rows = read() if rows is None else rows
    flown = Counter((row.side, row.arm) for row in rows)
    sides = {"development": "of tasks", "small": "of small trainings"}
    return {
        "arms": ", ".join(f"{many} {sides[side]} {arm}" for (side, arm), many in sorted(flown.items())),
        "small": len({row.training for row in rows if row.side == "small"}),
        "tasks": len({row.training for row in rows if row.side == "development"}),
        "seeds": len({one.seed for row in rows for one in row.searches}),
        "errors": list(error_lines(rows)),
        "priors": list(prior_lines(rows)),
        "regrets": list(regret_lines(rows)),
        "picks": list(PICKS),
    }
