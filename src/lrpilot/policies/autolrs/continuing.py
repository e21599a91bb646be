"""AutoLRS where Trials may be continued: the stage goes on from the Trial that chose its lr.

That is sound where the Trial has trained as the stage begins to: at the stage's own lr, held. At most two ends are
held: that of the Trial which the stage would go on from so far, and that of the next.
"""

import math
from dataclasses import replace

from lrpilot.core.actions import TrialLosses
from lrpilot.policies.autolrs.stage import LRSearch
from lrpilot.policies.autolrs.state import AutoLRSState, KeptTrial

# The Trial that the stage would go on from is held under one, and the next is flown under the other.
KEYS = ("one trial", "the other")
# A choice so near to the lr of the Trial that is held, in decades, takes that lr: no Trial tells the two apart.
NEAR = 0.02


def key_of_next(search: LRSearch, kept: KeptTrial | None, remaining: int | None) -> str | None:
    """The key under which the end of the next Trial is held; None where it has more steps than are left."""
    if remaining is not None and search.steps > remaining:
        return None
    return KEYS[1] if kept is not None and kept.key == KEYS[0] else KEYS[0]


def nearer(kept: KeptTrial | None, key: str | None, seen: TrialLosses, *, lr: float, choice: float) -> KeptTrial | None:
    """The Trial that is held after one more: of it and the one before, that whose lr is nearer to the choice.

    Published that is the best one. The default may choose the present lr although another did as well.

    Args:
        kept: the one before.
        key: that the one more was flown under; None where it was not to be held.
        seen: what it came to; where it was stopped it is not held.
        lr: that it was flown at, natural units.
        choice: the lr of the stage, were it to begin now.
    """
    if key is None or seen.stop is not None:
        return kept
    if kept is not None and _decades(kept.lr, choice) <= _decades(lr, choice):
        return kept
    return KeptTrial(key, lr)


def _decades(one: float, other: float) -> float:
    return abs(math.log10(one / other))


def held_lr(kept: KeptTrial | None, lr: float) -> float:
    """The lr of a stage: that of the Trial that is held, where it makes no difference."""
    return lr if kept is None or _decades(lr, kept.lr) > NEAR else kept.lr


def gone_on(before: AutoLRSState, state: AutoLRSState) -> tuple[AutoLRSState, int]:
    """The flight now that the Trial's steps are the first of its stage, and the steps of the stage that are left.

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
    bill = replace(state.bill, spent=max(0.0, state.bill.spent - taken))
    return replace(state, stages=(*state.stages[:-1], stage), bill=bill), rest
