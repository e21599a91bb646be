"""What a flight has tried, read off its history: lrs, what they came to, and at which lr it went on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from lrpilot.core.actions import Line, LineLosses, Trial, TrialLosses
from lrpilot.core.history import Event, History
from lrpilot.core.policy import Reason

# Part of a Trial's training losses that speaks for it where no held-out loss was read.
LAST_PART = 4


@dataclass(frozen=True)
class TriedLR:
    """One lr, and what it came to.

    Attributes:
        lr: natural units: the highest of a Trial; of a Line, its factor times the lr of the step it was read along.
        loss: of a Trial the held-out loss, else its last reading, else the mean training loss of its last quarter; of
            a Line the mean over its batches; None where it was stopped, or is no finite number.
        steps: of the Trial; 0 for a Line.
        stop: why the Trial ended early ("NON_FINITE", ...); None where it did not.
    """

    lr: float
    loss: float | None
    steps: int = 0
    stop: str | None = None


@dataclass(frozen=True)
class Search:
    """What was measured between two kept steps to choose an lr.

    Attributes:
        step: kept steps taken then.
        tried: in the order of the lrs.
        cost: in training steps (forward-equivalents ÷ 3).
        went_on_at: highest lr flown from there until the next search, natural units; None where no step followed.
        reason: what the policy said of it last; None where it said nothing.
    """

    step: int
    tried: tuple[TriedLR, ...]
    cost: float
    went_on_at: float | None = None
    reason: Reason | None = None

    @property
    def best(self) -> TriedLR | None:
        """The lowest loss; None where there is none."""
        return min((one for one in self.tried if one.loss is not None), key=_loss, default=None)


def searches_of(history: History) -> tuple[Search, ...]:
    """Every search, oldest first: the Trials at one step, or the Lines along it that compare more than one lr."""
    searches = [_search(history, step, events) for step, events in _by_step(history.events).items()]
    searches = [search for search in searches if search.tried]
    ends = [*(search.step for search in searches[1:]), len(history.lrs)]
    return tuple(
        replace(search, went_on_at=max(history.lrs[search.step : end], default=None))
        for search, end in zip(searches, ends, strict=False)  # one end too many where there is no search
    )


def _by_step(events: Sequence[Event]) -> dict[int, list[Event]]:
    """The Trials and Lines that were read after so many kept steps."""
    groups: dict[int, list[Event]] = {}
    for event in events:
        if isinstance(event.observation, (TrialLosses, LineLosses)):
            groups.setdefault(event.step, []).append(event)
    return groups


def _search(history: History, step: int, events: Sequence[Event]) -> Search:
    """What was tried there; where a Line had to do with a level of the loss alone, nothing."""
    trials = _trials(events)
    if trials:
        tried = [_of_trial(event.action, event.observation) for event in trials]
    else:
        tried = _of_lines(events, lr=history.lrs[step - 1])
        tried = tried if len(tried) > 1 else []
    reasons = [event.reason for event in events if event.reason is not None]
    in_order = sorted(tried, key=lambda one: one.lr)
    return Search(step, tuple(in_order), math.fsum(map(_cost, events)), reason=reasons[-1] if reasons else None)


def _trials(events: Sequence[Event]) -> list[Event]:
    return [event for event in events if isinstance(event.action, Trial)]


def _of_trial(action: object, seen: object) -> TriedLR:
    assert isinstance(action, Trial) and isinstance(seen, TrialLosses)
    peak = max(action.shape.first(action.steps))
    if seen.stop is not None:
        return TriedLR(peak, None, len(seen.losses), seen.stop.name)
    loss = seen.held_out
    if loss is None and seen.readings:
        loss = seen.readings[-1]
    if loss is None:
        loss = fmean(seen.losses[-max(1, len(seen.losses) // LAST_PART) :])
    return TriedLR(peak, _finite(loss), len(seen.losses))


def _of_lines(events: Sequence[Event], *, lr: float) -> list[TriedLR]:
    """The lrs of Lines along one step at ``lr``, compared on the batches that were read at most of them."""
    rows: dict[int, dict[float, float]] = {}
    for event in events:
        action, seen = event.action, event.observation
        assert isinstance(action, Line) and isinstance(seen, LineLosses)
        for index, losses in enumerate(seen.losses, action.first):
            rows.setdefault(index, {}).update(zip(seen.factors, losses, strict=True))
    if not rows:
        return []
    most = max(map(len, rows.values()))
    full = [row for row in rows.values() if len(row) == most]
    shared = [factor for factor in full[0] if all(factor in row for row in full)]
    return [TriedLR(factor * lr, _finite(fmean(row[factor] for row in full))) for factor in shared]


def _cost(event: Event) -> float:
    if isinstance(event.observation, LineLosses):
        return len(event.observation.factors) * len(event.observation.losses) / 3.0
    return event.observation.cost if isinstance(event.observation, TrialLosses) else 0.0


def _finite(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _loss(tried: TriedLR) -> float:
    return math.inf if tried.loss is None else tried.loss
