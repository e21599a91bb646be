"""The finder table: every pick of an lr, judged by the sweep of the schedule it is meant for."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from lrpilot_bench.analysis.catalogue import FinderFacts
from lrpilot_bench.analysis.oracle import SWEEP_SEED, Sweep, sweep
from lrpilot_bench.analysis.recorded import Bench, Run
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.stats.measures import Measured, interpolated_loss


@dataclass(frozen=True)
class FinderRow:
    """One suggestion of one finder on one task, over its seeds.

    Attributes:
        method: that picked.
        title: how tables call it.
        suggestion: which of its suggestions ("" where the table shows but one).
        schedule: the kind that the pick is meant for.
        own: whether the finder is lrpilot's.
        lrs: picked, natural units, by seed; None where it picked none.
        reasons: why it picked none, by seed.
        lr: geometric mean of the picks; None where there is none.
        spread: largest pick ÷ smallest; None below two picks.
        best_lr: of the schedule's sweep; None where there is no sweep.
        regrets: by seed: the schedule's loss at the pick (run there, or interpolated in the sweep) ÷ the best
            of the sweep.
        regret: median over seeds, one that picked none or failed counting as inf; None where the sweep
            does not say.
        worst: the largest over seeds, likewise.
        compute: median cost of the pick ÷ a plain run's total compute.
    """

    task: str
    family: str
    method: str
    title: str
    suggestion: str
    schedule: str
    own: bool
    lrs: dict[int, float | None]
    reasons: dict[int, str]
    lr: float | None
    spread: float | None
    best_lr: float | None
    regrets: dict[int, Measured]
    regret: Measured
    worst: Measured
    compute: Measured

    @property
    def name(self) -> str:
        """The finder, and which of its suggestions."""
        title = self.title.removesuffix(" (pick only)")
        return f"{title}: {self.suggestion.replace('_', ' ')}" if self.suggestion else title

    @property
    def ratio(self) -> float | None:
        """``lr`` ÷ ``best_lr``; None where either is not known."""
        return None if self.lr is None or self.best_lr is None else self.lr / self.best_lr


@dataclass(frozen=True)
class OverTasks:
    """A suggestion of a finder over all tasks.

    Attributes:
        name: of the finder and the suggestion.
        schedule: the kind that the pick is meant for.
        own: whether the finder is lrpilot's.
        ratios: pick ÷ the best lr of the schedule, of each task where both are known.
        unpicked: seeds without a pick.
        seeds: all of them.
        costs: of the search ÷ a plain run's total compute, by task.
    """

    name: str
    schedule: str
    own: bool
    ratios: tuple[float, ...]
    unpicked: int
    seeds: int
    costs: tuple[float, ...]

    @property
    def distance(self) -> float:
        """How many times off a pick is, in either direction: the median over tasks; inf where there is none."""
        return statistics.median(max(ratio, 1 / ratio) for ratio in self.ratios) if self.ratios else math.inf


def over_tasks(rows: Iterable[FinderRow]) -> tuple[OverTasks, ...]:
    """Every suggestion of every finder, the closest first.

    Args:
        rows: of all tasks, as :func:`finder_rows` makes them.
    """
    by_name: dict[str, list[FinderRow]] = {}
    for row in rows:
        by_name.setdefault(row.name, []).append(row)
    found = [
        OverTasks(
            name,
            picks[0].schedule,
            picks[0].own,
            tuple(pick.ratio for pick in picks if pick.ratio is not None),
            sum(len(pick.reasons) for pick in picks),
            sum(len(pick.lrs) for pick in picks),
            tuple(pick.compute.value for pick in picks if pick.compute.value is not None),
        )
        for name, picks in by_name.items()
    ]
    return tuple(sorted(found, key=lambda finder: (finder.distance, finder.name)))


def finder_rows(bench: Bench, task: str, *, family: str | None = None) -> tuple[FinderRow, ...]:
    """A row for every finder that has picks on record for a task, and for each of its suggestions.

    Args:
        bench: all records.
        task: its name.
        family: kind of the optimizer; None for the task's first.
    """
    kind = bench.catalogue.task(task).family(family).kind
    rows = []
    for name, facts in bench.catalogue.methods.items():
        runs = bench.runs(task, name, family=kind)
        finder = _finder(runs, facts.finder) if not facts.trains else None
        if finder is not None:
            swept = sweep(bench, task, finder.schedule, family=kind)
            rows += [_row(bench, runs, finder, suggestion, swept) for suggestion in finder.suggestions]
    return tuple(rows)


def _finder(runs: dict[int, Run], known: FinderFacts | None) -> FinderFacts | None:
    """What a finder's runs say it is for; where they all crashed, what is known of it."""
    for run in runs.values():
        if "schedule" in run.notes and run.notes.get("rows"):
            return FinderFacts(run.notes["schedule"], tuple(run.notes["rows"]), known is not None and known.own)
    return known if runs else None


def _row(bench: Bench, runs: dict[int, Run], finder: FinderFacts, suggestion: str, swept: Sweep) -> FinderRow:
    first = next(iter(runs.values()))
    own = suggestion == finder.suggestions[0]
    lrs = {seed: _picked(run, None if own else suggestion) for seed, run in runs.items()}
    picks = [lr for lr in lrs.values() if lr is not None]
    regrets = {seed: _regret(bench, first, swept, lr) for seed, lr in lrs.items()}
    return FinderRow(
        task=first.task,
        family=first.family,
        method=first.method,
        title=bench.catalogue.methods[first.method].title,
        suggestion=suggestion if len(finder.suggestions) > 1 else "",
        schedule=finder.schedule,
        own=finder.own,
        lrs=lrs,
        reasons={seed: _reason(runs[seed]) for seed, lr in lrs.items() if lr is None},
        lr=geometric_mean(picks) if picks else None,
        spread=max(picks) / min(picks) if len(picks) > 1 else None,
        best_lr=swept.best[0] if swept.best else None,
        regrets=regrets,
        regret=_over_seeds(regrets, at_worst=False),
        worst=_over_seeds(regrets, at_worst=True),
        compute=_cost(runs),
    )


def _picked(run: Run, suggestion: str | None) -> float | None:
    """The finder's own pick, or another of its suggestions; None also where it is no lr to train with."""
    lr = run.notes.get("picked_lr") if suggestion is None else (run.notes.get("suggestions") or {}).get(suggestion)
    return lr if lr is not None and math.isfinite(lr) and lr > 0.0 else None


def _reason(run: Run) -> str:
    return str(run.error or run.notes.get("reason") or "no lr suggested")


def _regret(bench: Bench, picked: Run, swept: Sweep, lr: float | None) -> Measured:
    """The schedule's loss at the pick ÷ the best of its sweep: as run at that very lr, else interpolated."""
    if lr is None:
        return Measured(math.inf)
    if swept.best is None:
        return Measured(None, f"no sweep of {swept.kind} {'that finished' if swept.lrs else 'on record yet'}")
    if swept.missing:
        return Measured(None, f"the sweep of {swept.kind} is incomplete")
    flown = bench.runs(picked.task, swept.kind, family=picked.family, lr=lr).get(SWEEP_SEED)
    if flown is not None:
        return Measured(flown.loss / swept.best[1])
    if not swept.lrs[0] <= lr <= swept.lrs[-1]:
        return Measured(None, f"beyond the grid; its edge: {_edge(swept, swept.best[1], lr)}")
    loss = interpolated_loss(swept.lrs, swept.losses, lr)
    return loss if loss.value is None else Measured(loss.value / swept.best[1])


def _edge(swept: Sweep, best: float, lr: float) -> str:
    """What the sweep has at the end of its grid nearest to a pick: not a number for the pick."""
    loss = swept.losses[0] if lr < swept.lrs[0] else swept.losses[-1]
    return f"regret {loss / best:.2f}" if math.isfinite(loss) else "failed"


def _over_seeds(regrets: dict[int, Measured], *, at_worst: bool) -> Measured:
    unknown = [regret.reason for regret in regrets.values() if regret.value is None]
    if unknown:
        return Measured(None, unknown[0])
    values = [regret.value for regret in regrets.values() if regret.value is not None]
    return Measured(max(values) if at_worst else statistics.median(values))


def _cost(runs: dict[int, Run]) -> Measured:
    """As the finder states it, ÷ a plain run's; what is declared beside it is checked elsewhere."""
    costs = [run.notes["search_cost"] / (3.0 * run.steps) for run in runs.values() if "search_cost" in run.notes]
    return Measured(statistics.median(costs)) if costs else Measured(None, "no cost on record")
