"""AutoLRS where Trials may be continued: the stage goes on from the Trial that chose its lr.

That is sound where the Trial has trained as the stage begins to: at the stage's own lr, held. So not where the stage
begins with a ramp or falls to zero from its beginning, and not where Trials fall to zero themselves.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from lrpilot.core.actions import Trial, TrialLosses
from lrpilot.policies.autolrs.price import stage_steps, warmup_steps
from lrpilot.policies.autolrs.state import AutoLRSState, KeptTrial

if TYPE_CHECKING:
    from lrpilot.policies.autolrs.default import AutoLRS

# The Trial that the stage would go on from is held under one, and the next is flown under the other.
KEYS = ("one trial", "the other")
# A choice so near to the lr of the Trial that is held, in decades, takes that lr: no Trial tells the two apart.
NEAR = 0.02


def to_be_kept(policy: "AutoLRS", state: AutoLRSState, trial: Trial) -> Trial:
    """The Trial of the next candidate, its end to be kept where the stage might go on from it."""
    return replace(trial, keep=_key(policy, state))


def _key(policy: "AutoLRS", state: AutoLRSState) -> str | None:
    """For the next Trial; None where it is not to be kept."""
    search = state.search
    if search is None or not _may_go_on(policy, state, stage_steps(policy, state)):
        return None
    if state.remaining is not None and search.steps > state.remaining:
        return None
    return KEYS[1] if state.kept is not None and state.kept.key == KEYS[0] else KEYS[0]


def _may_go_on(policy: "AutoLRS", state: AutoLRSState, steps: int) -> bool:
    """Whether the stage that comes, of so many steps, begins as its Trials train."""
    if not state.continues or policy.scoring == "annealed":
        return False
    falls = policy.final == "linear" and steps == state.remaining
    rises = not policy.published and not state.stages and warmup_steps(policy, state.total) >= 1
    return not falls and not rises


def kept_after(
    policy: "AutoLRS", asked: AutoLRSState, seen: TrialLosses, *, lr: float, choice: float
) -> KeptTrial | None:
    """The Trial that is held after one more: of it and the one before, that whose lr is nearer to the choice.

    Published that is the best one. The default may choose the present lr although another did as well.

    Args:
        policy: that asked for the Trial.
        asked: the state that it was asked for in.
        seen: what it came to.
        lr: that it was flown at, natural units.
        choice: the lr of the stage, were it to begin now.
    """
    key = _key(policy, asked)
    if key is None or seen.stop is not None:
        return asked.kept
    if asked.kept is not None and _decades(asked.kept.lr, choice) <= _decades(lr, choice):
        return asked.kept
    return KeptTrial(key, lr)


def _decades(one: float, other: float) -> float:
    return abs(math.log10(one / other))


def held_lr(state: AutoLRSState, lr: float) -> float:
    """The lr of a stage: that of the Trial that is held, where it makes no difference."""
    if state.kept is None or _decades(lr, state.kept.lr) > NEAR:
        return lr
    return state.kept.lr


def to_go_on_from(policy: "AutoLRS", state: AutoLRSState, lr: float, steps: int) -> KeptTrial | None:
    """The Trial that a stage of so many steps at ``lr`` goes on from; None where it is trained from its beginning."""
    kept = state.kept
    return kept if kept is not None and kept.lr == lr and _may_go_on(policy, state, steps) else None


def gone_on(before: AutoLRSState, state: AutoLRSState) -> AutoLRSState:
    """The rest of the stage, now that the Trial's steps are its first ones; ``train_steps`` is 0 where none is left.

    Args:
        before: the state in which it was asked for.
        state: the same, with the steps taken and left since then.
    """
    stage = state.stages[-1]
    taken = state.step - stage.begin
    rest = stage.steps - taken
    if state.remaining is not None:
        # A budget gives back what the Trial has cost, and the last stage has all that is left.
        rest = state.remaining if stage.steps == before.remaining else min(rest, state.remaining)
    rest = max(0, rest)
    stage = replace(stage, steps=taken + rest, continued=taken)
    return replace(
        state,
        phase="train",
        stages=(*state.stages[:-1], stage),
        train_steps=rest,
        spent=max(0.0, state.spent - taken),
        kept=None,
    )
