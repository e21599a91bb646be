"""AutoLRS: the lr of each stage of the training, found by Bayesian optimisation over short Trials.

Source: "AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly" (Jin et al.), and for what it
leaves open its authors' public code. Training is cut into stages of τ steps at one lr each. Before a stage k lrs are
tried: from the same state, τ′ = τ/10 steps each; the loss at τ is forecast from those τ′ losses, a Gaussian process
over log lr chooses the next lr, and in the end the stage is trained at the lr with the lowest forecast. k = 10, so
that searching takes as many steps as training. τ doubles from 1,000 to 8,000; from the second stage of the greatest
length on held-out losses take the place of training losses.

What differs from the public code, in the published setting too:

* Trials are paired: all of a search see the same batches and draw the same dropout masks. Theirs see successive
  batches. An action cannot ask for that, and it would only add noise.
* The first lr of a search is the middle of the interval; theirs is random.
* The small fixed subset on which a held-out loss is read every τ′/16 steps is the first batch of the held-out data.
  BatchNorm statistics are taken as they are then, and the losses of a Trial are those it has without readings.
* A Trial whose loss is no number ends at once. Where all diverged, smaller lrs are tried, and then a safe one is kept.
* The last stage, and its Trials with it, is as long as what remains.
"""

from dataclasses import KW_ONLY, replace
from math import isfinite
from typing import ClassVar, Literal

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
    TrialLosses,
)
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, not_asked_for
from lrpilot.core.reason import Reason
from lrpilot.core.settings import steps_of
from lrpilot.core.shape import Shape, constant, ramp
from lrpilot.found import FoundLR
from lrpilot.policies.autolrs.continuing import to_be_kept
from lrpilot.policies.autolrs.flight import (
    begin_search,
    charged,
    continued,
    finding,
    first_interval,
    first_phase,
    found_interval,
    trained,
    tried,
)
from lrpilot.policies.autolrs.price import check_settings, make_finder, require_horizon, warmup_steps
from lrpilot.policies.autolrs.reasons import explain
from lrpilot.policies.autolrs.search import ask_trial
from lrpilot.policies.autolrs.state import AutoLRSState
from lrpilot.policies.autolrs.watch import part_steps, taken_back

PLACE = "stage"


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

    Where no interval is given it is the window of step sampling, in the default from 14,200 steps on (425 are 3 % of
    them) and a decade beyond it. A shorter training begins with the optimizer's own lr and a decade to each side, and
    goes on wherever the best lr is at the edge. Too high an lr looks best in a short Trial, and the fewer steps the
    higher. So the first search of the default tries short ones, to find the order of magnitude, and then longer ones
    about and below what these found; how far the best lr fell from the one to the other it is taken to fall once more,
    by a quarter of a decade at most. What is found is in the state, and in the result
    of ``Done`` at the end of the training: a tuple of :class:`~lrpilot.policies.autolrs.state.LRStage`.

    Under a total budget (``fit(budget=...)``) a search shortens the training that follows: stages are laid out anew
    after each.

    Where Trials may be continued (``fit(continue_trials=True)``), a stage that begins at the lr of a Trial, and holds
    it, goes on from that Trial: its steps are the stage's first, and are not trained anew. That is every stage of the
    published rules; of the default the middle one, where the choice is within 0.02 decades of the lr of the Trial that
    is held (it takes that lr then): its first stage begins with a ramp, and its last falls to zero. At most two ends
    are held, of the Trial nearest to the choice so far and of the next.

    Attributes:
        min_lr: smallest lr of a search, natural units; None for step sampling's.
        max_lr: largest; None likewise.
        num_trials: k, most candidates of a search, and of the short ones before it.
        stage: τ of the first stage: steps (an int), or a part of the training (a float).
        max_stage: τ at which doubling ends, likewise; None for no end.
        trial: τ′/τ, at most; the default's Trials are shorter, so that ``overhead`` holds.
        kappa: of the lower confidence bound.
        score: "raw" forecasts from a Trial at constant lr, "annealed" reads the held-out loss after one whose lr falls
            to zero, "average" reads it on the averaged weights of one at constant lr. None for "average", and for
            "raw" where ``final`` is None.
        warmup: steps, or a part of the training, of a straight ramp; published: before the first search, default:
            at the beginning of the first stage.
        warmup_lr: published: lr at the ramp's end; None for the (logarithmic) middle of the interval.
        final: "linear": the last stage falls to zero; None: it does not.
        overhead: largest part of the training's own steps that all searches may cost; None for no limit.
        rules: "paper" for the published rules, see the table.

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
    warmup_lr: float | None = None
    final: Literal["linear"] | None = "linear"
    overhead: float | None = 0.3
    rules: Literal["default", "paper"] = "default"

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
    ) -> "AutoLRS":
        """The published setting.

        Args:
            min_lr: smallest lr of a search, natural units; None for step sampling's.
            max_lr: largest; None likewise.
            tau: τ of the first stage, in steps or as a part of the training: ``tau=0.05, max_tau=0.4`` lays a short
                training out as the paper's long ones are.
            max_tau: τ at which doubling ends.
            warmup: steps, or a part of the training, before the first search.
            warmup_lr: lr at the end of it.
        """
        return cls(
            min_lr,
            max_lr,
            num_trials=10,
            stage=tau,
            max_stage=max_tau,
            trial=0.1,
            kappa=1e6,
            score="raw",
            warmup=warmup,
            warmup_lr=warmup_lr,
            final=None,
            overhead=None,
            rules="paper",
        )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def published(self) -> bool:
        """Whether the published rules hold."""
        return self.rules == "paper"

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "autolrs_paper" if self.published else "autolrs"

    @property
    def scoring(self) -> Literal["raw", "annealed", "average"]:
        """The score in force: the stage that is to end at its own lr must not be judged by what a decay would gain."""
        return self.score or ("raw" if self.final is None else "average")

    def is_longest(self, doublings: int, total: int | None) -> bool:
        """Whether a stage after so many doublings is of the greatest length; False where there is none.

        Args:
            doublings: of τ, since the first stage.
            total: kept steps of the training; a number where one of both lengths is a part of it.
        """
        stage, longest = self.stage, self.max_stage
        if longest is None:
            return False
        if isinstance(stage, float) != isinstance(longest, float):
            stage, longest = steps_of(stage, total), steps_of(longest, total)
        # Parts are compared as they are given: in whole steps 0.075, doubled twice, may be less than 0.3.
        return stage * 2.0 ** min(doublings, 60) >= longest * (1 - 1e-9)

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> AutoLRSState:
        """The default begins with a held-out loss. The interval comes next, then the search for the first stage."""
        require_horizon(self, context)
        progress = context.progress
        state = AutoLRSState("level", context.lr, progress.step, progress.remaining, interval=None)
        state = replace(state, continues=context.continues)
        judged = not self.published and self.scoring != "raw"
        return state if judged else self._look_for_interval(state)

    def _look_for_interval(self, state: AutoLRSState) -> AutoLRSState:
        finder = make_finder(self, state)
        if finder is None:
            return self._after_interval(replace(state, interval=first_interval(self, state.lr)))
        found = finder.init(Context(state.lr, Progress(state.step, state.remaining), state.continues))
        return replace(state, phase="find", finder=finder, found=found)

    def _after_interval(self, state: AutoLRSState) -> AutoLRSState:
        steps = warmup_steps(self, state.remaining) if self.published else 0
        if steps < 1:
            return begin_search(self, state)
        assert state.interval is not None  # it has just been found
        low, high = state.interval
        return replace(state, phase="warmup", lr=self.warmup_lr or (low * high) ** 0.5, train_steps=steps)

    def ask(self, state: AutoLRSState) -> Action:
        """A Trial of the next candidate, or the stage."""
        match state.phase:
            case "find":
                finder, found = finding(state)
                return finder.ask(found)
            case "warmup":
                return Train(
                    ramp(state.lr / state.train_steps, state.lr, state.train_steps - 1 or 1), state.train_steps
                )
            case "level":
                return Evaluate(reestimate=True)
            case "search":
                assert state.search is not None  # the phase begins with one
                return to_be_kept(self, state, ask_trial(self, state.search))
            case "mark":
                return Mark(PLACE)
            case "continue":
                assert state.kept is not None  # the phase begins with one
                return Continue(state.kept.key)
            case "rewind":
                return Rewind(PLACE)
            case "done":
                return Done(state.stages)
        return self._train(state)

    def tell(self, state: AutoLRSState, observation: Observation) -> AutoLRSState:
        """Note what was seen, and decide."""
        progress, asked = observation.progress, state
        if state.phase in ("find", "level", "search") and isinstance(observation, (TrialLosses, HeldOut)):
            state = charged(state, observation)
        state = replace(state, step=progress.step, remaining=progress.remaining)
        match state.phase, observation:
            case "find", _:
                return self._sampled(state, observation)
            case "warmup", Trained():
                return begin_search(self, state) if observation.finished else state
            case "level", HeldOut():
                first = observation.loss if isfinite(observation.loss) else None
                return self._look_for_interval(replace(state, first_loss=first, evaluation=state.spent))
            case "search", TrialLosses():
                return tried(self, asked, state, observation)
            case "mark", _:
                return replace(state, phase=first_phase(state))
            case "continue", _:
                return continued(self, asked, state)
            case "rewind", _:
                return taken_back(state)
            case "train", Trained():
                return trained(self, state, observation)
        raise not_asked_for(self.name, observation)

    def explain(self, state: AutoLRSState, observation: Observation, after: AutoLRSState) -> Reason | None:
        """From which lr to which, and why."""
        return explain(state, after)

    def _sampled(self, state: AutoLRSState, observation: Observation) -> AutoLRSState:
        """One more measurement of step sampling; its window where it is done."""
        finder, found = finding(state)
        found = finder.tell(found, observation)
        state, action = replace(state, found=found), finder.ask(found)
        if not isinstance(action, Done):
            return state
        result: FoundLR = action.result
        return self._after_interval(found_interval(self, state, result.window))

    # -------------------------------------------------------------- training

    def _train(self, state: AutoLRSState) -> Train:
        steps, shape = state.train_steps, self._shape(state)
        if self.published:
            return Train(shape, steps)
        return Train(shape, steps, observe_every=part_steps(state))

    def _shape(self, state: AutoLRSState) -> Shape:
        """The present lr, or its way to zero; the first stage may begin with a ramp."""
        lr, steps = state.lr, state.train_steps
        decays = state.stages[-1].decays
        warmup = min(warmup_steps(self, state.total), steps - 1) if state.warming else 0
        if warmup < 1:
            return ramp(lr, 0.0, steps) if decays else constant(lr)
        knots = (0.0, float(warmup), float(steps))
        if decays:
            return Shape(knots, (lr / (warmup + 1), lr, 0.0), ("linear", "linear"))
        return Shape(knots, (lr / (warmup + 1), lr, lr), ("linear", "hold"))
