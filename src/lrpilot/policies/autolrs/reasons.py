"""What AutoLRS says of its decisions: read off the states before and after, so that no decision depends on it."""

from lrpilot.core.reason import Reason, lr_from_to
from lrpilot.policies.autolrs.state import AutoLRSState, LRStage, StageCode
from lrpilot.policies.guard import alarm, is_alarming

ALARMING = (StageCode.ALL_DIVERGED, StageCode.NO_NUMBER, StageCode.LOST)


def explain(state: AutoLRSState, after: AutoLRSState) -> Reason | None:
    """What was decided between two states, from which lr to which, and why; None where nothing was."""
    change = lr_from_to(state.lr, after.lr)
    if after.lost > state.lost:
        return _of_no_number(state, after, change)
    if len(after.stages) > len(state.stages):
        return _of_stage(after, after.stages[-1], change)
    if after.stages and after.stages[-1].rewinds > state.stages[-1].rewinds:
        return Reason("wrecked", f"{change}: most of what had been gained was lost; the weights go back to the mark")
    if after.stages and after.stages[-1].code is not state.stages[-1].code:
        return Reason("lost", f"{change}: {_sentence(after.stages[-1].code)}", alarms=True)
    if after.first > state.first:
        return Reason(
            "bad_batch", "a loss was no finite number, and had not risen before: Trials begin after that batch now"
        )
    return None


def _of_no_number(state: AutoLRSState, after: AutoLRSState, change: str) -> Reason:
    back = "; the weights go back to the mark"
    if after.lr < state.lr:
        return Reason(
            "no_number", f"{change}: a loss was no finite number{alarm(after.lost)}{back}", is_alarming(after.lost)
        )
    words = "a loss was no finite number, and that was not the lr's fault"
    return Reason("bad_data", f"{change}: {words}{alarm(after.lost)}{back}", is_alarming(after.lost))


def _of_stage(after: AutoLRSState, stage: LRStage, change: str) -> Reason:
    sentence = f"{change} for {stage.steps} steps. {_sentence(stage.code)}"
    if stage.code is StageCode.NOT_SEARCHED and after.evaluation:
        sentence += f". To read a held-out loss costs as much as {after.evaluation:.3g} steps"
    alarms = stage.code in ALARMING or (stage.code is StageCode.FLAT and len(after.stages) == 1)
    return Reason(stage.code.name.lower(), sentence, alarms)


def _sentence(code: StageCode) -> str:
    return code.value.removesuffix(".")
