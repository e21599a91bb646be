"""Hand-made schedules, as a policy that never measures."""

import math
from bisect import bisect_right
from dataclasses import KW_ONLY, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from lrpilot.core.actions import Done, Observation, Progress, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy
from lrpilot.core.settings import Rule, is_part, is_positive, is_share, is_warmup, is_whole, or_none, require_each
from lrpilot.core.shape import Shape
from lrpilot.errors import PolicyError, SettingError, StateError, unknown_name
from lrpilot.policies.schedules.segments import held_before, join, span_of, warmed_up
from lrpilot.policies.schedules.shapes import SCHEDULES, ScheduleKind, constant

# Steps of one Train where the end is open.
BLOCK = 1000
# The kind whose lrs are given step by step instead of by name: no name alone makes one, so the table has none.
KNOTS = "knots"
_KINDS = {**SCHEDULES, KNOTS: ScheduleKind(constant, {"pieces": ()})}


@record
class ScheduleState:
    """Where a schedule stands.

    Attributes:
        lr: peak, natural units; of knots: what their lrs are multiplied by.
        steps: kept steps in all, warmup included; None for an open horizon.
        taken: kept steps taken.
    """

    lr: float
    steps: int | None
    taken: int = 0


@record
class Schedule(Policy):
    """A learning-rate schedule over the steps of the training.

    Steps count optimizer steps. A decay to zero reaches zero one step after the last, so that every
    step moves. Fractions of the training, like every count of steps, begin where the warmup ends.

    | kind | lr ÷ peak at step t of T after the warmup | options and defaults |
    |---|---|---|
    | constant | 1 | |
    | step | gamma ** drops | step_size, or milestones=(0.5, 0.75); gamma=0.1 |
    | exponential | gamma ** t | gamma, or min_factor=0.01 |
    | time | 1 / (1 + decay·t) | decay, or min_factor=0.1 |
    | linear, cosine | from 1 to min_factor | min_factor=0 |
    | inverse_sqrt | sqrt(w / (w + t)) after a warmup of w steps, 1 / sqrt(1 + t) without | |
    | clr | triangles between min_factor and 1 | step_size (half a cycle), or num_cycles=4; min_factor=0.25 |
    | sgdr | cosines from 1 to min_factor with restarts | t_0, or num_cycles=3; t_mult=2, min_factor=0 |
    | one_cycle | 0.1 to 1 (45 %), to 0.1 (45 %), 0.01 (10 %); momentum 0.95 to 0.85 to 0.95 | |
    | trapezoid | 0.1 to 1 (10 %), 1 (80 %), to min_factor (10 %) | min_factor=0.1 |
    | wsd | 1, then straight to min_factor over the last decay_fraction | decay_fraction=0.2, min_factor=0 |
    | knots | whatever its ``pieces`` say, one after the other, then held: what ``Pilot.as_schedule()`` makes | pieces |

    Attributes:
        kind: name of the schedule.
        lr: peak lr, natural units, > 0; None for the lr the optimizer was built with (of knots: for their own lrs).
        warmup: linear warmup to where the schedule begins, which any kind can have: w steps (an int), or
            a fraction of all steps (a float in [0, 1)). Step t < w runs at (t + 1) / (w + 1) of it.
        step_size: step: steps between drops; clr: steps from one end of the triangle to the other.
        milestones: step: where the drops are, increasing; ints are steps, floats in (0, 1) fractions.
        gamma: step: factor of each drop; exponential: factor of each step; in (0, 1].
        decay: time: > 0, per step.
        num_cycles: clr, sgdr: whole cycles that fill the training.
        t_0: sgdr: steps of the first cycle.
        t_mult: sgdr: each cycle is this many times as long as the last.
        decay_fraction: wsd: part of the training that decays, in (0, 1].
        min_factor: lowest lr ÷ peak, in [0, 1]; > 0 for exponential, time and clr.
        pieces: knots: lrs, momentum and average of so many steps each, whatever the horizon; no warmup comes before.

    Raises:
        SettingError: an option is out of range or belongs to another kind; from ``init``, when the kind
            needs to know its last step and the horizon is open, or when the warmup leaves no step.
    """

    kind: str
    _: KW_ONLY
    lr: float | None = None
    warmup: float | int = 0
    step_size: int | None = None
    milestones: tuple[float, ...] | None = None
    gamma: float | None = None
    decay: float | None = None
    num_cycles: int | None = None
    t_0: int | None = None
    t_mult: int | None = None
    decay_fraction: float | None = None
    min_factor: float | None = None
    pieces: tuple[Train, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise unknown_name("A schedule kind", self.kind, SCHEDULES)
        for name in ("milestones", "pieces"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_ownership()
        require_each(self, _RULES)
        if self.kind == KNOTS and (self.pieces is None or self.warmup):
            raise SettingError(
                f"A 'knots' schedule needs pieces and has no warmup, got pieces={self.pieces} and "
                f"warmup={self.warmup}. pilot.as_schedule() makes one."
            )
        if _KINDS[self.kind].positive_min and self.min_factor == 0:
            raise SettingError(f"min_factor of a {self.kind!r} schedule must be > 0, got 0. Use for example 0.01.")

    def _check_ownership(self) -> None:
        made = _KINDS[self.kind]
        for name in _OPTIONS:
            if getattr(self, name) is not None and name not in made.options:
                takes = ", ".join(made.options) or "no options"
                raise SettingError(f"A {self.kind!r} schedule takes {takes}, got {name}. Leave {name} out.")
        if made.either and all(getattr(self, name) is not None for name in made.either):
            one, other = made.either
            raise SettingError(f"A {self.kind!r} schedule takes {one} or {other}, got both. Leave one out.")

    @property
    def name(self) -> str:
        """The call that makes it, lr and options left out."""
        return f"Schedule({self.kind!r})"

    def init(self, context: Context) -> ScheduleState:
        """Start at the beginning, and check that the horizon fits."""
        lr = context.lr if self.lr is None else self.lr
        if self.pieces is not None:
            lr = 1.0 if self.lr is None else self.lr / max(max(t.shape.first(t.steps)) for t in self.pieces)
        state = ScheduleState(lr, context.progress.remaining)
        self.ask(state)  # raises what the horizon does not allow
        return state

    def ask(self, state: ScheduleState) -> Train | Done:
        """One Train to the end; blocks where the end is open, the rest after a loss that was not finite."""
        if state.steps is not None and state.taken >= state.steps:
            return Done()
        if self.pieces is not None:
            return self._next_of(self.pieces, state)
        stop = state.taken + BLOCK if state.steps is None else state.steps
        span, made, momentum = span_of(state.steps, self.warmup), SCHEDULES[self.kind], None
        if made.momentum is not None:
            momentum = join(held_before(made.momentum(span), span.warmup), state.taken, stop)
        lrs = self._lrs(state.steps, state.taken, stop).scaled(state.lr)
        return Train(lrs, stop - state.taken, momentum=momentum)

    def _lrs(self, steps: int | None, start: int, stop: int) -> Shape:
        """Lrs ÷ peak of steps ``start`` to ``stop`` - 1 in a training of ``steps``."""
        span = span_of(steps, self.warmup)
        return join(warmed_up(SCHEDULES[self.kind].segments(span, **self._options()), span.warmup), start, stop)

    def tell(self, state: ScheduleState, observation: Observation) -> ScheduleState:
        """Count the steps. A schedule goes on whatever the losses were."""
        if not isinstance(observation, Trained):
            raise PolicyError(f"A schedule must be told of a Train, the only thing it asks for, got {observation!r}.")
        if not observation.finished:
            return state
        taken, left = state.taken + observation.steps, observation.progress.remaining
        if self.pieces is not None:  # Train after Train: each fits into what is left then
            return replace(state, taken=taken, steps=None if left is None else taken + left)
        return replace(state, taken=taken)

    def replan(self, state: ScheduleState, progress: Progress) -> ScheduleState:
        """Goes on where every step taken would have had the same lr under the new horizon; knots always do."""
        step, left = progress.step, progress.remaining
        after = replace(state, taken=step, steps=None if left is None else step + left)
        if self.pieces is None and step > 0:
            before, now = (self._lrs(steps, 0, step).first(step) for steps in (state.steps, after.steps))
            if not all(map(_same, before, now)):
                raise StateError(f"{self.name} would have had other lrs in the {step} steps that have been taken.")
        return after

    @cached_property
    def _ends(self) -> list[int]:
        """Of knots: kept steps after which each Train is over."""
        return list(accumulate(train.steps for train in self.pieces or ()))

    def _next_of(self, pieces: tuple[Train, ...], state: ScheduleState) -> Train | Done:
        """The Train that the next step belongs to, or what is left of it."""
        at = bisect_right(self._ends, state.taken)
        if at == len(pieces):
            return Done()
        train, end = pieces[at], self._ends[at]
        begun = state.taken - (end - train.steps)
        return replace(
            train,
            shape=train.shape.later(begun).scaled(state.lr),
            steps=(end if state.steps is None else min(end, state.steps)) - state.taken,
            momentum=None if train.momentum is None else train.momentum.later(begun),
        )

    def _options(self) -> dict[str, Any]:
        defaults = SCHEDULES[self.kind].options
        given = {name: getattr(self, name) for name in defaults}
        return {name: default if given[name] is None else given[name] for name, default in defaults.items()}


def _same(one: float, other: float) -> bool:
    """Whether two lrs are equal but for rounding."""
    return math.isclose(one, other, rel_tol=1e-9)


def _is_steps(value: Any) -> bool:
    return is_whole(value, 1)


def _are_milestones(values: tuple[Any, ...]) -> bool:
    of_one_sort = all(map(_is_steps, values)) or all(map(is_part, values))
    return bool(values) and of_one_sort and all(a < b for a, b in pairwise(values))


def _are_pieces(values: Any) -> bool:
    return len(values) > 0 and all(isinstance(one, Train) for one in values)


_STEPS = Rule("an int >= 1", or_none(_is_steps), "Use a number of steps.")
_COUNT = Rule("an int >= 1", or_none(_is_steps), "Use for example 2.")
_RULES = {
    "lr": Rule("finite and > 0", or_none(is_positive), "Leave it None for the optimizer's own."),
    "warmup": Rule("an int >= 0 (steps) or a float in [0, 1) (a fraction)", is_warmup, "Use for example 0.05 or 500."),
    "step_size": _STEPS,
    "milestones": Rule(
        "increasing, all ints >= 1 (steps) or all floats in (0, 1) (fractions)",
        or_none(_are_milestones),
        "Use for example (0.5, 0.75).",
    ),
    "gamma": Rule("in (0, 1]", or_none(is_share), "Use for example 0.1."),
    "decay": Rule("finite and > 0", or_none(is_positive), "Use for example 1e-3."),
    "num_cycles": _COUNT,
    "t_0": _STEPS,
    "t_mult": _COUNT,
    "decay_fraction": Rule("in (0, 1]", or_none(is_share), "Use for example 0.2."),
    "pieces": Rule("Trains, at least one", or_none(_are_pieces), "pilot.as_schedule() makes them."),
    "min_factor": Rule("in [0, 1]", or_none(lambda value: value == 0 or is_share(value)), "Use for example 0."),
}
_OPTIONS = tuple(name for name in _RULES if name not in ("lr", "warmup"))
