"""What happened in a flight: the lr and loss of every kept step, and every decision with its evidence."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from lrpilot.core.actions import (
    Action,
    Average,
    Continue,
    Evaluate,
    Line,
    Mark,
    Observation,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import decode, encode, record
from lrpilot.core.policy import Reason
from lrpilot.core.shape import Shape

Phase = Literal["begin", "end", "skip", "warning", "cooldown", "replan"]


# What the owner of a flight has done to it, in words.
_OF_THE_OWNER = {
    "cooldown": "straight to zero from here, as asked for",
    "replan": "resumed under another horizon, goes on with",
}


@dataclass(frozen=True)
class Event:
    """Something the pilot does, for logs and progress bars.

    Attributes:
        phase: "begin" before a measurement (it may take a while), "end" after it, with its observation; "skip" for
            one that the budget cannot pay for: it is left out, and the lr is held from there on; "warning" for what
            somebody should look at; "cooldown" where the owner has asked for one, which is its action; "replan" where
            a flight was resumed under another horizon, with what it goes on with.
        step: kept optimizer steps taken so far.
        action: what is being done.
        observation: what was seen; None at "begin".
        reason: what the policy decided on the observation, and why; of a warning, what is the matter.
    """

    phase: Phase
    step: int
    action: Action
    observation: Observation | None = None
    reason: Reason | None = None

    @property
    def alarms(self) -> bool:
        """Whether somebody should look at it."""
        return self.phase == "warning" or (self.reason is not None and self.reason.alarms)

    @property
    def message(self) -> str:
        """One line for a log."""
        if self.phase == "skip":
            return f"step {self.step}: {describe(self.action)} is beyond the budget: the lr is held to the end"
        why = "" if self.reason is None else str(self.reason)
        if self.phase == "warning":
            return f"step {self.step}: {why}"
        if self.phase in _OF_THE_OWNER:
            return f"step {self.step}: {_OF_THE_OWNER[self.phase]}: {describe(self.action)}"
        seen = f" -> {_describe_observation(self.observation)}" if self.observation is not None else ""
        return f"step {self.step}: {describe(self.action)}{seen}" + (f"; {why}" if why else "")


OnEvent = Callable[[Event], None]


def describe(action: Action) -> str:
    """One line that names an action and its learning rate."""
    match action:
        case Train(_, steps):
            return f"train {steps} steps, {_describe_lrs(action)}"
        case Trial(_, steps):
            return f"trial of {steps} steps, {_describe_lrs(action)}"
        case Line(factors, batches):
            return f"line of {len(factors)} factors on {batches} batches"
        case Evaluate():
            return "evaluate held-out loss"
        case Mark(key) | Rewind(key) | Continue(key):
            return f"{type(action).__name__.lower()} {key!r}"
        case _:
            return type(action).__name__.lower()


def _describe_lrs(action: Train | Trial) -> str:
    lrs = f"lr {action.shape(0):.3g} to {action.shape(action.steps - 1):.3g}"
    average = action.average
    if average is None:
        return lrs
    power = f", power {average.power:g}" if average.power else ""
    return f"{lrs}, averaged (mix {average.mix:g}{power})"


def _describe_observation(observation: Observation) -> str:
    if isinstance(observation, (TrialLosses, Trained)) and observation.stop is not None:
        return observation.stop.value
    if isinstance(observation, (TrialLosses, Trained)):
        loss = observation.held_out
        if loss is None:
            readings = observation.readings if isinstance(observation, TrialLosses) else ()
            loss = (readings or observation.losses or (math.nan,))[-1]
        return f"loss {loss:.5g}"
    loss = getattr(observation, "loss", None)
    return "done" if loss is None else f"loss {loss:.5g}"


@record
class Leg:
    """Kept steps that follow one shape.

    Attributes:
        first: kept steps taken before its first one.
        shape: reference lr at its step 0, 1, ..., natural units.
        momentum: momentum or beta1 likewise; None where it was left alone.
        average: how these steps were averaged; None where they were not.
    """

    first: int
    shape: Shape
    momentum: Shape | None = None
    average: Average | None = None

    def goes_on_as(self, other: "Leg") -> bool:
        """Whether the steps of another, right after it, are more of the same: nothing moves in either."""
        if not (self.shape.is_constant and (self.momentum is None or self.momentum.is_constant)):
            return False
        return (self.shape, self.momentum, self.average) == (other.shape, other.momentum, other.average)


@dataclass(repr=False)
class History:
    """The record of a flight.

    Attributes:
        lrs: reference lr of each kept step, natural units.
        losses: training loss of each kept step; NaN where the loop gave none.
        events: the measurements and finished Trains, what was left out and what was warned of, oldest first.
        legs: the shapes that the kept steps followed, oldest first; each lasts until the next one's ``first``.
    """

    lrs: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    legs: list[Leg] = field(default_factory=list)

    def __repr__(self) -> str:
        """How much there is, and where it ends: thousands of numbers are for :attr:`lrs` and :attr:`losses`."""
        last = f", last lr {self.lrs[-1]:.3g}, last loss {self.losses[-1]:.4g}" if self.lrs else ""
        return f"History({len(self.lrs)} steps, {len(self.events)} events{last})"

    def copy(self) -> "History":
        """As it is now: what is added to this one later is not in it."""
        return History(list(self.lrs), list(self.losses), list(self.events), list(self.legs))

    def follow(self, leg: Leg) -> None:
        """The kept steps from ``leg.first`` on follow this leg: whatever was said of them before is forgotten."""
        while self.legs and self.legs[-1].first >= leg.first:
            self.legs.pop()
        if not self.legs or not self.legs[-1].goes_on_as(leg):
            self.legs.append(leg)

    def to_plain(self) -> dict[str, Any]:
        """Plain data for a checkpoint or JSON."""
        events = [[e.step, encode(e.action), encode(e.observation), e.phase, encode(e.reason)] for e in self.events]
        legs = [encode(leg) for leg in self.legs]
        return {"lrs": list(self.lrs), "losses": list(self.losses), "events": events, "legs": legs}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "History":
        """Inverse of :meth:`to_plain`."""
        events, legs = [_event(*event) for event in plain["events"]], [decode(leg) for leg in plain.get("legs", ())]
        return cls(list(plain["lrs"]), list(plain["losses"]), events, legs)


def _event(step: int, action: Any, seen: Any, phase: Phase = "end", reason: Any = None) -> Event:
    """An event from its plain data; checkpoints of earlier versions have neither phase nor reason."""
    return Event(phase, step, decode(action), decode(seen), decode(reason))
