"""What a short Trial says of the best peak, and what is expected of it before: the numbers of the search's error.

    python -m lrpilot_bench.studies.peak_prior                             # all development tasks with a recorded sweep
    python -m lrpilot_bench.studies.peak_prior --tasks diamonds --lengths 15 --seeds 0
    python -m lrpilot_bench.studies.peak_prior --averaged                  # Trials of averaged flight

On each development task the search for a peak is flown until the best Trial is bracketed, with Trials of 15, 25 and
50 steps. Printed is log10 of the lr that was best for a Trial ÷ the best peak of the recorded sweep of the linear
schedule, and of the prior's centre ÷ the same; and their means (the bias) and deviations (the scatter) by optimizer and
length, which is what ``policies/peak_search/pick.py`` and ``prior.py`` are made of. Judging tasks are refused: this
chooses.

For averaged Trials the peak is counted in lrs without momentum: SGD's ÷ (1 - momentum). It is the peak of an ordinary
schedule nonetheless, and the best lr of an averaged flight may lie beside it.
"""

import argparse
import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from lrpilot.core.actions import Average, Progress, TrialLosses
from lrpilot.core.policy import Facts
from lrpilot.policies.autopilot.plan import MIX, POWER
from lrpilot.policies.peak_search.pick import trial_error
from lrpilot.policies.peak_search.prior import expected
from lrpilot.policies.peak_search.search import PeakSearch
from lrpilot.policies.peak_search.trials import Way
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.oracle import sweep
from lrpilot_bench.analysis.recorded import Bench, load
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.protocol.split import split_tasks
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import read_records
from lrpilot_bench.studies.find_lr_calibration import RUNS, SCHEDULE
from lrpilot_bench.tasks.registry import get_task, tasks

LENGTHS = (15, 25, 50)
SEEDS = (0, 1)
MOST_TRIALS = 12  # more than any walk needs that begins within three decades
START_LR = 1e-3  # an optimizer needs one; the search does not look at it


class Seen(NamedTuple):
    """One search beside the sweep; all in decades.

    Attributes:
        kind: of training, as errors and priors tell them apart.
        steps: of a Trial.
        trial: log10 of the Trials' best lr ÷ the best peak; None where every Trial diverged.
        prior: log10 of the prior's centre ÷ the best peak.
        pick: log10 of the pick ÷ the best peak; None likewise.
        held: whether the pick's interval holds the peak.
    """

    task: str
    seed: int
    kind: str
    steps: int
    trial: float | None
    prior: float
    pick: float | None
    held: bool
    trials: int
    bracketed: bool


def way_of(facts: Facts, *, averaged: bool) -> Way:
    """How Trials are flown."""
    return Way(Average(MIX, POWER), 0.0 if facts.momentum else None) if averaged else Way()


def searched(session: Session, steps: int, *, averaged: bool) -> tuple[PeakSearch, Facts]:
    """The search on fresh weights, at its end, and what it knew before."""
    substrate = LiveSubstrate(session.training(session.optimizer(START_LR)))
    facts = substrate.facts()
    way = way_of(facts, averaged=averaged)
    prior = expected(facts, facts.momentum if way.momentum is None else way.momentum)
    search = PeakSearch(way, prior, trial_error(facts, steps, averaged=averaged), steps, float(MOST_TRIALS * steps))
    while (trial := search.next_trial()) is not None:
        losses, held_out, stop, readings = substrate.trial(trial)
        search = search.told(TrialLosses(Progress(0, None), losses, held_out, stop, readings, cost=float(len(losses))))
    substrate.forget_snapshot()
    return search, facts


def measure(bench: Bench, name: str, seed: int, steps: int, *, averaged: bool) -> Seen:
    """One search on a task, against the peak of its recorded sweep."""
    task = get_task(name)
    best = sweep(bench, name, SCHEDULE).best
    assert best is not None  # only tasks with a sweep are asked
    search, facts = searched(Session(task, task.family(), seed=seed, steps=task.steps), steps, averaged=averaged)
    peak = math.log10(best[0])
    if averaged and facts.optimizer == "sgd":
        peak -= math.log10(1.0 - (facts.momentum or 0.0))
    pick = search.pick
    low, high = (math.inf, -math.inf) if pick is None else map(math.log10, pick.interval)
    kind = "pretrained" if facts.pretrained else facts.optimizer
    return Seen(
        name, seed, kind, steps,
        None if pick is None else math.log10(pick.trial_lr) - peak,
        search.prior.log_lr - peak,
        None if pick is None else math.log10(pick.lr) - peak,
        low <= peak <= high, len(search.probed), search.bracketed,
    )  # fmt: skip


def show(seen: Seen) -> str:
    """A line of the terminal."""
    trial, pick = ("none" if value is None else f"{value:+.2f}" for value in (seen.trial, seen.pick))
    state = "" if seen.bracketed else "  not bracketed"
    head = f"{seen.task:16s} seed {seen.seed} {seen.kind:10s} {seen.steps:3d} steps x {seen.trials:2d}"
    holds = "holds" if seen.held else "MISSES"
    return f"{head}: trial's best {trial}, prior {seen.prior:+.2f}, pick {pick} {holds}{state}"


def by_kind(rows: Sequence[Seen]) -> Iterator[str]:
    """Bias and scatter by kind of training and length, and over all kinds."""
    groups: dict[tuple[str, int], list[Seen]] = defaultdict(list)
    for row in rows:
        groups[row.kind, row.steps].append(row)
        groups["all", row.steps].append(row)
    for (kind, steps), members in sorted(groups.items()):
        trial, prior, pick = (
            _spread([value for row in members if (value := getattr(row, name)) is not None])
            for name in ("trial", "prior", "pick")
        )
        held = f"{sum(row.held for row in members)}/{len(members)} held"
        yield f"{kind:10s} {steps:3d} steps: trial's best {trial}, prior {prior}, pick {pick}, {held}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "none"
    scatter = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):+.2f}{scatter}"


def development(bench: Bench, names: Sequence[str] | None) -> list[str]:
    """Development tasks with a whole sweep on record, among ``names`` where there are any."""
    own = [name for name, side in split_tasks(tasks().values()).items() if side == "development"]
    refused = sorted(set(names or ()) - set(own))
    if refused:
        raise SystemExit(
            f"The search's numbers are chosen on development tasks, got {', '.join(refused)}: leave it away."
        )
    swept = {name: sweep(bench, name, SCHEDULE) for name in (names or own)}
    return [name for name, one in swept.items() if one.best is not None and not one.missing]


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", help="names of development tasks")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--lengths", nargs="+", type=int, default=LENGTHS)
    parser.add_argument("--averaged", action="store_true", help="Trials of averaged flight")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = load(read_records(RUNS), registered(), current_run=run_of)
    rows = []
    for name in development(bench, asked.tasks):
        for seed in asked.seeds:
            for steps in asked.lengths:
                rows.append(measure(bench, name, seed, steps, averaged=asked.averaged))
                print(show(rows[-1]), flush=True)
    print(*by_kind(rows), sep="\n")


if __name__ == "__main__":
    main()
