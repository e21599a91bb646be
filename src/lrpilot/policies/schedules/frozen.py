"""The lrs of a flight, frozen into a schedule that any training can be flown with again."""

from lrpilot.core.actions import Train
from lrpilot.core.history import History
from lrpilot.errors import StateError
from lrpilot.policies.schedules.schedule import KNOTS, Schedule


def frozen(history: History) -> Schedule:
    """A schedule of the kept steps so far: their lrs bit for bit, their momentum where it was moved, their average.

    Of the shapes that the flight has followed each is a piece of it, as far as it was followed (what was held at one lr
    is one piece): a cosine is one, whatever its length, and no piece has less than a decision of the policy behind it.
    Where the flight was rewound, the lrs are those of the steps as they were taken, one after the other.

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
    pieces = (
        Train(leg.shape, end - leg.first, momentum=leg.momentum, average=leg.average)
        for leg, end in zip(history.legs, ends, strict=True)
    )
    return Schedule(KNOTS, pieces=tuple(pieces))
