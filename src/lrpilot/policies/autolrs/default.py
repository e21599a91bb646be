"""AutoLRS, the default: what the published method does, at a price, on scores that foresee a decay, and with a guard.

The method is that of :mod:`lrpilot.policies.autolrs.published`: stages of τ steps, k lrs tried before each by Trials of
τ′ steps from the same state, a Gaussian process over log lr through their scores, the stage at the lr that it finds.
What is done otherwise, and why, is in the table of :class:`AutoLRS` and in docs/trial-methods.md.
"""

from dataclasses import KW_ONLY, fields, replace
from math import isfinite
from typing import ClassVar, Literal, final

from lrpilot.core.actions import (
    Action,
    Continue,
    Done,
    Evaluate,
    HeldOut,
    Mark,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
    Trial,
    TrialLosses,
)
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason, not_asked_for
from lrpilot.core.settings import check_range, require_each
from lrpilot.core.shape import Shape, annealed, constant, ramp
from lrpilot.policies.autolrs.candidates import from_held_out, from_losses
from lrpilot.policies.autolrs.price import PlanSettings, plan_longer, plan_search, stage_steps
from lrpilot.policies.autolrs.published import PublishedAutoLRS
from lrpilot.policies.autolrs.reasons import explain
from lrpilot.policies.autolrs.search import (
    choice,
    first_search,
    later_search,
    longer_search,
    past_bad_batch,
    when_to_stop,
    with_next_lr,
)
from lrpilot.policies.autolrs.settings import (
    HIGHEST,
    LOWEST,
    RULES,
    GivenInterval,
    check_order,
    require_horizon,
    warmup_steps,
)
from lrpilot.policies.autolrs.stage import LRSearch, LRStage, StageCode
from lrpilot.policies.autolrs.state import (
    AutoLRSState,
    ContinuingTrial,
    FindingInterval,
    KeptTrial,
    MarkingStage,
    Phase,
    ReadingLevel,
    RewindingStage,
    Searching,
    StagesDone,
    TrainingStage,
    gone_on,
    moved_on,
    replanned,
    unknown_phase,
    with_first_loss,
)
from lrpilot.policies.autolrs.watch import looked_at, part_steps, steps_left
from lrpilot.policies.finders.step_sampling import StepSampling

PLACE = "stage"
# What a held-out loss is taken to cost, in steps, where none was read yet: 16 batches, forward only.
EVALUATION = 5.0
# Step sampling on its first grid alone, and the part of a training that it may cost.
GRID_TRIALS = 17
FINDER_STEPS = 20
FINDER_PART = 0.03
# An lr to hold is up to this many decades too small for one that decays.
DECAY_ROOM = 1.0


@final
@record
class AutoLRS(Policy):
    """Searches an lr before each stage, and trains the stage with it.

    | | published | default |
    |---|---|---|
    | stages | 1,000, 2,000, 4,000, 8,000, 8,000, ... steps | 1/7, 2/7, 4/7 of the training; the last falls to zero |
    | candidates of a search | 10 | up to 8 short ones, then 3 or 4 longer ones; later up to 4 |
    | Trial | a tenth of the stage at constant lr | as long as ``overhead`` pays for, at most half of the stage |
    | score | forecast of the loss at the stage's end | held-out loss on the averaged weights of the Trial |
    | next lr | fills the interval (κ = 1e6) | lower confidence bound (κ = 2) |
    | choice | the candidate with the lowest score | the surrogate's minimum, half a decade below any lr that diverged |
    | later interval | the same | half a decade about the present lr; no decrease in the first half |
    | cost of searches, of training | 100 % | at most 30 % |
    | a stage that wrecks the model | trained on | taken back, and repeated at a third of the lr |

    Where no interval is given it is the window of step sampling, from 14,200 steps on (425 are 3 % of them), and a
    decade beyond it. A shorter training begins with the optimizer's own lr and a decade to each side, and
    goes on wherever the best lr is at the edge. Too high an lr looks best in a short Trial, and the fewer steps the
    higher. So the first search tries short ones, to find the order of magnitude, and then longer ones
    about and below what these found; how far the best lr fell from the one to the other it is taken to fall once more,
    by a quarter of a decade at most. What is found is in the state, and in the result
    of ``Done`` at the end of the training: a tuple of :class:`~lrpilot.policies.autolrs.stage.LRStage`.

    Under a total budget (``fit(budget=...)``) a search shortens the training that follows: stages are laid out anew
    after each.

    Where Trials may be continued (``fit(continue_trials=True)``), a stage that begins at the lr of a Trial, and holds
    it, goes on from that Trial: its steps are the stage's first, and are not trained anew. That is the middle stage,
    where the choice is within 0.02 decades of the lr of the Trial that is held (it takes that lr then): the first
    begins with a ramp, and the last falls to zero. At most two ends are held, of the Trial nearest to the choice so far
    and of the next.

    Attributes:
        min_lr: smallest lr of a search, natural units; None for step sampling's.
        max_lr: largest; None likewise.
        num_trials: k, most candidates of a search, and of the short ones before it.
        stage: τ of the first stage: steps (an int), or a part of the training (a float).
        max_stage: τ at which doubling ends, likewise; None for no end.
        trial: τ′/τ, at most; Trials are shorter, so that ``overhead`` holds.
        kappa: of the lower confidence bound.
        score: "raw" forecasts from a Trial at constant lr, "annealed" reads the held-out loss after one whose lr falls
            to zero, "average" reads it on the averaged weights of one at constant lr. None for "average", and for
            "raw" where ``final`` is None.
        warmup: steps, or a part of the training, of a straight ramp at the beginning of the first stage.
        final: "linear": the last stage falls to zero; None: it does not.
        overhead: largest part of the training's own steps that all searches may cost; None for no limit.

    Raises:
        SettingError: a setting is out of range; from ``init``, when the horizon is open and a setting needs it.
    """

    max_marks: ClassVar[int] = 1
    max_ends: ClassVar[int] = 2

    min_lr: float | None = None
    max_lr: float | None = None
    _: KW_ONLY
    num_trials: int = 8
    stage: int | float = 1 / 7
    max_stage: int | float | None = None
    trial: float = 0.5
    kappa: float = 2.0
    score: Literal["raw", "annealed", "average"] | None = None
    warmup: int | float = 0.05
    final: Literal["linear"] | None = "linear"
    overhead: float | None = 0.3

    @classmethod
    def paper(
        cls,
        min_lr: float | None = None,
        max_lr: float | None = None,
        *,
        tau: int | float = 1000,
        max_tau: int | float = 8000,
        warmup: int | float = 0,
        warmup_lr: float | None = None,
    ) -> PublishedAutoLRS:
        """The published setting, by the published rules.

        Args:
            min_lr: smallest lr of a search, natural units; None for step sampling's.
            max_lr: largest; None likewise.
            tau: τ of the first stage, in steps or as a part of the training: ``tau=0.05, max_tau=0.4`` lays a short
                training out as the paper's long ones are.
            max_tau: τ at which doubling ends.
            warmup: steps, or a part of the training, before the first search.
            warmup_lr: lr at the end of it.
        """
        return PublishedAutoLRS(min_lr, max_lr, stage=tau, max_stage=max_tau, warmup=warmup, warmup_lr=warmup_lr)

    def __post_init__(self) -> None:
        require_each(self, {field.name: RULES[field.name] for field in fields(self)})
        check_range(*self._given.bounds)
        check_order(self.stage, self.max_stage)

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "autolrs"

    @property
    def scoring(self) -> Literal["raw", "annealed", "average"]:
        """The score in force: the stage that is to end at its own lr must not be judged by what a decay would gain."""
        return self.score or ("raw" if self.final is None else "average")

    @property
    def _judges(self) -> bool:
        """Whether the score of a Trial is a held-out loss."""
        return self.scoring != "raw"

    @property
    def _given(self) -> GivenInterval:
        return GivenInterval(self.min_lr, self.max_lr)

    @property
    def _plans(self) -> PlanSettings:
        return PlanSettings(self.stage, self.max_stage, self.num_trials, self.trial, self.overhead, self._judges)

    # ------------------------------------------------------------- the policy

    def init(self, context: Context) -> AutoLRSState:
        """First a held-out loss, where scores are such; then the interval, then the search for the first stage."""
        here = context.progress
        lengths = {"stage": self.stage, "max_stage": self.max_stage, "warmup": self.warmup}
        require_horizon(here.remaining, lengths, falls=self.final is not None)
        state = AutoLRSState(ReadingLevel(), context.lr, here.step, here.remaining, continues=context.continues)
        return state if self._judges else self._look_for_interval(state)

    def ask(self, state: AutoLRSState) -> Action:
        """A Trial of the next candidate, or the stage."""
        match state.phase:
            case ReadingLevel():
                return Evaluate(reestimate=True)
            case FindingInterval(finder, found):
                return finder.ask(found)
            case Searching() as searching:
                return self._trial(state, searching)
            case MarkingStage():
                return Mark(PLACE)
            case ContinuingTrial(kept):
                return Continue(kept.key)
            case TrainingStage(steps) as training:
                every = part_steps(state.watch, steps)
                return Train(self._shape(state, training), steps, observe_every=every)
            case RewindingStage():
                return Rewind(PLACE)
            case StagesDone():
                return Done(state.stages)
        raise unknown_phase(self.name, state.phase)

    def tell(self, state: AutoLRSState, observation: Observation) -> AutoLRSState:
        """Note what was seen, and decide."""
        here, cost = moved_on(state, observation)
        match state.phase, observation:
            case ReadingLevel(), HeldOut(loss=loss):
                bill = replace(here.bill, evaluation=here.bill.spent)
                first = loss if isfinite(loss) else None
                return self._look_for_interval(replace(here, bill=bill, first_loss=first))
            case FindingInterval() as finding, _:
                found = finding.after(observation)
                if isinstance(found, FindingInterval):
                    return replace(here, phase=found)
                room = DECAY_ROOM if self._judges else 0.0
                interval = self._given.within(found.window, here.lr, room=room)
                return self._search(replace(here, interval=interval))
            case Searching() as searching, TrialLosses():
                key = self._key(state, searching)
                return self._tried(here, searching, observation, cost=cost, key=key)
            case MarkingStage(steps, warming, kept), _:
                begins: Phase = TrainingStage(steps, warming) if kept is None else ContinuingTrial(kept)
                return replace(here, phase=begins)
            case ContinuingTrial(), _:
                here, rest = gone_on(state, here)
                return replace(here, phase=TrainingStage(rest)) if rest else self._search(here)
            case TrainingStage() as training, Trained():
                return self._trained(here, training, observation)
            case RewindingStage(), _:
                goes_on: Phase = StagesDone() if here.remaining == 0 else TrainingStage(steps_left(here))
                return replace(here, phase=goes_on)
        raise not_asked_for(self.name, observation)

    def replan(self, state: AutoLRSState, progress: Progress) -> AutoLRSState:
        """The stage that is trained is trained to its end; those after it are laid out over what is left then."""
        return replanned(state, progress, warmup=warmup_steps(self.warmup, state.total))

    def explain(self, state: AutoLRSState, observation: Observation, after: AutoLRSState) -> Reason | None:
        """From which lr to which, and why."""
        return explain(state, after)

    # ---------------------------------------------------------------- interval

    def _look_for_interval(self, state: AutoLRSState) -> AutoLRSState:
        """Step sampling for what is not given, or the first search about the optimizer's own lr."""
        if not self._given.are_given and self._samples(state):
            finder = StepSampling(LOWEST, HIGHEST, num_steps=FINDER_STEPS, tolerance=0.5, max_trials=GRID_TRIALS)
            here = Context(state.lr, Progress(state.step, state.remaining), state.continues)
            return replace(state, phase=FindingInterval(finder, finder.init(here)))
        return self._search(replace(state, interval=self._given.around(state.lr)), guessed=not self._given.are_given)

    def _samples(self, state: AutoLRSState) -> bool:
        """Whether the training is long enough to pay for step sampling."""
        if state.total is None:
            return True
        costs = GRID_TRIALS * (FINDER_STEPS + (state.bill.evaluation or EVALUATION))
        return self.overhead is None or costs <= min(FINDER_PART, self.overhead / 2) * state.total

    # ------------------------------------------------------------------ search

    def _search(self, state: AutoLRSState, *, guessed: bool = False) -> AutoLRSState:
        """The search for the next stage, or the stage itself where that cannot be paid for; nothing at the end.

        Args:
            state: before it.
            guessed: whether the interval of the first search is but a guess about the optimizer's own lr.
        """
        if state.remaining == 0:
            return replace(state, phase=StagesDone())
        plan, bounds = plan_search(self._plans, state), self._given.bounds
        if plan is None:
            low, high = bounds
            return self._begin_stage(state, min(max(state.lr, low), high), StageCode.NOT_SEARCHED)
        if state.stages:
            return replace(state, phase=Searching(later_search(state, plan, bounds)))
        return replace(state, phase=Searching(first_search(state, plan, bounds, guessed=guessed)))

    def _trial(self, state: AutoLRSState, searching: Searching) -> Trial:
        """Of the next lr, as the score needs it."""
        search, keep = searching.search, self._key(state, searching)
        lr, steps, stop = search.queue[0], search.steps, when_to_stop(search)
        match self.scoring:
            case "annealed":
                return Trial(annealed(lr, steps), steps, evaluate="end", stop=stop, keep=keep, first=search.first)
            case "average":
                return Trial(constant(lr), steps, evaluate="average", stop=stop, keep=keep, first=search.first)
            case "raw":
                return Trial(constant(lr), steps, stop=stop, keep=keep, first=search.first)

    def _tried(
        self, state: AutoLRSState, searching: Searching, seen: TrialLosses, *, cost: float, key: str | None
    ) -> AutoLRSState:
        """One candidate more, and the next lr; longer Trials, or the stage, where it was the last.

        Args:
            state: with what its Trial has cost.
            searching: the search before it.
            seen: in its Trial.
            cost: of that, in steps.
            key: that its end is held under; None where it is not.
        """
        search = replace(searching.search, spent=searching.search.spent + cost)
        state, later = with_first_loss(state, seen), past_bad_batch(search, seen)
        if later is not None:
            watch = replace(state.watch, first=later.first)
            return replace(state, phase=replace(searching, search=later), watch=watch)
        candidate = from_held_out(search, seen) if self._judges else from_losses(search, seen, form="default")
        if not state.stages:
            state = replace(state, watch=state.watch.with_first_high(search, candidate))
        searching = replace(searching, search=replace(search, candidates=(*search.candidates, candidate)))
        bounds = self._given.bounds
        searching = with_next_lr(searching, state, bounds, kappa=self.kappa, judges=self._judges)
        lr, code = choice(searching, state, bounds)
        searching = searching.keeping(key, seen, lr=candidate.lr, choice=lr)
        return replace(state, phase=searching) if searching.search.queue else self._found(state, searching, lr, code)

    def _found(self, state: AutoLRSState, searching: Searching, lr: float, code: StageCode) -> AutoLRSState:
        """A search has ended with this lr: longer Trials about and below it, or the stage."""
        search = searching.search
        if search.scouting and code not in (StageCode.ALL_DIVERGED, StageCode.NO_NUMBER):
            longer = plan_longer(self._plans, state, search)
            if longer is not None:
                state = replace(state, lr=lr)
                return replace(state, phase=Searching(longer_search(state, longer, self._given.bounds), scouts=search))
        kept, scouts = searching.kept, searching.scouts
        return self._begin_stage(state, searching.held_lr(lr), code, search=search, scouts=scouts, kept=kept)

    # ------------------------------------------------------- continued Trials

    def _key(self, state: AutoLRSState, searching: Searching) -> str | None:
        """That the end of the next Trial is held under; None where the stage cannot go on from it."""
        return searching.key(state.remaining) if self._goes_on(state) else None

    def _goes_on(self, state: AutoLRSState) -> bool:
        """Whether the stage that comes may go on from a Trial: it begins as those train, at its lr, held."""
        if not state.continues or self.scoring == "annealed":
            return False
        falls = self.final == "linear" and stage_steps(self._plans, state) == state.remaining
        rises = not state.stages and warmup_steps(self.warmup, state.total) >= 1
        return not falls and not rises

    # ------------------------------------------------------------------- stage

    def _begin_stage(
        self,
        state: AutoLRSState,
        lr: float,
        code: StageCode,
        *,
        search: LRSearch | None = None,
        scouts: LRSearch | None = None,
        kept: KeptTrial | None = None,
    ) -> AutoLRSState:
        """A stage at ``lr``, which the searches found; from the Trial that is kept, where it can go on from that."""
        if state.remaining == 0:
            return replace(state, phase=StagesDone())
        steps = stage_steps(self._plans, state)
        decays = self.final == "linear" and steps == state.remaining
        stage = LRStage(state.step, steps, lr, code, decays=decays, search=search, scouts=scouts)
        if kept is not None and (kept.lr != lr or not self._goes_on(state)):
            kept = None
        return replace(
            state,
            phase=MarkingStage(steps, warming=not state.stages, kept=kept),
            lr=lr,
            stages=(*state.stages, stage),
            watch=replace(state.watch, safe=state.watch.guard.health, part=None),
        )

    def _shape(self, state: AutoLRSState, training: TrainingStage) -> Shape:
        """The present lr, or its way to zero; the first stage may begin with a ramp."""
        lr, steps = state.lr, training.steps
        decays = state.stages[-1].decays
        warmup = min(warmup_steps(self.warmup, state.total), steps - 1) if training.warming else 0
        if warmup < 1:
            return ramp(lr, 0.0, steps) if decays else constant(lr)
        knots = (0.0, float(warmup), float(steps))
        if decays:
            return Shape(knots, (lr / (warmup + 1), lr, 0.0), ("linear", "linear"))
        return Shape(knots, (lr / (warmup + 1), lr, lr), ("linear", "hold"))

    def _trained(self, state: AutoLRSState, training: TrainingStage, seen: Trained) -> AutoLRSState:
        """A part of the stage, or all of it, has been trained: is it sound? Then the next stage is searched for."""
        state = looked_at(state, training, seen)
        return self._search(state) if seen.finished and isinstance(state.phase, TrainingStage) else state
