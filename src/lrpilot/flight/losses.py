"""The losses of kept steps, on their way from the loop into the record."""

import math
from typing import Any

from lrpilot.core.actions import Train
from lrpilot.core.history import History
from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate

# Where reading a loss stalls the device, losses are read in blocks of this many steps.
READ_EVERY = 32


class KeptLosses:
    """Takes a loss as the loop has it (a tensor on a device, perhaps) and reads it as late as it may.

    A loss that has been read is in the history, and shown to the stop rules of the Train that its step was a part of.

    Args:
        state: of the flight.
        history: of the flight.
    """

    def __init__(self, state: FlightState, history: History) -> None:
        self._state = state
        self._history = history
        self._unread: list[tuple[int, Any]] = []

    def add(self, loss: Any, substrate: Substrate) -> None:
        """Put down the loss of the step just counted; None where the loop gives none.

        It is read now where that is cheap, where a stop rule must see every loss, or where a block is full.
        """
        self._history.losses.append(math.nan)
        if loss is not None:
            self._unread.append((len(self._history.losses) - 1, loss))
        action = self._state.action
        watched = isinstance(action, Train) and action.stop.needs_every_loss
        if watched or substrate.reads_are_cheap or len(self._unread) >= READ_EVERY:
            self.read(substrate)

    def read(self, substrate: Substrate) -> None:
        """Turn outstanding losses into numbers and show them to the stop rules of a running Train."""
        if not self._unread:
            return
        state, action = self._state, self._state.action
        unread, self._unread = self._unread, []
        first_of_train = state.step - state.position  # losses before it were a Line's, or a pending search's
        for (index, _), loss in zip(unread, substrate.read([loss for _, loss in unread]), strict=True):
            self._history.losses[index] = loss
            if isinstance(action, Train) and index >= first_of_train and state.stop is None:
                state.window.append(loss)
                state.watch(action, loss)
