"""Suggested learning rates against the full grid: curves and regrets, from records alone.

The *regret* of a learning rate is the grid's validation loss at it ÷ the grid's smallest validation loss,
for one schedule; 1 is the best.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lrpilot_bench.store.records import Record

SCHEDULES = ("constant", "linear")

K = TypeVar("K")


# ------------------------------------------------------------------ the grid


@dataclass(frozen=True)
class Curve:
    """One schedule's final results against the lr, averaged over seeds.

    Attributes:
        lrs: n learning rates, ascending.
        losses: mean final validation loss at each; inf where a seed's is not finite.
        accuracies: mean final accuracy at each; 0 where a seed's loss is not finite.
        spread: standard deviation over seeds of the loss at the best lr (0 with one seed).
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    accuracies: tuple[float, ...]
    spread: float

    @property
    def best(self) -> int:
        """Index of the smallest mean loss."""
        return self.losses.index(min(self.losses))

    def regret(self, lr: float) -> float:
        """Loss at ``lr`` (on straight lines over log lr) ÷ the smallest loss.

        Outside the grid the loss of its nearest end counts: a lower bound where losses rise outwards.
        """
        return self._at(lr, self.losses) / min(self.losses)

    def accuracy(self, lr: float) -> float:
        """Accuracy at ``lr``, likewise."""
        return self._at(lr, self.accuracies)

    @property
    def most_accurate(self) -> int:
        """Index of the highest mean accuracy."""
        return self.accuracies.index(max(self.accuracies))

    @property
    def half_step(self) -> float:
        """Factor of half a grid step around the best lr."""
        right = min(self.best + 1, len(self.lrs) - 1)
        return math.sqrt(self.lrs[right] / self.lrs[right - 1])

    def covers(self, lr: float) -> bool:
        """Whether ``lr`` lies on the grid's range."""
        return self.lrs[0] <= lr <= self.lrs[-1]

    def _at(self, lr: float, values: Sequence[float]) -> float:
        right = bisect_left(self.lrs, lr)
        if right == len(self.lrs) or right == 0 or self.lrs[right] == lr:
            return values[min(right, len(values) - 1)]
        low, high = values[right - 1], values[right]
        if not (math.isfinite(low) and math.isfinite(high)):
            return math.inf
        share = math.log(lr / self.lrs[right - 1]) / math.log(self.lrs[right] / self.lrs[right - 1])
        return low + share * (high - low)


def curve(records: Iterable[Record]) -> Curve:
    """The curve of one configuration and schedule."""
    by_lr: dict[float, list[Record]] = {}
    for record in records:
        by_lr.setdefault(record["lr"], []).append(record)
    lrs = tuple(sorted(by_lr))
    losses = tuple(statistics.fmean(_loss(r) for r in by_lr[lr]) for lr in lrs)
    accuracies = tuple(statistics.fmean(r["val_accuracy"] or 0.0 for r in by_lr[lr]) for lr in lrs)
    best = [_loss(r) for r in by_lr[lrs[losses.index(min(losses))]]]
    return Curve(lrs, losses, accuracies, statistics.stdev(best) if len(best) > 1 else 0.0)


def _loss(record: Record) -> float:
    loss = record["val_loss"]
    return math.inf if loss is None else float(loss)


# ------------------------------------------------------------------ the suggestions


@dataclass(frozen=True)
class Suggestion:
    """One rule's suggestions on one configuration.

    Attributes:
        rule: its name.
        meant_for: the schedules it is meant for.
        lrs: one per seed; None where it gave none.
        cost: training steps, mean over seeds.
    """

    rule: str
    meant_for: tuple[str, ...]
    lrs: tuple[float | None, ...]
    cost: float

    @property
    def given(self) -> list[float]:
        """The suggestions that exist, ascending."""
        return sorted(lr for lr in self.lrs if lr is not None)

    @property
    def median(self) -> float | None:
        """Median over seeds in log lr; None unless every seed has a suggestion."""
        if len(self.given) < len(self.lrs):
            return None
        return 10 ** statistics.median(math.log10(lr) for lr in self.given)

    def regret(self, on: Curve) -> float:
        """Regret of the median; inf where a seed has no suggestion."""
        return math.inf if self.median is None else on.regret(self.median)

    def worst(self, on: Curve) -> float:
        """Largest regret over seeds; inf where a seed has no suggestion."""
        return math.inf if self.median is None else max(on.regret(lr) for lr in self.given)


def suggestions(finders: Sequence[Record], peers: Sequence[Record]) -> list[Suggestion]:
    """Every rule's suggestions on one configuration, lrpilot's first."""
    found: list[Suggestion] = []
    for (target, method), records in _grouped(finders, lambda r: (r["target"], r["method"])).items():
        schedule = "linear" if target == "decay" else "constant"
        cost = statistics.fmean(r["cost_in_steps"] for r in records)
        for name in records[0]["suggestions"]:
            lrs = tuple(r["suggestions"].get(name) for r in records)
            found.append(Suggestion(_rule_name(target, method, name), (schedule,), lrs, cost))
    for peer, records in _grouped(peers, lambda r: r["peer"]).items():
        cost = statistics.fmean(r["cost_in_steps"] for r in records)
        found.append(Suggestion(peer, SCHEDULES, tuple(r["lr"] for r in records), cost))
    return found


def _rule_name(target: str, method: str, name: str) -> str:
    source = f"lrpilot {target}" if method == "step_sampling" else f"lrpilot {method.replace('_', ' ')}"
    return f"{source}: {name}"


def _grouped(records: Iterable[Record], key: Callable[[Record], K]) -> dict[K, list[Record]]:
    groups: dict[K, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups
