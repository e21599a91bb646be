"""What Autopilot decides before it has measured anything: how to fly, and what the search may cost."""

import math
from dataclasses import replace
from typing import Literal

from lrpilot.core.actions import Average
from lrpilot.core.codec import record
from lrpilot.core.policy import Facts
from lrpilot.policies.peak_search.pick import TrialError, trial_error
from lrpilot.policies.peak_search.prior import Prior, expected
from lrpilot.policies.peak_search.search import FEWEST_STEPS, PeakSearch
from lrpilot.policies.peak_search.trials import Way

Arm = Literal["averaged", "ordinary"]

# Passes over the data beyond which a decay does what an average cannot: the averaged flight interpolates sooner and
# grows overconfident after. Letters of 10,000 rows (the data of a judging task, looked at before the split had come
# out), two seeds, averaged / ordinary: 0.71 at 2 passes, 0.80 at 4, 0.85 at 8, 0.97 at 16, 1.28 at 36.
MANY_PASSES = 20.0
MIX, POWER = 0.8, 1.0  # of prototypes with six settings on seven tasks the best in the mean
# Steps that the search may take of T: LAW · T^(1/4), which is 9 % of 1,400 and 2 % of 10,000 ...
LAW = 20.0
# ... never more than these parts of T: a sixth, or a third where the fewest Trials would not fit.
PART, PART_OF_SHORT = 1 / 6, 1 / 3
FEWEST_TRIALS = 3
# Trials that a search takes on the whole, and the longest there are.
USUAL_TRIALS, LONGEST = 5, 30
# Trials on the way: at the lr, and half a decade to either side; after a tenth of it. Fewer steps only show noise.
BRANCHES, BRANCH_AT, BRANCH_REACH = 3, 0.1, 10.0**0.5
FEWEST_BRANCH_STEPS = 15
# On the way, losses where the gradient of an averaged flight is taken favour small lrs.
BRANCH_ERRORS = {"averaged": TrialError(-0.2, 0.3), "ordinary": TrialError(0.0, 0.25)}
OPEN_SEARCH = 120.0  # steps, where the end is open
WARMUP = 0.05
OPEN_WARMUP = 50


@record
class Plan:
    """How to fly.

    Attributes:
        arm: averaged, or the optimizer as it is.
        why: what decided it.
        way: the same, as actions need it.
    """

    arm: Arm
    why: str
    way: Way


def make_plan(facts: Facts, total: int | None, arm: Arm | None, average: Average) -> Plan:
    """The arm and its way to train.

    Args:
        facts: of the training.
        total: kept steps ahead; None where the end is open.
        arm: forced; None to decide.
        average: of an averaged flight.
    """
    decided, why = (arm, "it was asked for") if arm is not None else _decide(facts, total)
    if decided == "averaged":
        momentum = 0.0 if facts.momentum else None
        return Plan("averaged", why, Way(average, momentum))
    return Plan("ordinary", why, Way())


def _decide(facts: Facts, total: int | None) -> tuple[Arm, str]:
    if not facts.averages:
        why = "cannot be set to 0 or differs from group to group, or it keeps an average of its own"
        return "ordinary", f"this optimizer's momentum {why}"
    if facts.pretrained:
        return "ordinary", "the weights were trained before"
    if facts.epoch_steps is None or total is None:
        return "averaged", "the data is not known to be seen many times"
    passes = total / facts.epoch_steps
    if passes > MANY_PASSES:
        return "ordinary", f"the data will be seen {passes:.3g} times, more than {MANY_PASSES:g}"
    return "averaged", f"the data will be seen {passes:.3g} times, not more than {MANY_PASSES:g}"


def lr_unit(plan: Plan, facts: Facts) -> float:
    """What an lr of the optimizer as the user made it is worth in this flight: SGD's momentum multiplies its steps."""
    taken = plan.way.momentum is not None and facts.optimizer == "sgd"
    return 1.0 / (1.0 - (facts.momentum or 0.0)) if taken else 1.0


def plan_search(plan: Plan, facts: Facts, total: int | None, *, min_lr: float, max_lr: float) -> PeakSearch:
    """The search that this horizon can pay for; one of no steps where there is none.

    Args:
        plan: how to fly.
        facts: of the training.
        total: kept steps ahead; None where the end is open.
        min_lr: smallest lr allowed, natural units.
        max_lr: largest.
    """
    prior = expected(facts, facts.momentum if plan.way.momentum is None else plan.way.momentum)
    prior = replace(prior, lr=min(max(prior.lr, min_lr), max_lr))
    allowance = search_allowance(total)
    steps = min(LONGEST, max(FEWEST_STEPS, math.floor(allowance / USUAL_TRIALS)))
    if allowance < FEWEST_TRIALS * FEWEST_STEPS:
        allowance = 0.0
    error = trial_error(facts, steps, averaged=plan.arm == "averaged")
    return PeakSearch(plan.way, prior, error, steps, allowance, min_lr, max_lr)


def plan_branches(search: PeakSearch, peak: float, total: int | None) -> PeakSearch | None:
    """The same question again on the way, where what the first search has left pays for it; None where it does not.

    Args:
        search: before the flight, ended.
        peak: lr now, natural units.
        total: kept steps of the training.
    """
    allowance = search_allowance(total) - search.spent
    steps = min(LONGEST, math.floor(allowance / BRANCHES))
    if total is None or steps < FEWEST_BRANCH_STEPS or search.pick is None:
        return None
    prior = Prior(peak, search.pick.spread)
    error = BRANCH_ERRORS["ordinary" if search.way.average is None else "averaged"]
    way = replace(search.way, rises=False)
    return PeakSearch(way, prior, error, steps, allowance, peak / BRANCH_REACH, peak * BRANCH_REACH)


def search_allowance(total: int | None) -> float:
    """Training steps' worth that a search may cost."""
    if total is None:
        return OPEN_SEARCH
    short = min(FEWEST_TRIALS * FEWEST_STEPS, PART_OF_SHORT * total)
    return max(min(LAW * math.pow(total, 0.25), PART * total), short)


def warmup_steps(total: int | None) -> int:
    """Steps in which the lr rises."""
    return OPEN_WARMUP if total is None else max(1, round(WARMUP * total))
