"""The lr of a flight over all its steps, and the part of it that one Train flies."""

from lrpilot.core.codec import record
from lrpilot.core.shape import Kind, Shape

DECAY = 0.3  # last part of an ordinary flight, straight to zero


@record
class Rise:
    """How the lr comes up to what the course holds.

    Attributes:
        steps: it takes, >= 1; with the last of them it is there.
        since: kept steps taken when it begins.
        low: lr that it begins above, natural units; 0 at the beginning of a training.
    """

    steps: int
    since: int = 0
    low: float = 0.0


def course(peak: float, rise: Rise, *, total: int | None, decays: bool) -> Shape:
    """The lr of every step: up to the peak, hold, and down to zero where the flight is an ordinary one with an end.

    All knots are at whole steps, so that a part of a course has the very lrs of the whole.

    Args:
        peak: natural units.
        rise: how it gets there; no longer than half of what is left then.
        total: kept steps of the training; None where the end is open.
        decays: whether it goes to zero.

    Returns:
        A shape whose step 0 is the training's first. What it says of the steps before the rise is without meaning.
    """
    end = total if decays else None
    steps = rise.steps if total is None else max(1, min(rise.steps, (total - rise.since) // 2))
    top = rise.since + steps - 1
    value = peak if end is None else peak * min(1.0, (end - top) / _decay_steps(end))
    low = min(rise.low, value)
    at, values = [float(rise.since), float(top)], [low + (value - low) / steps, value]
    if end is not None:
        if end - _decay_steps(end) > top:
            at, values = [*at, float(end - _decay_steps(end))], [*values, peak]
        at, values = [*at, float(end)], [*values, 0.0]
    line: Kind = "linear"
    return Shape(tuple(at), tuple(values), (line,) * (len(at) - 1))


def _decay_steps(total: int) -> int:
    return max(1, round(DECAY * total))
