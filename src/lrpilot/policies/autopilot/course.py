"""The lr of a flight over all its steps, and the part of it that one Train flies."""

from lrpilot.core.shape import Kind, Shape

DECAY = 0.3  # last part of an ordinary flight, straight to zero


def course(peak: float, *, warmup: int, total: int | None, decays: bool) -> Shape:
    """The lr of every step: up to the peak, hold, and down to zero where the flight is an ordinary one with an end.

    Args:
        peak: natural units.
        warmup: steps of the rise, >= 1; the last of them is at the peak.
        total: kept steps of the training; None where the end is open.
        decays: whether it goes to zero.
    """
    steps, values = [0.0, warmup - 1.0], [peak / warmup, peak]
    kinds: list[Kind] = ["linear"]
    if decays and total is not None:
        steps += [max(warmup - 1.0, total - DECAY * total), float(total)]
        values += [peak, 0.0]
        kinds += ["linear", "linear"]
    return Shape(tuple(steps), tuple(values), tuple(kinds))


def from_step(shape: Shape, step: int) -> Shape:
    """The same course, seen from one of its steps."""
    return Shape(tuple(at - step for at in shape.steps), shape.values, shape.kinds)
