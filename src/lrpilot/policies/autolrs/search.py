"""How the default searches for the lr of a stage: where it looks, when it knows enough, and which lr it takes.

Too high an lr looks best in a short Trial, and the fewer steps the higher. So the first search is two where that can be
paid for: short Trials that find the order of magnitude (the scouts), then longer ones about and below what these found.
Later searches look about the present lr.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from lrpilot.core.actions import TrialLosses
from lrpilot.core.stop import Stop
from lrpilot.core.trials import ERRORS, Tried, best_of, gained_nothing, give_up
from lrpilot.maths.peak import KILL_MARGIN
from lrpilot.maths.surrogate import BRACKET, start_lrs
from lrpilot.policies.autolrs.candidates import (
    SAFE,
    all_failed,
    edge_code,
    next_lrs,
    no_number_at,
    spacing,
    with_surrogate,
)
from lrpilot.policies.autolrs.price import SearchPlan
from lrpilot.policies.autolrs.settings import Lrs
from lrpilot.policies.autolrs.stage import LRSearch, StageCode
from lrpilot.policies.autolrs.state import AutoLRSState, Searching

# A later search looks this many decades to each side of the present lr ...
REACH = 0.5
# ... and tries these distances from it before the surrogate chooses.
LATER = (0.0, 0.35, -0.35)
# Below this part of the training no search lowers the lr: what a short Trial gains by it is lost later.
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
# A surrogate is not called certain before it has seen so many lrs.
LEAST_CERTAIN = 5
# Losses that rise above those before by so many times their range are driven apart by the lr.
RISE = 2.0


# ------------------------------------------------------------------ beginning


def first_search(state: AutoLRSState, plan: SearchPlan, bounds: Lrs, *, guessed: bool) -> LRSearch:
    """The first search of a training, before its first Trial.

    Args:
        state: before it.
        plan: what it is made of.
        bounds: lrs that it never leaves.
        guessed: whether its interval is but a guess about the optimizer's own lr, with which it begins then.
    """
    assert state.interval is not None  # known before any search
    low, high = _within(state.interval, limits(state, bounds))
    return _opened(state, plan, (low, high), _about(state.lr, FIRST, low, high) if guessed else start_lrs(low, high))


def longer_search(state: AutoLRSState, plan: SearchPlan, bounds: Lrs) -> LRSearch:
    """The search of longer Trials about and below the lr in force, which short ones have found."""
    wide = (state.lr * 10.0**-LONGER_REACH, state.lr)
    low, high = _within(wide, limits(state, bounds))
    return _opened(state, plan, (low, high), _about(state.lr, LONGER, low, high))


def later_search(state: AutoLRSState, plan: SearchPlan, bounds: Lrs) -> LRSearch:
    """The search for a further stage, about the lr of the last."""
    wide = (state.lr * 10.0**-REACH, state.lr * 10.0**REACH)
    low, high = _within(wide, limits(state, bounds))
    return _opened(state, plan, (low, high), _about(state.lr, LATER, low, high))


def limits(state: AutoLRSState, bounds: Lrs) -> Lrs:
    """The lrs that the present search never leaves."""
    low, high = bounds
    high = max(min(high, state.watch.guard.ceiling), low * 10.0**-SAFE)
    if state.stages:  # the present lr may be below all that were to be searched, which diverged
        low = min(low, state.lr)
    early = state.total is None or state.step < FLOOR_UNTIL * state.total
    if state.stages and early:
        low = max(low, state.lr)
    return min(low, high), high


def _within(wide: Lrs, allowed: Lrs) -> Lrs:
    low, high = max(allowed[0], wide[0]), min(allowed[1], wide[1])
    # No room: the present lr is at an end of what is allowed, or above what has wrecked the training.
    return (low, high) if low < high * (1 - 1e-9) else (high * 10.0**-REACH, high)


def _about(lr: float, decades: Sequence[float], low: float, high: float) -> tuple[float, ...]:
    """The lrs at some distances from one, moved into the interval, each once."""
    return tuple(dict.fromkeys(min(max(lr * 10.0**distance, low), high) for distance in decades))


def _opened(state: AutoLRSState, plan: SearchPlan, interval: Lrs, queue: tuple[float, ...]) -> LRSearch:
    return LRSearch(
        begin=state.step,
        steps=plan.steps,
        horizon=plan.horizon,
        most=plan.most,
        min_lr=interval[0],
        max_lr=interval[1],
        validating=False,
        queue=queue[: plan.most],
        scouting=plan.scouting,
        first=state.watch.first,
    )


# --------------------------------------------------------------------- Trials


def when_to_stop(search: LRSearch) -> Stop:
    """When the next Trial is given up."""
    # Before a few lrs are known, the best may be one that learned next to nothing: beside it a good one looks wild.
    few = len(search.candidates) < LEAST_CERTAIN - 1
    return Stop() if few else give_up(one.tried for one in search.candidates)


def past_bad_batch(search: LRSearch, seen: TrialLosses) -> LRSearch | None:
    """The search with Trials that begin after a batch which gives no number; None where there is no sign of one.

    All Trials of a search see the same batches. The lr is not the cause where the losses before did not rise, and no
    other lr has come past that batch. The same lr is tried again, once.
    """
    at, lr = no_number_at(seen), search.queue[0]
    if at is None or at == search.steps or search.again == lr:
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


# ------------------------------------------------------------------ going on


def with_next_lr(searching: Searching, state: AutoLRSState, bounds: Lrs, *, kappa: float, judges: bool) -> Searching:
    """With the next lr in the queue, now that there is one candidate more; with an empty one where the search is over.

    Args:
        searching: with that candidate; its queue begins with its lr.
        state: with what its Trial has cost.
        bounds: lrs that no search leaves.
        kappa: of the lower confidence bound.
        judges: whether scores are held-out losses.
    """
    search = _widened(searching, state, limits(state, bounds))
    failed_above = _failed_above(state.first_loss) if judges else math.inf
    search = with_surrogate(search, top=_below_the_cliff(search), kappa=kappa, failed_above=failed_above)
    queue = () if _is_over(search, state) else next_lrs(search)
    return replace(searching, search=replace(search, queue=queue))


def _failed_above(first_loss: float | None) -> float:
    """A score that no sound candidate has: above the loss of no training at all, were it not for noise."""
    return math.inf if first_loss is None else first_loss + ABOVE_START * abs(first_loss)


def _is_over(search: LRSearch, state: AutoLRSState) -> bool:
    """Whether nothing more is tried: it may not be, or would change nothing."""
    # A search that costs as many steps as are left has found the lr of nothing.
    spent = state.remaining is not None and search.spent >= state.remaining
    if len(search.candidates) >= search.most or spent:
        return True
    return len(search.queue) == 1 and search.surrogate is not None and _is_settled(state, search)


def _is_settled(state: AutoLRSState, search: LRSearch) -> bool:
    """Whether further Trials would change nothing: the surrogate is certain, or no lr does better than the present."""
    best = best_of(one.tried for one in search.candidates)
    if state.stages and best is not None and _is_flat(state, search, best):
        return True
    if search.scouting and search.surrogate is not None and search.surrogate.bracket <= BRACKET:
        return len(search.candidates) >= LEAST_CERTAIN
    certain = search.surrogate is not None and search.surrogate.is_certain()
    return len(search.candidates) >= LEAST_CERTAIN and certain


def _widened(searching: Searching, state: AutoLRSState, allowed: Lrs) -> LRSearch:
    """The interval grows where the best lr is at its edge and a larger, or smaller, one is allowed."""
    search, (low, high), near = searching.search, allowed, 10.0**NEAR_EDGE
    # Longer Trials and later searches begin where an lr is known already.
    first = None if state.stages or searching.scouts is not None else state.interval
    best = best_of(one.tried for one in search.candidates)
    if best is None:
        return search
    if best.lr >= search.max_lr / near:
        growth = _growth(search.max_lr, None if first is None else first[1])
        return replace(search, max_lr=max(search.max_lr, min(high, search.max_lr * growth)))
    if best.lr <= search.min_lr * near:
        growth = _growth(search.min_lr, None if first is None else first[0])
        return replace(search, min_lr=min(search.min_lr, max(low, search.min_lr / growth)))
    return search


def _growth(edge: float, first: float | None) -> float:
    """The factor by which an edge of the interval moves out; ``first`` is where it began in a first search."""
    return math.pow(10.0, LATER_GROWTH if first is None else GROWTH + abs(math.log10(edge / first)))


def _below_the_cliff(search: LRSearch) -> float:
    """The largest lr worth trying: an lr above one that diverged diverges too."""
    best = best_of(one.tried for one in search.candidates)
    if best is None:
        return search.max_lr
    gap = math.pow(10.0, spacing(search))
    return max(min(search.max_lr, _cliff(search, best) / gap), best.lr, search.min_lr * gap)


def _cliff(search: LRSearch, best: Tried) -> float:
    """The smallest lr above the best one that diverged; inf where none did."""
    return min((one.lr for one in search.candidates if one.tried.diverged and one.lr > best.lr), default=math.inf)


# --------------------------------------------------------------------- choice


def choice(searching: Searching, state: AutoLRSState, bounds: Lrs) -> tuple[float, StageCode]:
    """The lr of the stage, were it to begin now, and how it came about.

    It is the minimum of the surrogate between the lrs that were tried, half a decade below any that diverged, and
    where short Trials came before longer ones, lower by how far it fell from the one to the other.
    """
    search, scouts = searching.search, searching.scouts
    failed = all_failed(search, lr=state.lr, trained=bool(state.stages))
    if failed is not None:
        return failed
    best = best_of(one.tried for one in search.candidates)
    assert best is not None and search.surrogate is not None  # one at least is sound
    if _is_flat(state, search, best):
        return min(max(state.lr, search.min_lr), search.max_lr), StageCode.FLAT
    low, high = bounds
    low = min(low, state.lr) if state.stages else low
    sound = [one.lr for one in search.candidates if not one.tried.diverged]
    tried = max(sound)
    lr = max(min(search.surrogate.best_lr, tried), min(sound))
    lr = lr if scouts is None else _fallen(state.lr, lr)  # the lr in force is what the short ones found
    lr = max(min(lr, _cliff(search, best) * 10.0**-KILL_MARGIN, state.watch.guard.ceiling), low)
    if not state.stages and _is_unbracketed(search, scouts, tried) and tried < high * (1 - 1e-9):
        # Beyond the largest lr that was tried lies the cliff, as far as anyone knows.
        return max(low, min(lr, tried * 10.0**-KILL_MARGIN)), StageCode.UNBRACKETED
    return lr, edge_code(lr, low, high)


def _is_unbracketed(search: LRSearch, scouts: LRSearch | None, tried: float) -> bool:
    """Whether a search ends at the largest lr that was tried at all."""
    assert search.surrogate is not None
    every = search.lrs if scouts is None else (*scouts.lrs, *search.lrs)
    return search.surrogate.best_lr >= tried * 10.0**-NEAR_EDGE and tried >= max(every)


def _fallen(short: float, lr: float) -> float:
    """The lr for the training: below that of the Trials, where longer ones found a smaller one than short ones."""
    fall = math.log10(short / lr)
    return lr * math.pow(10.0, -min(max(0.0, fall), MOST_FALL))


def _is_flat(state: AutoLRSState, search: LRSearch, best: Tried) -> bool:
    """Whether the losses do not tell the lrs apart."""
    finite = [score for score in search.scores if math.isfinite(score)]
    spread = max(finite) - min(finite)
    if len(finite) > 1 and spread <= max(ERRORS * best.error, 1e-9 * abs(best.loss)):
        return True
    return not state.stages and state.first_loss is not None and gained_nothing([best], state.first_loss)
