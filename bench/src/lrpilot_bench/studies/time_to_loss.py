"""How much sooner one training comes to the final loss of another, from their recorded curves alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from lrpilot_bench.analysis.recorded import Run
from lrpilot_bench.stats.aggregates import geometric_mean


@dataclass(frozen=True)
class Speedup:
    """Runs against those of a baseline, seed by seed.

    Attributes:
        seeds: that both have, and on which the baseline did not fail.
        reached: of these, on which the final loss of the baseline's run was reached.
        steps: kept steps of the baseline to its own final loss ÷ those of the run to it, geometric mean over the
            seeds that reached it; None where none did. Above 1: sooner.
        compute: the same of total compute, probes included.
    """

    seeds: int
    reached: int
    steps: float | None
    compute: float | None


def speedup(runs: Mapping[int, Run], baseline: Mapping[int, Run]) -> Speedup:
    """Compare runs with the baseline's of the same seeds."""
    seeds = [seed for seed in sorted(runs.keys() & baseline.keys()) if not baseline[seed].failed]
    ratios = {name: [_sooner(runs[seed], baseline[seed], name) for seed in seeds] for name in ("steps", "compute")}
    reached = {name: [ratio for ratio in of_name if ratio > 0.0] for name, of_name in ratios.items()}
    means = {name: geometric_mean(of_name) if of_name else None for name, of_name in reached.items()}
    return Speedup(len(seeds), len(reached["steps"]), means["steps"], means["compute"])


def _sooner(run: Run, baseline: Run, unit: str) -> float:
    """What the baseline spent ÷ what the run spent; 0 where it never got there."""
    return spent(baseline, baseline.loss, unit) / spent(run, baseline.loss, unit)


def spent(run: Run, target: float, unit: str) -> float:
    """Kept steps ("steps") or forward-equivalents ("compute") at the first point with at most that loss; inf for none.

    A run that failed reaches nothing, whatever its curve passed through.
    """
    if run.failed:
        return math.inf
    points = zip(run.curve[unit], run.curve["val_loss"], strict=True)
    return next((float(at) for at, loss in points if loss is not None and loss <= target), math.inf)


def in_words(found: Speedup, value: float | None) -> str:
    """A ratio, with the seeds that it is a mean of where these are not all."""
    if not found.seeds:
        return "not run"
    if value is None:
        return f"never ({found.seeds} seeds)"
    return f"{value:.2f}" + ("" if found.reached == found.seeds else f" ({found.reached} of {found.seeds} seeds)")
