"""What a flight did and why: as text, as plain data, as a picture."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lrpilot.core.actions import Average, Rewind, Trained
from lrpilot.core.codec import encode
from lrpilot.core.cost import Cost
from lrpilot.core.history import Event, History
from lrpilot.core.policy import Policy, Reason
from lrpilot.core.searches import Search, TriedLR, searches_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 100  # of the text, in characters
MOST_LINES = 12  # of a part of the text; to_dict() has all


@dataclass(frozen=True, repr=False)
class FlightReport:
    """An account of a flight until now: ``print(report)``, :meth:`to_dict`, :meth:`plot`.

    Read off what was measured and what it cost, for any policy; ``account`` is what only the policy knows.

    Attributes:
        policy: what was flown.
        history: of the flight, until the report was made.
        cost: of everything beyond the kept steps.
        steps_left: until the end; None where that is open.
        account: plain data of the policy's own (:meth:`lrpilot.policy.Policy.account`).
    """

    policy: Policy
    history: History
    cost: Cost
    steps_left: int | None
    account: Mapping[str, Any]

    # -------------------------------------------------------------- reading

    @property
    def steps(self) -> int:
        """Kept steps taken."""
        return len(self.history.lrs)

    @property
    def cost_share(self) -> float:
        """Part of all forward-equivalents that went into measurements, in [0, 1]; a kept step is 3."""
        spent = self.cost.forward_equivalents
        return spent / (spent + 3.0 * self.steps) if spent else 0.0

    @cached_property
    def searches(self) -> tuple[Search, ...]:
        """What was tried, what it came to, and at which lr the flight went on."""
        return searches_of(self.history)

    @property
    def decisions(self) -> tuple[tuple[int, Reason], ...]:
        """What the policy decided and why, with the kept steps taken then."""
        decided = (event for event in self.history.events if event.phase == "end")
        return tuple((event.step, event.reason) for event in decided if event.reason is not None)

    @property
    def interventions(self) -> tuple[Event, ...]:
        """Rewinds, stopped Trains, alarms, what was left out, and what the owner of the flight has done to it."""
        return tuple(event for event in self.history.events if _intervenes(event))

    @property
    def averages(self) -> tuple[tuple[int, Average | None], ...]:
        """From which kept step on an average was flown, and from which none; empty where there never was one."""
        changes: list[tuple[int, Average | None]] = []
        for leg in self.history.legs:
            if leg.average != (changes[-1][1] if changes else None):
                changes.append((leg.first, leg.average))
        return tuple(changes)

    # -------------------------------------------------------------- telling

    def __str__(self) -> str:
        """All of it in words, the longest parts cut short."""
        return "\n".join(_text(self))

    def __repr__(self) -> str:
        """How much there is: the words are for :func:`print`."""
        return f"FlightReport({self.policy.name}, {self.steps} steps, {len(self.searches)} searches)"

    def to_dict(self) -> dict[str, Any]:
        """Plain data that every JSON parser reads: what is not finite becomes None."""
        lrs = self.history.lrs
        plain: dict[str, Any] = {
            "policy": self.policy.name,
            "settings": encode(self.policy),
            "steps": self.steps,
            "steps_left": self.steps_left,
            "lr": {"first": _at(lrs, 0), "peak": max(lrs, default=None), "last": _at(lrs, -1)},
            "loss": {"first": _at(self.history.losses, 0), "last": _at(self.history.losses, -1)},
            "lrs": lrs,
            "cost": asdict(self.cost)
            | {"forward_equivalents": self.cost.forward_equivalents, "share": self.cost_share},
            "searches": [_search_plain(search) for search in self.searches],
            "decisions": [{"step": step, **asdict(reason)} for step, reason in self.decisions],
            "interventions": [{"step": event.step, "what": event.message} for event in self.interventions],
            "averages": [{"step": step, "average": average and asdict(average)} for step, average in self.averages],
            "account": encode(self.account),
        }
        return {key: _finite(value) for key, value in plain.items()}

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """The lr over the steps, with every lr that was tried, every rewind, and where an average was flown.

        Args:
            ax: axes to draw on; new ones when None.

        Returns:
            The axes. Nothing is shown or saved.
        """
        from lrpilot.pictures.report import plot_report

        return plot_report(self.history, self.searches, self.averages, ax)


def _intervenes(event: Event) -> bool:
    if event.phase in ("skip", "cooldown", "replan"):
        return True
    if event.phase == "begin":
        return False
    stopped = isinstance(event.observation, Trained) and event.observation.stop is not None
    return event.alarms or stopped or isinstance(event.action, Rewind)


def _search_plain(search: Search) -> dict[str, Any]:
    best = search.best
    return asdict(search) | {"best_lr": None if best is None else best.lr}


def _at(values: Sequence[float], index: int) -> float | None:
    return values[index] if values else None


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------------- text


def _text(report: FlightReport) -> Iterator[str]:
    left = "open end" if report.steps_left is None else f"{report.steps_left} left"
    yield f"{report.policy.name}: {report.steps} steps, {left}"
    yield from _course(report)
    yield _bill(report)
    yield from _part("tried", [_search_line(search) for search in report.searches])
    yield from _part("decided", [f"step {step}: {reason}" for step, reason in report.decisions])
    yield from _part("looked after", [event.message for event in report.interventions])
    yield from _part("account", [f"{key}: {_said(value)}" for key, value in report.account.items()], most=None)


def _course(report: FlightReport) -> Iterator[str]:
    lrs, losses = report.history.lrs, report.history.losses
    if not lrs:
        return
    peak = max(lrs)
    yield f"lr    {lrs[0]:.3g}, highest {peak:.3g} (step {lrs.index(peak)}), last {lrs[-1]:.3g}"
    known = [loss for loss in losses if math.isfinite(loss)]
    if known:
        last = f"{losses[-1]:.4g}" if math.isfinite(losses[-1]) else f"no number (as {len(losses) - len(known)} are)"
        yield f"loss  {known[0]:.4g}, lowest {min(known):.4g}, last {last} (training loss of single steps)"
    for step, average in report.averages:
        how = "landed" if average is None else f"mix {average.mix:g}, power {average.power:g}"
        yield f"averaged from step {step} on: {how}" if average else f"average landed at step {step}"


def _bill(report: FlightReport) -> str:
    cost = report.cost
    if not cost.forward_equivalents:
        return "cost  nothing beyond the steps"
    kinds = {"trials": cost.trials, "evaluations": cost.evaluations, "lines": cost.lines}
    of = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return (
        f"cost  {cost.steps:.3g} training steps' worth in measurements, {report.cost_share:.1%} of all compute, "
        f"{cost.seconds:.3g} s ({of or 'statistics'})"
    )


def _search_line(search: Search) -> str:
    best, lengths = search.best, {one.steps for one in search.tried}
    what = f"trials of {' or '.join(map(str, sorted(lengths)))} steps" if max(lengths) else "lrs along the step"
    tried = ", ".join(_tried_text(one, best) for one in search.tried)
    went_on = "" if search.went_on_at is None else f"; went on at {search.went_on_at:.3g}"
    return f"step {search.step}, {what}: lr {tried}{went_on} (cost {search.cost:.3g} steps)"


def _tried_text(tried: TriedLR, best: TriedLR | None) -> str:
    came_to = (tried.stop or "no number").lower().replace("_", " ") if tried.loss is None else f"{tried.loss:.4g}"
    lr = f"{tried.lr:.3g}" if tried.lr else "no step"
    return f"{lr} -> {came_to}{' (lowest)' if tried is best else ''}"


def _part(title: str, lines: Sequence[str], *, most: int | None = MOST_LINES) -> Iterator[str]:
    """A title and its lines; of many the first and the last ones."""
    if not lines:
        return
    yield f"{title}:"
    shown = list(lines)
    if most is not None and len(lines) > most:
        half = most // 2
        shown = [*lines[:half], f"... {len(lines) - 2 * half} more (to_dict() has them) ...", *lines[-half:]]
    for line in shown:
        yield textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="      ", break_long_words=False)


def _said(value: Any) -> str:
    """A value of the policy's own account."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(one)}" for key, one in value.items())
    if not isinstance(value, (list, tuple)):
        return str(value)
    if any(isinstance(one, (Mapping, list, tuple)) for one in value):
        return "; ".join(map(_said, value))
    return (" to " if len(value) == 2 else ", ").join(map(_said, value)) or "none"
