"""What AutoLRS does between two searches: stages begin, are watched, and end."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lrpilot.core.actions import HeldOut, Trained, TrialLosses
from lrpilot.policies.autolrs.continuing import gone_on, held_lr, kept_after, to_go_on_from
from lrpilot.policies.autolrs.price import bounds, plan_longer, plan_search, stage_steps
from lrpilot.policies.autolrs.search import choose, go_on, open_search, past_bad_batch, read_candidate
from lrpilot.policies.autolrs.state import AutoLRSState, LRSearch, LRStage, Phase, StageCode
from lrpilot.policies.autolrs.watch import Look, after_no_number, is_wreck, marked_again, sound, take_back
from lrpilot.policies.finders.step_sampling import StepSampling, StepSamplingState

if TYPE_CHECKING:
    from lrpilot.policies.autolrs.default import AutoLRS

# Where step sampling has no suggestion: decades below and above the optimizer's own lr.
BELOW, ABOVE = 2.0, 1.0
# Where it is not asked: decades to each side of it with which the search begins.
AROUND = 1.0
# An lr to hold is up to this many decades too small for one that decays.
DECAY_ROOM = 1.0


def charged(state: AutoLRSState, observation: TrialLosses | HeldOut) -> AutoLRSState:
    """With what a measurement has cost, in steps: what it took from those that remain, or else what it did."""
    progress, before = observation.progress, state.remaining
    paid = 0 if before is None or progress.remaining is None else before - progress.remaining
    cost = float(paid) if paid > 0 else observation.cost
    search = state.search if state.search is None else replace(state.search, spent=state.search.spent + cost)
    return replace(state, spent=state.spent + cost, charged=state.charged or paid > 0, search=search)


# ------------------------------------------------------------------- interval


def finding(state: AutoLRSState) -> tuple[StepSampling, StepSamplingState]:
    """The finder of the interval and its own state; phase "find" begins with both."""
    assert state.finder is not None and state.found is not None
    return state.finder, state.found


def found_interval(policy: "AutoLRS", state: AutoLRSState, window: tuple[float, float] | None) -> AutoLRSState:
    """The interval that searches begin with: what is given, and the window of step sampling for what is not."""
    if window is None:
        low, high = state.lr * 10.0**-BELOW, state.lr * 10.0**ABOVE
    else:
        low, high = window
        if not policy.published and policy.scoring != "raw":
            high *= 10.0**DECAY_ROOM
    return replace(state, interval=_with_given_ends(policy, low, high))


def first_interval(policy: "AutoLRS", lr: float) -> tuple[float, float]:
    """The interval that is given; where it is not, what lies about the optimizer's own lr."""
    low, high = bounds(policy)
    lr = min(max(lr, low), high)
    return _with_given_ends(policy, lr * 10.0**-AROUND, lr * 10.0**AROUND)


def _with_given_ends(policy: "AutoLRS", low: float, high: float) -> tuple[float, float]:
    """The interval within the allowed lrs, with the ends that are given in place of its own."""
    lowest, highest = bounds(policy)
    low, high = policy.min_lr or max(low, lowest), policy.max_lr or min(high, highest)
    if low < high:
        return low, high
    # One end is given, and the other lies beyond it.
    return (low, low * 10.0**AROUND) if policy.min_lr else (high * 10.0**-AROUND, high)


# --------------------------------------------------------------------- stages


def begin_search(policy: "AutoLRS", state: AutoLRSState) -> AutoLRSState:
    """The search for the next stage, or the stage itself where a search cannot be paid for; nothing at the end."""
    if state.remaining == 0:
        return replace(state, phase="done")
    state = replace(state, searches=state.searches + 1, kept=None)
    plan = plan_search(policy, state)
    if plan is None:
        low, high = bounds(policy)
        return begin_stage(policy, state, min(max(state.lr, low), high), StageCode.NOT_SEARCHED, None)
    return replace(state, phase="search", search=open_search(policy, state, plan))


def tried(policy: "AutoLRS", asked: AutoLRSState, state: AutoLRSState, seen: TrialLosses) -> AutoLRSState:
    """One candidate more; the stage begins where it was the last.

    Args:
        policy: that tries it.
        asked: the state in which its Trial was asked for.
        state: the same, with what the Trial has cost.
        seen: what it came to.
    """
    search = state.search
    assert search is not None  # phase "search" begins with one
    if state.first_train is None and seen.losses and math.isfinite(seen.losses[0]):
        first = state.first_loss if state.first_loss is not None else seen.losses[0]
        state = replace(state, first_loss=first, first_train=seen.losses[0])
    later = past_bad_batch(policy, search, seen)
    if later is not None:
        return replace(state, search=later, first=later.first)
    candidate = read_candidate(policy, state, search, seen)
    if not state.stages and not candidate.tried.diverged and candidate.lr <= min(search.lrs, default=math.inf):
        state = replace(state, first_high=candidate.tried.high)
    search = go_on(policy, state, replace(search, candidates=(*search.candidates, candidate)))
    lr, code = choose(policy, state, search)
    state = replace(state, search=search, kept=kept_after(policy, asked, seen, lr=candidate.lr, choice=lr))
    if search.queue:
        return state
    if search.scouting and code not in (StageCode.ALL_DIVERGED, StageCode.NO_NUMBER):
        longer = plan_longer(policy, state, search)
        if longer is not None:
            state = replace(state, lr=lr, scouts=search, kept=None)
            return replace(state, search=open_search(policy, state, longer))
    return begin_stage(policy, state, held_lr(state, lr), code, search)


def begin_stage(
    policy: "AutoLRS", state: AutoLRSState, lr: float, code: StageCode, search: LRSearch | None
) -> AutoLRSState:
    """A stage at ``lr``; ``search`` is the one that chose it, None where there was none."""
    if state.remaining == 0:
        return replace(state, phase="done")
    steps = stage_steps(policy, state)
    stage = LRStage(
        begin=state.step,
        steps=steps,
        lr=lr,
        code=code,
        decays=policy.final == "linear" and steps == state.remaining,
        search=search,
        scouts=None if search is None else state.scouts,
    )
    state = replace(state, kept=to_go_on_from(policy, state, lr, steps))
    return replace(
        state,
        phase=first_phase(state) if policy.published else "mark",
        lr=lr,
        stages=(*state.stages, stage),
        train_steps=steps,
        warming=not state.stages and not policy.published,
        safe=state.health,
        part=None,
        scouts=None,
    )


def first_phase(state: AutoLRSState) -> Phase:
    """How the steps of a stage begin: with the Trial that is held, or from where it was flown."""
    return "train" if state.kept is None else "continue"


def continued(policy: "AutoLRS", asked: AutoLRSState, state: AutoLRSState) -> AutoLRSState:
    """The Trial has become the beginning of the stage: the rest of it, or the next where it was all of it."""
    state = gone_on(asked, state)
    return state if state.train_steps else _next_stage(policy, state)


def trained(policy: "AutoLRS", state: AutoLRSState, seen: Trained) -> AutoLRSState:
    """A part of a stage, or all of it, has been trained."""
    if policy.published:
        return _trained_as_published(policy, state, seen)
    look = Look.of(seen)
    if look.held_out:  # read because the loop gives no losses
        state = replace(state, spent=state.spent + state.evaluation)
    if look.no_number:
        return after_no_number(state, look)
    if is_wreck(state, look):
        return take_back(state)
    state = sound(state, look)
    return _next_stage(policy, state) if seen.finished else marked_again(state)


def _trained_as_published(policy: "AutoLRS", state: AutoLRSState, seen: Trained) -> AutoLRSState:
    if seen.stop is not None:
        # The published system has no way back. What is left is trained at the same lr, without further searches.
        stage = state.stages[-1]
        lost = stage if stage.code is StageCode.ALL_DIVERGED else replace(stage, code=StageCode.LOST)
        state = replace(state, stages=(*state.stages[:-1], lost), train_steps=max(1, state.remaining or 1))
        return replace(state, phase="done") if state.remaining == 0 else state
    return _next_stage(policy, state) if seen.finished else state


def _next_stage(policy: "AutoLRS", state: AutoLRSState) -> AutoLRSState:
    """The search for the stage after the present one."""
    if policy.published and policy.is_longest(max(0, state.searches - 1), state.total):
        state = replace(state, validating=True)
    return begin_search(policy, state)
