"""What LRTuner says of its decisions: read off the states before and after, so that no decision depends on it."""

from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.policies.guard import Verdict, leap_reason, no_number_reason, wreck_reason
from lrpilot.policies.lr_tuner.state import (
    Annealing,
    CheckingWindow,
    Cruising,
    DecisionCode,
    LRTunerState,
    MarkingWindow,
    OpeningWindow,
    ReadingLine,
    RewindingWindow,
    TrainingWindow,
)

_WHY: dict[DecisionCode, str] = {
    "minimiser": "the minimum of the loss along the step",
    "limited": "the loss falls further along the step than a single change may go",
    "other_way": "the loss along the step asks for no change that {phase} accepts",
    "uncertain": "noise hides which way the loss falls, on all batches that may be read",
    "unforeseen": "a parabola does not foretell the loss along the step",
}

NOT_SEARCHED = "the overhead does not pay for a single Line in a training this short. Allow more of it"


def reason_for(
    before: LRTunerState, after: LRTunerState, *, exploring: bool, worse: str, rate: float | None
) -> Reason | None:
    """What was decided between two states, from which lr to which, and why; None where nothing was.

    Args:
        before: the state that was told.
        after: what came of it.
        exploring: whether only increases were accepted before.
        worse: what a change is undone for.
        rate: the present drop rate, which decides on a Line in exploit; None where it does not.
    """
    lr, new = before.present.lr, after.present.lr
    change = lr_from_to(lr, new)
    back = "; the weights go back to the last mark" if isinstance(after.phase, RewindingWindow) else ""
    if after.restart is not None and before.restart is None:
        back = "; the training begins anew"
    if after.guard.lost > before.guard.lost:
        lost, excuse = after.guard.lost, after.watch.excuse
        if after.watch.lost_to_a_leap:
            return leap_reason(lr, new, lost, back=back)
        return no_number_reason(lr, new, lost, loss="the loss", excuse=excuse, back=back)
    if after.tally.diverged > before.tally.diverged:
        unseen = after.watch.verdict is Verdict.DYING and not after.watch.has_gained
        return wreck_reason(lr, new, back=back, gained=not unseen)
    if after.tally.lowered > before.tally.lowered:
        return Reason("stalled", f"{change}: the loss does not fall as it must in the beginning{back}")
    if after.tally.undone > before.tally.undone:
        return Reason("undone", f"{change}: {worse}{back}")
    trains_on = isinstance(before.phase, OpeningWindow) and isinstance(
        after.phase, Cruising | Annealing | TrainingWindow
    )
    if trains_on and not after.tally.forwards:
        return Reason("not_searched", f"{change}: {NOT_SEARCHED}", alarms=True)
    if isinstance(after.phase, MarkingWindow) and after.phase.decided is not None:
        code = after.phase.decided
        return Reason(code, f"{change}: {_WHY[code].format(phase='explore' if exploring else 'exploit')}")
    if isinstance(before.phase, CheckingWindow) and not exploring and rate is not None:
        return _of_saturation(after, rate, change)
    return None


def _of_saturation(after: LRTunerState, rate: float, change: str) -> Reason:
    """Exploit asks for a Line only where the lr is saturated."""
    present = after.present
    rates = f"the loss falls by {rate:.3g} a step, by {present.drops[0].rate:.3g} when this lr began"
    if isinstance(after.phase, ReadingLine):
        return Reason("saturated", f"lr {present.lr:.3g} has served its purpose: {rates}")
    return Reason("unsaturated", f"{change}: {rates}")
