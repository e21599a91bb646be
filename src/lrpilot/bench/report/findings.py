"""Everything the report says numbers about, computed once from the records."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lrpilot.bench.analysis.compare import (
    DefaultLoss,
    Headline,
    Pair,
    ToBeat,
    all_rows,
    compare,
    default_loss,
    headlines,
    peer_to_beat,
)
from lrpilot.bench.analysis.finders import FinderRow, finder_rows
from lrpilot.bench.analysis.oracle import Oracle, oracle
from lrpilot.bench.analysis.rows import MethodRow
from lrpilot.bench.analysis.runs import Bench
from lrpilot.bench.analysis.sanity import NotRun, Sanity, not_run, sanity
from lrpilot.bench.analysis.sweeps import HorizonRow, StartLrRow, horizon_rows, start_lr_rows
from lrpilot.bench.report.document import Group

GROUPS: tuple[Group, ...] = ("lrpilot", "peer", "schedule", "default")
GROUP_WORDS: dict[Group, str] = {
    "oracle": "the oracle",
    "lrpilot": "lrpilot",
    "peer": "peers",
    "schedule": "hand-made schedules at their default lr",
    "default": "framework defaults",
    "rest": "every other method",
}


@dataclass(frozen=True)
class Findings:
    """What the records say.

    Attributes:
        bench: the runs that count.
        tasks: names, in the order of the tables.
        rows: of every task's first family.
        heads: a line for each method over all tasks.
        oracles: by task.
        panel: whether the records can be believed.
        finders: picks by task.
        start_lrs: start-lr sweeps by task.
        horizons: horizon sweeps by task.
        to_beat: the best peer by task.
        defaults: what doing nothing loses, by task.
        duels: lrpilot's best method against the best peer, by task; tasks without either are left out.
        missing: what was planned and not run; None where no plan is known.
    """

    bench: Bench
    tasks: tuple[str, ...]
    rows: Mapping[str, tuple[MethodRow, ...]]
    heads: tuple[Headline, ...]
    oracles: Mapping[str, Oracle]
    panel: Sanity
    finders: Mapping[str, tuple[FinderRow, ...]]
    start_lrs: Mapping[str, tuple[StartLrRow, ...]]
    horizons: Mapping[str, tuple[HorizonRow, ...]]
    to_beat: Mapping[str, ToBeat]
    defaults: Mapping[str, DefaultLoss]
    duels: Mapping[str, Pair]
    missing: tuple[NotRun, ...] | None

    @property
    def judged(self) -> tuple[str, ...]:
        """Tasks on which a method has a plain run: those that means over tasks are about."""
        return tuple(task for task in self.tasks if self.rows[task])

    def best_of(self, task: str) -> dict[Group, MethodRow]:
        """Of each group the method of the smallest mean regret on a task; groups without one are left out."""
        found: dict[Group, MethodRow] = {}
        for group in GROUPS:
            rows = [row for row in self.rows[task] if row.group == group and row.equal_compute]
            ranked = sorted((_regret(row), i) for i, row in enumerate(rows) if math.isfinite(_regret(row)))
            if ranked:
                found[group] = rows[ranked[0][1]]
        return found

    def best_heads(self) -> dict[Group, Headline]:
        """Of each group the method of the best geometric mean, among those run on every task if there are any."""
        found: dict[Group, Headline] = {}
        for group in GROUPS:
            heads = [h for h in self.heads if h.group == group and h.equal_compute and h.regret is not None]
            for head in sorted(heads, key=lambda h: (len(h.missing), h.regret)):
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
    judged: Sequence[str] = [task for task in tasks if task in rows]
    to_beat = {task: peer_to_beat(rows[task]) for task in judged}
    return Findings(
        bench=bench,
        tasks=tasks,
        rows={task: rows.get(task, ()) for task in tasks},
        heads=headlines(rows) if rows else (),
        oracles={task: oracle(bench, task) for task in tasks},
        panel=sanity(bench),
        finders={task: finder_rows(bench, task) for task in tasks},
        start_lrs={task: start_lr_rows(bench, task) for task in tasks},
        horizons={task: horizon_rows(bench, task) for task in tasks},
        to_beat=to_beat,
        defaults={task: default_loss(bench, rows[task], task) for task in judged},
        duels={task: duel for task in judged if (duel := _duel(rows[task], to_beat[task])) is not None},
        missing=None if expected is None else not_run(expected, bench),
    )


def _duel(rows: Sequence[MethodRow], beat: ToBeat) -> Pair | None:
    ours = [row for row in rows if row.group == "lrpilot" and row.equal_compute]
    peer = next((row for row in rows if row.method == beat.best), None)
    if not ours or peer is None:
        return None
    return compare(min(ours, key=_regret), peer)
