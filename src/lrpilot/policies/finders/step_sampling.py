"""Step sampling: a short Trial at each of a few lrs, from the same state on the same batches.

Source: "Learning Rate Optimization Through Step Sampling". Its lr is one to *hold*: for a schedule that
decays to zero see :mod:`lrpilot.policies.finders.annealed_search`.

Cost at the defaults: about 30 Trials. Measured on conv nets: 25 to 33, 480 to 620 steps.
"""

import math
from dataclasses import replace
from typing import ClassVar, Literal

from lrpilot.core.actions import Action, Done, Evaluate, HeldOut, Observation, Trial
from lrpilot.core.codec import record
from lrpilot.core.found import FindCode
from lrpilot.core.policy import Context, Policy
from lrpilot.core.settings import Rule, check_num_steps, check_range, check_whole, is_bool, is_real, require_each
from lrpilot.core.shape import constant
from lrpilot.core.stop import Stop
from lrpilot.core.trials import (
    Tried,
    best_of,
    expect_trial,
    gained_nothing,
    give_up,
    read_trial,
)
from lrpilot.errors import SettingError, unknown_name
from lrpilot.found import FoundLR
from lrpilot.maths.curve import SIGNIFICANT, LRCurve

COARSE = 0.5  # decades between the first lrs
ENOUGH = 7  # Trials from which the scatter of the losses can be told
Pick = Literal["log_midpoint", "half_drop", "steepest", "minimum"]
PICKS = ("log_midpoint", "half_drop", "steepest", "minimum")


@record
class StepSamplingState:
    """Where the search stands.

    Attributes:
        start_loss: held-out loss of the untrained state; None before it is read.
        queue: log10 of the lrs to try next, ascending.
        tried: the Trials flown, in their order.
        coarse: whether the queue is still the first, ascending grid.
    """

    start_loss: float | None
    queue: tuple[float, ...]
    tried: tuple[Tried, ...] = ()
    coarse: bool = True


@record
class StepSampling(Policy):
    """Finder of an lr to hold: ends in ``Done`` with a :class:`~lrpilot.found.FoundLR`.

    A grid of half decades upwards from ``min_lr``, then Trials at the log-midpoints between each point of
    interest of the curve and its neighbours, until every point is known within ``tolerance``. The grid
    ends early at the second lr in a row that made things worse although a smaller one had helped.

    Attributes:
        min_lr: smallest lr tried, natural units.
        max_lr: largest lr tried.
        num_steps: optimizer steps of a Trial.
        tolerance: decades within which the points of interest are to be known.
        max_trials: never fly more Trials than this.
        pick: which suggestion is the result's lr. The paper's best is "log_midpoint"; "minimum" is
            Wittmann's rule.
        fit_minimum: read the curve's minimum off a parabola through its bottom; False takes the lowest
            Trial, as published.
        require_gain: no suggestion where the best Trial gained no more than single batches scatter by;
            False, as published, suggests whenever the curve has a minimum.
    """

    trains: ClassVar[bool] = False

    min_lr: float = 1e-7
    max_lr: float = 10.0
    num_steps: int = 20
    tolerance: float = 0.1
    max_trials: int = 60
    pick: Pick = "log_midpoint"
    fit_minimum: bool = True
    require_gain: bool = True

    @classmethod
    def paper(cls) -> "StepSampling":
        """The published setting: 20 steps, half-decade grid, the lowest Trial as the minimum, method 1."""
        return cls(fit_minimum=False, require_gain=False)

    def __post_init__(self) -> None:
        check_range(self.min_lr, self.max_lr)
        check_num_steps(self.num_steps)
        if not (is_real(self.tolerance) and 0 < self.tolerance <= COARSE):
            raise SettingError(
                f"tolerance must be in (0, {COARSE}] decades, got {self.tolerance!r}. The default is 0.1."
            )
        check_whole("max_trials", self.max_trials, default=60)
        if self.max_trials < len(self._coarse()):
            raise SettingError(
                f"max_trials must allow the {len(self._coarse())} lrs of the first grid, got {self.max_trials}. "
                "Narrow min_lr and max_lr, or raise max_trials."
            )
        if self.pick not in PICKS:
            raise unknown_name("pick", self.pick, PICKS)
        flag = Rule("True or False", is_bool, "The default is True.")
        require_each(self, {"fit_minimum": flag, "require_gain": flag})

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "wittmann" if self.pick == "minimum" else "step_sampling"

    def init(self, context: Context) -> StepSamplingState:
        """Nothing known; the optimizer's own lr is not looked at."""
        return StepSamplingState(start_loss=None, queue=self._coarse())

    def ask(self, state: StepSamplingState) -> Action:
        """The start loss, then a Trial for each lr of the queue, then the result."""
        if state.start_loss is None:
            return Evaluate(reestimate=True)
        if not state.queue or not math.isfinite(state.start_loss):
            return Done(self._result(state))
        shape = constant(self._lr(state.queue[0]))
        return Trial(shape, self.num_steps, evaluate="end", stop=self._stop(state))

    def tell(self, state: StepSamplingState, observation: Observation) -> StepSamplingState:
        """Note a loss; refill an empty queue with the midpoints still worth knowing."""
        if isinstance(observation, HeldOut):
            return replace(state, start_loss=observation.loss)
        tried = (*state.tried, read_trial(self._lr(state.queue[0]), expect_trial(observation, self.name)))
        state = replace(state, tried=tried, queue=state.queue[1:])
        if state.queue and not (state.coarse and self._beyond_the_cliff(state)):
            return state
        return replace(state, queue=self._midpoints(state), coarse=False)

    def _coarse(self) -> tuple[float, ...]:
        low, high = math.log10(self.min_lr), math.log10(self.max_lr)
        gaps = max(4, math.ceil((high - low) / COARSE - 1e-9))  # fewer points are no curve
        return tuple(low + (high - low) * i / gaps for i in range(gaps + 1))

    def _lr(self, log_lr: float) -> float:
        return min(max(float(10.0**log_lr), self.min_lr), self.max_lr)

    def _stop(self, state: StepSamplingState) -> Stop:
        """Give up on hopeless Trials, but only once a larger lr than the best has done worse.

        Before that the best so far has learned next to nothing, and a good lr may look wild beside it.
        """
        if len(state.tried) < ENOUGH or state.tried[-1] == best_of(state.tried) or not self._curve(state).code.has_lr:
            return Stop()
        return give_up(state.tried)

    def _beyond_the_cliff(self, state: StepSamplingState) -> bool:
        """Whether the last two lrs of the ascending grid diverged, or did harm after a smaller one had helped.

        Losses at still larger lrs would all lie right of the minimum, where they move nothing.
        """
        last_two = state.tried[-2:]
        if len(last_two) == 2 and all(one.diverged for one in last_two):
            return True
        curve = self._curve(state)
        harm = curve.start_loss + SIGNIFICANT * curve.noise
        return len(state.tried) >= ENOUGH and curve.code.has_lr and all(one.loss > harm for one in last_two)

    def _midpoints(self, state: StepSamplingState) -> tuple[float, ...]:
        """log10 lrs half way between the points of interest and their neighbours, where these are too far."""
        points = self._curve(state).points(fitted=self.fit_minimum)
        if points is None:
            return ()
        known = sorted(math.log10(one.lr) for one in state.tried)
        wanted: list[float] = []
        for point in (points.knee, points.half_drop, points.steepest, points.minimum):
            below = max((x for x in known if x < point - 1e-9), default=point)
            above = min((x for x in known if x > point + 1e-9), default=point)
            wanted += [0.5 * (point + x) for x in (below, above) if abs(point - x) > self.tolerance]
        fresh: list[float] = []
        for x in sorted(wanted):
            # Two points of interest may ask for nearly the same lr.
            if all(abs(x - other) >= 0.4 * self.tolerance for other in known + fresh):
                fresh.append(x)
        return tuple(fresh[: self.max_trials - len(state.tried)])

    def _curve(self, state: StepSamplingState) -> LRCurve:
        start = math.nan if state.start_loss is None else state.start_loss
        return LRCurve.from_trials([one.lr for one in state.tried], [one.loss for one in state.tried], start)

    def _result(self, state: StepSamplingState) -> FoundLR:
        curve = self._curve(state)
        code, suggestions = curve.code, curve.suggestions(fitted=self.fit_minimum)
        if self.require_gain and code.has_lr and gained_nothing(state.tried, curve.start_loss):
            code, suggestions = FindCode.WITHIN_NOISE, dict.fromkeys(suggestions)
        return FoundLR(
            lr=suggestions[self.pick],
            target="constant",
            method=self.name,
            code=code,
            window=curve.window(fitted=self.fit_minimum),
            interval=None,
            suggestions=suggestions,
            lrs=tuple(sorted(one.lr for one in state.tried)),
            losses=curve.losses,
            start_loss=state.start_loss,
        )
