"""What a flight holds in its substrate: marks, ends of Trials, and the step of a Line. They depend on one another."""

from lrpilot.core.actions import Action, Done, Line, Train
from lrpilot.core.history import History
from lrpilot.core.policy import Policy
from lrpilot.flight.ends import HeldEnds
from lrpilot.flight.line import HeldLine
from lrpilot.flight.marks import HeldMarks
from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate


class Holdings:
    """Of a flight in some state; the substrate is given to every call.

    Attributes:
        marks: the marks that are held.
        ends: the ends of Trials that are held.
        line: the step of a Line, where one is armed or held.

    Args:
        state: of the flight; it has the keys.
        policy: that says how much may be held.
    """

    def __init__(self, state: FlightState, policy: Policy) -> None:
        self._state = state
        self.marks = HeldMarks(state, owner=policy.name, most=policy.max_marks)
        self.ends = HeldEnds(state, owner=policy.name, most=policy.max_ends)
        self.line = HeldLine(state)

    def make_ready(self, action: Action, substrate: Substrate) -> None:
        """For an action that is due: let go of what it leaves behind, arm what it needs."""
        if isinstance(action, (Train, Line, Done)):
            self.ends.drop_all(substrate)
        if isinstance(action, (Train, Done)):
            self.line.release(substrate)
        if isinstance(action, Line):
            self.line.arm(substrate)

    def rewind(self, key: str, substrate: Substrate) -> None:
        """Go back to a mark: what was held of the state that is left is of no use any more.

        Raises:
            PolicyError: it is not held.
        """
        self.marks.require(key)
        self.line.release(substrate)
        self.ends.drop_all(substrate)
        substrate.rewind(key)

    def drop(self, key: str, substrate: Substrate) -> None:
        """Forget an end, or else a mark.

        Raises:
            PolicyError: neither is held.
        """
        holder = self.ends if key in self._state.ends else self.marks
        holder.drop(key, substrate)

    def continue_trial(self, key: str, substrate: Substrate, history: History) -> None:
        """Go on from an end; its steps are kept steps from now on. Where this is interrupted it can be done again.

        Raises:
            PolicyError: it is not held.
        """
        self.ends.take(key, substrate, history)
        self.line.release(substrate)
        if self._state.step < len(history.lrs):
            self._state.lr = history.lrs[-1]
            self._state.step = len(history.lrs)
