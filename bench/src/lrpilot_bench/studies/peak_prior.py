"""What a short Trial says of the best peak, and what is expected of it before: the numbers of the search's error.

    python -m lrpilot_bench.studies.peak_prior                       # what is not on record yet: half an hour in all
    python -m lrpilot_bench.studies.peak_prior --tasks diabetes      # one training, anew
    python -m lrpilot_bench.studies.peak_prior --tasks diabetes --dry-run
    python -m lrpilot_bench.studies.peak_prior --searches            # where the search has changed: all but the sweeps
    python -m lrpilot_bench.studies.peak_prior --show                # the tables of what is on record

On each training, in each way to fly, the best lr of a whole training is that of a sweep: the linear schedule's for
ordinary flight, and Autopilot's flight at a given lr for averaged flight. Beside it stand searches by Trials of several
lengths, as the search walks, and what was expected before. Their ratios are what ``policies/peak_search/pick.py`` and
``prior.py`` are made of (``peak_prior_page`` makes the tables).

The trainings are development tasks with a recorded sweep, and those of ``small_trainings``. Judging tasks are refused:
this chooses. All lrs are counted as a flight takes them: averaged, SGD flies without momentum, and takes
lr / (1 - momentum) for as long steps.

Writes ``records/peak_prior.json``, sweep by sweep; an interrupted study goes on where it ended.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch

from lrpilot.core.actions import Average, Progress, TrialLosses
from lrpilot.core.policy import Facts
from lrpilot.policies.autopilot.plan import MIX, POWER, Arm
from lrpilot.policies.peak_search.outcome import interval_of
from lrpilot.policies.peak_search.pick import TrialError, pick, trial_error
from lrpilot.policies.peak_search.prior import expected
from lrpilot.policies.peak_search.search import PeakSearch
from lrpilot.policies.peak_search.trials import Way
from lrpilot.policies.peak_search.walk import learned
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.oracle import SWEEP_SEED, sweep
from lrpilot_bench.analysis.recorded import Bench, load
from lrpilot_bench.methods.autopilot import ARMS, fly_at_lr
from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.protocol.split import split_tasks
from lrpilot_bench.session import DivergedError, Session
from lrpilot_bench.store.records import read_records
from lrpilot_bench.studies.find_lr_calibration import RUNS, SCHEDULE
from lrpilot_bench.studies.markdown import render
from lrpilot_bench.studies.peak_prior_page import peak_numbers
from lrpilot_bench.studies.peak_prior_record import Row, Searched, Side, read, short, write
from lrpilot_bench.studies.small_trainings import TRAININGS
from lrpilot_bench.tasks.registry import get_task, tasks
from lrpilot_bench.tasks.task import OptimizerFamily, Task

LENGTHS = (10, 22, 50)  # of Trials, in steps: those that the constants name, and a long one
SEEDS = (0, 1)
MOST_TRIALS = 12  # more than any walk needs that begins within three decades
START_LR = 1e-3  # an optimizer needs one; the search does not look at it
# Of a sweep, in factors of 2: first every second point so far to either side of the grid's middle, and no farther than
# FARTHEST. Tasks take minutes a sweep, and the middles of their grids are where the best lr is.
REACH: dict[str, int] = {"development": 2, "small": 4}
FARTHEST = 12


class Case(NamedTuple):
    """What makes a row."""

    task: Task
    family: OptimizerFamily
    arm: Arm
    side: Side


# ---------------------------------------------------------------------- sweeps


def swept(fly: Callable[[float], float], middle: float, reach: int) -> dict[float, float]:
    """Losses by lr, from a coarse grid around ``middle`` on until the best lr has both neighbours a factor 2 away.

    Args:
        fly: final loss of a training at an lr; inf where it failed.
        middle: lr of the grid, natural units.
        reach: factors of 2 to either side that are always covered, an even number.
    """
    losses = {at: fly(middle * 2.0**at) for at in range(-reach, reach + 1, 2)}
    for spacing in (2, 1):
        while wanted := _neighbours(losses, spacing):
            losses |= {at: fly(middle * 2.0**at) for at in wanted}
    return {middle * 2.0**at: loss for at, loss in sorted(losses.items())}


def _neighbours(losses: dict[int, float], spacing: int) -> list[int]:
    """Points beside the best one that were not flown."""
    best = min(losses, key=lambda at: (losses[at], at))
    return [at for at in (best - spacing, best + spacing) if at not in losses and abs(at) <= FARTHEST]


def flown(task: Task, family: OptimizerFamily, arm: Arm, lr: float) -> float:
    """Final validation loss of a whole training, by the rules of the benchmark; inf where it failed.

    Args:
        task: what is trained.
        family: its optimizer.
        arm: how it is flown.
        lr: peak, of the optimizer with its momentum.
    """
    session = Session(task, family, seed=SWEEP_SEED, steps=task.steps, lr=lr)
    try:
        if arm == "averaged":
            fly_at_lr(session, arm=arm)
        else:
            get_method(SCHEDULE).train(session)
    except DivergedError:
        return math.inf
    session.finish()
    first, last = session.curve.val_loss[0], session.curve.val_loss[-1]
    return last if first is not None and last is not None and last <= first else math.inf


def whole(bench: Bench, task: Task, family: OptimizerFamily, arm: Arm, side: Side) -> dict[float, float]:
    """Final losses by peak lr, natural units of the flight: on record, or flown."""
    if side == "development" and arm == "ordinary":
        known = sweep(bench, task.name, SCHEDULE, family=family.kind)
        return dict(zip(known.lrs, known.losses, strict=True))
    unit = 1.0 / (1.0 - family.momentum) if arm == "averaged" and family.kind == "sgd" else 1.0
    middle = family.oracle_lrs[len(family.oracle_lrs) // 2]
    losses = swept(lambda lr: flown(task, family, arm, lr), middle, REACH[side])
    return {lr * unit: loss for lr, loss in losses.items()}


# -------------------------------------------------------------------- searches


def way_of(facts: Facts, arm: Arm) -> Way:
    """How Trials are flown."""
    return Way(Average(MIX, POWER), 0.0 if facts.momentum else None) if arm == "averaged" else Way()


def searched(substrate: LiveSubstrate, steps: int, arm: Arm) -> PeakSearch:
    """The search from where the training stands, at its end."""
    facts = substrate.facts()
    way = way_of(facts, arm)
    prior = expected(facts, facts.momentum if way.momentum is None else way.momentum)
    error = trial_error(facts, steps, averaged=arm == "averaged")
    search = PeakSearch(way, prior, error, steps, float(MOST_TRIALS * steps))
    while (trial := search.next_trial()) is not None:
        seen = substrate.trial(trial)
        assert seen is not None  # the data of the tasks is sound
        losses, held_out, stop, readings = seen
        search = search.told(TrialLosses(Progress(0, None), losses, held_out, stop, readings, cost=float(len(losses))))
    return search


def noted(search: PeakSearch, seed: int) -> Searched:
    """What is kept of a search."""
    picked, best = search.pick, search.best
    if picked is None or best is None:
        return Searched(search.steps, seed, len(search.probed), False, None, None, None, None, None)
    from_scratch = search.way.rises
    unbiased = pick(search.probed, search.prior, TrialError(0.0, search.error.scatter), from_scratch=from_scratch)
    assert unbiased is not None  # as there is a pick
    lrs = (picked.trial_lr, picked.lr, unbiased.lr, *interval_of(search, picked))
    has_learned = learned(best, search.probed)
    return Searched(search.steps, seed, len(search.probed), has_learned, *(short(lr) for lr in lrs))


def found(task: Task, family: OptimizerFamily, arm: Arm, side: Side, losses: Mapping[float, float]) -> Row:
    """The searches beside a sweep, whose losses are by lr of the flight."""
    notes = []
    for seed in SEEDS:
        session = Session(task, family, seed=seed, steps=task.steps)
        substrate = LiveSubstrate(session.training(session.optimizer(START_LR)))
        searches = [searched(substrate, steps, arm) for steps in LENGTHS]
        substrate.forget_snapshot()
        notes += [noted(search, seed) for search in searches]
    facts = substrate.facts()
    return Row(
        task.name, side, family.kind, facts.optimizer, arm, facts.trains_batchnorm, facts.pretrained,
        short(searches[-1].prior.lr), tuple(short(lr) for lr in losses),
        tuple(short(loss) if math.isfinite(loss) else None for loss in losses.values()),
        tuple(sorted(notes, key=lambda one: (one.steps, one.seed))),
    )  # fmt: skip


def measure(bench: Bench, case: Case, known: Row | None, *, searches: bool) -> Row | None:
    """A sweep and the searches beside it; None where there is nothing to do.

    Args:
        bench: the benchmark's records.
        case: what to fly.
        known: its row on record.
        searches: whether only searches are flown, anew, beside the sweep on record.
    """
    if not searches:
        return found(*case, whole(bench, *case))
    return None if known is None else found(*case, dict(zip(known.lrs, known.finite, strict=True)))


# ------------------------------------------------------------------- trainings


def cases(bench: Bench, names: Sequence[str] | None) -> Iterator[Case]:
    """Every training in each way that Autopilot flies it, what is done soonest first.

    Of a task its first optimizer, whose sweep is on record. Weights that were trained before are never flown averaged.
    """
    small = {task.name: task for task in TRAININGS if names is None or task.name in names}
    own = [get_task(name) for name in development(bench, None if names is None else sorted(set(names) - set(small)))]
    yield from (Case(task, task.family(), "ordinary", "development") for task in own)
    for task in small.values():
        yield from (Case(task, family, arm, "small") for family in task.families for arm in reversed(ARMS))
    yield from (Case(task, task.family(), "averaged", "development") for task in own if not task.pretrained)


def development(bench: Bench, names: Sequence[str] | None) -> list[str]:
    """Development tasks with a whole sweep on record, among ``names`` where there are any."""
    own = [name for name, side in split_tasks(tasks().values()).items() if side == "development"]
    refused = sorted(set(names or ()) - set(own))
    if refused:
        raise SystemExit(
            "The search's numbers are chosen on development tasks and small trainings, "
            f"got {', '.join(refused)}: leave it away."
        )
    known = {name: sweep(bench, name, SCHEDULE) for name in (own if names is None else names)}
    return [name for name, one in known.items() if one.best is not None and not one.missing]


# --------------------------------------------------------------------- telling


def show(row: Row) -> str:
    """A line of the terminal: decades from the best lr of the sweep."""
    ends = ", ".join(
        f"{one.steps}: none" if one.trial is None else f"{one.steps}: {math.log10(one.trial / row.best):+.2f}"
        for one in row.searches
    )
    head = f"{row.training:22s} {row.family:6s} {row.arm:9s} best {row.best:.3g} of {len(row.lrs)}"
    return f"{head}, prior {math.log10(row.prior / row.best):+.2f}, trials {ends}"


def main() -> None:
    """Fly, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", help="development tasks and small trainings; flown anew")
    parser.add_argument("--searches", action="store_true", help="the searches of rows on record anew, no sweeps")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    parser.add_argument("--show", action="store_true", help="fly nothing")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = {row.key: row for row in read()}
    if not asked.show:
        bench = load(read_records(RUNS), registered(), current_run=run_of)
        for case in cases(bench, asked.tasks):
            known = rows.get((case.task.name, case.family.kind, case.arm))
            if known is not None and asked.tasks is None and not asked.searches:
                continue
            row = measure(bench, case, known, searches=asked.searches)
            if row is None:
                continue
            rows[row.key] = row
            print(show(row), flush=True)
            if not asked.dry_run:
                write(rows.values())
    print(render("peak", {"peak": peak_numbers(list(rows.values()))}))


if __name__ == "__main__":
    main()
