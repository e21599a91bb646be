"""AutoLRS as published: the lr of each stage of a training, by Bayesian optimisation and a forecast of the loss.

Source: "AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly" (Jin et al.), and for what it
leaves open its authors' public code. Notation: η is the lr; τ the steps of a stage, τ′ those of a Trial; k the number
of lrs tried before a stage.

1. Training is cut into stages of τ steps at one lr each; τ doubles after each, from 1,000 to 8,000.
2. Before a stage k = 10 lrs are tried, each from the same state for τ′ = τ/10 steps. So searching takes as many steps
   as training.
3. The loss of each at the end of the stage is forecast from those of its Trial: y(x) = a·exp(b·x) + c with b < 0,
   fitted to x = 0, ..., τ′ − 1 and read at x = τ. From the second stage of the greatest length on held-out losses take
   the place of training losses.
4. A Gaussian process over x = log10 η is put through the forecasts. The next lr has the lowest mean(x) − κ·std(x);
   κ = 1e6, which fills the interval.
5. The stage is trained at the lr with the lowest forecast, and then comes the next.

What differs from the public code:

* Trials are paired: all of a search see the same batches and draw the same dropout masks. Theirs see successive
  batches. An action cannot ask for that, and it would only add noise.
* The first lr of a search is the middle of the interval; theirs is random.
* The small fixed subset on which a held-out loss is read every τ′/16 steps is the first batch of the held-out data.
  BatchNorm statistics are taken as they are then, and the losses of a Trial are those it has without readings.
* A Trial whose loss is no number ends at once. Where all diverged, smaller lrs are tried, and then a safe one is kept.
* The last stage, and its Trials with it, is as long as what remains.
"""

import math
from dataclasses import KW_ONLY, fields, replace
from typing import ClassVar, final

from lrpilot.core.actions import Action, Continue, Done, Observation, Train, Trained, Trial, TrialLosses
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason, not_asked_for
from lrpilot.core.settings import check_range, require_each, steps_of
from lrpilot.core.shape import constant, ramp
from lrpilot.maths.surrogate import start_lrs
from lrpilot.policies.autolrs.candidates import (
    all_failed,
    edge_code,
    from_losses,
    from_readings,
    next_lrs,
    reading_interval,
    with_surrogate,
)
from lrpilot.policies.autolrs.reasons import explain
from lrpilot.policies.autolrs.settings import RULES, GivenInterval, check_order, doubled, require_horizon, warmup_steps
from lrpilot.policies.autolrs.stage import LRCandidate, LRSearch, LRStage, StageCode
from lrpilot.policies.autolrs.state import (
    AutoLRSState,
    ContinuingTrial,
    FindingInterval,
    Phase,
    Searching,
    StagesDone,
    TrainingStage,
    WarmingUp,
    gone_on,
    moved_on,
    unknown_phase,
    with_first_loss,
)
from lrpilot.policies.finders.step_sampling import StepSampling


@final
@record
class PublishedAutoLRS(Policy):
    """AutoLRS as published; the usual way to it is ``AutoLRS.paper()``.

    Where no interval is given it is the window of step sampling. Under a total budget a search shortens the training
    that follows. A training that diverges is trained on at its lr: there is no way back.

    Where Trials may be continued (``fit(continue_trials=True)``), every stage goes on from the Trial that chose its lr:
    the Trial's steps are the stage's first, and are not trained anew.

    Attributes:
        min_lr: smallest lr of a search, natural units; None for step sampling's.
        max_lr: largest; None likewise.
        num_trials: k, candidates of a search.
        stage: τ of the first stage: steps (an int), or a part of the training (a float).
        max_stage: τ at which doubling ends, likewise; None for no end.
        trial: τ′/τ.
        kappa: κ of the lower confidence bound.
        warmup: steps, or a part of the training, of a straight ramp before the first search.
        warmup_lr: lr at its end; None for the (logarithmic) middle of the interval.

    Raises:
        SettingError: a setting is out of range; from ``init``, when the horizon is open and a setting needs it.
    """

    max_ends: ClassVar[int] = 2

    min_lr: float | None = None
    max_lr: float | None = None
    _: KW_ONLY
    num_trials: int = 10
    stage: int | float = 1000
    max_stage: int | float | None = 8000
    trial: float = 0.1
    kappa: float = 1e6
    warmup: int | float = 0
    warmup_lr: float | None = None

    def __post_init__(self) -> None:
        require_each(self, {field.name: RULES[field.name] for field in fields(self)})
        check_range(*self._given.bounds)
        check_order(self.stage, self.max_stage)

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "autolrs_paper"

    @property
    def _given(self) -> GivenInterval:
        return GivenInterval(self.min_lr, self.max_lr)

    # ------------------------------------------------------------- the policy

    def init(self, context: Context) -> AutoLRSState:
        """The interval comes first, then the warmup, then the search for the first stage."""
        here = context.progress
        lengths = {"stage": self.stage, "max_stage": self.max_stage, "warmup": self.warmup}
        require_horizon(here.remaining, lengths)
        finder = StepSampling.paper()
        phase = FindingInterval(finder, finder.init(context))
        state = AutoLRSState(phase, context.lr, here.step, here.remaining, continues=context.continues)
        return self._warmed_up(state, self._given.around(state.lr)) if self._given.are_given else state

    def ask(self, state: AutoLRSState) -> Action:
        """A Trial of the next candidate, or the stage."""
        match state.phase:
            case FindingInterval(finder, found):
                return finder.ask(found)
            case WarmingUp(steps):
                return Train(ramp(state.lr / steps, state.lr, steps - 1 or 1), steps)
            case Searching() as searching:
                return self._trial(state, searching)
            case ContinuingTrial(kept):
                return Continue(kept.key)
            case TrainingStage(steps):
                return Train(constant(state.lr), steps)
            case StagesDone():
                return Done(state.stages)
        raise unknown_phase(self.name, state.phase)

    def tell(self, state: AutoLRSState, observation: Observation) -> AutoLRSState:
        """Note what was seen, and decide."""
        here, cost = moved_on(state, observation)
        match state.phase, observation:
            case FindingInterval() as finding, _:
                found = finding.after(observation)
                if isinstance(found, FindingInterval):
                    return replace(here, phase=found)
                return self._warmed_up(here, self._given.within(found.window, here.lr))
            case WarmingUp(), Trained():
                return self._search(here) if observation.finished else here
            case Searching() as searching, TrialLosses():
                key = self._key(state, searching)
                return self._tried(here, searching, observation, cost=cost, key=key)
            case ContinuingTrial(), _:
                here, rest = gone_on(state, here)
                return replace(here, phase=TrainingStage(rest)) if rest else self._search(here)
            case TrainingStage(), Trained():
                return self._trained(here, observation)
        raise not_asked_for(self.name, observation)

    def explain(self, state: AutoLRSState, observation: Observation, after: AutoLRSState) -> Reason | None:
        """From which lr to which, and why."""
        return explain(state, after)

    def _warmed_up(self, state: AutoLRSState, interval: tuple[float, float]) -> AutoLRSState:
        """A straight ramp to the middle of the interval, or to the lr that is given; then the first search."""
        state, steps = replace(state, interval=interval), warmup_steps(self.warmup, state.remaining)
        if steps < 1:
            return self._search(state)
        low, high = interval
        return replace(state, phase=WarmingUp(steps), lr=self.warmup_lr or (low * high) ** 0.5)

    # -------------------------------------------------- 1. stages of τ steps

    def _tau(self, state: AutoLRSState) -> int:
        """τ of the stage that begins now, >= 1: min(2ⁿ·stage, max_stage) after n stages.

        A rest in which a Trial would have no step to itself belongs to this stage.
        """
        tau = doubled(self.stage, self.max_stage, len(state.stages), state.total)
        if state.remaining is None:
            return tau
        return max(1, state.remaining if state.remaining < tau * (1 + self.trial) else tau)

    def _is_longest(self, doublings: int, total: int | None) -> bool:
        """Whether a stage after so many doublings is of the greatest length; False where there is none."""
        stage, longest = self.stage, self.max_stage
        if longest is None:
            return False
        if isinstance(stage, float) != isinstance(longest, float):
            stage, longest = steps_of(stage, total), steps_of(longest, total)
        # Parts are compared as they are given: in whole steps 0.075, doubled twice, may be less than 0.3.
        return stage * 2.0 ** min(doublings, 60) >= longest * (1 - 1e-9)

    # --------------------------------------------- 2. k Trials of τ′ = τ/10

    def _search(self, state: AutoLRSState) -> AutoLRSState:
        """The search for the next stage begins, with the middle of the interval; nothing at the end."""
        if state.remaining == 0:
            return replace(state, phase=StagesDone())
        assert state.interval is not None  # known before any search
        low, high = state.interval
        tau = self._tau(state)
        if state.bill.charged and state.remaining is not None:  # the search is paid for out of the same steps
            tau = max(1, min(tau, int(state.remaining / (1 + self.trial * self.num_trials))))
        search = LRSearch(
            begin=state.step,
            steps=math.ceil(self.trial * tau),
            horizon=tau,
            most=self.num_trials,
            min_lr=low,
            max_lr=high,
            validating=self._validates(state),
            queue=start_lrs(low, high)[:1],
        )
        return replace(state, phase=Searching(search))

    def _validates(self, state: AutoLRSState) -> bool:
        """Whether held-out losses count: from the second stage of the greatest length on."""
        if not state.stages:
            return False
        last = state.stages[-1].search
        assert last is not None  # every stage is searched for
        return last.validating or self._is_longest(len(state.stages) - 1, state.total)

    def _trial(self, state: AutoLRSState, searching: Searching) -> Trial:
        """τ′ steps at the next lr, held-out losses read on the way where they count."""
        search = searching.search
        every = reading_interval(search.steps) if search.validating else None
        keep = self._key(state, searching)
        return Trial(constant(search.queue[0]), search.steps, keep=keep, read_every=every)

    def _key(self, state: AutoLRSState, searching: Searching) -> str | None:
        return searching.key(state.remaining) if state.continues else None

    def _tried(
        self, state: AutoLRSState, searching: Searching, seen: TrialLosses, *, cost: float, key: str | None
    ) -> AutoLRSState:
        """One candidate more: its forecast, and the next lr; the stage begins where it was the last.

        Args:
            state: with what its Trial has cost.
            searching: the search before it.
            seen: in its Trial.
            cost: of that, in steps.
            key: that its end is held under; None where it is not.
        """
        state, search = with_first_loss(state, seen), searching.search
        candidate = self._forecast(state, search, seen)
        search = replace(search, candidates=(*search.candidates, candidate), spent=search.spent + cost)
        search = self._with_next_lr(state, search)
        lr, code = self._choice(state, search)
        searching = replace(searching, search=search).keeping(key, seen, lr=candidate.lr, choice=lr)
        return replace(state, phase=searching) if search.queue else self._begin_stage(state, searching, lr, code)

    # ------------------------------------------------------- 3. the forecast

    def _forecast(self, state: AutoLRSState, search: LRSearch, seen: TrialLosses) -> LRCandidate:
        """ŷ(η), the loss at the end of the stage: y(x) = a·exp(b·x) + c through those of the Trial, read at x = τ."""
        if search.validating:
            return from_readings(search, seen, first_loss=state.first_loss)
        return from_losses(search, seen, form="paper")

    # ------------------------------------ 4. the next lr, by Bayesian optimisation

    def _with_next_lr(self, state: AutoLRSState, search: LRSearch) -> LRSearch:
        """The next η: argmin mean(x) − κ·std(x) over x = log10 η, of a Gaussian process through all ŷ. None after k."""
        search = with_surrogate(search, top=search.max_lr, kappa=self.kappa)
        # A search that is paid for out of the steps that are left has found the lr of nothing where these are spent.
        spent = state.bill.charged and state.remaining is not None and search.spent >= state.remaining
        over = len(search.candidates) >= search.most or spent
        return replace(search, queue=() if over else next_lrs(search))

    # ------------------------------------------------------------ 5. the stage

    def _choice(self, state: AutoLRSState, search: LRSearch) -> tuple[float, StageCode]:
        """η of the stage = argmin ŷ(η) over those that were tried, the first of equals; and how it came about."""
        failed = all_failed(search, lr=state.lr, trained=bool(state.stages))
        if failed is not None:
            return failed
        lr = min(search.candidates, key=lambda one: one.score).lr
        return lr, edge_code(lr, *self._given.bounds)

    def _begin_stage(self, state: AutoLRSState, searched: Searching, lr: float, code: StageCode) -> AutoLRSState:
        """The stage that was searched for, from its beginning or from where the Trial of its lr has come to."""
        if state.remaining == 0:
            return replace(state, phase=StagesDone())
        lr, kept = searched.held_lr(lr), searched.kept
        stage = LRStage(begin=state.step, steps=self._tau(state), lr=lr, code=code, search=searched.search)
        phase: Phase = TrainingStage(stage.steps) if kept is None or kept.lr != lr else ContinuingTrial(kept)
        return replace(state, phase=phase, lr=lr, stages=(*state.stages, stage))

    def _trained(self, state: AutoLRSState, seen: Trained) -> AutoLRSState:
        """The stage has been trained, or a part of it; one that diverged is trained on, without further searches."""
        if seen.stop is None:
            return self._search(state) if seen.finished else state
        stage = state.stages[-1]
        if stage.code is not StageCode.ALL_DIVERGED:
            stage = replace(stage, code=StageCode.LOST)
        phase: Phase = StagesDone() if state.remaining == 0 else TrainingStage(max(1, state.remaining or 1))
        return replace(state, phase=phase, stages=(*state.stages[:-1], stage))
