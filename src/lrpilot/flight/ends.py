"""The ends of Trials from which a flight may go on: when one may be held, and what a Continue does to the record."""

from lrpilot.core.actions import Trial
from lrpilot.core.history import History
from lrpilot.errors import PolicyError
from lrpilot.flight.marks import different_keys
from lrpilot.flight.state import FlightState
from lrpilot.flight.substrate import Substrate


class HeldEnds:
    """The ends that a flight holds, by key; the substrate has the states themselves.

    Args:
        state: of the flight; it has the keys.
        owner: name of the policy.
        most: ends that it may hold at once.
    """

    def __init__(self, state: FlightState, *, owner: str, most: int) -> None:
        self._state = state
        self._owner = owner
        self._most = most

    def make_room(self, trial: Trial, substrate: Substrate, left: int | None) -> None:
        """Before a Trial: forget what was kept under its key.

        Args:
            trial: that is to be flown; one that is not to be kept is let through.
            substrate: that flies it.
            left: kept steps; None for an open horizon.

        Raises:
            PolicyError: its end may not be kept.
        """
        key, held = trial.keep, self._state.ends
        if key is None:
            return
        if not self._state.continues:
            raise PolicyError(
                f"Trials are rewound unless Context.continues says otherwise, but {self._owner} asked to keep one as "
                f"{key!r}. Ask for Trial(keep=...) only where it is true, as under fit(continue_trials=True)."
            )
        if key in self._state.marks:
            raise different_keys(key)
        if len({*held, key}) > self._most:
            raise PolicyError(
                f"{self._owner} may keep the ends of {self._most} Trials, got {key!r} on top of {list(held)}. "
                "Raise its max_ends, or Drop one first."
            )
        if left is not None and trial.steps > left:
            raise PolicyError(
                f"A Trial that is kept must fit into the steps that are left, got {trial.steps} steps and {left} left. "
                "Make it shorter, or do not keep it."
            )
        if key in held:
            self.drop(key, substrate)

    def hold(self, key: str) -> None:
        """Note that the substrate holds the end of a Trial under this key."""
        self._state.ends = tuple(sorted({*self._state.ends, key}))

    def lost_room(self, trial: Trial, left: int | None) -> bool:
        """Whether a Trial that is to be kept had room when it was decided and has none now: seconds pass in between.

        Args:
            trial: that is to be flown.
            left: kept steps now; None for an open horizon.
        """
        if trial.keep is None or left is None or left >= trial.steps:
            return False
        told = self._state.told_left
        return told is None or trial.steps <= told  # one that never had room is the policy's mistake

    def take(self, key: str, substrate: Substrate, history: History) -> None:
        """Go on from an end, its steps added to the history after the kept ones; nothing where that has been done.

        Raises:
            PolicyError: nothing is held under its key.
        """
        state = self._state
        if state.end_taken:
            return
        if key not in state.ends:
            raise PolicyError(
                f"A Trial must be kept before it is continued, got {key!r}, held are {list(state.ends)}. "
                "An end is held until the next kept step, and not where its Trial was stopped."
            )
        end = substrate.continue_trial(key)
        history.lrs[state.step :] = end.lrs  # not +=: an interruption may have left a part of it
        history.losses[state.step :] = end.losses
        substrate.cost -= end.cost
        state.end_taken = True

    def drop(self, key: str, substrate: Substrate) -> None:
        """Forget one."""
        substrate.drop_end(key)
        self._state.ends = tuple(held for held in self._state.ends if held != key)

    def drop_all(self, substrate: Substrate) -> None:
        """Forget all: the training has gone another way."""
        for key in self._state.ends:
            self.drop(key, substrate)
        self._state.end_taken = False
