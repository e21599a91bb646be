"""What a search of the default may cost, and what it is made of for that price."""

import math
from typing import NamedTuple

from lrpilot.policies.autolrs.settings import LEAST_TRIALS, Length, doubled
from lrpilot.policies.autolrs.stage import LRSearch
from lrpilot.policies.autolrs.state import AutoLRSState

# A search has fewer Trials rather than shorter ones, but for these: the first has to find the order of magnitude, and
# later ones tell the present lr from its neighbours.
ENOUGH, ENOUGH_LATER = 6, 3
# A Trial is never shorter (of short ones before longer ones; of the only ones; later), and a first search never
# smaller: it would be a guess at a price.
LEAST_STEPS, LEAST_ONLY_STEPS, LEAST_LATER_STEPS = 5, 10, 20
LEAST_FIRST_TRIALS = 4
# Part of what is left for searches that the first one gets: the most is learned there.
FIRST_PART = 0.85
# The first search is two, where it can be: of so short a part of it all, to find the order of magnitude, and then of a
# few Trials as long as the rest pays for. In short Trials too high an lr looks best (studies/trial_lengths). Their part
# is larger where the search is paid for out of the training: it is one of less, and they are to be as long.
SCOUTS_PART, PAID_SCOUTS_PART = 0.4, 0.5
# The longer Trials are this many times as long as the short ones, or there are none.
LEAST_RATIO = 2


class PlanSettings(NamedTuple):
    """What a plan depends on; the first five are settings of :class:`~lrpilot.policies.autolrs.AutoLRS`.

    ``judges``: whether the score of a Trial is a held-out loss, which costs something too.
    """

    stage: Length
    max_stage: Length | None
    num_trials: int
    trial: float
    overhead: float | None
    judges: bool

    def evaluation(self, state: AutoLRSState) -> float:
        """What reading the score of a Trial costs beyond its steps, in steps."""
        return state.bill.evaluation if self.judges else 0.0


class SearchPlan(NamedTuple):
    """What a search is made of: ``most`` Trials of ``steps`` each, for a stage of ``horizon`` steps.

    ``scouting``: a search of longer Trials is to follow.
    """

    steps: int
    most: int
    horizon: int
    scouting: bool = False


def stage_steps(settings: PlanSettings, state: AutoLRSState) -> int:
    """Kept steps of the stage that begins now, >= 1.

    It doubles from stage to stage. The last has everything that would be too little for a further one.
    """
    return _stage_steps(settings, len(state.stages), state.total, state.remaining)


def _stage_steps(settings: PlanSettings, doublings: int, total: int | None, remaining: int | None) -> int:
    steps = doubled(settings.stage, settings.max_stage, doublings, total)
    if remaining is None:
        return steps
    return max(1, steps if remaining >= 2 * steps else remaining)


def plan_search(settings: PlanSettings, state: AutoLRSState) -> SearchPlan | None:
    """What the search for the stage that begins now is made of; None where it cannot be paid for.

    Trials of the given part of the stage are made shorter, then fewer, until they fit into what the search may cost.
    The first search scouts with short ones where longer ones can be paid for after them.
    """
    horizon = stage_steps(settings, state)
    steps = math.ceil(settings.trial * horizon)
    first = not state.stages
    most = settings.num_trials if first else math.ceil(settings.num_trials / 2)
    allowance = _allowance(settings, state)
    each, enough = settings.evaluation(state), min(most, ENOUGH if first else ENOUGH_LATER)
    if first and (scouts := _scout_steps(steps, allowance, each, charged=state.bill.charged)):
        return SearchPlan(scouts, most, horizon, scouting=True)
    if allowance is None:
        return SearchPlan(steps, most, horizon)
    shortest = min(steps, LEAST_ONLY_STEPS if first else LEAST_LATER_STEPS)
    steps = max(shortest, min(steps, int(allowance / enough - each)))
    most = min(most, int(allowance // (steps + each)))
    return SearchPlan(steps, most, horizon) if most >= (LEAST_FIRST_TRIALS if first else LEAST_TRIALS) else None


def _scout_steps(longest: int, allowance: float | None, each: float, *, charged: bool) -> int:
    """Steps of the Trials of a search that longer ones, of ``longest`` steps at most, can follow; 0 for none."""
    steps = longest // (2 * LEAST_RATIO)
    if allowance is not None:
        part = PAID_SCOUTS_PART if charged else SCOUTS_PART
        steps = min(steps, int(part * allowance / ENOUGH - each))
    return steps if steps >= LEAST_STEPS else 0


def plan_longer(settings: PlanSettings, state: AutoLRSState, scouts: LRSearch) -> SearchPlan | None:
    """The search of longer Trials after ``scouts``; None where it cannot be paid for."""
    horizon = stage_steps(settings, state)
    steps, most = math.ceil(settings.trial * horizon), math.ceil(settings.num_trials / 2)
    allowance = _allowance(settings, state, already=scouts.spent)
    if allowance is not None:
        each = settings.evaluation(state)
        steps = min(steps, int(allowance / LEAST_TRIALS - each))
        most = min(most, int(allowance // (max(1, steps) + each)))
    return SearchPlan(steps, most, horizon) if steps >= LEAST_RATIO * scouts.steps and most >= LEAST_TRIALS else None


def _allowance(settings: PlanSettings, state: AutoLRSState, *, already: float = 0.0) -> float | None:
    """Steps that the present search may still cost, which has cost some already; None without a limit."""
    overhead, spent = settings.overhead, state.bill.spent
    if overhead is None or state.total is None:
        return None
    if state.bill.charged:  # what is spent shortens the training that it is a part of
        left = overhead / (1 + overhead) * (state.total + spent) - spent
    else:
        left = overhead * state.total - spent
    coming = _stages_left(settings, state)
    if not state.stages and coming > 1:
        return FIRST_PART * (left + already) - already
    return left / coming


def _stages_left(settings: PlanSettings, state: AutoLRSState) -> int:
    """Stages from the present one to the end, >= 1; the horizon is known."""
    count, remaining = 0, state.remaining
    while remaining:
        steps = _stage_steps(settings, len(state.stages) + count, state.total, remaining)
        count += 1
        if steps == remaining or count > 100:
            break
        remaining -= steps
    return max(1, count)
