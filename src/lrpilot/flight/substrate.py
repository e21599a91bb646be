"""Substrate: what can be flown, as the one loop of ask, act and tell sees it."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from lrpilot.core.actions import Action, Evaluate, Line, Trial
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.stop import StopReason


@record
class TrialEnd:
    """What becomes of a Trial that is continued.

    Attributes:
        lrs: reference lr of each of its optimizer steps, natural units.
        losses: training loss of each.
        cost: of these steps: what a measurement has cost until then.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    cost: Cost


class TrialSeen(NamedTuple):
    """What was seen of a Trial, as :class:`~lrpilot.core.actions.TrialLosses` has it."""

    losses: tuple[float, ...]
    held_out: float | None
    stop: StopReason | None
    readings: tuple[float, ...] = ()


class Substrate(Protocol):
    """What can be flown: something that trains, can be measured, and can be moved back."""

    cost: Cost
    reads_are_cheap: bool

    def price(self, action: Action) -> float:
        """Forward-equivalents that an action will cost beyond kept steps: a budget must know what it can pay for."""

    def trial(self, action: Trial) -> TrialSeen:
        """Fly a Trial and restore everything.

        Its end is held under ``action.keep``, unless that is None or it was stopped.
        """

    def continue_trial(self, key: str) -> TrialEnd:
        """Go to the end that is held under ``key``. It stays held: asked again, the same happens."""

    def drop_end(self, key: str) -> None:
        """Forget the end that is held under ``key``."""

    def arm_line(self) -> None:
        """Make the next kept step the step of a Line."""

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        """Losses along the step of the armed Line, batches x factors."""

    def release_line(self) -> None:
        """Forget the endpoints of the last Line."""

    def evaluate(self, action: Evaluate) -> float:
        """Mean held-out loss."""

    def mark(self, key: str) -> None:
        """Remember weights and optimizer state."""

    def rewind(self, key: str) -> None:
        """Go back to a mark."""

    def drop(self, key: str) -> None:
        """Forget a mark."""

    def read(self, losses: Sequence[Any]) -> list[float]:
        """Losses as numbers, averaged over ranks."""

    def agree(self, action: Action) -> None:
        """Raise unless every rank takes this action."""
