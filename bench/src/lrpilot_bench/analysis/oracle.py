"""The oracle of a task: the best that a full sweep of lrs and schedules found."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.store.schema import ORACLE_KINDS

SWEEP_SEED = 0
TARGET_FACTOR = 1.02


@dataclass(frozen=True)
class Sweep:
    """Final losses of one schedule over the grid of lrs, seed 0.

    Attributes:
        kind: the schedule.
        lrs: those recorded, natural units, ascending.
        losses: final validation losses; inf where the run failed.
        missing: lrs of the grid that have no record.
        inside: whether the best lr is strictly inside the grid; None where points are missing or all failed.
        reason: why ``inside`` is None, else "".
    """

    kind: str
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    missing: tuple[float, ...]
    inside: bool | None
    reason: str = ""

    @property
    def best(self) -> tuple[float, float] | None:
        """(lr, loss) of the best point, the lower lr of equals; None where no point finished."""
        loss, lr = min(zip(self.losses, self.lrs, strict=True), default=(math.inf, math.nan))
        return (lr, loss) if math.isfinite(loss) else None


@dataclass(frozen=True)
class Oracle:
    """The bar.

    Attributes:
        task: its name.
        family: kind of the optimizer.
        kind: the schedule that won; None where there is no oracle.
        lr: its peak lr, natural units.
        losses: final validation loss by seed, of the winner; inf where the run failed.
        mean_loss: over seeds.
        target: the target loss, which time to target counts to: median over seeds x 1.02.
        sweeps: by schedule, also where there is no oracle.
        complete: whether every point of every sweep has a record.
        reason: why there is no oracle, or in what it is provisional; else "".
    """

    task: str
    family: str
    kind: str | None
    lr: float | None
    losses: dict[int, float]
    mean_loss: float | None
    target: float | None
    sweeps: dict[str, Sweep]
    complete: bool
    reason: str = ""


def oracle(
    bench: Bench, task: str, *, family: str | None = None, horizon: float = 1.0, kinds: Sequence[str] = ORACLE_KINDS
) -> Oracle:
    """The best of schedules x lrs at seed 0, with its losses on every seed recorded.

    The sweep of seed 0 alone chooses, the other seeds only judge: what is chosen does not move with the
    number of seeds that a point happens to have. While the sweep is incomplete there is an oracle of what
    is there, marked as not ``complete``.

    Args:
        bench: all records.
        task: its name.
        family: kind of the optimizer; None for the task's first.
        horizon: of the budget.
        kinds: schedules that compete; the first of equals wins.
    """
    family = bench.catalogue.task(task).family(family).kind
    sweeps = {kind: sweep(bench, task, kind, family=family, horizon=horizon) for kind in kinds}
    missing = {kind: len(s.missing) for kind, s in sweeps.items() if s.missing}
    found = [(s.best[1], order, kind, s.best[0]) for order, (kind, s) in enumerate(sweeps.items()) if s.best]
    if not found:
        reason = "no sweep on record" if all(not s.lrs for s in sweeps.values()) else "no point of the sweep finished"
        return Oracle(task, family, None, None, {}, None, None, sweeps, not missing, reason)
    _, _, kind, lr = min(found)
    winner = bench.runs(task, kind, family=family, lr=lr, horizon=horizon)
    losses = {seed: run.loss for seed, run in winner.items()}
    return Oracle(
        task,
        family,
        kind,
        lr,
        losses,
        statistics.fmean(losses.values()),
        _target(losses),
        sweeps,
        not missing,
        f"provisional: {_in_words(missing)} have no record" if missing else "",
    )


def _target(losses: dict[int, float]) -> float | None:
    middle = statistics.median(losses.values())
    return middle * TARGET_FACTOR if math.isfinite(middle) else None


def _in_words(missing: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in missing.items()) + " runs of the sweep"


def sweep(bench: Bench, task: str, kind: str, *, family: str | None = None, horizon: float = 1.0) -> Sweep:
    """The runs of a schedule at the lrs of the family's grid, at seed 0.

    Args:
        bench: all records.
        task: its name.
        kind: name of the method that flies the schedule.
        family: kind of the optimizer; None for the task's first.
        horizon: of the budget.
    """
    facts = bench.catalogue.task(task).family(family)
    losses: dict[float, float] = {}
    for lr in facts.oracle_lrs:
        run = bench.runs(task, kind, family=facts.kind, lr=lr, horizon=horizon).get(SWEEP_SEED)
        if run is not None:
            losses[lr] = run.loss
    missing = tuple(lr for lr in facts.oracle_lrs if lr not in losses)
    inside, reason = _inside(losses, missing, facts.oracle_lrs)
    return Sweep(kind, tuple(losses), tuple(losses.values()), missing, inside, reason)


def _inside(losses: dict[float, float], missing: tuple[float, ...], grid: tuple[float, ...]) -> tuple[bool | None, str]:
    if missing:
        return None, f"{len(missing)} of {len(grid)} lrs have no record"
    best = min(losses.values())
    if math.isinf(best):
        return None, "no lr finished"
    # An end that only equals the best may hide a better one beyond it.
    return best < min(losses[grid[0]], losses[grid[-1]]), ""
