"""The losses of kept steps, on their way from the loop into the record.

A loss that is no number, of a training whose weights are, weighs nothing: it is in the record, and neither a stop rule
nor the policy sees it.
"""

import math
from typing import Any

from lrpilot.core.actions import Train
from lrpilot.core.history import History
from lrpilot.core.policy import Reason
from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate

# Where reading a loss stalls the device, losses are read in blocks of this many steps.
READ_EVERY = 32
# Losses in a row that are no number, after which the owner is told; and after which a batch must give one again and
# again: finite weights may be far too large.
ALARM_AT, ASK_EVERY = 3, 8
_BAD_LOSSES = Reason(
    "bad_data",
    f"{ALARM_AT} losses in a row were no finite number, of sound weights, and weigh nothing: look for such values in "
    "the data",
    alarms=True,
)
_LOST_WEIGHTS = Reason(
    "weights_lost",
    f"{ALARM_AT} losses in a row were no finite number, and the weights are none any more: nothing is trained now. "
    "Go back to a checkpoint, and lower the lr or skip such batches (a step_fn that returns None skips one)",
    alarms=True,
)


class KeptLosses:
    """Takes a loss as the loop has it (a tensor on a device, perhaps) and reads it as late as it may.

    A loss that has been read is in the history, and shown to the stop rules of the Train that its step was a part of.

    Attributes:
        alarm: what the owner is to be told of losses that are no number; set once in a row of them, else None.

    Args:
        state: of the flight.
        history: of the flight.
    """

    def __init__(self, state: FlightState, history: History) -> None:
        self._state = state
        self._history = history
        self.alarm: Reason | None = None
        self._unread: list[tuple[int, Any]] = []

    def add(self, loss: Any, substrate: Substrate) -> None:
        """Put down the loss of the step just counted; None where the loop gives none.

        It is read now where that is cheap, where a stop rule must see every loss, or where a block is full.
        """
        self._history.losses.append(math.nan)
        if loss is not None:
            self._unread.append((len(self._history.losses) - 1, loss))
        if substrate.reads_are_cheap or len(self._unread) >= READ_EVERY or self._is_watched:
            self.read(substrate)

    @property
    def _is_watched(self) -> bool:
        action = self._state.action
        return isinstance(action, Train) and action.stop.needs_every_loss

    def read(self, substrate: Substrate) -> None:
        """Turn outstanding losses into numbers and show them to the stop rules of a running Train."""
        if not self._unread:
            return
        state, action = self._state, self._state.action
        unread, self._unread = self._unread, []
        first_of_train = state.step - state.position  # losses before it were a Line's, or a pending search's
        for (index, _), loss in zip(unread, substrate.read([loss for _, loss in unread]), strict=True):
            self._history.losses[index] = loss
            if self._excuses(loss, substrate):
                continue
            if isinstance(action, Train) and index >= first_of_train and state.stop is None:
                state.window.append(loss)
                state.watch(action, loss)

    def _excuses(self, loss: float, substrate: Substrate) -> bool:
        """Whether a loss is no number although the weights are, and so were they when it was read: none heal."""
        if math.isfinite(loss):
            self._state.excused = 0
            return False
        self._state.excused += 1
        row = self._state.excused
        sound = substrate.is_sound(by_a_batch=row % ASK_EVERY == 0)
        if row == ALARM_AT:
            self.alarm = _BAD_LOSSES if sound else _LOST_WEIGHTS
        return sound
