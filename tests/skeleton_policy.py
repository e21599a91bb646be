"""A scripted policy that uses every action, for the tests that fly it in every environment."""

import math
from dataclasses import replace
from typing import Any, ClassVar

from lrpilot.core.actions import (
    Action,
    Average,
    Done,
    Drop,
    Evaluate,
    HeldOut,
    Line,
    LineLosses,
    Mark,
    Observation,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy
from lrpilot.core.settings import Rule, is_bool, require_each
from lrpilot.core.shape import annealed, constant, ramp
from lrpilot.core.stop import Stop


@record
class ScriptState:
    stage: int
    lr: float
    left: int | None
    averages: bool = True


@record
class Script(Policy):
    """Every action once or more; the lrs that follow depend on everything that was measured."""

    max_marks: ClassVar[int] = 1
    begin_with_search: bool = False

    def __post_init__(self) -> None:
        require_each(self, {"begin_with_search": Rule("True or False", is_bool, "The default is False.")})

    def init(self, context: Context) -> ScriptState:
        stage, left = 0 if self.begin_with_search else 1, context.progress.remaining
        return ScriptState(stage, context.lr, left, context.facts.averages)

    def script(self, lr: float) -> tuple[Action, ...]:
        return (
            Trial(annealed(lr, 3), 3, evaluate="end"),
            Train(ramp(lr, lr * 0.8, 4), 4),
            Line((0.0, 0.5, 1.0, 1.5), batches=2),
            Line((2.0, 3.0), batches=1),
            Evaluate(),
            Trial(constant(lr), 3, evaluate="end"),
            Trial(constant(lr * 3), 3, evaluate="average", stop=Stop(abort_ratio=50.0)),
            Mark("here"),
            # The limit lies below any loss of the task, so the stop rule fires at the first step.
            Train(constant(lr * 2), 6, stop=Stop(abort_above=-1.0)),
            Train(constant(lr * 2), 3, observe_every=2),
            Rewind("here"),
            Train(constant(lr), 3),
            Drop("here"),
            Evaluate(reestimate=True),
            Trial(constant(lr), 2, evaluate="end", average=Average(0.8), momentum=constant(0.0)),
            Train(ramp(lr, lr * 0.8, 4), 4, momentum=constant(0.0), average=Average(0.8, 1.0)),
            Trial(constant(lr), 2, evaluate="end", average=Average()),
            Trial(constant(lr), 2),
            Train(constant(lr), 2),
            Train(ramp(lr, lr * 0.1, 40), 40, observe_every=2, stop=Stop(patience=39), average=Average(0.5)),
        )

    def ask(self, state: ScriptState) -> Action:
        script = self.script(state.lr)
        action = script[state.stage] if state.stage < len(script) else Done()
        if isinstance(action, (Train, Trial)) and not state.averages:
            action = replace(action, average=None)
        if isinstance(action, Train) and state.left is not None:
            return replace(action, steps=max(1, min(action.steps, state.left)))
        return action

    def tell(self, state: ScriptState, observation: Observation) -> ScriptState:
        if isinstance(observation, Trained) and not observation.finished:
            return state
        left = observation.progress.remaining
        return replace(state, stage=state.stage + 1, lr=state.lr * _reaction(observation), left=left)


def _reaction(observation: Observation) -> float:
    """A factor near 1 that moves with every loss seen: a difference anywhere shows in all later lrs."""
    seen: Any = 0.0
    if isinstance(observation, TrialLosses):
        seen = sum(observation.losses) + (observation.held_out or 0.0)
    elif isinstance(observation, LineLosses):
        seen = sum(map(sum, observation.losses))
    elif isinstance(observation, HeldOut):
        seen = observation.loss
    elif isinstance(observation, Trained):
        seen = sum(observation.losses)
    return 1.0 + 1e-3 * seen / (1.0 + abs(seen)) if math.isfinite(seen) else 0.5
