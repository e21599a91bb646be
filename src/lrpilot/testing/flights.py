"""The flights that the battery flies: any policy on a noisy quadratic, with a record of all it went through."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lrpilot.core.actions import Action, Observation, Train, Trial
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy
from lrpilot.flight.flight import Flight
from lrpilot.flight.landscape import NoisyQuadratic
from lrpilot.flight.simulation import SimulatedSubstrate

STEPS = 60
LR = 0.1


@dataclass
class Recorder(Policy):
    """Flies a policy and keeps every (state, action, observation, state after) that it went through."""

    policy: Policy
    trace: list[tuple[Any, Action, Observation, Any]] = field(default_factory=list)
    told_left: int | None = None

    @property
    def max_marks(self) -> int:  # type: ignore[override]
        """The policy's own."""
        return self.policy.max_marks

    @property
    def max_ends(self) -> int:  # type: ignore[override]
        """The policy's own."""
        return self.policy.max_ends

    @property
    def name(self) -> str:
        """The policy's own."""
        return self.policy.name

    def init(self, context: Context) -> Any:
        """As the policy does."""
        self.told_left = context.progress.remaining
        return self.policy.init(context)

    def ask(self, state: Any) -> Action:
        """As the policy does."""
        return self.policy.ask(state)

    def tell(self, state: Any, observation: Observation) -> Any:
        """As the policy does, and put on record."""
        self.told_left = observation.progress.remaining
        after = self.policy.tell(state, observation)
        self.trace.append((state, self.policy.ask(state), observation, after))
        return after


@record
class Unaveraged(NoisyQuadratic):
    """One whose weights cannot be averaged, as those of some optimizers cannot."""

    averages: ClassVar[bool] = False


def make_flight(
    policy: Policy,
    *,
    left: Callable[[int, float], int] | None = None,
    continues: bool = False,
    landscape: type[NoisyQuadratic] = NoisyQuadratic,
) -> Flight:
    """The policy on a noisy quadratic of condition number 30, at the start.

    Args:
        policy: what is flown.
        left: kept steps left, after so many and with so many steps' worth of measurements; None for STEPS in all.
        continues: whether it may continue Trials.
        landscape: the kind of quadratic.
    """
    substrate = SimulatedSubstrate(landscape.log_spaced(8, condition=30.0, noise=0.05), seed=0)
    count = left or (lambda step, measured: STEPS - step)
    return Flight(
        policy,
        substrate,
        lr=LR,
        horizon=lambda step: max(0, count(step, substrate.cost.steps)),
        continues=continues,
    )


def over(flight: Flight) -> bool:
    """Whether no step is left to take, or a finder has come to its result."""
    return flight.progress.remaining == 0 or (flight.done and flight.step == 0)


def advance(flight: Flight, *, tells_losses: bool = True) -> None:
    """One kept step on the simulated landscape, by a loop that gives the loss of each step or none at all."""
    substrate = flight.substrate
    assert isinstance(substrate, SimulatedSubstrate)
    loss = substrate.step(flight.lr, flight.momentum)
    flight.kept(loss if tells_losses else None)


def fly(
    policy: Policy,
    *,
    continues: bool = False,
    tells_losses: bool = True,
    landscape: type[NoisyQuadratic] = NoisyQuadratic,
) -> Flight:
    """The whole flight."""
    flight = make_flight(policy, continues=continues, landscape=landscape)
    flight.start()
    while not over(flight):
        advance(flight, tells_losses=tells_losses)
    return flight


def require_sound_lrs(flight: Flight) -> None:
    """Raise AssertionError unless every lr of every kept step, Train and Trial is a finite number > 0."""
    assert all(math.isfinite(lr) and lr > 0 for lr in flight.history.lrs)
    for event in flight.history.events:
        if isinstance(event.action, (Train, Trial)):
            lrs = event.action.shape.first(event.action.steps)
            assert all(math.isfinite(lr) and lr > 0 for lr in lrs), event.action
