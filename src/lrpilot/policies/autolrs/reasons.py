"""What AutoLRS says of its decisions: read off the states before and after, so that no decision depends on it."""

from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.policies.autolrs.stage import LRStage, StageCode
from lrpilot.policies.autolrs.state import AutoLRSState
from lrpilot.policies.guard import no_number_reason, wreck_reason

ALARMING = (StageCode.ALL_DIVERGED, StageCode.NO_NUMBER, StageCode.LOST)
# Of later stages these are in the plan: the present lr was found.
ALARMING_AT_FIRST = (StageCode.FLAT, StageCode.NOT_SEARCHED)
BACK = "; the weights go back to the mark"


def explain(state: AutoLRSState, after: AutoLRSState) -> Reason | None:
    """What was decided between two states, from which lr to which, and why; None where nothing was."""
    change, lost = lr_from_to(state.lr, after.lr), after.watch.guard.lost
    if lost > state.watch.guard.lost:
        excuse = "and that was not the lr's fault"
        return no_number_reason(state.lr, after.lr, lost, excuse=excuse, back=BACK)
    if len(after.stages) > len(state.stages):
        return _of_stage(after, after.stages[-1], change)
    if after.stages and after.stages[-1].rewinds > state.stages[-1].rewinds:
        return wreck_reason(state.lr, after.lr, back=BACK)
    if after.stages and after.stages[-1].code is not state.stages[-1].code:
        return Reason("lost", f"{change}: {_sentence(after.stages[-1].code)}", alarms=True)
    if after.watch.first > state.watch.first:
        return Reason(
            "bad_batch", "a loss was no finite number, and had not risen before: Trials begin after that batch now"
        )
    return None


def _of_stage(after: AutoLRSState, stage: LRStage, change: str) -> Reason:
    sentence = f"{change} for {stage.steps} steps. {_sentence(stage.code)}"
    if stage.code is StageCode.NOT_SEARCHED and after.bill.evaluation:
        sentence += f". To read a held-out loss costs as much as {after.bill.evaluation:.3g} steps"
    alarms = stage.code in ALARMING or (stage.code in ALARMING_AT_FIRST and len(after.stages) == 1)
    return Reason(stage.code.name.lower(), sentence, alarms)


def _sentence(code: StageCode) -> str:
    return code.value.removesuffix(".")
