"""The range test: one run in which the lr rises exponentially, read off its own training losses.

Sources: Smith, "Cyclical Learning Rates for Training Neural Networks", for the run; Gugger, "How Do You Find
A Good Learning Rate", for a tenth of the minimum; Surmenok, "Estimating an Optimal Learning Rate for a Deep
Neural Network", for the steepest slope. A comparator: every lr is judged on weights that the smaller lrs
have already moved, by one batch.
"""

import math
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np

from lrpilot.core.actions import Action, Done, Observation, Trial
from lrpilot.core.codec import record
from lrpilot.core.found import FindCode
from lrpilot.core.policy import Context, Policy
from lrpilot.core.settings import check_num_steps, check_range, is_real
from lrpilot.core.shape import Shape, ramp
from lrpilot.core.stop import Stop
from lrpilot.core.trials import expect_trial
from lrpilot.errors import SettingError, unknown_name
from lrpilot.found import FoundLR
from lrpilot.maths.curve import LRCurve

FEWEST_STEPS = 10
# Standard deviation of the smoothing, as a share of the steps. Centred: the one-sided moving average that
# is usual here moves the steepest slope up by a factor of four or five.
SMOOTHING = 0.02
PICKS = ("steepest", "minimum_over_10")


@record
class RangeTestState:
    """Training losses of the run, None before it is flown."""

    losses: tuple[float, ...] | None = None


@record
class RangeTest(Policy):
    """Finder by range test: ends in ``Done`` with a :class:`~lrpilot.found.FoundLR`.

    The loss of a step is read before the step's own update and paired with the step's lr, as the usual
    implementations do. Losses are smoothed with a centred Gaussian of standard deviation 2 % of the steps.

    Attributes:
        min_lr: lr of the first step, natural units.
        max_lr: lr of the last step.
        num_steps: steps of the run.
        abort_rise: end the run when a loss is above the smallest by this many times the fall to it, or the smallest's
            own size (:class:`~lrpilot.core.stop.Stop`); for losses of any sign. None runs to the end.
        pick: which suggestion is the result's lr.
    """

    trains: ClassVar[bool] = False

    min_lr: float = 1e-7
    max_lr: float = 10.0
    num_steps: int = 100
    abort_rise: float | None = 4.0
    pick: Literal["steepest", "minimum_over_10"] = "steepest"

    def __post_init__(self) -> None:
        check_range(self.min_lr, self.max_lr)
        check_num_steps(self.num_steps, least=FEWEST_STEPS, default=100)
        if self.pick not in PICKS:
            raise unknown_name("pick", self.pick, PICKS)
        if self.abort_rise is not None and not is_real(self.abort_rise):
            raise SettingError(f"abort_rise must be a number > 0, got {self.abort_rise!r}. The default is 4.")
        Stop(abort_rise=self.abort_rise)  # states its own rule

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "range_test"

    @property
    def shape(self) -> Shape:
        """The lr of each step."""
        return ramp(self.min_lr, self.max_lr, self.num_steps - 1, "exponential")

    def init(self, context: Context) -> RangeTestState:
        """Nothing known; the optimizer's own lr is not looked at."""
        return RangeTestState()

    def ask(self, state: RangeTestState) -> Action:
        """The one run, then the result."""
        if state.losses is None:
            return Trial(self.shape, self.num_steps, stop=Stop(abort_rise=self.abort_rise))
        return Done(self._result(state.losses))

    def tell(self, state: RangeTestState, observation: Observation) -> RangeTestState:
        """Note the losses of the run."""
        return RangeTestState(expect_trial(observation, self.name).losses)

    def _result(self, losses: tuple[float, ...]) -> FoundLR:
        lrs = self.shape.first(len(losses))
        # The first steps have moved nothing yet, so their mean is the loss of the untrained state.
        start = float(np.mean(losses[: self.num_steps // 10])) if losses else math.nan
        raw = LRCurve.from_trials(lrs, losses, start)
        curve = LRCurve.from_trials(lrs, _smoothed(raw, SMOOTHING * self.num_steps), start)
        # The scatter of single batches can hide a fall from 3 to 0.01: what looks flat is judged smoothed.
        code = curve.code if raw.code is FindCode.FLAT else raw.code
        found = FoundLR(
            lr=None,
            target="constant",
            method=self.name,
            code=code,
            window=None,
            interval=None,
            suggestions={"steepest": None, "minimum_over_10": None},
            lrs=tuple(lrs),
            losses=raw.losses,
            start_loss=start,
            metric="training loss",
        )
        if not code.has_lr:
            return found
        suggestions = _suggestions(curve)
        return replace(found, lr=suggestions[self.pick], suggestions=suggestions)


def _smoothed(curve: LRCurve, width: float) -> list[float]:
    """The losses before the first non-finite one, smoothed by a Gaussian of ``width`` steps; inf from there on."""
    from scipy.ndimage import gaussian_filter1d

    last = next((i for i, loss in enumerate(curve.losses) if not math.isfinite(loss)), len(curve.losses))
    if last == 0:
        return list(curve.losses)
    # The explosion that ended the run must not leak into the smoothed losses before it.
    y = np.minimum(curve.losses[:last], curve.start_loss + max(0.0, curve.reduction))
    return [*gaussian_filter1d(y, width, mode="nearest").tolist(), *[math.inf] * (len(curve.losses) - last)]


def _suggestions(curve: LRCurve) -> dict[str, float | None]:
    """The two picks on the smoothed curve, natural units."""
    last = next((i for i, loss in enumerate(curve.losses) if not math.isfinite(loss)), len(curve.losses))
    x, y = np.array(curve.log_lrs[:last]), np.array(curve.losses[:last])
    lowest = int(np.argmin(y))
    steepest = int(np.argmin(np.gradient(y, x)[: lowest + 1])) if last > 1 else 0
    return {"steepest": float(10.0 ** x[steepest]), "minimum_over_10": float(10.0 ** (x[lowest] - 1.0))}
