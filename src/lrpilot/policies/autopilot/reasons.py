"""What Autopilot says of its decisions: read off the states before and after, so that no decision depends on it."""

from lrpilot.core.actions import Observation, TrialLosses
from lrpilot.core.policy import Reason, lr_from_to
from lrpilot.policies.autopilot.state import AutopilotState, Branching, Flying, Marking, Rewinding, SearchingPeak
from lrpilot.policies.guard import Verdict, wreck_reason
from lrpilot.policies.peak_search.words import tried_words

NOT_SEARCHED = "the training is too short for a search: no lr was tried"


def reason_for(before: AutopilotState, observation: Observation, after: AutopilotState) -> Reason | None:
    """What was decided between two states, and why; None where nothing was."""
    if isinstance(before.phase, SearchingPeak) and isinstance(observation, TrialLosses):
        searching = isinstance(after.phase, SearchingPeak)
        return Reason("tried", tried_words(before.search, after.search)) if searching else _of_search(after)
    if isinstance(before.phase, Marking) and before.marked_at is None and not before.search.probed:
        return Reason("not_searched", f"{NOT_SEARCHED}: on at lr {after.peak:.3g}, which is customary", alarms=True)
    if isinstance(before.phase, Branching):
        return None if isinstance(after.phase, Branching) else _of_branches(before, after)
    if isinstance(before.phase, Flying):
        return _of_flight(before, after)
    return None


def _of_search(after: AutopilotState) -> Reason:
    search = after.search
    cost = f"{len(search.probed)} trials of {search.steps} steps"
    if search.pick is None and search.skipped:
        why = f"losses are no number whatever the lr, in {search.skipped} batches: look for such values in the data"
        return Reason("bad_data", f"{why}; on at lr {after.peak:.3g}, which is customary", alarms=True)
    if search.pick is None:
        return Reason("all_diverged", f"every trial diverged, {cost}: on at lr {after.peak:.3g}", alarms=True)
    how = "averaged" if after.plan.arm == "averaged" else "ordinary, to zero at the end"
    edge = "" if search.bracketed else ", the best of them at an edge of what could be tried"
    return Reason("picked", f"lr {after.peak:.3g} ({_interval(after)}) by {cost}{edge}; {how}: {after.plan.why}")


def _of_branches(before: AutopilotState, after: AutopilotState) -> Reason:
    seen = ", ".join(
        f"{one.score:.4g} at {one.lr:.2g}" if one.tail else f"diverged at {one.lr:.2g}"
        for one in sorted(after.branches, key=lambda one: one.lr)
    )
    return Reason("branched", f"{lr_from_to(before.peak, after.peak)}: from here the loss goes to {seen}")


def _interval(state: AutopilotState) -> str:
    pick = state.search.pick
    assert pick is not None  # its callers have looked
    return f"{pick.interval[0]:.2g} to {pick.interval[1]:.2g}"


def _of_flight(before: AutopilotState, after: AutopilotState) -> Reason | None:
    back = "; the weights go back to the last mark" if isinstance(after.phase, Rewinding) else ""
    match after.watch.verdict:
        case Verdict.DYING:
            return wreck_reason(before.peak, after.peak, back=back)
        case Verdict.SPOILED:
            return Reason("spoiled", f"{lr_from_to(before.peak, after.peak)}: a bad batch spoiled the weights{back}")
        case Verdict.BAD_BATCH:
            return Reason("bad_batch", f"{lr_from_to(before.peak, after.peak)}: a loss is no number{back}")
        case Verdict.CLEARED:
            return Reason("cleared", f"{lr_from_to(before.peak, after.peak)}: the loss has risen by itself")
    return None
