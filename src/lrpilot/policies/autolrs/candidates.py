"""One candidate after another: what a Trial says of its lr, the surrogate through all of them, and the next lr.

Here is what the published and the default rules share. What else goes into a search, and which lr is taken in the end,
is their own.
"""

import math
from dataclasses import replace
from statistics import median
from typing import Literal

from lrpilot.core.actions import TrialLosses
from lrpilot.core.stop import StopReason
from lrpilot.core.trials import Tried, best_of, read_trial, standard_error
from lrpilot.maths.forecast import Forecast, forecast
from lrpilot.maths.surrogate import SPACING, fit_surrogate, smaller_lr
from lrpilot.policies.autolrs.stage import LRCandidate, LRSearch, StageCode

# Held-out readings of a Trial of the published validation phase.
READINGS = 16
# Lrs so far apart, in decades, do not blow up in the same step.
ALIKE = 2.0
# An lr below all that diverged, in decades.
SAFE = 0.5

# -------------------------------------------------------------- what a Trial says


def reading_interval(steps: int) -> int:
    """Steps from one held-out reading to the next in a Trial of so many, >= 1."""
    return max(1, round(steps / READINGS))


def from_losses(search: LRSearch, seen: TrialLosses, *, form: Literal["default", "paper"]) -> LRCandidate:
    """The loss at the end of the stage, forecast from the training losses of the Trial: y(τ) from y(0), ..., y(τ′ − 1).

    Args:
        search: τ is its horizon, and the Trial that of its next lr.
        seen: in the Trial.
        form: of the forecast.
    """
    if _is_cut(seen):
        return _came_to(_lost(search), seen)
    ahead = forecast(seen.losses, horizon=search.horizon, form=form)
    return _came_to(_expected(search, seen, ahead, (ahead.value, ahead.lower, ahead.upper)), seen)


def from_readings(search: LRSearch, seen: TrialLosses, *, first_loss: float | None) -> LRCandidate:
    """The same from its held-out readings, as published.

    Args:
        search: τ is its horizon, and the Trial that of its next lr.
        seen: in the Trial.
        first_loss: at the very first search. Where a reading reaches it, the last one counts instead of the forecast.
    """
    if _is_cut(seen):
        return _came_to(_lost(search), seen)
    # The first reading comes after ``every`` steps, and the last of the stage would be this many after it.
    horizon = search.horizon / reading_interval(search.steps) - 1
    ahead = forecast(seen.readings, horizon=horizon, series="validation", form="paper")
    expected = (ahead.value, ahead.lower, ahead.upper)
    if math.isfinite(ahead.value) and first_loss is not None and max(seen.readings) >= first_loss:
        expected = (seen.readings[-1],) * 3
    return _came_to(_expected(search, seen, ahead, expected), seen)


def from_held_out(search: LRSearch, seen: TrialLosses) -> LRCandidate:
    """The held-out loss after the Trial of the next lr, as it is."""
    if _is_cut(seen):
        return _came_to(_lost(search), seen)
    tried = read_trial(search.queue[0], seen)
    return _came_to(LRCandidate(tried, tried.loss, tried.loss), seen)


def no_number_at(seen: TrialLosses) -> int | None:
    """The step of a Trial at which its loss was no number; past the last for the held-out loss; None where all were."""
    if seen.stop is StopReason.NON_FINITE:
        return len(seen.losses) - 1
    return None if seen.held_out is None or math.isfinite(seen.held_out) else len(seen.losses)


def _is_cut(seen: TrialLosses) -> bool:
    return seen.stop is not None or not seen.losses


def _lost(search: LRSearch, ahead: Forecast | None = None) -> LRCandidate:
    return LRCandidate(Tried(search.queue[0], math.inf, math.inf, math.inf), math.inf, math.inf, ahead)


def _expected(
    search: LRSearch, seen: TrialLosses, ahead: Forecast, expected: tuple[float, float, float]
) -> LRCandidate:
    """An lr of which a loss is expected, with its lower and upper end; lost where that is not finite."""
    losses, (value, lower, upper) = seen.losses, expected
    if not math.isfinite(value):
        return _lost(search, ahead)
    tried = Tried(search.queue[0], value, min(losses), max(losses), standard_error(losses))
    return LRCandidate(tried, lower, upper, ahead)


def _came_to(candidate: LRCandidate, seen: TrialLosses) -> LRCandidate:
    """With the step at which the Trial was lost, or the training loss that it came to."""
    if candidate.tried.diverged:
        return replace(candidate, no_number_at=no_number_at(seen))
    return replace(candidate, end=median(seen.losses[-max(1, len(seen.losses) // 4) :]))


# -------------------------------------------------------- surrogate and next lr


def spacing(search: LRSearch) -> float:
    """Decades that the lrs of a search keep from each other."""
    width = math.log10(search.max_lr / search.min_lr)
    return min(SPACING, width / (2 * search.most))


def with_surrogate(search: LRSearch, *, top: float, kappa: float, failed_above: float = math.inf) -> LRSearch:
    """With the Gaussian process through all that were tried; its next lr is that with the lowest mean(x) − κ·std(x).

    Args:
        search: with at least one candidate.
        top: the largest lr worth trying.
        kappa: κ.
        failed_above: a higher score counts as that of an lr that diverged.
    """
    surrogate = fit_surrogate(
        search.lrs,
        search.scores,
        min_lr=search.min_lr,
        max_lr=top,
        kappa=kappa,
        spacing=spacing(search),
        failed_above=failed_above,
    )
    return replace(search, surrogate=surrogate)


def next_lrs(search: LRSearch) -> tuple[float, ...]:
    """The queue after the Trial of its first lr: what else is in it, or what the surrogate chooses; empty for nothing.

    Where everything diverged, what lies above it need not be tried, and a smaller lr is.
    """
    queue = search.queue[1:]
    if search.surrogate is None:
        lower = smaller_lr(search.lrs, min_lr=search.min_lr, spacing=spacing(search))
        return tuple(lr for lr in queue if lr < min(search.lrs)) or _if_any(lower)
    return queue or _if_any(search.surrogate.next_lr)


def _if_any(lr: float | None) -> tuple[float, ...]:
    return () if lr is None else (lr,)


# --------------------------------------------------------- where none is sound


def all_failed(search: LRSearch, *, lr: float, trained: bool) -> tuple[float, StageCode] | None:
    """The lr of a stage all of whose candidates failed, and why; None where one at least did not.

    Args:
        search: with at least one candidate.
        lr: in force, natural units.
        trained: whether a stage was trained with it.
    """
    sound = best_of(one.tried for one in search.candidates) is not None
    if not sound and _fail_alike(search, lr=lr, trained=trained):
        return lr, StageCode.NO_NUMBER
    if not sound or search.surrogate is None:
        return min(min(search.lrs) * 10.0**-SAFE, lr), StageCode.ALL_DIVERGED
    return None


def _fail_alike(search: LRSearch, *, lr: float, trained: bool) -> bool:
    """Whether the lrs came to no number in the same step although one at least cannot be too high for it.

    That is before any step, where the training went well and only the held-out loss is none, or far below the others.
    """
    places = {one.no_number_at for one in search.candidates}
    if None in places or len(places) > 1:
        return False
    least = min(search.lrs)
    far_apart = math.log10(max(search.lrs) / least) >= ALIKE
    return places in ({0}, {search.steps}) or (least <= lr and (trained or far_apart))


def edge_code(lr: float, low: float, high: float) -> StageCode:
    """Whether an lr that was chosen is the smallest, or the largest, that is allowed."""
    if lr <= low * (1 + 1e-9):
        return StageCode.AT_LOWER_EDGE
    return StageCode.AT_UPPER_EDGE if lr >= high * (1 - 1e-9) else StageCode.OK
