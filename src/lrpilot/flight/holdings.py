"""What a flight holds in its substrate: marks, ends of Trials, and the step of a Line.

The substrate has the states themselves; here is which of them may be held, and how they depend on one another.
"""

from lrpilot.core.actions import Action, Done, Line, Train, Trial
from lrpilot.core.history import History, Leg
from lrpilot.core.policy import Policy
from lrpilot.errors import PolicyError
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
            raise _different_keys(key)
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


def _different_keys(key: str) -> PolicyError:
    """The error of a policy that calls a mark and an end by the same name."""
    return PolicyError(f"A mark and an end need different keys, got {key!r} for both. Rename one of them.")


def _kept_as(key: str, history: History) -> Trial:
    """The last Trial that was to be kept under a key."""
    actions = (event.action for event in reversed(history.events))
    return next(action for action in actions if isinstance(action, Trial) and action.keep == key)


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
            raise _different_keys(key)
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
        trial = _kept_as(key, history)
        history.follow(Leg(state.step, trial.shape, trial.momentum, trial.average))
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

    def drop_all(self, substrate: Substrate) -> None:
        """Forget all marks and ends."""
        self.ends.drop_all(substrate)
        for key in self._state.marks:
            self.marks.drop(key, substrate)

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
