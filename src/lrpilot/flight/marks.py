"""The marks that a flight holds, by key; the substrate has the states themselves."""

from collections.abc import Iterable

from lrpilot.core.policy import Policy
from lrpilot.errors import PolicyError
from lrpilot.flight.substrate import Substrate


class HeldMarks:
    """As many as a policy may hold, and none used before it is set.

    Attributes:
        keys: of the marks that are held.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self.keys = set(keys)

    def set(self, key: str, policy: Policy, substrate: Substrate) -> None:
        """Remember the present state.

        Raises:
            PolicyError: the policy would hold more than it declares.
        """
        if len(self.keys | {key}) > policy.max_marks:
            raise PolicyError(
                f"{policy.name} may hold {policy.max_marks} marks, got mark {key!r} on top of {sorted(self.keys)}. "
                "Raise its max_marks, or Drop a mark first."
            )
        substrate.mark(key)
        self.keys.add(key)

    def require(self, key: str) -> None:
        """Raise unless it is held.

        Raises:
            PolicyError: it is not.
        """
        if key not in self.keys:
            raise PolicyError(f"A mark must be set before it is used, got {key!r}, marks are {sorted(self.keys)}.")

    def drop(self, key: str, substrate: Substrate) -> None:
        """Forget one."""
        substrate.drop(key)
        self.keys.discard(key)
