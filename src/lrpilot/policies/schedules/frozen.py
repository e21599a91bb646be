"""The lrs of a flight, frozen into a schedule that any training can be flown with again."""

from dataclasses import replace

from lrpilot.core.actions import Train
from lrpilot.core.history import History
from lrpilot.errors import StateError
from lrpilot.policies.schedules.schedule import KNOTS, Schedule


def frozen(history: History) -> Schedule:
    """A schedule of the kept steps so far: their lrs bit for bit, their momentum where it was moved, their average.

    Of the shapes that the flight has followed each is a piece of it, as far as it was followed, and those that go on
    with what the one before would have gone on with are one piece together: a cosine is one, whatever its length and
    however often it was looked at. Where the flight was rewound, the lrs are those of the steps as they were taken, one
    after the other.

    Args:
        history: of the flight.

    Raises:
        StateError: it has no step, or was saved by a version that did not note what its steps followed.
    """
    if not history.legs or history.legs[0].first > 0:
        raise StateError(
            f"A schedule is frozen from the steps of a flight, got {len(history.lrs)} steps whose shapes are not "
            "known. Take at least one step first."
        )
    ends = [*(leg.first for leg in history.legs[1:]), len(history.lrs)]
    pieces: list[Train] = []
    for leg, end in zip(history.legs, ends, strict=True):
        piece = Train(leg.shape, end - leg.first, momentum=leg.momentum, average=leg.average)
        if pieces and _goes_on(pieces[-1], piece):
            piece = replace(pieces[-1], steps=pieces.pop().steps + piece.steps)
        pieces.append(piece)
    return Schedule(KNOTS, pieces=tuple(pieces))


def _goes_on(one: Train, other: Train) -> bool:
    """Whether another is, number by number, what one would be if it were that much longer."""
    if one.average != other.average or (one.momentum is None) != (other.momentum is None):
        return False
    curves = [(one.shape, other.shape)]
    if one.momentum is not None and other.momentum is not None:
        curves.append((one.momentum, other.momentum))
    return all(now(one.steps + step) == then(step) for now, then in curves for step in range(other.steps))
