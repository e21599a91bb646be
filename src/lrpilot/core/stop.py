"""Stop rules: when a Train or a Trial ends before its last step. Plain data, checked loss by loss."""

import math
from enum import Enum

from lrpilot.core.codec import coded_enum, record
from lrpilot.errors import SettingError

# Losses whose highest is where a fall begins: by fewer, the scatter of single batches would be taken for one.
FIRST = 5


@coded_enum
class StopReason(Enum):
    """Why a Train or a Trial ended early.

    Of a batch that gives no number at sound weights nothing is told. ``RAISED`` is of Trials.
    """

    NON_FINITE = "the loss was not finite"
    ABORTED = "the loss rose above the limit"
    PATIENCE = "the loss did not improve for too many steps"
    RAISED = "the training raised an error that it does not raise at the weights before"


@record
class Stop:
    """Rules under which steps end early. A non-finite loss always ends them.

    Attributes:
        abort_above: end when a loss is greater than this (units of the loss).
        abort_ratio: end when a loss is more than this many times the smallest loss seen so far;
            must be > 1. Meant for losses bounded below by zero.
        abort_rise: end when a loss is further above the smallest than this many times the fall to it (from the highest
            of the first :data:`FIRST` losses), or the smallest's own size where that is more; must be > 0. For losses
            of any sign; not before that many losses.
        patience: end after this many steps without a new smallest loss.
    """

    abort_above: float | None = None
    abort_ratio: float | None = None
    abort_rise: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.abort_ratio is not None and not self.abort_ratio > 1:
            raise SettingError(f"abort_ratio must be > 1, got {self.abort_ratio}. Leave it None to switch it off.")
        if self.abort_rise is not None and not self.abort_rise > 0:
            raise SettingError(f"abort_rise must be > 0, got {self.abort_rise}. Leave it None to switch it off.")
        if self.patience is not None and self.patience < 1:
            raise SettingError(f"patience must be >= 1, got {self.patience}. Leave it None to switch it off.")

    @property
    def needs_every_loss(self) -> bool:
        """Whether any rule beyond the non-finite one is set, so that every loss must be read at once."""
        # Written out: it is asked at every kept step.
        return (
            self.abort_above is not None
            or self.abort_ratio is not None
            or self.abort_rise is not None
            or self.patience is not None
        )


@record
class StopState:
    """What the rules remember between losses.

    Attributes:
        best: the smallest.
        since_best: losses since then.
        first: highest of the first :data:`FIRST` losses.
        seen: losses so far.
    """

    best: float = math.inf
    since_best: int = 0
    first: float = -math.inf
    seen: int = 0

    def rises(self, loss: float, rise: float) -> bool:
        """Whether a loss is above the smallest by so many times the fall so far, or the smallest's own size."""
        return self.seen >= FIRST and loss - self.best > rise * max(self.first - self.best, abs(self.best))


def check_stop(stop: Stop, state: StopState, loss: float) -> tuple[StopState, StopReason | None]:
    """Feed one loss to the rules.

    Returns:
        The next state, and the reason to stop or None.
    """
    if not math.isfinite(loss):
        return state, StopReason.NON_FINITE
    if not stop.needs_every_loss:
        return state, None
    if stop.abort_above is not None and loss > stop.abort_above:
        return state, StopReason.ABORTED
    if stop.abort_ratio is not None and math.isfinite(state.best) and loss > stop.abort_ratio * state.best:
        return state, StopReason.ABORTED
    if stop.abort_rise is not None and state.rises(loss, stop.abort_rise):
        return state, StopReason.ABORTED
    first = max(state.first, loss) if state.seen < FIRST else state.first
    if loss < state.best:
        return StopState(loss, 0, first, state.seen + 1), None
    waited = StopState(state.best, state.since_best + 1, first, state.seen + 1)
    if stop.patience is not None and waited.since_best >= stop.patience:
        return waited, StopReason.PATIENCE
    return waited, None
