"""The schedules of the field, each a few segments with a peak of 1, and the table that names them.

Notation: t = steps since the warmup, T = steps of the schedule, w = steps of the warmup before it; lrs
are given ÷ peak.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lrpilot.policies.schedules.segments import Segment, Span

# A factor that moves no weight. Decays stop here, because an lr must stay above 0.
SMALLEST_FACTOR = 1e-30
# One-cycle, and the trapezoid that borrows its ends, start at this fraction of the peak (AutoLR, Appendix E).
START_FACTOR = 0.1


def constant(span: Span) -> Iterator[Segment]:
    """1."""
    yield Segment(span.length, 1.0, 1.0, "hold")


def step(span: Span, *, step_size: int | None, milestones: tuple[float, ...], gamma: float) -> Iterator[Segment]:
    """Factor gamma ** (number of drops so far), dropping every ``step_size`` steps or at each of ``milestones``."""
    lengths = _between(milestones, span) if step_size is None else itertools.repeat(step_size)
    for drop, length in enumerate(lengths):
        factor = max(gamma**drop, SMALLEST_FACTOR)
        yield Segment(length, factor, factor, "hold")


def _between(milestones: tuple[float, ...], span: Span) -> Iterator[float]:
    at = [_milestone(m, span) for m in milestones]
    yield from (b - a for a, b in itertools.pairwise([0, *at]))
    yield max(span.length - at[-1], 0.0)


def _milestone(milestone: float, span: Span) -> int:
    if milestone >= 1:
        return int(milestone)
    return max(round(milestone * span.end("step", "step_size")), 1)  # the first step runs at the peak


def exponential(span: Span, *, gamma: float | None, min_factor: float) -> Iterator[Segment]:
    """Factor gamma ** t; without ``gamma``, the one that reaches ``min_factor`` at T."""
    if gamma is None:
        yield Segment(span.end("exponential", "gamma"), 1.0, min_factor, "exponential")
        return
    lasts = math.inf if gamma == 1.0 else math.log(SMALLEST_FACTOR) / math.log(gamma)
    steps = min(span.length, lasts)
    yield Segment(steps, 1.0, max(gamma**steps, SMALLEST_FACTOR), "exponential")


def time_based(span: Span, *, decay: float | None, min_factor: float) -> Iterator[Segment]:
    """1 / (1 + decay · t); without ``decay``, the one that reaches ``min_factor`` at T."""
    if decay is None:
        yield Segment(span.end("time", "decay"), 1.0, min_factor, "inverse")
        return
    yield Segment(span.length, 1.0, 1.0 / (1.0 + decay * span.length), "inverse")


def linear(span: Span, *, min_factor: float) -> Iterator[Segment]:
    """A straight line from 1 to ``min_factor`` at T."""
    yield Segment(span.end("linear"), 1.0, min_factor, "linear")


def cosine(span: Span, *, min_factor: float) -> Iterator[Segment]:
    """min_factor + (1 − min_factor) · (1 + cos(π t / T)) / 2."""
    yield Segment(span.end("cosine"), 1.0, min_factor, "cosine")


def inverse_sqrt(span: Span) -> Iterator[Segment]:
    """sqrt(w / (w + t)) after a warmup ("Attention Is All You Need"), 1 / sqrt(1 + t) without one."""
    begin = max(span.warmup, 1)
    yield Segment(span.length, 1.0, math.sqrt(begin / (begin + span.length)), "inverse_sqrt")


def clr(span: Span, *, step_size: int | None, num_cycles: int, min_factor: float) -> Iterator[Segment]:
    """Triangles from ``min_factor`` up to 1 and back, ``step_size`` steps each way.

    Smith, "Cyclical Learning Rates for Training Neural Networks". Without ``step_size``, ``num_cycles``
    whole triangles fill T.
    """
    half = span.end("clr", "step_size") / (2 * num_cycles) if step_size is None else step_size
    while True:
        yield Segment(half, min_factor, 1.0, "linear")
        yield Segment(half, 1.0, min_factor, "linear")


def sgdr(span: Span, *, t_0: int | None, t_mult: int, num_cycles: int, min_factor: float) -> Iterator[Segment]:
    """Cosines from 1 to ``min_factor``, the first ``t_0`` steps long, each next ``t_mult`` times the last.

    Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts". Without ``t_0``,
    ``num_cycles`` whole cosines fill T (cut at whole steps, so that no step falls on a zero).
    """
    for length in _cycle_lengths(span, t_0, t_mult, num_cycles):
        yield Segment(length, 1.0, min_factor, "cosine")


def _cycle_lengths(span: Span, t_0: int | None, t_mult: int, num_cycles: int) -> Iterator[int]:
    if t_0 is not None:
        yield from (t_0 * t_mult**i for i in itertools.count())
        return
    steps = span.end("sgdr", "t_0")
    parts = [t_mult**i for i in range(num_cycles)]
    ends = [round(steps * (done / sum(parts))) for done in itertools.accumulate(parts)]
    yield from (b - a for a, b in itertools.pairwise([0, *ends]))


def one_cycle(span: Span) -> Iterator[Segment]:
    """0.1 up to 1 over 45 % of T, back to 0.1 over 45 %, then 0.01 for the last 10 %.

    AutoLR, Appendix E. It says of the last 10 % only that the lr is "reduced by a large factor (we chose
    a factor of 10)": read here as one tenth of the starting value, held.
    """
    steps = span.end("one_cycle")
    yield Segment(steps * 45 / 100, START_FACTOR, 1.0, "linear")
    yield Segment(steps * 45 / 100, 1.0, START_FACTOR, "linear")
    yield Segment(steps * 10 / 100, START_FACTOR / 10, START_FACTOR / 10, "hold")


def one_cycle_momentum(span: Span) -> Iterator[Segment]:
    """Momentum against the lr: 0.95 down to 0.85, back to 0.95, then held. Not ÷ peak."""
    steps = span.end("one_cycle")
    yield Segment(steps * 45 / 100, 0.95, 0.85, "linear")
    yield Segment(steps * 45 / 100, 0.85, 0.95, "linear")


def trapezoid(span: Span, *, min_factor: float) -> Iterator[Segment]:
    """0.1 up to 1 over 10 % of T, flat for 80 %, down to ``min_factor`` over the last 10 %.

    AutoLR, Appendix E, after Xing et al., "A Walk with SGD": the ends are one-cycle's.
    """
    steps = span.end("trapezoid")
    yield Segment(steps * 10 / 100, START_FACTOR, 1.0, "linear")
    yield Segment(steps * 80 / 100, 1.0, 1.0, "hold")
    yield Segment(steps * 10 / 100, 1.0, min_factor, "linear")


def wsd(span: Span, *, decay_fraction: float, min_factor: float) -> Iterator[Segment]:
    """Warmup-stable-decay: 1, then a straight line to ``min_factor`` over the last ``decay_fraction`` of T."""
    steps = span.end("wsd")
    yield Segment(steps * (1.0 - decay_fraction), 1.0, 1.0, "hold")
    yield Segment(steps * decay_fraction, 1.0, min_factor, "linear")


@dataclass(frozen=True)
class ScheduleKind:
    """One schedule: its segments, and the options it takes.

    Attributes:
        segments: called with the Span and every option.
        options: defaults by name.
        either: two options of which only one may be given: the first in steps, which wins, the second ÷ T.
        positive_min: whether ``min_factor`` must be above 0, because a step falls on it.
        momentum: segments of the momentum, where the schedule moves it.
    """

    segments: Callable[..., Iterator[Segment]]
    options: Mapping[str, Any] = field(default_factory=dict)
    either: tuple[str, str] | None = None
    positive_min: bool = False
    momentum: Callable[[Span], Iterator[Segment]] | None = None


SCHEDULES: dict[str, ScheduleKind] = {
    "constant": ScheduleKind(constant),
    # ResNet's drops on CIFAR-10 (He et al. 2016): at half and three quarters of the training.
    "step": ScheduleKind(
        step, {"step_size": None, "milestones": (0.5, 0.75), "gamma": 0.1}, either=("step_size", "milestones")
    ),
    "exponential": ScheduleKind(
        exponential, {"gamma": None, "min_factor": 0.01}, either=("gamma", "min_factor"), positive_min=True
    ),
    "time": ScheduleKind(
        time_based, {"decay": None, "min_factor": 0.1}, either=("decay", "min_factor"), positive_min=True
    ),
    "linear": ScheduleKind(linear, {"min_factor": 0.0}),
    "cosine": ScheduleKind(cosine, {"min_factor": 0.0}),
    "inverse_sqrt": ScheduleKind(inverse_sqrt),
    # Smith: the lower end at a third or a quarter of the upper, and at least three or four cycles.
    "clr": ScheduleKind(
        clr,
        {"step_size": None, "num_cycles": 4, "min_factor": 0.25},
        either=("step_size", "num_cycles"),
        positive_min=True,
    ),
    "sgdr": ScheduleKind(
        sgdr, {"t_0": None, "t_mult": 2, "num_cycles": 3, "min_factor": 0.0}, either=("t_0", "num_cycles")
    ),
    "one_cycle": ScheduleKind(one_cycle, momentum=one_cycle_momentum),
    "trapezoid": ScheduleKind(trapezoid, {"min_factor": START_FACTOR}),
    "wsd": ScheduleKind(wsd, {"decay_fraction": 0.2, "min_factor": 0.0}),
}
