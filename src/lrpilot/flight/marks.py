"""The marks that a flight holds, by key; the substrate has the states themselves."""

from lrpilot.errors import PolicyError
from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate


class HeldMarks:
    """As many as a policy may hold, and none used before it is set.

    Args:
        state: of the flight; it has the keys.
        owner: name of the policy.
        most: marks that it may hold at once.
    """

    def __init__(self, state: FlightState, *, owner: str, most: int) -> None:
        self._state = state
        self._owner = owner
        self._most = most

    def set(self, key: str, substrate: Substrate) -> None:
        """Remember the present state.

        Raises:
            PolicyError: the policy would hold more than it declares, or an end has this key.
        """
        held = self._state.marks
        if key in self._state.ends:
            raise different_keys(key)
        if len({*held, key}) > self._most:
            raise PolicyError(
                f"{self._owner} may hold {self._most} marks, got mark {key!r} on top of {list(held)}. "
                "Raise its max_marks, or Drop a mark first."
            )
        substrate.mark(key)
        self._state.marks = tuple(sorted({*held, key}))

    def drop(self, key: str, substrate: Substrate) -> None:
        """Forget one."""
        self.require(key)
        substrate.drop(key)
        self._state.marks = tuple(held for held in self._state.marks if held != key)

    def require(self, key: str) -> None:
        """Raise unless it is held.

        Raises:
            PolicyError: it is not.
        """
        if key not in self._state.marks:
            raise PolicyError(
                f"A mark must be set before it is used, got {key!r}, marks are {list(self._state.marks)}."
            )


def different_keys(key: str) -> PolicyError:
    """The error of a policy that calls a mark and an end by the same name."""
    return PolicyError(f"A mark and an end need different keys, got {key!r} for both. Rename one of them.")
