"""Fly any policy without torch, on a landscape instead of a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lrpilot.core.actions import Action, Average, Evaluate, Line, Trial
from lrpilot.core.cost import Cost
from lrpilot.core.history import History, OnEvent
from lrpilot.core.policy import Facts, Policy
from lrpilot.core.stop import StopState, check_stop
from lrpilot.errors import PolicyError, SettingError
from lrpilot.flight.averaging import SimulatedState, averages, flown, stepped
from lrpilot.flight.flight import Flight
from lrpilot.flight.horizon import Budget, Horizon, StepHorizon, WorkHorizon, as_budget
from lrpilot.flight.landscape import Landscape
from lrpilot.flight.substrate import STEP, TrialEnd, TrialSeen, price

# A policy that trains on and on without total_steps is no finder, and would never end.
MAX_OPEN_STEPS = 100_000


@dataclass(frozen=True)
class SimulationResult:
    """What a simulated flight came to.

    Attributes:
        history: lr and training loss of every kept step, and every decision with its evidence.
        cost: everything the policy asked for beyond the kept steps; forward 1, step 3.
        result: what the policy's Done carried; None if it did not come to one.
        final_loss: held-out loss after the last kept step (read free of charge); of the average, where one was flown.
        coasts_from: kept steps taken when the budget could not pay for what the policy asked next; None if it always
            could. From there on the lr was held.
    """

    history: History
    cost: Cost
    result: Any
    final_loss: float
    coasts_from: int | None = None

    @property
    def total_compute(self) -> float:
        """Forward-equivalents of everything: 3 per kept step, plus every probe."""
        return STEP * len(self.history.lrs) + self.cost.forward_equivalents


class SimulatedSubstrate:
    """Implements :class:`lrpilot.flight.substrate.Substrate` on a landscape.

    Trials draw their batches from a stream of their own, the same for every Trial between two kept steps, and
    batch i of a Line is the same batch at every step: candidates are paired, and the noise of the training
    itself is left as it was.

    Args:
        landscape: what is trained on.
        seed: of all noise.
    """

    reads_are_cheap = True

    def __init__(self, landscape: Landscape, *, seed: int = 0) -> None:
        self.landscape = landscape
        self.cost = Cost()
        self.steps = 0
        self._flown = SimulatedState(landscape.start())
        self._seed = seed
        self._rng = np.random.default_rng([seed, 0])
        self._marks: dict[str, SimulatedState] = {}
        self._ends: dict[str, tuple[SimulatedState, int, TrialEnd]] = {}
        self._armed = False
        self._endpoints: tuple[Any, Any] | None = None

    @property
    def state(self) -> Any:
        """The landscape's state that is trained; of an averaged flight, where its gradients are taken."""
        return self._flown.weights

    @property
    def judged(self) -> Any:
        """The landscape's state that is judged: the average, where one is flown."""
        return self._flown.judged

    def facts(self) -> Facts:
        """A landscape trains by SGD, from fresh weights, on data that never ends."""
        momentum = getattr(self.landscape, "momentum", None)
        return Facts(averages=averages(self.landscape), optimizer="sgd", momentum=momentum)

    @property
    def average(self) -> Average | None:
        """How the next kept step is averaged; None where no average is flown."""
        return None if self._flown.averaged is None else self._flown.averaged.settings

    def fly(self, average: Average | None) -> None:
        """Average the kept steps from now on, or land where they have been averaged until now (None)."""
        self._flown = flown(self.landscape, self._flown, average)

    @property
    def landing_price(self) -> float:
        """There is no BatchNorm to re-estimate."""
        return 0.0

    def step(self, lr: float, momentum: float | None = None) -> float:
        """Take one kept step: its training loss, read before the weights move; ``momentum`` None leaves that alone."""
        before = self.state
        batch = self.landscape.draw(self._rng)
        loss = self.landscape.loss(before, batch)
        if momentum is not None:
            self._flown = replace(self._flown, momentum=momentum)
        self._flown = stepped(self.landscape, self._flown, batch, lr)
        self.steps += 1
        if self._armed:
            self._endpoints, self._armed = (before, self.state), False
        return loss

    def price(self, action: Action) -> float:
        """Forward-equivalents of a measurement: a held-out loss is one, and going on from a Trial is free."""
        return price(action, evaluation=1.0)

    def _probe_rng(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, 1, self.steps])

    def trial(self, action: Trial) -> TrialSeen:
        """Fly a Trial on a copy of the state."""
        rng, state, visited = self._probe_rng(), flown(self.landscape, self._flown, action.average), []
        losses: list[float] = []
        readings: list[float] = []
        rules, stop = StopState(), None
        for _ in range(action.first):
            self.landscape.draw(rng)
        while stop is None and len(losses) < action.steps:
            batch = self.landscape.draw(rng)
            lr = action.shape(len(losses))
            if action.momentum is not None:
                state = replace(state, momentum=action.momentum(len(losses)))
            losses.append(self.landscape.loss(state.weights, batch))
            state = stepped(self.landscape, state, batch, lr)
            visited.append(state.weights)
            rules, stop = check_stop(action.stop, rules, losses[-1])
            if stop is None and action.read_every is not None and len(losses) % action.read_every == 0:
                readings.append(self._judge(state.judged))
        steps = len(losses)
        cost = Cost(forwards=steps, backwards=steps, trial_steps=steps)
        self.cost += cost + Cost(trials=1)
        if stop is None and action.keep is not None:
            end = TrialEnd(tuple(float(lr) for lr in action.shape.first(steps)), tuple(losses), cost)
            self._ends[action.keep] = (state, self.steps + steps, end)
        if stop is not None or action.evaluate == "no":
            return TrialSeen(tuple(losses), None, stop, tuple(readings))
        judged = state.judged
        if action.evaluate == "average":
            second_half = visited[action.steps // 2 :]
            judged = self.landscape.mix(second_half, [1 / len(second_half)] * len(second_half))
        return TrialSeen(tuple(losses), self._judge(judged), None, tuple(readings))

    def continue_trial(self, key: str) -> TrialEnd:
        """Go to the end of a Trial; the noise of the training itself is left as it was."""
        self._flown, self.steps, end = self._ends[key]
        return end

    def drop_end(self, key: str) -> None:
        """Forget the end of a Trial."""
        del self._ends[key]

    def _judge(self, state: Any) -> float:
        self.cost += Cost(forwards=1, evaluations=1)
        return self.landscape.held_out(state)

    def evaluate(self, action: Evaluate) -> float:
        """Mean held-out loss; there is no BatchNorm to re-estimate."""
        return self._judge(self.judged)

    def arm_line(self) -> None:
        """Make the next kept step the step of a Line."""
        self._armed = True

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        """Losses along the step of the armed Line, batches x factors."""
        if self._endpoints is None:
            raise PolicyError("A Line needs a kept step after it was armed, got none. Call step() first.")
        points = [self.landscape.mix(self._endpoints, (1.0 - s, s)) for s in action.factors]
        indices = range(action.first, action.first + action.batches)
        batches = [self.landscape.draw(np.random.default_rng([self._seed, 2, i])) for i in indices]
        self.cost += Cost(forwards=len(points) * len(batches), lines=1)
        return tuple(tuple(self.landscape.loss(point, batch) for point in points) for batch in batches)

    def line_shares(self, action: Line) -> tuple[float, ...]:
        """None: every batch is drawn alike."""
        return ()

    def release_line(self) -> None:
        """Forget the endpoints of the last Line."""
        self._endpoints, self._armed = None, False

    def mark(self, key: str) -> None:
        """Remember the state."""
        self._marks[key] = self._flown

    def rewind(self, key: str) -> None:
        """Go back to a mark; the noise moves on."""
        self._flown = self._marks[key]

    def drop(self, key: str) -> None:
        """Forget a mark."""
        del self._marks[key]

    def read(self, losses: Sequence[Any]) -> list[float]:
        """Losses are numbers already."""
        return list(losses)

    def is_sound(self, *, by_a_batch: bool = False) -> bool:
        """Whether the state has a held-out loss; read free of charge."""
        return math.isfinite(self.landscape.held_out(self.state))

    def agree(self, action: Action) -> None:
        """There is one rank."""


def simulate(
    policy: Policy,
    landscape: Landscape,
    *,
    lr: float,
    total_steps: int | None = None,
    budget: float | Budget | None = None,
    seed: int = 0,
    continue_trials: bool = False,
    on_event: OnEvent | None = None,
) -> SimulationResult:
    """Fly ``policy`` on ``landscape`` until its Done, for ``total_steps`` kept steps, or until a budget is spent.

    Args:
        policy: any policy.
        landscape: for example a NoisyQuadratic or a RecordedCurve.
        lr: reference lr of the optimizer at the start, natural units, > 0.
        total_steps: kept steps; None (an open horizon, where there is no budget either) for a finder, which ends in
            Done.
        budget: total compute instead, probes included, in forward-equivalents (a step is 3, a held-out loss 1), as
            for ``fit``: it is never exceeded, and a measurement that it cannot pay for is left out.
        seed: of the landscape's noise, >= 0.
        continue_trials: let the policy go on from a Trial, as under ``fit(continue_trials=True)``.
        on_event: called at the beginning and end of every measurement.

    Raises:
        SettingError: an argument is out of range, or both ``total_steps`` and ``budget`` are given.
        PolicyError: there is neither, and no Done within 100,000 kept steps.
    """
    if not 0 < lr < float("inf"):
        raise SettingError(f"lr must be finite and > 0, got {lr}. Give the optimizer's lr.")
    substrate = SimulatedSubstrate(landscape, seed=seed)
    horizon = _horizon(total_steps, budget, substrate)
    flight = Flight(
        policy,
        substrate,
        lr=lr,
        horizon=horizon,
        affords=horizon.affords,
        continues=continue_trials,
        on_event=on_event,
    )
    flight.start()
    while not flight.done and (left := horizon(flight.step)) != 0:
        if left is None and flight.step >= MAX_OPEN_STEPS:
            raise PolicyError(
                f"Without total_steps a policy must come to Done, but {policy.name} trained for "
                f"{MAX_OPEN_STEPS} steps. Give total_steps."
            )
        flight.kept(substrate.step(flight.lr, flight.momentum))
    final_loss = landscape.held_out(substrate.judged)
    return SimulationResult(flight.history, substrate.cost, flight.result, final_loss, flight.coasts_from)


def _horizon(total_steps: int | None, budget: float | Budget | None, substrate: SimulatedSubstrate) -> Horizon:
    """What ends a simulated flight.

    Raises:
        SettingError: not one of the two, or out of range.
    """
    if total_steps is not None and total_steps < 1:
        raise SettingError(f"total_steps must be >= 1, got {total_steps}. Use None for an open horizon.")
    given = as_budget(budget)
    if given is None:
        return StepHorizon(total_steps)
    if total_steps is not None:
        raise SettingError(
            f"A flight takes total_steps or a budget, not both, got total_steps={total_steps}, budget={budget}. "
            "Give one of them."
        )
    if given.forward_equivalents is None:
        raise SettingError(
            f"A landscape takes no time worth counting, so its budget must be in forward-equivalents, got {given}. "
            "Give a number of them: a training step is 3."
        )
    return WorkHorizon(given.forward_equivalents, substrate)
