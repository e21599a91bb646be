"""Segments: what schedules are made of, and how they are put end to end into a Shape.

A schedule is an iterator of segments, from the first step after the warmup on; after the last segment
its last value holds. A periodic schedule never ends, and :func:`join` takes what it needs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lrpilot.core.shape import Kind, Shape
from lrpilot.errors import SettingError

# The end of a decay that has none: closed forms stay exact over any part of it, and no training gets there.
FAR = 1e12


class Segment(NamedTuple):
    """One piece of a schedule: ``steps`` long (>= 0), from ``start`` to ``end`` (÷ peak) along ``kind``."""

    steps: float
    start: float
    end: float
    kind: Kind


@dataclass(frozen=True)
class Span:
    """Where a schedule runs.

    Attributes:
        steps: T, its steps after the warmup; None for an open horizon.
        warmup: w, steps of the warmup before it.
    """

    steps: int | None
    warmup: int = 0

    @property
    def length(self) -> float:
        """T, or an end that is never reached."""
        return FAR if self.steps is None else self.steps

    def end(self, kind: str, option: str | None = None) -> int:
        """T, for a schedule that needs it.

        Args:
            kind: the schedule, for the message.
            option: setting that would make it independent of T.

        Raises:
            SettingError: the horizon is open.
        """
        if self.steps is not None:
            return self.steps
        without = "" if option is None else f" without {option}"
        instead = " Give total_steps, or a schedule without an end such as 'inverse_sqrt'."
        if option is not None:
            instead = f" Give total_steps, or set {option}."
        raise SettingError(
            f"A {kind!r} schedule{without} must know its last step, got an open horizon (total_steps=None).{instead}"
        )


def span_of(steps: int | None, warmup: float | int) -> Span:
    """Where a schedule runs in a training of ``steps`` (None: open horizon).

    Args:
        steps: kept steps of the training, warmup included.
        warmup: steps (an int), or a fraction of ``steps`` (a float in [0, 1)).

    Raises:
        SettingError: a fraction of an open horizon, or a warmup that leaves no step.
    """
    if isinstance(warmup, float) and warmup > 0 and steps is None:
        raise SettingError(
            f"A warmup that is a fraction needs a known horizon, got warmup={warmup} and total_steps=None. "
            "Give total_steps, or the warmup as a number of steps."
        )
    if steps is None:
        return Span(None, int(warmup))
    warmup_steps = min(round(warmup * steps), steps - 1) if isinstance(warmup, float) else int(warmup)
    if warmup_steps >= steps:
        raise SettingError(f"warmup must be shorter than the training, got {warmup} of {steps} steps. Shorten it.")
    return Span(steps - warmup_steps, warmup_steps)


def warmed_up(segments: Iterator[Segment], warmup: int) -> Iterator[Segment]:
    """``segments`` after a straight ramp to their first value: (t + 1) / (w + 1) of it at step t < w."""
    first = next(segments)
    if warmup:
        yield Segment(warmup, first.start / (warmup + 1), first.start, "linear")
    yield first
    yield from segments


def held_before(segments: Iterator[Segment], warmup: int) -> Iterator[Segment]:
    """``segments`` after ``warmup`` steps at their first value."""
    first = next(segments)
    yield Segment(warmup, first.start, first.start, "hold")
    yield first
    yield from segments


def join(segments: Iterator[Segment], start: int, stop: int) -> Shape:
    """The segments under steps ``start`` to ``stop`` - 1, as a Shape whose step 0 is step ``start``.

    Segments are kept whole (their knots may lie outside the steps), so that a part of a cosine stays a
    part of that cosine.
    """
    steps: list[float] = []
    values: list[float] = []
    kinds: list[Kind] = []
    begin, last = 0.0, 0.0
    for segment in segments:
        end, last = begin + segment.steps, segment.end
        if end > start:
            if not steps:
                steps, values = [begin - start], [segment.start]
            elif kinds[-1] == "hold":  # whose end value is never read
                values[-1] = segment.start
            elif values[-1] != segment.start:  # a jump: the later of two knots at one place holds there
                steps.append(begin - start)
                values.append(segment.start)
                kinds.append("hold")
            steps.append(end - start)
            values.append(segment.end)
            kinds.append(segment.kind)
        begin = end
        if begin >= stop:
            break
    return Shape(tuple(steps), tuple(values), tuple(kinds)) if steps else Shape((0.0,), (last,))
