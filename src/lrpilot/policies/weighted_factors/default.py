"""Weighted factors, the default: the published rule, that undoes what wrecked the weights, and ends at zero.

Cost of a decision: ``batches`` forward passes for each factor and for no step (factor 0). At the defaults these are 12,
the work of 4 training steps, and the 10 decisions of a training cost 40 steps.
"""

import math
from dataclasses import KW_ONLY, replace
from typing import ClassVar, final

from lrpilot.core.actions import Action, Done, Line, LineLosses, Mark, Moved, Observation, Rewind, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason, lr_from_to, not_asked_for
from lrpilot.core.settings import Rule, check_start, is_real, require_each
from lrpilot.core.shape import constant
from lrpilot.maths.weighting import Candidates, powers_of_two
from lrpilot.policies.guard import Guard, Verdict, leap_reason, no_number_reason
from lrpilot.policies.to_zero import ToZero
from lrpilot.policies.weighted_factors.published import PublishedWeightedFactors
from lrpilot.policies.weighted_factors.reading import check_settings, is_ending, mean_losses, weighted, window_steps
from lrpilot.policies.weighted_factors.state import RECENT, Phase, WeightedFactorsState

PLACE = "good"
# Lines of ever smaller factors after a step that wrecked the weights. With five factors they reach 2^-17.
MAX_SHRINKS = 3
# After a wreck no lr above this share of the one that did it; the limit is lifted by LIFT a decision, so that it is
# back there after sixteen. The landscape changes, and what was too much early on may be right later. With half of
# it as the limit a network without normalisation died in two attempts out of sixteen (digits, SGD with momentum).
WRECK_MARGIN = 0.25
LIFT = 2.0**0.125
# The window after a wreck is this many times shorter: its lr is the least certain of all.
AFTER_WRECK = 4
_DECAY = Rule("in [0, 1]", lambda value: is_real(value) and 0 <= value <= 1, "The default is 0.5; 0 is no decay.")


@final
@record
class WeightedFactors(Policy):
    """The lr, multiplied once a window by a weighted geometric mean of factors 2^j; then straight to zero.

    The rule is that of :class:`~lrpilot.policies.weighted_factors.published.PublishedWeightedFactors`, which also says
    what the paper leaves open. There the lr falls to a quarter or so a window at best, and by then the weights may be
    beyond help; nor does it fall at the end, but walks by a factor of two or more a window, and running statistics
    lag behind weights that move so fast. The default adds:

    * Factor 0, no step at all, is read too. Factors that end above it score nothing, unless all do. Losses all equal
      within rounding leave the lr alone. The scoring batches are always the same, so that a rise of their loss means
      something.
    * The weights are marked after each decision. Where a step or a window wrecked them (the loss is not finite, or
      a quarter of the gain is lost, see :class:`~lrpilot.policies.guard.Health`) they are taken back. The last step of
      the training is a Line too, so that no wreck is left at the end.
    * Between two Lines the losses of the loop are watched (:class:`~lrpilot.policies.guard.LossWatch`): a training that
      dies is taken back before its window ends, and a bad batch is not the lr's fault.
    * Of a step that wrecked them, smaller and smaller factors are read, until the best is not the smallest. It
      costs forward passes, and no step.
    * The lr stays below a quarter of one that did damage; the limit is lifted slowly.
    * The last part of a training whose end is known goes straight to zero, from the geometric mean of the lrs of the
      last five decisions.

    Attributes:
        num_factors: N, odd, >= 3: 2^j for the N whole numbers j around 0.
        window: kept steps from one decision to the next: an int >= 2 (``len(loader)`` decides once an epoch), or a
            fraction of the training, a float in (0, 1).
        batches: scoring batches of a decision, from 1 to 64. A single one cannot tell noise from harm.
        decay: part of the training on the way to zero, in [0, 1]; 0 for none. An open horizon has none.
        min_lr: never less but on the way to zero, natural units.
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
    decay: float = 0.5
    min_lr: float = 1e-10
    max_lr: float = 1e4

    @classmethod
    def paper(cls, num_factors: int = 5, *, window: float | int = 0.01, batches: int = 1) -> PublishedWeightedFactors:
        """The published setting: a decision an epoch on one batch, and nothing undone.

        An epoch is a hundredth of the training, as in the paper; give ``len(loader)`` for your own.
        """
        return PublishedWeightedFactors(num_factors, window=window, batches=batches)

    def __post_init__(self) -> None:
        check_settings(self.num_factors, self.window, self.batches, self.min_lr, self.max_lr)
        require_each(self, {"decay": _DECAY})

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "weighted_factors"

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
        window = window_steps(self.window, context.progress.remaining)
        return WeightedFactorsState(
            "mark", context.lr, window, window - 1, context.progress, Guard(ceiling=self.max_lr)
        )

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
                return Line(self._line_factors(state), self.batches)
            case "shrink":
                return Line(self._shrunk_factors(state.shrinks + 1), self.batches)
        steps = self._train_steps(state)
        shape = constant(state.lr) if state.to_zero is None else state.to_zero.shape
        return Train(shape, steps, state.observe_every(steps))

    def tell(self, state: WeightedFactorsState, observation: Observation) -> WeightedFactorsState:
        """Decide on a Line's losses; undo what a window has wrecked."""
        if state.phase == "train" and isinstance(observation, Trained):
            return self._after_train(state, observation)
        state = replace(state, progress=observation.progress)
        match state.phase, observation:
            case "mark", Moved():
                begins = state.guard.health is None
                state = replace(state, watch=state.watch.marked(), marked_at=state.progress.step)
                return replace(state, phase="line" if begins else "train").aligned()
            case "rewind", Moved():
                return replace(state, phase="train", watch=state.watch.rewound()).aligned()
            case "shrink", LineLosses():
                return self._after_shrunk(state, observation)
            case "line", LineLosses():
                return self._decide(state, observation)
        raise not_asked_for(self.name, observation)

    def explain(
        self, state: WeightedFactorsState, observation: Observation, after: WeightedFactorsState
    ) -> Reason | None:
        """From which lr to which, and why."""
        change = lr_from_to(state.lr, after.lr)
        if after.guard.lost > state.guard.lost:
            if after.watch.lost_to_a_leap:
                return leap_reason(state.lr, after.lr, after.guard.lost)
            return no_number_reason(state.lr, after.lr, after.guard.lost, excuse=after.watch.excuse)
        if after.phase == "shrink":
            return Reason("searched", f"the step at lr {state.lr:.3g} wrecked the weights: smaller ones are read")
        if after.phase == "rewind" and state.phase != "rewind":
            return Reason("taken_back", f"{change}: the weights were wrecked, and go back to the last mark")
        if after.to_zero is not None and state.to_zero is None:
            return Reason("decays", f"{change}, and from there to zero: the geometric mean of the last decisions")
        if isinstance(observation, LineLosses) and after.phase in ("mark", "train") and after.remaining != 0:
            return weighted(state.lr, after.lr)
        return None

    # --------------------------------------------------------------- factors

    def _line_factors(self, state: WeightedFactorsState) -> tuple[float, ...]:
        # Nothing is left to decide at the last step, but what the last window has wrecked is still taken back.
        return (0.0, 1.0) if state.remaining in (1, self.last_look) else (0.0, *self.factors)

    def _shrunk_factors(self, times: int) -> tuple[float, ...]:
        """The factors continued downwards: as many again for each time."""
        return tuple(factor * 2.0 ** (-times * self.num_factors) for factor in self.factors)

    # ------------------------------------------------------------- decisions

    def _decide(self, state: WeightedFactorsState, seen: LineLosses) -> WeightedFactorsState:
        """Algorithm 1 over the factors that do no harm, unless the weights are wrecked."""
        no_step, *losses = mean_losses(seen)
        candidates = Candidates(no_step, seen.factors[1:], tuple(losses))
        before = [row[0] for row in seen.losses]
        guard = state.guard.opened(before)
        if guard.is_wreck(no_step):
            return self._take_back_wreck(state, no_step)
        state = replace(state, guard=guard.calmed(), watch=state.watch.opened(before))
        wrecked = guard.is_wreck(candidates.loss_at(1.0))
        if state.remaining == 0:
            return replace(state, phase="rewind" if wrecked else "train")
        if wrecked:
            return self._shrink_on(replace(state, candidates=candidates))
        # Only where a mark follows: a low loss that is taken back is no longer there to be lost.
        state = replace(state, guard=state.guard.after_sound(before))
        if state.to_zero is not None:
            return replace(state, phase="mark")
        state = self._begin_window(state, candidates.combine(), "mark")
        return replace(state, recent=(*state.recent, state.lr)[-RECENT:])

    def _after_shrunk(self, state: WeightedFactorsState, seen: LineLosses) -> WeightedFactorsState:
        """More has been read of a step that wrecked the weights."""
        assert state.candidates is not None  # phase "shrink" begins with it
        more = Candidates(state.candidates.no_step, seen.factors, mean_losses(seen))
        return self._shrink_on(replace(state, candidates=state.candidates.extended(more), shrinks=state.shrinks + 1))

    def _shrink_on(self, state: WeightedFactorsState) -> WeightedFactorsState:
        """Read smaller factors while these are the better ones, then decide on all of them.

        Where none helps, the direction itself leads uphill on the scoring batches, which says little of the lr; where
        none has a loss, it is no direction: a bad batch, unless the lr is unknown.
        """
        candidates = state.candidates
        assert candidates is not None
        ends = is_ending(state.remaining, state.window)
        if candidates.smallest_is_best and state.shrinks < MAX_SHRINKS and not ends:
            return replace(state, phase="shrink")
        if not any(map(math.isfinite, candidates.losses)):
            return self._lost(state)
        best = candidates.combine() if candidates.any_helps else 1.0
        return self._take_back(state, best * self.factors[0])

    # -------------------------------------------------------------- the way back

    def _take_back(self, state: WeightedFactorsState, factor: float) -> WeightedFactorsState:
        """The present lr has wrecked the weights: back to the mark, at ``factor`` of it and below the ceiling."""
        limit = max(self.min_lr, WRECK_MARGIN * state.lr / LIFT)
        state = self._begin_window(replace(state, guard=state.guard.capped(limit)), factor, "rewind")
        return replace(state, to_train=max(1, state.window // AFTER_WRECK - 1), recent=())

    def _take_back_wreck(self, state: WeightedFactorsState, no_step: float) -> WeightedFactorsState:
        """The weights were wrecked before the step of this Line."""
        if math.isfinite(no_step):
            return self._after_verdict(replace(state, watch=state.watch.wrecked(state.lr)))
        before = state.guard
        if before.health is not None:
            return self._lost(state)
        guard = before.lost_again()
        if before.lost == 0 or before.blame.blameless:
            # The scoring batches give no number at the weights that the training began with: nothing can be measured.
            return replace(state, phase="train", to_train=max(1, state.window - 1), guard=guard.exonerated())
        return self._take_back(replace(state, guard=guard), self.factors[0])

    def _lost(self, state: WeightedFactorsState) -> WeightedFactorsState:
        """The weights are no numbers, although no loss of the loop was none: the step of a Line, which has none."""
        return self._after_verdict(replace(state, watch=state.watch.lost(state.lr)))

    def _after_verdict(self, state: WeightedFactorsState) -> WeightedFactorsState:
        """The watch says that the weights are lost: back to the mark, with a lower lr unless it was a bad batch."""
        watch = state.watch
        if watch.verdict is Verdict.DYING and not watch.bad:
            return self._take_back(state, self.factors[0])
        suspect = watch.verdict is Verdict.DYING
        guard, lr = state.guard.no_number(state.lr, suspect=suspect, top=self.max_lr)
        state = replace(state, guard=guard)
        if lr is None:
            return self._take_back(state, self.factors[0])
        return replace(state, phase="rewind", lr=lr, to_train=max(1, state.window - 1), candidates=None, shrinks=0)

    # ------------------------------------------------------------- the window

    def _begin_window(self, state: WeightedFactorsState, factor: float, phase: Phase) -> WeightedFactorsState:
        guard = state.guard.lifted(LIFT, top=self.max_lr)
        lr = min(max(state.lr * factor, self.min_lr), guard.ceiling)
        return replace(state, phase=phase, lr=lr, to_train=state.window - 1, guard=guard, candidates=None, shrinks=0)

    def _train_steps(self, state: WeightedFactorsState) -> int:
        if state.remaining is None:
            return state.to_train
        # The last step is kept for the last Line; where Lines are paid for out of the remaining steps, one before it,
        # after which nothing remains.
        keep = self.last_look if state.remaining > self.last_look else 1
        return min(state.to_train, max(1, state.remaining - keep))

    def _after_train(self, state: WeightedFactorsState, seen: Trained) -> WeightedFactorsState:
        """After a Train, or a look in the middle of it."""
        now = replace(state.watched(seen), progress=seen.progress)
        if now.watch.served and now.to_zero is not None:  # else a Line says when the losses are sound again
            now = replace(now, guard=now.guard.calmed())
        match now.watch.verdict:
            case Verdict.FINE if not seen.finished:
                # While the Train goes on, so does what is asked for.
                return (
                    self._looked_at(now, seen)
                    if now.blind or now.mark_due
                    else replace(state, watch=now.watch, guard=now.guard)
                )
            case Verdict.SPOILED | Verdict.DYING:
                return self._after_verdict(now)
            case Verdict.BAD_BATCH:
                now = replace(now, guard=now.guard.lost_again())
            case Verdict.CLEARED:
                now = replace(now, lr=max(now.lr, now.watch.fallen_lr), guard=Guard(ceiling=self.max_lr))
        now = now.passed(seen.steps)
        if now.remaining == 0 and not now.blind and not now.watch.may_mark:
            return replace(now, phase="rewind")  # no step is left that could tell whether the weights are
        return self._next(now)

    @staticmethod
    def _looked_at(now: WeightedFactorsState, seen: Trained) -> WeightedFactorsState:
        """In the middle of a Train: nobody looks any more, or the place is marked."""
        return replace(now.passed(seen.steps), phase="train" if now.blind else "mark")

    def _next(self, state: WeightedFactorsState) -> WeightedFactorsState:
        """What comes after a Train: the rest of it, a Line, or the way to zero."""
        if state.remaining in (1, self.last_look):
            return replace(state, phase="line")
        if state.to_train > 0:
            return state
        if self._descends(state):
            return self._descend(state)
        if not is_ending(state.remaining, state.window):
            return replace(state, phase="line")
        assert state.remaining is not None  # an open horizon never ends
        return replace(state, to_train=state.remaining)

    def _descends(self, state: WeightedFactorsState) -> bool:
        """Whether the way to zero is due."""
        left, total = state.remaining, state.total
        return left is not None and total is not None and state.to_zero is None and 0 < left <= self.decay * total

    @staticmethod
    def _descend(state: WeightedFactorsState) -> WeightedFactorsState:
        """Straight to zero, from the lr that the last decisions agree on."""
        assert state.remaining is not None
        lr = min(state.usual_lr, state.guard.ceiling)
        state = replace(state, lr=lr, to_zero=ToZero(lr, state.remaining))
        return state.aligned()
