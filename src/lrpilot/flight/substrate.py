"""Substrate: what can be flown, as the one loop of ask, act and tell sees it, and what its measurements cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from lrpilot.core.actions import Action, Average, Evaluate, Line, Trial
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.policy import Facts
from lrpilot.core.stop import StopReason

STEP = 3.0  # forward-equivalents of a training step: a forward pass is 1, a backward pass 2


def price(action: Action, *, evaluation: float, evaluation_batch: float = 1.0, reestimation: float = 0.0) -> float:
    """Forward-equivalents of an action beyond kept steps, at full batches; a stop rule can make it cheaper.

    Args:
        action: what is asked for.
        evaluation: of reading the held-out loss once.
        evaluation_batch: of reading it on its first batch alone.
        reestimation: of BatchNorm statistics, before a Trial is judged or where an Evaluate asks for it.
    """
    match action:
        case Line(factors, batches):
            return float(len(factors) * batches)
        case Trial(_, steps, evaluate):
            readings = 0 if action.read_every is None else steps // action.read_every
            judged = 0.0 if evaluate == "no" else evaluation + reestimation
            return STEP * steps + readings * evaluation_batch + judged
        case Evaluate(reestimate):
            return evaluation + (reestimation if reestimate else 0.0)
    return 0.0


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

    def facts(self) -> Facts:
        """What a policy may know of it before its first action; nothing is read or run for it."""

    @property
    def average(self) -> Average | None:
        """How the next kept step is averaged; None where no average is flown."""

    def fly(self, average: Average | None) -> None:
        """Average the kept steps from now on, or land where they have been averaged until now (None)."""

    @property
    def landing_price(self) -> float:
        """Forward-equivalents that leaving the average in the model would cost now; 0 where none is flown."""

    def price(self, action: Action) -> float:
        """Forward-equivalents that an action will cost beyond kept steps: a budget must know what it can pay for."""

    def trial(self, action: Trial) -> TrialSeen | None:
        """Fly a Trial and restore everything.

        Its end is held under ``action.keep``, unless that is None or it was stopped.

        Returns:
            What was seen; None where it has met a batch that weighs nothing, for it gives no number at sound weights.
            From now on that is left out, and the Trial is to be flown again, where it still can be paid for.
        """

    def continue_trial(self, key: str) -> TrialEnd:
        """Go to the end that is held under ``key``. It stays held: asked again, the same happens."""

    def drop_end(self, key: str) -> None:
        """Forget the end that is held under ``key``."""

    def arm_line(self) -> None:
        """Make the next kept step the step of a Line."""

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        """Losses along the step of the armed Line, batches x factors."""

    def line_shares(self, action: Line) -> tuple[float, ...]:
        """Of the samples of all batches of a Line that has been read, those of each; empty where all have as many."""

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

    def is_sound(self, *, by_a_batch: bool = False) -> bool:
        """Whether weights and optimizer state are numbers; asked where a loss was none.

        Args:
            by_a_batch: and whether some batch gives a number at them: finite weights may be far too large.
        """

    def agree(self, action: Action) -> None:
        """Raise unless every rank takes this action."""
