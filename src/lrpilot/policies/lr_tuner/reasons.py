"""What LRTuner says of its decisions: read off the states before and after, so that no decision depends on it."""

from typing import TYPE_CHECKING

from lrpilot.core.reason import Reason, lr_from_to
from lrpilot.policies.guard import alarm, is_alarming
from lrpilot.policies.lr_tuner.plan import is_exploring
from lrpilot.policies.lr_tuner.rules import recent_rate
from lrpilot.policies.lr_tuner.state import DecisionCode, LRTunerState

if TYPE_CHECKING:
    from lrpilot.policies.lr_tuner.default import LRTuner

_WHY: dict[DecisionCode, str] = {
    "minimiser": "the minimum of the loss along the step",
    "limited": "the loss falls further along the step than a single change may go",
    "other_way": "the loss along the step asks for no change that {phase} accepts",
    "uncertain": "noise hides which way the loss falls, on all batches that may be read",
    "unforeseen": "a parabola does not foretell the loss along the step",
}


def explain(tuner: "LRTuner", state: LRTunerState, after: LRTunerState) -> Reason | None:
    """What was decided between two states, from which lr to which, and why; None where nothing was."""
    change = lr_from_to(state.lr, after.lr)
    if after.lost > state.lost:
        return _of_no_number(state, after, change)
    if after.tally.diverged > state.tally.diverged:
        return Reason("wrecked", f"{change}: most of what had been gained was lost{_back(after)}")
    if after.tally.undone > state.tally.undone:
        what = "the loss fell more slowly than before the change" if tuner.published else "the loss rose"
        return Reason("undone", f"{change}: {what}{_back(after)}")
    if after.tally.lines > state.tally.lines and after.why is not None:
        return _of_line(tuner, state, after.why, change)
    if state.stage == "check":
        return _of_check(tuner, state, after, change)
    return None


def _of_no_number(state: LRTunerState, after: LRTunerState, change: str) -> Reason:
    if after.lr < state.lr:
        what, code = "the loss was no finite number", "no_number"
    else:
        what, code = "the loss was no finite number, and would not be at any lr", "bad_data"
    return Reason(code, f"{change}: {what}{alarm(after.lost)}{_back(after)}", is_alarming(after.lost))


def _back(after: LRTunerState) -> str:
    return "; the weights go back to the last mark" if after.stage == "rewind" else ""


def _of_line(tuner: "LRTuner", state: LRTunerState, why: DecisionCode, change: str) -> Reason:
    phase = "explore" if is_exploring(tuner, state) else "exploit"
    return Reason(why, f"{change}: {_WHY[why].format(phase=phase)}")


def _of_check(tuner: "LRTuner", state: LRTunerState, after: LRTunerState, change: str) -> Reason | None:
    """Exploit asks for a Line only where the lr is saturated."""
    if is_exploring(tuner, state) or tuner.exploit == "linear" or not after.drops:
        return None
    now = recent_rate(after.drops, published=tuner.published)
    rates = f"the loss falls by {now:.3g} a step, by {after.drops[0].rate:.3g} when this lr began"
    if after.stage == "line":
        return Reason("saturated", f"lr {state.lr:.3g} has served its purpose: {rates}")
    return Reason("unsaturated", f"{change}: {rates}")
