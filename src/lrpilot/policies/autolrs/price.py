"""How AutoLRS lays out a training: stages in steps, and what a search may cost."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lrpilot.core.policy import Context
from lrpilot.core.settings import (
    Rule,
    among,
    check_range,
    is_positive,
    is_real,
    is_share,
    is_warmup,
    is_whole,
    or_none,
    refuse_open_horizon,
    require_each,
    steps_of,
)
from lrpilot.errors import SettingError
from lrpilot.policies.autolrs.state import AutoLRSState, LRSearch
from lrpilot.policies.finders.step_sampling import StepSampling

if TYPE_CHECKING:
    from lrpilot.policies.autolrs.default import AutoLRS

# The lrs that are searched where no interval is given.
LOWEST, HIGHEST = 1e-7, 10.0
# What a held-out loss is taken to cost, in steps, where none was read yet: 16 batches, forward only.
EVALUATION = 5.0
# Step sampling on its first grid alone, and the part of a training that it may cost by default.
GRID_TRIALS = 17
FINDER_STEPS = 20
FINDER_PART = 0.03
# A default search has fewer Trials rather than shorter ones, but for these: the first has to find the order of
# magnitude, and later ones tell the present lr from its neighbours.
ENOUGH, ENOUGH_LATER = 6, 3
# A default Trial is never shorter (of short ones before longer ones; of the only ones; later), and a default search
# never smaller: it would be a guess at a price.
LEAST_STEPS, LEAST_ONLY_STEPS, LEAST_LATER_STEPS = 5, 10, 20
LEAST_TRIALS, LEAST_FIRST_TRIALS = 3, 4
# Part of what is left for searches that the first one gets: the most is learned there.
FIRST_PART = 0.85
# The first search of the default is two, where it can be: of so short a part of it all, to find the order of
# magnitude, and then of a few Trials as long as the rest pays for. In short Trials too high an lr looks best
# (studies/trial_lengths). Their part is larger where the search is paid for out of the training: it is one of
# less, and they are to be as long.
SCOUTS_PART, PAID_SCOUTS_PART = 0.4, 0.5
# The longer Trials are this many times as long as the short ones, or there are none.
LEAST_RATIO = 2


class SearchPlan(NamedTuple):
    """What a search is made of: ``most`` Trials of ``steps`` each, for a stage of ``horizon`` steps.

    ``scouting``: a search of longer Trials is to follow.
    """

    steps: int
    most: int
    horizon: int
    scouting: bool = False


def stage_steps(policy: "AutoLRS", state: AutoLRSState) -> int:
    """Kept steps of the stage that begins now, >= 1.

    It doubles from stage to stage. The default lets the last stage have everything that would be too little for a
    further one.
    """
    longest = policy.max_stage
    steps: int = steps_of(policy.stage, state.total) << min(max(0, state.searches - 1), 60)
    if longest is not None:
        steps = min(steps, steps_of(longest, state.total))
    remaining = state.remaining
    if remaining is None:
        return steps
    if policy.published:
        # A rest in which a Trial would have no step to itself belongs to this stage.
        return max(1, remaining if remaining < steps * (1 + policy.trial) else steps)
    return max(1, steps if remaining >= 2 * steps else remaining)


def plan_search(policy: "AutoLRS", state: AutoLRSState) -> SearchPlan | None:
    """What the search for the stage that begins now is made of; None where it cannot be paid for.

    Published: k Trials of a tenth of the stage. The default makes them shorter, then fewer, until they fit into
    what it may spend; its first search scouts with short ones where longer ones can be paid for after them.
    """
    horizon = stage_steps(policy, state)
    if policy.published:
        if state.charged and state.remaining is not None:  # the search is paid for out of the same steps
            horizon = max(1, min(horizon, int(state.remaining / (1 + policy.trial * policy.num_trials))))
        return SearchPlan(math.ceil(policy.trial * horizon), policy.num_trials, horizon)
    steps = math.ceil(policy.trial * horizon)
    first = state.searches <= 1
    most = policy.num_trials if first else math.ceil(policy.num_trials / 2)
    allowance = _allowance(policy, state)
    each, enough = _evaluation(policy, state), min(most, ENOUGH if first else ENOUGH_LATER)
    if first and (scouts := _scout_steps(state, steps, allowance, each)):
        return SearchPlan(scouts, most, horizon, scouting=True)
    if allowance is None:
        return SearchPlan(steps, most, horizon)
    shortest = min(steps, LEAST_ONLY_STEPS if first else LEAST_LATER_STEPS)
    steps = max(shortest, min(steps, int(allowance / enough - each)))
    most = min(most, int(allowance // (steps + each)))
    return SearchPlan(steps, most, horizon) if most >= (LEAST_FIRST_TRIALS if first else LEAST_TRIALS) else None


def _evaluation(policy: "AutoLRS", state: AutoLRSState) -> float:
    """What reading the score of a Trial costs beyond its steps, in steps."""
    return 0.0 if policy.scoring == "raw" else state.evaluation


def _scout_steps(state: AutoLRSState, longest: int, allowance: float | None, each: float) -> int:
    """Steps of the Trials of a search that longer ones, of ``longest`` steps at most, can follow; 0 for none."""
    steps = longest // (2 * LEAST_RATIO)
    if allowance is not None:
        part = PAID_SCOUTS_PART if state.charged else SCOUTS_PART
        steps = min(steps, int(part * allowance / ENOUGH - each))
    return steps if steps >= LEAST_STEPS else 0


def plan_longer(policy: "AutoLRS", state: AutoLRSState, scouts: LRSearch) -> SearchPlan | None:
    """The search of longer Trials after ``scouts``; None where it cannot be paid for."""
    horizon = stage_steps(policy, state)
    steps, most = math.ceil(policy.trial * horizon), math.ceil(policy.num_trials / 2)
    allowance = _allowance(policy, state)
    if allowance is not None:
        each = _evaluation(policy, state)
        steps = min(steps, int(allowance / LEAST_TRIALS - each))
        most = min(most, int(allowance // (max(1, steps) + each)))
    return SearchPlan(steps, most, horizon) if steps >= LEAST_RATIO * scouts.steps and most >= LEAST_TRIALS else None


def _allowance(policy: "AutoLRS", state: AutoLRSState) -> float | None:
    """Steps that the present search may still cost; None without a limit."""
    if policy.overhead is None or state.total is None:
        return None
    if state.charged:  # what is spent shortens the training that it is a part of
        left = policy.overhead / (1 + policy.overhead) * (state.total + state.spent) - state.spent
    else:
        left = policy.overhead * state.total - state.spent
    coming = _stages_left(policy, state)
    if state.searches <= 1 and coming > 1:
        already = 0.0 if state.search is None else state.search.spent
        return FIRST_PART * (left + already) - already
    return left / coming


def _stages_left(policy: "AutoLRS", state: AutoLRSState) -> int:
    """Stages from the present one to the end, >= 1; the horizon is known."""
    count = 0
    while state.remaining:
        count += 1
        steps = stage_steps(policy, state)
        if steps == state.remaining or count > 100:
            break
        state = replace(
            state, step=state.step + steps, remaining=state.remaining - steps, searches=max(1, state.searches) + 1
        )
    return max(1, count)


def make_finder(policy: "AutoLRS", state: AutoLRSState) -> StepSampling | None:
    """Step sampling of the interval; None where it is given, or where the training is too short to pay for it."""
    if policy.min_lr is not None and policy.max_lr is not None:
        return None
    if policy.published:
        return StepSampling.paper()
    costs = GRID_TRIALS * (FINDER_STEPS + (state.evaluation or EVALUATION))
    most = math.inf if policy.overhead is None or state.total is None else min(FINDER_PART, policy.overhead / 2)
    if state.total is not None and costs > most * state.total:
        return None
    return StepSampling(LOWEST, HIGHEST, num_steps=FINDER_STEPS, tolerance=0.5, max_trials=GRID_TRIALS)


def bounds(policy: "AutoLRS") -> tuple[float, float]:
    """The lrs that no search leaves: the ends that are given, and else those of step sampling, or a decade beyond."""
    low, high = policy.min_lr, policy.max_lr
    return low or min(LOWEST, (high or HIGHEST) / 10.0), high or max(HIGHEST, 10.0 * (low or LOWEST))


def warmup_steps(policy: "AutoLRS", remaining: int | None) -> int:
    """Steps of the warmup, fewer than remain."""
    if not policy.warmup:
        return 0
    return min(steps_of(policy.warmup, remaining), remaining - 1) if remaining is not None else int(policy.warmup)


def require_horizon(policy: "AutoLRS", context: Context) -> None:
    """Raise where a setting is a part of a horizon that is open.

    Raises:
        SettingError: it is.
    """
    if context.progress.remaining is not None:
        return
    needs = {name: isinstance(part := getattr(policy, name), float) and part > 0 for name in _LENGTHS}
    needs["final"] = policy.final is not None
    refuse_open_horizon("AutoLRS", needs, "stages and warmup in steps and final=None")


# ------------------------------------------------------------------- settings


def check_settings(policy: "AutoLRS") -> None:
    """Raise where a setting is out of range.

    Raises:
        SettingError: it is.
    """
    require_each(policy, _RULES)
    check_range(*bounds(policy))
    _check_order(policy)


def _check_order(policy: "AutoLRS") -> None:
    stage, longest = policy.stage, policy.max_stage
    if longest is not None and isinstance(longest, float) == isinstance(stage, float) and longest < stage:
        raise SettingError(f"max_stage must be >= stage, got {longest} and {stage}. Leave it None for no limit.")


def _is_length(value: object) -> bool:
    return is_whole(value, 1) or (isinstance(value, float) and is_share(value))


_LENGTHS = ("stage", "max_stage", "warmup")  # which may be parts of the training
_LR = or_none(is_positive)
_STAGE = "an int >= 1 (steps) or a float in (0, 1] (a part)"
_WARMUP = "an int >= 0 (steps) or a float in [0, 1) (a part)"
_SCORES = "'raw', 'annealed', 'average' or None"
_RULES = {
    "min_lr": Rule("finite and > 0", _LR, "Leave it None to have it found."),
    "max_lr": Rule("finite and > 0", _LR, "Leave it None to have it found."),
    "num_trials": Rule("an int >= 3", lambda value: is_whole(value, LEAST_TRIALS), "The paper's is 10."),
    "stage": Rule(_STAGE, _is_length, "The paper's is 1000."),
    "max_stage": Rule(_STAGE, or_none(_is_length), "The paper's is 8000."),
    "trial": Rule("in (0, 1]", is_share, "The paper's is 0.1."),
    "kappa": Rule(">= 0", lambda value: is_real(value) and 0 <= value < math.inf, "The default is 2; the paper's 1e6."),
    "score": Rule(_SCORES, among("raw", "annealed", "average", None), "The default is None."),
    "warmup": Rule(_WARMUP, is_warmup, "Use 0 for none."),
    "warmup_lr": Rule("finite and > 0", _LR, "Leave it None for the middle of the interval."),
    "final": Rule("'linear' or None", among("linear", None), "The default is 'linear'."),
    "overhead": Rule("finite and > 0", or_none(is_positive), "Leave it None for no limit."),
    "rules": Rule("'default' or 'paper'", among("default", "paper"), "Use AutoLRS.paper() for the published ones."),
}
