"""What WeightedFactors remembers between two calls, and what it says of a decision."""

from typing import Literal

from lrpilot.core.actions import LineLosses, Observation
from lrpilot.core.codec import record
from lrpilot.core.reason import Reason, lr_from_to
from lrpilot.maths.weighting import Candidates
from lrpilot.policies.guard import Blame, Health, alarm, is_alarming

Stage = Literal["mark", "line", "shrink", "rewind", "train"]


@record
class WeightedFactorsState:
    """Where the flight stands.

    Attributes:
        stage: what is asked for now.
        lr: of the next Train, natural units.
        window: kept steps from one decision to the next.
        to_train: of these, steps still to be trained before the next Line.
        remaining: kept steps left in all; None for an open horizon.
        ceiling: largest lr allowed at present.
        batch: index of the first scoring batch of this decision.
        health: losses of a sound training; None before the first Line, and in the paper's setting.
        candidates: what has been read of a step that wrecked the weights; None otherwise.
        shrinks: Lines of smaller factors read of that step.
        fresh: whether no step has been trained since the last Mark or Rewind.
        lost: losses in a row that were no number, without a sound Line between them.
        blame: what is known of losses that were no number.
    """

    stage: Stage
    lr: float
    window: int
    to_train: int
    remaining: int | None
    ceiling: float
    batch: int = 0
    health: Health | None = None
    candidates: Candidates | None = None
    shrinks: int = 0
    fresh: bool = False
    lost: int = 0
    blame: Blame = Blame()


def explain(state: WeightedFactorsState, seen: Observation, after: WeightedFactorsState) -> Reason | None:
    """What was decided between two states, from which lr to which, and why; None where nothing was."""
    change = lr_from_to(state.lr, after.lr)
    if after.lost > state.lost:
        alarms, look = is_alarming(after.lost), alarm(after.lost)
        if after.lr < state.lr:
            return Reason("no_number", f"{change}: a loss was no finite number{look}", alarms)
        return Reason("bad_data", f"{change}: a loss was no finite number, and would not be at any lr{look}", alarms)
    if after.stage == "shrink":
        return Reason("searched", f"the step at lr {state.lr:.3g} wrecked the weights: smaller ones are read")
    if after.stage == "rewind" and state.stage != "rewind":
        return Reason("taken_back", f"{change}: the weights were wrecked, and go back to the last mark")
    if isinstance(seen, LineLosses) and after.stage in ("mark", "train") and after.remaining != 0:
        factor = after.lr / state.lr
        return Reason("weighted", f"{change}: the losses along the step weigh its factors to a mean of {factor:.3g}")
    return None
