"""The ends of Trials from which a flight may go on: when one may be held, and what a Continue does to the record."""

from collections.abc import Iterable
from typing import Any

from lrpilot.core.actions import Continue, Trial
from lrpilot.core.history import History
from lrpilot.core.policy import Policy
from lrpilot.errors import PolicyError, StateError
from lrpilot.flight.substrate import Substrate


class KeptEnds:
    """The ends that a flight holds, by key; the substrate has the states themselves.

    Attributes:
        granted: whether Trials may be kept and continued at all.
        keys: of the ends that are held.
        taken: whether the Continue that is due has been done, and the policy not told of it: a repetition after an
            interruption must not count its steps twice.

    Args:
        granted: see there.
    """

    def __init__(self, *, granted: bool) -> None:
        self.granted = granted
        self.keys: set[str] = set()
        self.taken = False

    def make_room(
        self, trial: Trial, policy: Policy, substrate: Substrate, left: int | None, marks: Iterable[str]
    ) -> None:
        """Before a Trial: forget what was kept under its key.

        Args:
            trial: that is to be flown; one that is not to be kept is let through.
            policy: that asks for it.
            substrate: that flies it.
            left: kept steps; None for an open horizon.
            marks: keys of the marks that are held.

        Raises:
            PolicyError: its end may not be kept.
        """
        key = trial.keep
        if key is None:
            return
        if not self.granted:
            raise PolicyError(
                f"Trials are rewound unless Context.continues says otherwise, but {policy.name} asked to keep one as "
                f"{key!r}. Ask for Trial(keep=...) only where it is true, as under fit(continue_trials=True)."
            )
        if key in marks:
            raise PolicyError(f"A mark and an end need different keys, got {key!r} for both. Rename one of them.")
        if len(self.keys | {key}) > policy.max_ends:
            raise PolicyError(
                f"{policy.name} may keep the ends of {policy.max_ends} Trials, got {key!r} on top of "
                f"{sorted(self.keys)}. Raise its max_ends, or Drop one first."
            )
        if left is not None and trial.steps > left:
            raise PolicyError(
                f"A Trial that is kept must fit into the steps that are left, got {trial.steps} steps and {left} left. "
                "Make it shorter, or do not keep it."
            )
        if key in self.keys:
            self.drop(key, substrate)

    def lost_room(self, trial: Trial, left: int | None, told: int | None) -> bool:
        """Whether a Trial that is to be kept had room when it was decided and has none now: seconds pass in between.

        Args:
            trial: that is to be flown.
            left: kept steps now; None for an open horizon.
            told: kept steps that the policy was told of; None where that is not known any more.
        """
        if trial.keep is None or left is None or left >= trial.steps:
            return False
        return told is None or trial.steps <= told  # one that never had room is the policy's mistake

    def require_other(self, mark: str) -> None:
        """Raise unless a mark's key is no end's.

        Raises:
            PolicyError: it is.
        """
        if mark in self.keys:
            raise PolicyError(f"A mark and an end need different keys, got {mark!r} for both. Rename one of them.")

    def take(self, action: Continue, substrate: Substrate, history: History, *, step: int) -> None:
        """Go on from an end, its steps added to the history after ``step`` others; nothing where that has been done.

        Raises:
            PolicyError: nothing is held under its key.
        """
        if self.taken:
            return
        if action.key not in self.keys:
            raise PolicyError(
                f"A Trial must be kept before it is continued, got {action.key!r}, held are {sorted(self.keys)}. "
                "An end is held until the next kept step, and not where its Trial was stopped."
            )
        end = substrate.continue_trial(action.key)
        history.lrs[step:] = end.lrs  # not +=: an interruption may have left a part of it
        history.losses[step:] = end.losses
        substrate.cost -= end.cost
        self.taken = True

    def drop(self, key: str, substrate: Substrate) -> None:
        """Forget one."""
        substrate.drop_end(key)
        self.keys.discard(key)

    def drop_all(self, substrate: Substrate) -> None:
        """Forget all: the training has gone another way."""
        for key in sorted(self.keys):
            self.drop(key, substrate)
        self.taken = False

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Plain data; nothing where nothing is granted, so that such states are what they were before there was it."""
        return {"ends": {"keys": sorted(self.keys), "taken": self.taken}} if self.granted else {}

    @classmethod
    def from_state(cls, saved: dict[str, Any], *, granted: bool) -> "KeptEnds":
        """Those of a saved flight; the substrate must be given the states themselves.

        Raises:
            StateError: Trials might be continued then and may not be now, or the other way round.
        """
        if ("ends" in saved) != granted:
            raise StateError(
                f"A saved flight must be resumed with its own continue_trials, saved was {not granted}, got "
                f"{granted}: its policy was told so when it began. Pass the saved one."
            )
        made = cls(granted=granted)
        if granted:
            made.keys, made.taken = set(saved["ends"]["keys"]), saved["ends"]["taken"]
        return made
