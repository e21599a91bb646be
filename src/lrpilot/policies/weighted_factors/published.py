"""Weighted factors as published: a decision an epoch on one batch, and nothing undone."""

from dataclasses import KW_ONLY, replace
from typing import ClassVar, Literal, final

from lrpilot.core.actions import Action, Done, Line, LineLosses, Observation, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason, not_asked_for
from lrpilot.core.settings import check_start
from lrpilot.core.shape import constant
from lrpilot.maths.weighting import combine_factors, powers_of_two
from lrpilot.policies.weighted_factors.reading import (
    POOL,
    check_settings,
    is_ending,
    mean_losses,
    weighted,
    window_steps,
)


@record
class PublishedFactorsState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now.
        lr: of the next Train, natural units.
        window: kept steps from one decision to the next.
        to_train: of these, steps still to be trained before the next Line.
        remaining: kept steps left in all; None for an open horizon.
        batch: index of the first scoring batch of this decision.
    """

    phase: Literal["line", "train"]
    lr: float
    window: int
    to_train: int
    remaining: int | None
    batch: int = 0


@final
@record
class PublishedWeightedFactors(Policy):
    """The lr, multiplied once a window by a weighted geometric mean of factors 2^j.

    ``WeightedFactors.paper()`` gives it. Each window begins with a Line: one kept step at the present lr, then the
    losses that every factor of that step leads to. They are normalised, scored exponentially and averaged
    (:mod:`lrpilot.maths.weighting`); the rest of the window is trained at the new lr.

    What the paper leaves open, and what was chosen:

    * The direction. The paper steps along the raw gradient and names no optimizer; a Line follows the optimizer's own
      step, which is the same for SGD without momentum and weight decay.
    * The batch. The paper seems to score on the batch that gave the gradient; a Line scores on others, on which a
      long step looks less good: new ones for each decision.
    * Normalisation: mean 0 and standard deviation 1. The decision then does not depend on the unit or the zero of the
      loss, and differences are differences however small: noise is followed like signal.

    Attributes:
        num_factors: N, odd, >= 3: 2^j for the N whole numbers j around 0.
        window: kept steps from one decision to the next: an int >= 2 (``len(loader)`` decides once an epoch), or a
            fraction of the training, a float in (0, 1).
        batches: scoring batches of a decision, from 1 to 64.
        min_lr: never less, natural units.
        max_lr: never more. The optimizer's own lr must lie between the two.

    Raises:
        SettingError: an option is out of range; from ``init``, when the window is a fraction and the horizon is open,
            or the optimizer's lr is out of bounds.
    """

    needs_lines: ClassVar[bool] = True

    num_factors: int = 5
    _: KW_ONLY
    window: float | int = 0.01
    batches: int = 1
    min_lr: float = 1e-10
    max_lr: float = 1e4

    def __post_init__(self) -> None:
        check_settings(self.num_factors, self.window, self.batches, self.min_lr, self.max_lr)

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "weighted_factors_paper"

    @property
    def factors(self) -> tuple[float, ...]:
        """The candidates, ascending; 1 is in the middle."""
        return powers_of_two(self.num_factors)

    def init(self, context: Context) -> PublishedFactorsState:
        """Begin with a decision, at the optimizer's own lr."""
        check_start(context.lr, self.min_lr, self.max_lr)
        remaining = context.progress.remaining
        window = window_steps(self.window, remaining)
        return PublishedFactorsState("line", context.lr, window, window - 1, remaining)

    def ask(self, state: PublishedFactorsState) -> Action:
        """A Line; a Train up to the next one."""
        if state.remaining == 0:
            return Done()
        if state.phase == "line":
            return Line(self.factors, self.batches, state.batch)
        left = state.to_train if state.remaining is None else min(state.to_train, state.remaining)
        return Train(constant(state.lr), left)

    def tell(self, state: PublishedFactorsState, observation: Observation) -> PublishedFactorsState:
        """Decide on a Line's losses."""
        state = replace(state, remaining=observation.progress.remaining)
        match state.phase, observation:
            case "train", Trained():
                return self._after_train(state, observation) if observation.finished else state
            case "line", LineLosses():
                return self._decide(state, observation)
        raise not_asked_for(self.name, observation)

    def explain(
        self, state: PublishedFactorsState, observation: Observation, after: PublishedFactorsState
    ) -> Reason | None:
        """From which lr to which, and why."""
        decided = isinstance(observation, LineLosses) and after.remaining != 0
        return weighted(state.lr, after.lr) if decided else None

    def _decide(self, state: PublishedFactorsState, seen: LineLosses) -> PublishedFactorsState:
        """Algorithm 1. Where no loss is finite it says nothing, and the lr stays."""
        factor = combine_factors(seen.factors, mean_losses(seen))
        lr = min(max(state.lr * (1.0 if factor is None else factor), self.min_lr), self.max_lr)
        batch = (state.batch + self.batches) % (POOL // self.batches * self.batches)
        return replace(state, phase="train", lr=lr, to_train=state.window - 1, batch=batch)

    def _after_train(self, state: PublishedFactorsState, seen: Trained) -> PublishedFactorsState:
        to_train = state.to_train - seen.steps
        if to_train > 0:  # a window goes on after a loss that was not finite
            return replace(state, to_train=to_train)
        if not is_ending(state.remaining, state.window):
            return replace(state, phase="line")
        assert state.remaining is not None  # an open horizon never ends
        return replace(state, to_train=state.remaining)
