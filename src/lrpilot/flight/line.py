"""The step along which a flight reads Lines."""

from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate


class HeldLine:
    """Armed before a kept step, held after it for further Lines, until a Train or a Rewind moves the weights.

    Args:
        state: of the flight.
    """

    def __init__(self, state: FlightState) -> None:
        self._state = state

    def arm(self, substrate: Substrate) -> None:
        """Make the next kept step the step of a Line; where one is held that is read again."""
        if not self._state.line_held:
            substrate.arm_line()

    def step_taken(self) -> None:
        """Note that its step has been taken."""
        self._state.line_held = True

    def release(self, substrate: Substrate) -> None:
        """Forget its endpoints."""
        substrate.release_line()
        self._state.line_held = False
