"""Loss-weighted factors: the lr moves to the weighted geometric mean of a few factors of itself.

Source: "Automated learning rate scheduling with in-training information", Algorithm 1. All candidates lie on one
Line, so that two copies of the parameters serve any number of them; the authors copy the model for each.

Cost of a decision: ``batches`` forward passes for each factor and, in the default setting, for no step (factor 0).
At the defaults these are 12, the work of 4 training steps, and 20 decisions a training cost 80 steps.
"""

import math
from dataclasses import KW_ONLY, replace
from typing import ClassVar, Literal, final

from lrpilot.core.actions import Action, Done, Line, LineLosses, Mark, Moved, Observation, Rewind, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason, lr_from_to, not_asked_for
from lrpilot.core.settings import (
    Rule,
    check_range,
    check_start,
    check_whole,
    is_bool,
    is_window,
    require_each,
    steps_of,
)
from lrpilot.core.shape import constant
from lrpilot.errors import SettingError
from lrpilot.maths.weighting import Candidates, combine_factors, powers_of_two
from lrpilot.policies.guard import Guard, is_of_untouched_weights, no_number_reason

PLACE = "good"
# New scoring batches are taken in turn from this many: a long training need not keep or read ever more of them.
POOL = 64
# Lines of ever smaller factors after a step that wrecked the weights. With five factors they reach 2^-17.
MAX_SHRINKS = 3
# After a wreck no lr above this share of the one that did it; the limit is lifted by LIFT a decision, so that it is
# back there after sixteen. The landscape changes, and what was too much early on may be right later. With half of
# it as the limit a network without normalisation died in two attempts out of sixteen (digits, SGD with momentum).
WRECK_MARGIN = 0.25
LIFT = 2.0**0.125
# The window after a wreck is this many times shorter: its lr is the least certain of all.
AFTER_WRECK = 4

Phase = Literal["mark", "line", "shrink", "rewind", "train"]


@record
class WeightedFactorsState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now.
        lr: of the next Train, natural units.
        window: kept steps from one decision to the next.
        to_train: of these, steps still to be trained before the next Line.
        remaining: kept steps left in all; None for an open horizon.
        guard: losses of a sound training (none in the paper's setting), and the largest lr allowed at present.
        batch: index of the first scoring batch of this decision.
        candidates: what has been read of a step that wrecked the weights; None otherwise.
        shrinks: Lines of smaller factors read of that step.
        fresh: whether no step has been trained since the last Mark or Rewind.
    """

    phase: Phase
    lr: float
    window: int
    to_train: int
    remaining: int | None
    guard: Guard
    batch: int = 0
    candidates: Candidates | None = None
    shrinks: int = 0
    fresh: bool = False


@final
@record
class WeightedFactors(Policy):
    """The lr, multiplied once a window by a weighted geometric mean of factors 2^j.

    Each window begins with a Line: one kept step at the present lr, then the losses that every factor of that step
    leads to. They are normalised, scored exponentially and averaged (:mod:`lrpilot.maths.weighting`); the rest of the
    window is trained at the new lr.

    What the paper leaves open, and what was chosen:

    * The direction. The paper steps along the raw gradient and names no optimizer; a Line follows the optimizer's own
      step, which is the same for SGD without momentum and weight decay.
    * The batch. The paper seems to score on the batch that gave the gradient; a Line scores on others, on which a
      long step looks less good. In the paper's setting they are new ones for each decision; with ``recover`` they
      are always the same, so that a rise of their loss means something.
    * Normalisation: mean 0 and standard deviation 1. The decision then does not depend on the unit or the zero of the
      loss, and differences are differences however small: noise is followed like signal.

    ``recover`` is what the paper lacks: its lr falls to a quarter or so a window at best, and by then the weights may
    be beyond help. The default adds:

    * Factor 0, no step at all, is read too. Factors that end above it score nothing, unless all do. Losses all equal
      within rounding leave the lr alone.
    * The weights are marked after each decision. Where a step or a window wrecked them (the loss is not finite, or
      a quarter of the gain is lost, see :class:`~lrpilot.policies.guard.Health`) they are taken back. The last step of
      the training is a Line too, so that no wreck is left at the end.
    * Of a step that wrecked them, smaller and smaller factors are read, until the best is not the smallest. It
      costs forward passes, and no step.
    * The lr stays below a quarter of one that did damage; the limit is lifted slowly.

    Attributes:
        num_factors: N, odd, >= 3: 2^j for the N whole numbers j around 0.
        window: kept steps from one decision to the next: an int >= 2 (``len(loader)`` decides once an epoch), or a
            fraction of the training, a float in (0, 1).
        batches: scoring batches of a decision, from 1 to 64. A single one cannot tell noise from harm.
        recover: whether damage is undone.
        min_lr: never less, natural units.
        max_lr: never more. The optimizer's own lr must lie between the two.

    Raises:
        SettingError: an option is out of range; from ``init``, when the window is a fraction and the horizon is open,
            or the optimizer's lr is out of bounds.
    """

    max_marks: ClassVar[int] = 1
    needs_lines: ClassVar[bool] = True

    num_factors: int = 5
    _: KW_ONLY
    window: float | int = 0.05
    batches: int = 2
    recover: bool = True
    min_lr: float = 1e-10
    max_lr: float = 1e4

    @classmethod
    def paper(cls, num_factors: int = 5, *, window: float | int = 0.01, batches: int = 1) -> "WeightedFactors":
        """The published setting: a decision an epoch on one batch, and nothing undone.

        An epoch is a hundredth of the training, as in the paper; give ``len(loader)`` for your own.
        """
        return cls(num_factors, window=window, batches=batches, recover=False)

    def __post_init__(self) -> None:
        check_whole("num_factors", self.num_factors, default=5)
        if self.num_factors < 3 or self.num_factors % 2 == 0:
            raise SettingError(
                f"num_factors must be odd and >= 3, so that 1 is among them, got {self.num_factors}. Use 5 or 7."
            )
        _check_window(self.window)
        check_whole("batches", self.batches, default=2)
        if not 1 <= self.batches <= POOL:
            raise SettingError(f"batches must be in [1, {POOL}], got {self.batches}. The default is 2.")
        require_each(self, {"recover": Rule("True or False", is_bool, "The default is True.")})
        check_range(self.min_lr, self.max_lr)

    @property
    def factors(self) -> tuple[float, ...]:
        """The candidates, ascending; 1 is in the middle."""
        return powers_of_two(self.num_factors)

    @property
    def last_look(self) -> int:
        """Steps left at the last Line of a training that pays for it out of these: the step, and the Line itself."""
        return 1 + math.ceil(2 * self.batches / 3)

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> WeightedFactorsState:
        """Begin with a decision, at the optimizer's own lr."""
        check_start(context.lr, self.min_lr, self.max_lr)
        remaining = context.progress.remaining
        window = _window_steps(self.window, remaining)
        phase: Phase = "mark" if self.recover else "line"
        return WeightedFactorsState(phase, context.lr, window, window - 1, remaining, Guard(ceiling=self.max_lr))

    def ask(self, state: WeightedFactorsState) -> Action:
        """A Line, or more of it; the Mark or Rewind that its losses call for; a Train up to the next Line."""
        if state.phase == "rewind":
            return Rewind(PLACE)
        if state.remaining == 0:
            return Done()
        match state.phase:
            case "mark":
                return Mark(PLACE)
            case "line":
                return Line(self._line_factors(state), self.batches, state.batch)
            case "shrink":
                return Line(self._shrunk_factors(state.shrinks + 1), self.batches, state.batch)
        return Train(constant(state.lr), self._train_steps(state))

    def tell(self, state: WeightedFactorsState, observation: Observation) -> WeightedFactorsState:
        """Decide on a Line's losses; undo what a window has wrecked."""
        state = replace(state, remaining=observation.progress.remaining)
        match state.phase, observation:
            case (("mark" | "rewind"), Moved()):
                begins = state.phase == "mark" and state.guard.health is None
                return replace(state, phase="line" if begins else "train", fresh=True)
            case "train", Trained():
                return self._after_train(state, observation) if observation.finished else state
            case "shrink", LineLosses():
                return self._after_shrunk(state, observation)
            case "line", LineLosses():
                decide = self._decide if self.recover else self._decide_as_published
                return decide(state, observation)
        raise not_asked_for(self.name, observation)

    def explain(
        self, state: WeightedFactorsState, observation: Observation, after: WeightedFactorsState
    ) -> Reason | None:
        """From which lr to which, and why."""
        change = lr_from_to(state.lr, after.lr)
        if after.guard.lost > state.guard.lost:
            return no_number_reason(state.lr, after.lr, after.guard.lost)
        if after.phase == "shrink":
            return Reason("searched", f"the step at lr {state.lr:.3g} wrecked the weights: smaller ones are read")
        if after.phase == "rewind" and state.phase != "rewind":
            return Reason("taken_back", f"{change}: the weights were wrecked, and go back to the last mark")
        if isinstance(observation, LineLosses) and after.phase in ("mark", "train") and after.remaining != 0:
            factor = after.lr / state.lr
            return Reason(
                "weighted", f"{change}: the losses along the step weigh its factors to a mean of {factor:.3g}"
            )
        return None

    # --------------------------------------------------------------- factors

    def _line_factors(self, state: WeightedFactorsState) -> tuple[float, ...]:
        if not self.recover:
            return self.factors
        # Nothing is left to decide at the last step, but what the last window has wrecked is still taken back.
        return (0.0, 1.0) if state.remaining in (1, self.last_look) else (0.0, *self.factors)

    def _shrunk_factors(self, times: int) -> tuple[float, ...]:
        """The factors continued downwards: as many again for each time."""
        return tuple(factor * 2.0 ** (-times * self.num_factors) for factor in self.factors)

    # ------------------------------------------------------------- decisions

    def _decide_as_published(self, state: WeightedFactorsState, seen: LineLosses) -> WeightedFactorsState:
        """Algorithm 1. Where no loss is finite it says nothing, and the lr stays."""
        factor = combine_factors(seen.factors, mean_losses(seen))
        return self._begin_window(state, 1.0 if factor is None else factor, "train")

    def _decide(self, state: WeightedFactorsState, seen: LineLosses) -> WeightedFactorsState:
        """Algorithm 1 over the factors that do no harm, unless the weights are wrecked."""
        no_step, *losses = mean_losses(seen)
        candidates = Candidates(no_step, seen.factors[1:], tuple(losses))
        before = [row[0] for row in seen.losses]
        guard = state.guard.opened(before)
        if guard.is_wreck(no_step):
            return self._take_back_wreck(state, no_step)
        state = replace(state, guard=guard.calmed())
        wrecked = guard.is_wreck(candidates.loss_at(1.0))
        if state.remaining == 0:
            return replace(state, phase="rewind" if wrecked else "train")
        if wrecked:
            return self._shrink_on(replace(state, candidates=candidates))
        # Only where a mark follows: a low loss that is taken back is no longer there to be lost.
        state = replace(state, guard=state.guard.after_sound(before))
        return self._begin_window(state, candidates.combine(), "mark")

    def _after_shrunk(self, state: WeightedFactorsState, seen: LineLosses) -> WeightedFactorsState:
        """More has been read of a step that wrecked the weights."""
        assert state.candidates is not None  # phase "shrink" begins with it
        more = Candidates(state.candidates.no_step, seen.factors, mean_losses(seen))
        return self._shrink_on(replace(state, candidates=state.candidates.extended(more), shrinks=state.shrinks + 1))

    def _shrink_on(self, state: WeightedFactorsState) -> WeightedFactorsState:
        """Read smaller factors while these are the better ones, then decide on all of them.

        Where none helps, the direction itself leads uphill on the scoring batches, which says little of the lr.
        """
        candidates = state.candidates
        assert candidates is not None
        if candidates.smallest_is_best and state.shrinks < MAX_SHRINKS and not self._is_ending(state):
            return replace(state, phase="shrink")
        best = candidates.combine() if candidates.any_helps else 1.0
        return self._take_back(state, best * self.factors[0])

    # ----------------------------------------------------------- transitions

    def _take_back(self, state: WeightedFactorsState, factor: float) -> WeightedFactorsState:
        """The present lr has wrecked the weights: back to the mark, at ``factor`` of it and below the ceiling."""
        limit = max(self.min_lr, WRECK_MARGIN * state.lr / LIFT)
        state = self._begin_window(replace(state, guard=state.guard.capped(limit)), factor, "rewind")
        return replace(state, to_train=max(1, state.window // AFTER_WRECK - 1))

    def _take_back_wreck(self, state: WeightedFactorsState, no_step: float) -> WeightedFactorsState:
        """The weights were wrecked before the step of this Line."""
        if math.isfinite(no_step):
            return self._take_back(state, self.factors[0])
        before, guard = state.guard, state.guard.lost_again()
        if before.health is None and (before.lost == 0 or before.blame.blameless):
            # The scoring batches give no number at the weights that the training began with: nothing can be measured.
            return replace(state, phase="train", to_train=max(1, state.window - 1), guard=guard.exonerated())
        return self._take_back(replace(state, guard=guard), self.factors[0])

    def _after_no_number(self, state: WeightedFactorsState, seen: Trained) -> WeightedFactorsState:
        """A training loss is no number: the lr's fault, unless it would be none at any lr."""
        sound = state.fresh and is_of_untouched_weights(seen)
        guard, lr = state.guard.no_number(state.lr, suspect=not sound, top=self.max_lr)
        state = replace(state, guard=guard)
        if lr is None:
            return self._take_back(state, self.factors[0])
        return replace(state, phase="rewind", lr=lr, to_train=max(1, state.window - 1), candidates=None, shrinks=0)

    def _begin_window(self, state: WeightedFactorsState, factor: float, phase: Phase) -> WeightedFactorsState:
        guard = state.guard.lifted(LIFT, top=self.max_lr)
        return replace(
            state,
            phase=phase,
            lr=min(max(state.lr * factor, self.min_lr), guard.ceiling),
            to_train=state.window - 1,
            guard=guard,
            batch=0 if self.recover else (state.batch + self.batches) % (POOL // self.batches * self.batches),
            candidates=None,
            shrinks=0,
        )

    def _train_steps(self, state: WeightedFactorsState) -> int:
        if state.remaining is None:
            return state.to_train
        if not self.recover:
            return min(state.to_train, state.remaining)
        # The last step is kept for the last Line; where Lines are paid for out of the remaining steps, one before it,
        # after which nothing remains.
        keep = self.last_look if state.remaining > self.last_look else 1
        return min(state.to_train, max(1, state.remaining - keep))

    def _after_train(self, state: WeightedFactorsState, seen: Trained) -> WeightedFactorsState:
        if seen.stop is not None and self.recover:
            return self._after_no_number(state, seen)
        state = replace(state, fresh=False)
        to_train = state.to_train - seen.steps
        if self.recover and state.remaining in (1, self.last_look):
            return replace(state, phase="line")
        if to_train > 0:  # as published a window goes on after a loss that was not finite
            return replace(state, to_train=to_train)
        if not self._is_ending(state):
            return replace(state, phase="line")
        assert state.remaining is not None  # an open horizon never ends
        return replace(state, to_train=state.remaining)

    @staticmethod
    def _is_ending(state: WeightedFactorsState) -> bool:
        """Whether the steps left are too few for a decision to pay."""
        return state.remaining is not None and state.remaining <= max(2, state.window // 2)


# ------------------------------------------------------------------- helpers


def mean_losses(seen: LineLosses) -> tuple[float, ...]:
    """Mean over the batches for each factor; not finite where a batch is not."""
    count = len(seen.losses)
    return tuple(sum(loss / count for loss in column) for column in zip(*seen.losses, strict=True))


def _window_steps(window: float | int, remaining: int | None) -> int:
    """Kept steps of a window that is a number of steps (an int) or a fraction of ``remaining`` (a float); >= 2."""
    if isinstance(window, float) and remaining is None:
        raise SettingError(
            f"A window that is a fraction needs a known horizon, got window={window} and total_steps=None. "
            "Give total_steps, or the window as a number of steps."
        )
    return steps_of(window, remaining, at_least=2)


def _check_window(window: object) -> None:
    if not is_window(window, 2):
        raise SettingError(
            f"window must be an int >= 2 (steps) or a float in (0, 1) (a fraction of the training), got {window!r}. "
            "Use len(loader) for a decision an epoch."
        )
