"""Autopilot: a peak lr from a short search, flown averaged or on a schedule to zero, whichever suits the training."""

import math
from dataclasses import KW_ONLY, replace
from typing import Any, ClassVar, final

from lrpilot.core.actions import (
    Action,
    Average,
    Done,
    Mark,
    Moved,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
    TrialLosses,
)
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Facts, Policy, Reason, not_asked_for
from lrpilot.core.settings import Rule, among, is_bool, is_positive, or_none, require_each
from lrpilot.core.shape import Shape
from lrpilot.errors import SettingError
from lrpilot.policies.autopilot.course import Rise, course
from lrpilot.policies.autopilot.plan import (
    BRANCH_AT,
    MIX,
    POWER,
    Arm,
    lr_unit,
    make_plan,
    plan_branches,
    plan_search,
    warmup_steps,
)
from lrpilot.policies.autopilot.reasons import reason_for
from lrpilot.policies.autopilot.state import (
    AutopilotState,
    Branching,
    Flying,
    Landed,
    Marking,
    Rewinding,
    SearchingPeak,
)
from lrpilot.policies.guard import BLOCK, LossWatch, Verdict, losses_of
from lrpilot.policies.peak_search.search import PeakSearch

PLACE = "sound"  # the one mark
WATCH_EVERY = 2 * BLOCK  # steps after which the losses are looked at: a training dies in some dozens
MARKS = 20  # in a training of known length, while nothing goes wrong
MARK_EVERY = 4 * BLOCK  # steps between marks, at least; and where the end is open
WARY_EVERY = WATCH_EVERY  # the same where a bad batch has been seen: the next may be near
_RULES = {
    "arm": Rule("'averaged', 'ordinary' or None", or_none(among("averaged", "ordinary")), "Leave it None to decide."),
    "branch": Rule("True or False", is_bool, "The default is True."),
    "min_lr": Rule("finite and > 0", is_positive, "The default is 1e-8."),
    "max_lr": Rule("finite and > 0", is_positive, "The default is 1000."),
}


@final
@record
class Autopilot(Policy):
    """Needs no number: finds its lr in a few short Trials, and flies the training to its end.

    * *Search.* Paired Trials half a decade apart, from what is customary for such an optimizer (never from the lr the
      optimizer was built with), until the best stands between two worse ones; a parabola, and what is known of the
      error of Trials and of lrs of such trainings (:mod:`lrpilot.policies.peak_search`). They cost 20 T^¼ training
      steps at most, and a sixth of T: 17 % of 350, 9 % of 1,400, 2 % of 10,000.
    * *Averaged flight* (schedule-free dynamics, Defazio et al. 2024): the lr rises and holds, and the average of the
      weights is kept. No horizon is needed. Flown where the data is seen a few times.
    * *Ordinary flight*: the optimizer as it is; the lr rises, holds, and goes straight to zero over the last 30 %.
      Flown where the data is seen many times, where the weights were trained before, and where the optimizer allows no
      other.
    * *Branches.* After a tenth of the way the same question is asked again from there, where the search has left enough
      of what it may cost (from some 3,000 steps on).
    * *Guard.* The loop's own losses are watched (:class:`~lrpilot.policies.guard.LossWatch`): where the training dies
      the weights go back to the last mark and the lr is halved; where a single bad batch spoils them they go back, and
      the lr stays.

    Attributes:
        arm: "averaged" or "ordinary" forces one way to fly.
        average: of an averaged flight.
        branch: whether to look again after a tenth of the way, where the search has left enough to pay for it.
        min_lr: smallest lr tried, natural units.
        max_lr: largest lr tried.

    Raises:
        SettingError: a setting is out of range; from ``init``, where an averaged flight is forced and impossible.
    """

    max_marks: ClassVar[int] = 1

    _: KW_ONLY
    arm: Arm | None = None
    average: Average = Average(MIX, POWER)
    branch: bool = True
    min_lr: float = 1e-8
    max_lr: float = 1e3

    def __post_init__(self) -> None:
        require_each(self, _RULES)
        if not isinstance(self.average, Average):
            raise SettingError(f"average must be an Average, got {self.average!r}. The default is Average(0.8, 1).")
        if self.min_lr >= self.max_lr:
            raise SettingError(f"min_lr must be < max_lr, got {self.min_lr} and {self.max_lr}. Widen the range.")

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "autopilot"

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> AutopilotState:
        """Choose how to fly, and what the search may cost."""
        if self.arm == "averaged" and not context.facts.averages:
            raise SettingError(
                "arm='averaged' needs an optimizer whose momentum can be set to 0 and is the same in all param groups, "
                "and that keeps no average of its own, got another one. Leave arm None, or choose 'ordinary'."
            )
        return self._planned(context.facts, context.lr, context.progress)

    def _planned(self, facts: Facts, lr: float, progress: Progress) -> AutopilotState:
        total = _total(progress)
        plan = make_plan(facts, total, self.arm, self.average)
        search = plan_search(plan, facts, total, min_lr=self.min_lr, max_lr=self.max_lr)
        rise = Rise(warmup_steps(total))
        state = AutopilotState(plan, lr, search, SearchingPeak(), 0.0, progress.step, total, facts, rise)
        return state if search.next_trial() is not None else self._begin_flight(state)

    def ask(self, state: AutopilotState) -> Action:
        """Trial by Trial; then a mark, and the flight."""
        match state.phase:
            case SearchingPeak():
                trial = state.search.next_trial()
                assert trial is not None, "the search has ended in tell"
                return trial
            case Marking():
                return Mark(PLACE)
            case Flying(since):
                return self._train(state, since)
            case Branching(search):
                branch = search.next_trial()
                assert branch is not None, "the search has ended in tell"
                return branch
            case Rewinding():
                return Rewind(PLACE)
            case Landed():
                return Done()

    def tell(self, state: AutopilotState, observation: Observation) -> AutopilotState:
        """Note a Trial, or look after the training."""
        state = _progressed(state, observation.progress)
        match state.phase, observation:
            case SearchingPeak(), TrialLosses():
                search = state.search.told(observation)
                state = replace(state, search=search)
                return state if search.next_trial() is not None else self._begin_flight(state)
            case Marking(), Moved():
                watch = state.watch.marked()
                return _fly_on(replace(state, watch=watch, marked_at=state.step))
            case Rewinding(), Moved():
                return _fly_on(replace(state, watch=state.watch.rewound()))
            case Flying(), Trained():
                return self._flown(state, observation)
            case Branching(search), TrialLosses():
                return self._branched(state, search.told(observation))
        raise not_asked_for(self.name, observation)

    def replan(self, state: AutopilotState, progress: Progress) -> AutopilotState:
        """Any flight goes on, in the way it has been flown, to another end.

        Before the first Trial all is planned anew. Where the lr has begun to fall and is too low now, it rises again.
        """
        if isinstance(state.phase, SearchingPeak) and not state.search.spent:
            return self._planned(state.facts, state.start_lr, progress)
        due, risen = self._course(state)(progress.step), progress.step >= state.rise.since + state.rise.steps
        state = replace(state, step=progress.step, total=_total(progress))
        if isinstance(state.phase, SearchingPeak):
            return state
        if risen and due < min(state.peak, self._course(state)(progress.step)):
            state = replace(state, rise=Rise(warmup_steps(state.total), progress.step, due))
        return _fly_on(state) if isinstance(state.phase, (Flying, Landed)) else state

    def explain(self, state: AutopilotState, observation: Observation, after: AutopilotState) -> Reason | None:
        """What was decided, and by what."""
        return reason_for(state, observation, after)

    def account(self, state: AutopilotState) -> dict[str, Any]:
        """What only this policy knows of its flight: plain data for a report."""
        pick, search = state.search.pick, state.search
        given = state.start_lr * lr_unit(state.plan, state.facts)
        return {
            "arm": state.plan.arm,
            "why": state.plan.why,
            "lr_given": state.start_lr,
            "lr_given_here": given,
            "trial_loss": None if search.best is None else search.best.score,
            "trial_loss_at_lr_given": search.loss_at(given),
            "lr_expected": search.prior.lr,
            "lr": state.peak,
            "interval": None if pick is None else list(pick.interval),
            "best_trial_lr": None if pick is None else pick.trial_lr,
            "trials": [{"lr": one.lr, "loss": one.score} for one in sorted(search.probed, key=lambda one: one.lr)],
            "branches": [{"lr": one.lr, "loss": one.score} for one in sorted(state.branches, key=lambda one: one.lr)],
            "trial_steps": search.steps,
            "search_steps": search.spent,
        }

    # ------------------------------------------------------------ the flight

    def _begin_flight(self, state: AutopilotState) -> AutopilotState:
        """The search is over."""
        pick = state.search.pick
        peak = state.search.prior.lr if pick is None else pick.lr
        if pick is None and state.search.probed and not state.search.skipped:
            # Every Trial diverged: the smallest lr tried is too large. Not so where the data did it.
            peak = min(one.lr for one in state.search.probed) / 10.0
        state = replace(state, watch=_opened(state.watch, state.search))
        return replace(state, peak=min(max(peak, self.min_lr), self.max_lr), phase=Marking())

    def _course(self, state: AutopilotState) -> Shape:
        return course(state.peak, state.rise, total=state.total, decays=state.plan.arm == "ordinary")

    def _train(self, state: AutopilotState, since: int) -> Train:
        """All that is left of the course, since the Train began."""
        steps = MARK_EVERY if state.total is None else max(1, state.total - since)
        way = state.plan.way
        return Train(
            self._course(state).later(since),
            steps,
            observe_every=None if state.blind else WATCH_EVERY,
            momentum=way.momentum_shape,
            average=way.average,
        )

    def _lrs_of(self, state: AutopilotState, seen: Trained, many: int) -> list[float]:
        """The lrs of the first so many steps since the last look at the Train that is flown.

        Counted from that look: where losses are read in blocks, the steps after one that is no number have none.
        """
        assert isinstance(state.phase, Flying)
        looked = 0 if state.blind else min((seen.steps - 1) // WATCH_EVERY * WATCH_EVERY, seen.steps - many)
        flown = self._course(state).later(state.phase.since + looked)
        return [flown(step) for step in range(many)]

    def _flown(self, state: AutopilotState, seen: Trained) -> AutopilotState:
        before = state
        if not seen.losses and not state.blind:
            state = replace(state, blind=True)
        losses = losses_of(seen)
        watch = state.watch.after(losses, self._lrs_of(state, seen, len(losses)))
        state = replace(state, watch=watch)
        match watch.verdict:
            case Verdict.DYING:
                highest = max(state.peak, state.fallen_peak if before.watch.falls else 0.0)
                lower = max(0.5 * state.peak, self.min_lr)
                return replace(state, peak=lower, fallen_peak=highest, phase=Rewinding())
            case Verdict.SPOILED:
                return replace(state, phase=Rewinding())
            case Verdict.CLEARED:
                state = replace(state, peak=max(state.fallen_peak, state.peak))
        if state.total is not None and state.step >= state.total:
            # No next loss will tell whether the last step has spoiled the weights.
            return replace(state, phase=Rewinding() if watch.bad else Landed())
        if watch.may_mark and _branch_is_due(state):
            return self._branch(state)
        if watch.may_mark and not state.blind and _mark_is_due(state):
            return replace(state, phase=Marking())
        # Another peak, or another rhythm, is another Train, which begins here.
        other = (state.peak, state.blind) != (before.peak, before.blind)
        return _fly_on(state) if seen.finished or other else state

    def _branch(self, state: AutopilotState) -> AutopilotState:
        """Ask again whether the lr is right, where that can be paid for."""
        state = replace(state, branched=True)
        search = plan_branches(state.search, state.peak, state.total) if self.branch else None
        return _fly_on(state) if search is None else replace(state, phase=Branching(search))

    def _branched(self, state: AutopilotState, search: PeakSearch) -> AutopilotState:
        """With what was seen of one more branch."""
        if search.next_trial() is not None:
            return replace(state, phase=Branching(search))
        pick = search.pick
        peak = state.peak if pick is None else min(max(pick.lr, search.min_lr), search.max_lr)
        return _fly_on(replace(state, peak=min(max(peak, self.min_lr), self.max_lr), branches=search.probed))


def _opened(watch: LossWatch, search: PeakSearch) -> LossWatch:
    """A watch that sees a training die in its first steps: the best Trial tells what losses are like where none does.

    By the largest of its losses, and by a quarter of their range: of some twenty that have not fallen, that is what
    single ones scatter by, and more of those that have. A network that is dead at the loss of the untrained one is not
    seen by it.
    """
    best = search.best
    if best is None or best.high == best.low:
        return watch
    return watch.opened_at(best.high, (best.high - best.low) / 4)


def _fly_on(state: AutopilotState) -> AutopilotState:
    """A Train from here."""
    if state.total is not None and state.step >= state.total:
        return replace(state, phase=Landed())
    return replace(state, phase=Flying(state.step))


def _progressed(state: AutopilotState, progress: Progress) -> AutopilotState:
    """With the steps taken; laid out anew where the horizon has changed."""
    total = _total(progress)
    changed = total != state.total and isinstance(state.phase, Flying)
    state = replace(state, step=progress.step, total=total)
    return replace(state, phase=Flying(progress.step)) if changed else state


def _total(progress: Progress) -> int | None:
    return None if progress.remaining is None else progress.step + progress.remaining


def _branch_is_due(state: AutopilotState) -> bool:
    return state.total is not None and not state.branched and state.step >= BRANCH_AT * state.total


def _mark_is_due(state: AutopilotState) -> bool:
    every = WARY_EVERY
    if not state.watch.wary:
        every = MARK_EVERY if state.total is None else max(MARK_EVERY, math.ceil(state.total / MARKS))
    return state.step - (state.marked_at or 0) >= every
