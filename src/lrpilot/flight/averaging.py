"""A landscape in flight, averaged or not: the arithmetic of an averaged flight on any landscape's own states."""

from dataclasses import dataclass, replace
from typing import Any

from lrpilot.core.actions import Average
from lrpilot.errors import PolicyError
from lrpilot.flight.landscape import Landscape


@dataclass(frozen=True)
class Averaged:
    """What is flown beside the weights; the arithmetic is said at :class:`~lrpilot.core.actions.Average`.

    Attributes:
        settings: mix and power.
        average: the state x.
        base: the state z.
        steps: taken so far.
        weights: their sum so far.
        lr_max: largest lr flown so far, natural units.
    """

    settings: Average
    average: Any
    base: Any
    steps: int = 0
    weights: float = 0.0
    lr_max: float = 0.0


@dataclass(frozen=True)
class SimulatedState:
    """A landscape's state in flight.

    Attributes:
        weights: the landscape's state, where gradients are taken.
        momentum: that steps are taken at; None for the landscape's own.
        averaged: what is flown beside it; None in an ordinary flight.
    """

    weights: Any
    momentum: float | None = None
    averaged: Averaged | None = None

    @property
    def judged(self) -> Any:
        """The landscape's state that is judged and kept."""
        return self.weights if self.averaged is None else self.averaged.average


def flown(landscape: Landscape, state: SimulatedState, average: Average | None) -> SimulatedState:
    """The state from which steps are averaged, begun or carried on; or (None) one that has landed.

    Raises:
        PolicyError: the landscape's states cannot be averaged.
    """
    if average is None:
        return state if state.averaged is None else SimulatedState(state.judged)
    if not averages(landscape):
        raise PolicyError(
            f"An averaged flight needs a landscape whose weights can be averaged, got {type(landscape).__name__}. "
            "Ask for it only where Context.facts.averages says so."
        )
    if state.averaged is None:
        return replace(state, averaged=Averaged(average, state.weights, state.weights))
    return _placed(landscape, state, replace(state.averaged, settings=average))


def averages(landscape: Landscape) -> bool:
    """Whether its states have weights that can be averaged: as it says in ``averages``, which is True if left out."""
    return bool(getattr(landscape, "averages", True))


def stepped(landscape: Landscape, state: SimulatedState, batch: Any, lr: float) -> SimulatedState:
    """The state after one step at ``lr``."""
    after = replace(state, weights=landscape.step(state.weights, batch, lr, state.momentum))
    if state.averaged is None:
        return after
    now = state.averaged
    lr_max = max(now.lr_max, lr)
    weight = (now.steps + 1) ** now.settings.power * lr_max**2
    share = weight / (now.weights + weight)
    base = landscape.mix((now.base, state.weights, after.weights), (1.0, -1.0, 1.0))
    average = landscape.mix((now.average, base), (1.0 - share, share))
    moved = Averaged(now.settings, average, base, now.steps + 1, now.weights + weight, lr_max)
    return _placed(landscape, after, moved)


def _placed(landscape: Landscape, state: SimulatedState, averaged: Averaged) -> SimulatedState:
    """The weights at the mix of base and average; whatever else the landscape's state holds is that of now."""
    mix = averaged.settings.mix
    weights = landscape.mix((averaged.base, averaged.average, state.weights), (1.0 - mix, mix, 0.0))
    return replace(state, weights=weights, averaged=averaged)
