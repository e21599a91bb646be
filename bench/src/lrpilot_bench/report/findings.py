"""Everything the report says numbers about, computed once from the records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lrpilot_bench.analysis.autopilot import Part, TimeRow, by_side, parts, time_rows
from lrpilot_bench.analysis.compare import (
    DefaultLoss,
    Duel,
    Headline,
    ToBeat,
    all_rows,
    compare,
    default_loss,
    headlines,
    peer_to_beat,
)
from lrpilot_bench.analysis.finders import FinderRow, OverTasks, finder_rows, over_tasks
from lrpilot_bench.analysis.oracle import Oracle, oracle
from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.analysis.rows import MethodRow
from lrpilot_bench.analysis.sanity import NotRun, Sanity, not_run, sanity
from lrpilot_bench.analysis.sensitivity import Sensitivity, sensitivity
from lrpilot_bench.analysis.sweeps import HorizonRow, Robustness, StartLrRow, horizon_rows, robustness, start_lr_rows

Group = Literal["oracle", "lrpilot", "peer", "schedule", "default", "rest"]
GROUPS: tuple[Group, ...] = ("lrpilot", "peer", "schedule", "default")
GROUP_WORDS: dict[Group, str] = {
    "oracle": "the oracle",
    "lrpilot": "lrpilot",
    "peer": "peers",
    "schedule": "hand-made schedules at their default lr",
    "default": "framework defaults",
    "rest": "every other method",
}

# lrpilot's one entry to the comparison with peers, named before its first run was recorded, so that it is not chosen
# from several by the runs that judge it. Until Autopilot was there it was a search of short trials and linear decay.
ENTRY = "autopilot"


def group_of(group: str) -> Group:
    """The group of a method as tables and figures know it."""
    return next((known for known in GROUPS if known == group), "rest")


@dataclass(frozen=True)
class Findings:
    """What the records say.

    Attributes:
        bench: the runs that count.
        tasks: names, in the order of the tables.
        rows: of every task's first family.
        heads: a line for each method over all tasks.
        ranking: what decides the order of ``heads``.
        oracles: by task.
        panel: whether the records can be believed.
        finders: picks by task.
        picks: the same over tasks, the closest first.
        start_lrs: start-lr sweeps by task.
        robust: the same over tasks, the least bad worst case first.
        horizons: horizon sweeps by task.
        to_beat: the best peer by task.
        defaults: what doing nothing loses, by task.
        duels: lrpilot's entry against the best peer, by task; tasks without either are left out.
        missing: what was planned and not run; None where no plan is known.
        sides: ``heads`` over development tasks, and over judging ones.
        parts: Autopilot, and what changes one thing of it.
        times: how soon Autopilot and its rivals come to the oracle's loss, and to the default's.
    """

    bench: Bench
    tasks: tuple[str, ...]
    rows: Mapping[str, tuple[MethodRow, ...]]
    heads: tuple[Headline, ...]
    ranking: Sensitivity
    oracles: Mapping[str, Oracle]
    panel: Sanity
    finders: Mapping[str, tuple[FinderRow, ...]]
    picks: tuple[OverTasks, ...]
    start_lrs: Mapping[str, tuple[StartLrRow, ...]]
    robust: tuple[Robustness, ...]
    horizons: Mapping[str, tuple[HorizonRow, ...]]
    to_beat: Mapping[str, ToBeat]
    defaults: Mapping[str, DefaultLoss]
    duels: Mapping[str, Duel]
    missing: tuple[NotRun, ...] | None
    sides: Mapping[str, tuple[Headline, ...]]
    parts: tuple[Part, ...]
    times: tuple[TimeRow, ...]

    @property
    def judged(self) -> tuple[str, ...]:
        """Tasks on which a method has a plain run: those that means over tasks are about."""
        return tuple(task for task in self.tasks if self.rows[task])

    @property
    def smoke(self) -> bool:
        """Whether all runs are of tasks that only show that the benchmark works."""
        return bool(self.tasks) and all(self.bench.catalogue.tasks[task].smoke for task in self.tasks)

    def group(self, method: str) -> Group:
        """The group of a method, "rest" of one that is not known."""
        facts = self.bench.catalogue.methods.get(method)
        return "rest" if facts is None else group_of(facts.group)

    def title(self, method: str) -> str:
        """How tables call a method."""
        facts = self.bench.catalogue.methods.get(method)
        return method if facts is None else facts.title

    @property
    def own(self) -> tuple[Headline, ...]:
        """Lrpilot's methods at equal compute that were run on every task, the best mean first."""
        return tuple(h for h in self.heads if h.group == "lrpilot" and h.everywhere)

    @property
    def picked(self) -> Headline | None:
        """The best of ``own``, where that is not the entry: picked from several by the runs that judge it."""
        best = self.own[0] if self.own else None
        return best if best is not None and best.finite_regret is not None and best.method != ENTRY else None

    @property
    def comparisons(self) -> int:
        """Intervals on the page that could make a win or a loss: of two seeds or more, without a failure."""
        regrets = [row.regret.ratio for rows in self.rows.values() for row in rows if not row.failures]
        budgets = [row for rows in self.horizons.values() for row in rows if not row.failures]
        regrets += [row.regret.ratio for row in budgets]
        regrets += [row.against for row in budgets if row.method != row.reference]
        regrets += [pair.ratio for pair in self.duels.values()]
        return sum(ratio is not None and ratio.count > 1 for ratio in regrets)

    def best_of(self, task: str) -> dict[Group, MethodRow]:
        """Of each group the method of the smallest mean regret on a task; of lrpilot its entry, where it finished.

        Groups without a finite regret are left out.
        """
        found: dict[Group, MethodRow] = {}
        for group in GROUPS:
            rows = [row for row in self.rows[task] if row.group == group and row.equal_compute]
            finite = [row for row in rows if math.isfinite(_regret(row))]
            if finite:
                found[group] = min(finite, key=lambda row: (row.method != ENTRY, _regret(row)))
        return found

    def best_heads(self) -> dict[Group, Headline]:
        """Of each group the method of the best geometric mean, among those run on every task if there are any.

        Of lrpilot its entry, where that was run on every task.
        """
        found: dict[Group, Headline] = {}
        for group in GROUPS:
            heads = [h for h in self.heads if h.group == group and h.equal_compute and h.regret is not None]
            for head in sorted(heads, key=lambda h: (len(h.missing), h.method != ENTRY, h.regret)):
                found.setdefault(group, head)
        return found


def _regret(row: MethodRow) -> float:
    return math.inf if row.regret.ratio is None else row.regret.ratio.mean


def find(bench: Bench, expected: Mapping[str, Mapping[str, Any]] | None = None) -> Findings:
    """Compute it all.

    Args:
        bench: the runs that count.
        expected: what was planned, settings of jobs by their run; None where that is not known.
    """
    rows = {task: tuple(found) for task, found in all_rows(bench).items() if found}
    tasks = tuple(bench.tasks())
    finders = {task: finder_rows(bench, task) for task in tasks}
    start_lrs = {task: start_lr_rows(bench, task) for task in tasks}
    judged: Sequence[str] = [task for task in tasks if task in rows]
    to_beat = {task: peer_to_beat(rows[task]) for task in judged}
    oracles = {task: oracle(bench, task) for task in tasks}
    return Findings(
        bench=bench,
        tasks=tasks,
        rows={task: rows.get(task, ()) for task in tasks},
        heads=headlines(rows) if rows else (),
        ranking=sensitivity(rows),
        oracles=oracles,
        panel=sanity(bench),
        finders=finders,
        picks=over_tasks(row for of_task in finders.values() for row in of_task),
        start_lrs=start_lrs,
        robust=robustness([row for of_task in start_lrs.values() for row in of_task]),
        horizons={task: horizon_rows(bench, task) for task in tasks},
        to_beat=to_beat,
        defaults={task: default_loss(bench, rows[task], task) for task in judged},
        duels={task: duel for task in judged if (duel := _duel(rows[task], to_beat[task])) is not None},
        missing=None if expected is None else not_run(expected, bench),
        sides=by_side(bench, rows),
        parts=parts(bench, oracles),
        times=time_rows(bench, oracles),
    )


def _duel(rows: Sequence[MethodRow], beat: ToBeat) -> Duel | None:
    ours = next((row for row in rows if row.method == ENTRY), None)
    peer = next((row for row in rows if row.method == beat.best), None)
    return None if ours is None or peer is None else compare(ours, peer)
