"""Forecast: what a series of losses will have come to at a later step, from its beginning alone.

Two forms. "paper" is AutoLRS as published: an exponential through a smoothed series
(:mod:`lrpilot.maths.published_forecast`). "default" is ours (:mod:`lrpilot.maths.decay_fit`): it moves with scale and
shift of the losses, lets the tail of the decay be slower than exponential, and forecasts no fall for losses that rise.

Neither ever fails: what cannot be forecast has a code that says why, and what was returned instead.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any, Literal

import numpy as np

from lrpilot.core.codec import coded_enum, record
from lrpilot.core.settings import is_real
from lrpilot.errors import SettingError
from lrpilot.maths.decay_fit import fit_decay
from lrpilot.maths.line_fit import is_usable
from lrpilot.maths.published_forecast import fit_published

LEAST_READINGS = 30  # of the default form
NON_FINITE_SHARE = 0.1  # of the readings; with more of them a training counts as diverged
END_SHARE, LEAST_END = 0.1, 5  # the level at the end is the median of the last tenth, of at least five readings
RISE_ERRORS = 2.0  # standard errors that the last quarter must lie above the one before


@coded_enum
class ForecastCode(Enum):
    """How a forecast came about. Only ``OK`` and ``RISING`` are the model's."""

    OK = "The loss was forecast."
    RISING = "The losses rise at the end: the forecast is not below the level that they have come to."
    CONSTANT = "All losses are equal: the forecast is that loss."
    TOO_SHORT = (
        f"Too few finite losses: the forecast is the level at their end. Give at least {LEAST_READINGS} readings "
        "(the published form takes 3)."
    )
    NO_FIT = "The published fit has no finite value for these losses: the forecast is the level at their end."
    DIVERGED = "The losses are not finite at the end, or too often: the forecast is infinite."
    EMPTY = "There are no losses: the forecast is infinite. Give at least one."

    @property
    def from_model(self) -> bool:
        """Whether the forecast is that of a fitted decay."""
        return self in (ForecastCode.OK, ForecastCode.RISING)


@record
class Forecast:
    """The mean loss to be expected at the horizon, in units of the loss.

    The fitted decay is a·exp(b·x) + c where ``tail`` is inf, else a·(1 − b·x/tail)^(−tail) + c; x counts steps
    from the first reading. The default form averages over decays: there ``value`` need not be that of the likeliest.

    Attributes:
        value: the forecast; inf where the training diverged.
        lower: lower end of a 90 % interval, <= ``value``.
        upper: its upper end, >= ``value``.
        code: how it came about.
        a: amplitude; None, as the three below, where no decay was fitted.
        b: initial rate, per step; < 0.
        c: level that is decayed to.
        tail: power of the tail; inf is the exponential.
        dropped: positions of readings that did not count, ascending.
    """

    value: float
    lower: float
    upper: float
    code: ForecastCode
    a: float | None = None
    b: float | None = None
    c: float | None = None
    tail: float | None = None
    dropped: tuple[int, ...] = ()

    @property
    def status(self) -> str:
        """How it came about, as a sentence."""
        return self.code.value


def forecast(
    losses: Sequence[float],
    *,
    horizon: float,
    series: Literal["training", "validation"] = "training",
    form: Literal["default", "paper"] = "default",
    steps: Sequence[float] | None = None,
) -> Forecast:
    """Forecast a series of losses.

    The interval is that of the mean loss, not of a single noisy reading. It covers at least nine of ten series that are
    decays with independent or moderately correlated noise. A training that does something new after its window (it
    leaves a plateau, or blows up) is not covered. The published form has no interval: it is given that of the default
    form, widened to its own value.

    Args:
        losses: n readings, the earliest first; any floats. A magnitude above 1e100 counts as not finite.
        horizon: step to forecast at, counted as in ``steps``; not before the last.
        series: what the losses are. The published form drops up to a quarter of the early training losses as outliers,
            and one validation loss; the default form measures the scatter, and makes no difference.
        form: "default", or "paper" as published (it needs even spacing, hence no ``steps``, and its result depends on
            the unit of the losses).
        steps: n ascending steps at which they were read; None for 0, 1, ..., n - 1.

    Raises:
        SettingError: a setting is outside its range, or losses and steps are no numbers.
    """
    y = _numbers("losses", losses)
    x = _checked_steps(steps, len(y))
    _check(horizon, x, series=series, form=form, steps=steps)
    if len(y) == 0:
        return Forecast(math.inf, -math.inf, math.inf, ForecastCode.EMPTY)
    usable = np.array([is_usable(loss) for loss in y])
    many = int(np.count_nonzero(~usable))
    if not usable[-1] or many > (NON_FINITE_SHARE * len(y) if form == "default" else 0):
        return Forecast(math.inf, math.inf, math.inf, ForecastCode.DIVERGED)
    with np.errstate(all="ignore"):  # whatever the caller has set: far tails underflow, and are 0
        ours = _forecast_default(x[usable], y[usable], horizon)
        if form == "paper":
            return _forecast_paper(y, horizon, ours, training=series == "training")
    return replace(ours, dropped=_positions(usable, ours.dropped))


def _forecast_default(x: Any, y: Any, horizon: float) -> Forecast:
    """Of finite losses, at least one."""
    if len(y) < LEAST_READINGS:
        level, spread = _level(y), float(np.ptp(y))
        return Forecast(level, level - spread, level + spread, ForecastCode.TOO_SHORT)
    if np.ptp(y) == 0:
        return Forecast(float(y[0]), float(y[0]), float(y[0]), ForecastCode.CONSTANT)
    fit = fit_decay(x, y, horizon)
    rising = _rises(y)
    value = max(fit.value, _level(y)) if rising else fit.value
    return Forecast(
        value=value,
        lower=fit.lower,
        upper=max(fit.upper, value),
        code=ForecastCode.RISING if rising else ForecastCode.OK,
        a=fit.a,
        b=fit.b,
        c=fit.c,
        tail=fit.tail,
        dropped=fit.dropped,
    )


def _forecast_paper(y: Any, horizon: float, ours: Forecast, *, training: bool) -> Forecast:
    """As published, with the interval of the default form."""
    fit = fit_published(y, horizon, training=training)
    if fit is None or not is_usable(fit.value):
        code, value = ForecastCode.TOO_SHORT if fit is None else ForecastCode.NO_FIT, _level(y)
        return Forecast(value, min(ours.lower, value), max(ours.upper, value), code)
    return Forecast(
        value=fit.value,
        lower=min(ours.lower, fit.value),
        upper=max(ours.upper, fit.value),
        code=ForecastCode.OK,
        a=fit.a,
        b=fit.b,
        c=fit.c,
        tail=math.inf,
        dropped=fit.dropped,
    )


def _level(y: Any) -> float:
    """The smoothed level at the end: a median, which a spike does not move."""
    return float(np.median(y[-max(LEAST_END, int(END_SHARE * len(y))) :]))


def _rises(y: Any) -> bool:
    """Whether the last quarter certainly lies above the one before."""
    quarter = len(y) // 4
    before, last = y[-2 * quarter : -quarter], y[-quarter:]
    # The scatter from neighbours, which a trend hardly moves; a median of n has an error √(π/2n) times as large.
    scatter = 1.4826 * float(np.median(np.abs(np.diff(y[-2 * quarter :])))) / math.sqrt(2.0)
    error = scatter * math.sqrt(math.pi / 2 * 2 / quarter)
    return float(np.median(last) - np.median(before)) > RISE_ERRORS * error


def _positions(usable: Any, dropped: tuple[int, ...]) -> tuple[int, ...]:
    """Positions among all readings: those not finite, and those dropped among the others."""
    kept = np.flatnonzero(usable)
    return tuple(sorted([int(i) for i in np.flatnonzero(~usable)] + [int(kept[i]) for i in dropped]))


# -------------------------------------------------------------------------- the settings


def _numbers(name: str, values: Sequence[float]) -> Any:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise SettingError(f"{name} must be numbers, got {values!r:.80}. Give a flat list of floats.") from None
    if numbers.ndim != 1:
        raise SettingError(f"{name} must be a flat list of numbers, got one of {numbers.ndim} dimensions. Flatten it.")
    return numbers


def _checked_steps(steps: Sequence[float] | None, many: int) -> Any:
    if steps is None:
        return np.arange(many, dtype=np.float64)
    x = _numbers("steps", steps)
    if len(x) != many:
        raise SettingError(f"There must be a step for each loss, got {len(x)} steps and {many} losses.")
    span = float(x[-1]) - float(x[0]) if many else 0.0  # finite floats that are not finitely apart are of no use
    if not (np.all(np.isfinite(x)) and math.isfinite(span) and np.all(x[1:] > x[:-1])):
        raise SettingError(f"steps must be finite and ascend, got {list(x[:8])}. Leave out what was read twice.")
    return x


def _check(horizon: float, x: Any, *, series: str, form: str, steps: Sequence[float] | None) -> None:
    if series not in ("training", "validation"):
        raise SettingError(f"series must be 'training' or 'validation', got {series!r}.")
    if form not in ("default", "paper"):
        raise SettingError(f"form must be 'default' or 'paper', got {form!r}.")
    if form == "paper" and steps is not None:
        raise SettingError(
            "The published form counts readings and takes no steps, got some. Leave them out, and give the horizon "
            "in readings."
        )
    if not (is_real(horizon) and math.isfinite(horizon)):
        raise SettingError(f"horizon must be a finite number, got {horizon!r}. Give the step to forecast at.")
    if len(x) and horizon < x[-1]:
        raise SettingError(f"horizon must not be before the last step {x[-1]:g}, got {horizon:g}. Raise it.")
