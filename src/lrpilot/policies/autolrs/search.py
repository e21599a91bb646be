"""The search before a stage of AutoLRS: which lr to try, what a Trial of it says, and which one is taken."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from lrpilot.core.actions import Trial, TrialLosses
from lrpilot.core.shape import annealed, constant
from lrpilot.core.stop import Stop, StopReason
from lrpilot.core.trials import ERRORS, Tried, best_of, gained_nothing, give_up, read_trial, standard_error
from lrpilot.maths.forecast import Forecast, forecast
from lrpilot.maths.peak import KILL_MARGIN
from lrpilot.maths.surrogate import BRACKET, SPACING, fit_surrogate, smaller_lr, start_lrs
from lrpilot.policies.autolrs.price import SearchPlan, bounds
from lrpilot.policies.autolrs.state import AutoLRSState, LRCandidate, LRSearch, StageCode

if TYPE_CHECKING:
    from lrpilot.policies.autolrs.default import AutoLRS

# A later search of the default looks this many decades to each side of the present lr ...
REACH = 0.5
# ... and tries these distances from it before the surrogate chooses.
LATER = (0.0, 0.35, -0.35)
# Below this part of the training no search of the default lowers the lr: what a short Trial gains by it is lost later.
FLOOR_UNTIL = 0.5
# The first search of a training that has no interval begins with these, about the optimizer's own lr.
FIRST = (0.0, 1.0, -1.0)
# Longer Trials after short ones look so far below what these found, and try these first: the best lr falls with length.
LONGER_REACH = 0.7
LONGER = (-0.35, 0.0)
# How far it fell from short to longer Trials it is taken to fall again to the whole training, by at most this.
MOST_FALL = 0.25
# The bracket grows by so many decades where the best lr is at its edge: in the first search, and later. In the first
# it grows twice as far each time: a start may be five decades off.
GROWTH, LATER_GROWTH = 1.0, 0.5
# An lr this near to an edge, in decades, is at it.
NEAR_EDGE = 0.1
# A held-out loss so far above that of no training, as a part of it, is the mark of a wreck.
ABOVE_START = 0.05
# The default does not call a surrogate certain before it has seen so many lrs.
LEAST_CERTAIN = 5
# Losses that rise above those before by so many times their range are driven apart by the lr.
RISE = 2.0
# Lrs so far apart, in decades, do not blow up in the same step.
ALIKE = 2.0
# An lr below all that diverged, in decades.
SAFE = 0.5
# Held-out readings of a Trial of the published validation phase.
READINGS = 16


# ------------------------------------------------------------------ beginning


def open_search(policy: "AutoLRS", state: AutoLRSState, plan: SearchPlan) -> LRSearch:
    """The search for the stage that begins now, before its first Trial."""
    low, high = _interval(policy, state)
    if policy.published:
        queue = start_lrs(low, high)[:1]
    elif state.scouts is not None:
        queue = tuple(dict.fromkeys(min(max(state.lr * 10.0**distance, low), high) for distance in LONGER))
    elif not state.stages and (state.finder is not None or (policy.min_lr and policy.max_lr)):
        queue = start_lrs(low, high)
    else:
        around = (state.lr * 10.0**distance for distance in (LATER if state.stages else FIRST))
        queue = tuple(dict.fromkeys(min(max(lr, low), high) for lr in around))
    return LRSearch(
        begin=state.step,
        steps=plan.steps,
        horizon=plan.horizon,
        most=plan.most,
        min_lr=low,
        max_lr=high,
        validating=state.validating,
        queue=queue[: plan.most],
        scouting=plan.scouting,
        first=state.first,
    )


def _interval(policy: "AutoLRS", state: AutoLRSState) -> tuple[float, float]:
    """The lrs between which the search begins."""
    assert state.interval is not None  # known before any search
    if policy.published:
        return state.interval
    low, high = limits(policy, state)
    wide = state.interval
    if state.stages or state.scouts is not None:
        below, above = (LONGER_REACH, 0.0) if state.scouts is not None else (REACH, REACH)
        wide = (state.lr * 10.0**-below, state.lr * 10.0**above)
    low, high = max(low, wide[0]), min(high, wide[1])
    # No room: the present lr is at an end of what is allowed, or above what has wrecked the training.
    return (low, high) if low < high * (1 - 1e-9) else (high * 10.0**-REACH, high)


def limits(policy: "AutoLRS", state: AutoLRSState) -> tuple[float, float]:
    """The lrs that the present search never leaves."""
    low, high = bounds(policy)
    if policy.published:
        return low, high
    high = max(min(high, state.ceiling), low * 10.0**-SAFE)
    if state.stages:  # the present lr may be below all that were to be searched, which diverged
        low = min(low, state.lr)
    early = state.total is None or state.step < FLOOR_UNTIL * state.total
    if state.stages and early:
        low = max(low, state.lr)
    return min(low, high), high


# --------------------------------------------------------------------- Trials


def ask_trial(policy: "AutoLRS", search: LRSearch) -> Trial:
    """The Trial of the next lr."""
    lr, steps = search.queue[0], search.steps
    # Before a few lrs are known, the best may be one that learned next to nothing: beside it a good one looks wild.
    hopeless = len(search.candidates) >= LEAST_CERTAIN - 1 and not policy.published
    stop = give_up(one.tried for one in search.candidates) if hopeless else Stop()
    if policy.scoring == "annealed":
        return Trial(annealed(lr, steps), steps, evaluate="end", stop=stop, first=search.first)
    if policy.scoring == "average":
        return Trial(constant(lr), steps, evaluate="average", stop=stop, first=search.first)
    every = reading_interval(steps) if search.validating else None
    return Trial(constant(lr), steps, stop=stop, first=search.first, read_every=every)


def reading_interval(steps: int) -> int:
    """Steps from one held-out reading to the next in a Trial of so many, >= 1."""
    return max(1, round(steps / READINGS))


def read_candidate(policy: "AutoLRS", state: AutoLRSState, search: LRSearch, seen: TrialLosses) -> LRCandidate:
    """What a Trial says of its lr."""
    lr = search.queue[0]
    if seen.stop is not None or not seen.losses:
        lost = Tried(lr, math.inf, math.inf, math.inf)
        return LRCandidate(lost, math.inf, math.inf, no_number_at=_no_number_at(seen))
    if policy.scoring == "raw":
        read = _from_readings(policy, state, search, seen) if search.validating else _from_losses(policy, search, seen)
    else:
        tried = read_trial(lr, seen)
        read = LRCandidate(tried, tried.loss, tried.loss)
    if read.tried.diverged:
        return replace(read, no_number_at=_no_number_at(seen))
    return replace(read, end=median(seen.losses[-max(1, len(seen.losses) // 4) :]))


def _no_number_at(seen: TrialLosses) -> int | None:
    """The step of a Trial at which its loss was no number; past the last for the held-out loss; None where all were."""
    if seen.stop is StopReason.NON_FINITE:
        return len(seen.losses) - 1
    return None if seen.held_out is None or math.isfinite(seen.held_out) else len(seen.losses)


def past_bad_batch(policy: "AutoLRS", search: LRSearch, seen: TrialLosses) -> LRSearch | None:
    """The search with Trials that begin after a batch which gives no number; None where there is no sign of one.

    All Trials of a search see the same batches. The lr is not the cause where the losses before did not rise, and no
    other lr has come past that batch. The same lr is tried again, once.
    """
    at, lr = _no_number_at(seen), search.queue[0]
    if policy.published or at is None or at == search.steps or search.again == lr:
        return None
    if not _held_still(seen.losses[:at]):
        return None
    if any(one.no_number_at is None for one in search.candidates):
        return None
    return replace(search, first=search.first + at + 1, again=lr)


def _held_still(losses: Sequence[float]) -> bool:
    """Whether the last of some losses is not far above those of the first half: an lr that is too high drives it up."""
    begin = losses[: -(-len(losses) // 2)]
    return not begin or losses[-1] <= max(begin) + RISE * (max(begin) - min(begin))


def _from_losses(policy: "AutoLRS", search: LRSearch, seen: TrialLosses) -> LRCandidate:
    """The loss at the end of the stage, forecast from the training losses of the Trial."""
    ahead = forecast(seen.losses, horizon=search.horizon, form=policy.rules)
    return _candidate(search, seen, ahead, (ahead.value, ahead.lower, ahead.upper))


def _from_readings(policy: "AutoLRS", state: AutoLRSState, search: LRSearch, seen: TrialLosses) -> LRCandidate:
    """The same from its held-out readings.

    Where one of them reaches the loss at the very first search, the last counts instead of the forecast (published).
    """
    # The first reading comes after ``every`` steps, and the last of the stage would be this many after it.
    horizon = search.horizon / reading_interval(search.steps) - 1
    ahead = forecast(seen.readings, horizon=horizon, series="validation", form=policy.rules)
    expected = (ahead.value, ahead.lower, ahead.upper)
    if math.isfinite(ahead.value) and state.first_loss is not None and max(seen.readings) >= state.first_loss:
        expected = (seen.readings[-1],) * 3
    return _candidate(search, seen, ahead, expected)


def _candidate(
    search: LRSearch, seen: TrialLosses, ahead: Forecast, expected: tuple[float, float, float]
) -> LRCandidate:
    """An lr of which a loss is expected, with its lower and upper end; lost where that is not finite."""
    lr, losses, (value, lower, upper) = search.queue[0], seen.losses, expected
    if not math.isfinite(value):
        return LRCandidate(Tried(lr, math.inf, math.inf, math.inf), math.inf, math.inf, ahead)
    return LRCandidate(Tried(lr, value, min(losses), max(losses), standard_error(losses)), lower, upper, ahead)


# ------------------------------------------------------------------ going on


def go_on(policy: "AutoLRS", state: AutoLRSState, search: LRSearch) -> LRSearch:
    """With the next lr in the queue; with an empty one where the search is over."""
    queue = search.queue[1:]
    search = _widened(policy, state, search)
    spacing = _spacing(search)
    top = _below_the_cliff(policy, search, spacing)
    surrogate = fit_surrogate(
        search.lrs,
        search.scores,
        min_lr=search.min_lr,
        max_lr=top,
        kappa=policy.kappa,
        spacing=spacing,
        failed_above=_failed_above(policy, state),
    )
    search = replace(search, surrogate=surrogate, queue=())
    if len(search.candidates) >= search.most or _is_spent(policy, state, search):
        return search
    if surrogate is None:  # everything diverged, so that what lies above it need not be tried
        queue = tuple(lr for lr in queue if lr < min(search.lrs))
    if queue:
        return replace(search, queue=queue)
    if surrogate is None:
        lower = smaller_lr(search.lrs, min_lr=search.min_lr, spacing=spacing)
        return replace(search, queue=() if lower is None else (lower,))
    if not policy.published and _is_settled(state, search):
        return search
    return replace(search, queue=() if surrogate.next_lr is None else (surrogate.next_lr,))


def _failed_above(policy: "AutoLRS", state: AutoLRSState) -> float:
    """A score that no sound candidate has: above the loss of no training at all, were it not for noise."""
    if policy.published or policy.scoring == "raw" or state.first_loss is None:
        return math.inf
    return state.first_loss + ABOVE_START * abs(state.first_loss)


def _is_settled(state: AutoLRSState, search: LRSearch) -> bool:
    """Whether further Trials would change nothing: the surrogate is certain, or no lr does better than the present."""
    best = best_of(one.tried for one in search.candidates)
    if state.stages and best is not None and _is_flat(state, search, best):
        return True
    if search.scouting and search.surrogate is not None and search.surrogate.bracket <= BRACKET:
        return len(search.candidates) >= LEAST_CERTAIN
    certain = search.surrogate is not None and search.surrogate.is_certain()
    return len(search.candidates) >= LEAST_CERTAIN and certain


def _is_spent(policy: "AutoLRS", state: AutoLRSState, search: LRSearch) -> bool:
    """Whether the search has cost as many steps as are left: what follows would be searched for in vain."""
    if policy.published and not state.charged:
        return False
    return state.remaining is not None and search.spent >= state.remaining


def _spacing(search: LRSearch) -> float:
    width = math.log10(search.max_lr / search.min_lr)
    return min(SPACING, width / (2 * search.most))


def _widened(policy: "AutoLRS", state: AutoLRSState, search: LRSearch) -> LRSearch:
    """The interval grows where the best lr is at its edge and a larger, or smaller, one is allowed."""
    best = best_of(one.tried for one in search.candidates)
    if policy.published or best is None:
        return search
    low, high = limits(policy, state)
    near = 10.0**NEAR_EDGE
    if best.lr >= search.max_lr / near:
        growth = _growth(state, search.max_lr, 1)
        return replace(search, max_lr=max(search.max_lr, min(high, search.max_lr * growth)))
    if best.lr <= search.min_lr * near:
        growth = _growth(state, search.min_lr, 0)
        return replace(search, min_lr=min(search.min_lr, max(low, search.min_lr / growth)))
    return search


def _growth(state: AutoLRSState, edge: float, end: int) -> float:
    """The factor by which the interval grows beyond an edge of it, which has moved from that end of the first one."""
    if state.stages or state.scouts is not None or state.interval is None:
        return math.pow(10.0, LATER_GROWTH)
    grown = abs(math.log10(edge / state.interval[end]))
    return math.pow(10.0, GROWTH + grown)


def _below_the_cliff(policy: "AutoLRS", search: LRSearch, spacing: float) -> float:
    """The largest lr worth trying: an lr above one that diverged diverges too."""
    best = best_of(one.tried for one in search.candidates)
    if policy.published or best is None:
        return search.max_lr
    gap = math.pow(10.0, spacing)
    return max(min(search.max_lr, _cliff(search, best) / gap), best.lr, search.min_lr * gap)


def _cliff(search: LRSearch, best: Tried) -> float:
    """The smallest lr above the best one that diverged; inf where none did."""
    return min((one.lr for one in search.candidates if one.tried.diverged and one.lr > best.lr), default=math.inf)


# --------------------------------------------------------------------- choice


def choose(policy: "AutoLRS", state: AutoLRSState, search: LRSearch) -> tuple[float, StageCode]:
    """The lr of the stage, and how it came about."""
    best = best_of(one.tried for one in search.candidates)
    if best is None and _fail_alike(state, search):
        return state.lr, StageCode.NO_NUMBER
    if best is None or search.surrogate is None:
        return min(min(search.lrs) * 10.0**-SAFE, state.lr), StageCode.ALL_DIVERGED
    if policy.published:
        # The first of equals, as published.
        lr = search.lrs[search.scores.index(best.loss)]
        return lr, _edge_code(lr, *limits(policy, state))
    if _is_flat(state, search, best):
        return min(max(state.lr, search.min_lr), search.max_lr), StageCode.FLAT
    low, high = bounds(policy)
    low = min(low, state.lr) if state.stages else low
    sound = [one.lr for one in search.candidates if not one.tried.diverged]
    tried = max(sound)
    lr = _fallen(state, max(min(search.surrogate.best_lr, tried), min(sound)))
    lr = max(min(lr, _cliff(search, best) * 10.0**-KILL_MARGIN, state.ceiling), low)
    if _is_unbracketed(state, search, tried) and tried < high * (1 - 1e-9):
        # Beyond the largest lr that was tried lies the cliff, as far as anyone knows.
        return max(low, min(lr, tried * 10.0**-KILL_MARGIN)), StageCode.UNBRACKETED
    return lr, _edge_code(lr, low, high)


def _fail_alike(state: AutoLRSState, search: LRSearch) -> bool:
    """Whether the lrs came to no number in the same step although one at least cannot be too high for it.

    That is before any step, where the training went well and only the held-out loss is none, or far below the others.
    """
    places = {one.no_number_at for one in search.candidates}
    if None in places or len(places) > 1:
        return False
    least = min(search.lrs)
    far_apart = math.log10(max(search.lrs) / least) >= ALIKE
    return places in ({0}, {search.steps}) or (least <= state.lr and (bool(state.stages) or far_apart))


def _is_unbracketed(state: AutoLRSState, search: LRSearch, tried: float) -> bool:
    """Whether the first search of a training ends at the largest lr that was tried at all."""
    assert search.surrogate is not None
    every = search.lrs if state.scouts is None else (*state.scouts.lrs, *search.lrs)
    return not state.stages and search.surrogate.best_lr >= tried * 10.0**-NEAR_EDGE and tried >= max(every)


def _fallen(state: AutoLRSState, lr: float) -> float:
    """The lr for the training: below that of the Trials, where longer ones found a smaller one than short ones."""
    if state.scouts is None:
        return lr
    fall = math.log10(state.lr / lr)  # the lr in force is what the short ones found
    return lr * math.pow(10.0, -min(max(0.0, fall), MOST_FALL))


def _is_flat(state: AutoLRSState, search: LRSearch, best: Tried) -> bool:
    """Whether the losses do not tell the lrs apart."""
    finite = [score for score in search.scores if math.isfinite(score)]
    spread = max(finite) - min(finite)
    if len(finite) > 1 and spread <= max(ERRORS * best.error, 1e-9 * abs(best.loss)):
        return True
    return not state.stages and state.first_loss is not None and gained_nothing([best], state.first_loss)


def _edge_code(lr: float, low: float, high: float) -> StageCode:
    if lr <= low * (1 + 1e-9):
        return StageCode.AT_LOWER_EDGE
    return StageCode.AT_UPPER_EDGE if lr >= high * (1 - 1e-9) else StageCode.OK
