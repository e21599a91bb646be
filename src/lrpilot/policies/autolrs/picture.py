"""The picture of a stage of AutoLRS: the Trials, what each says of its lr, the surrogate with its band, the choice.

Nothing is shown or saved here, as in :mod:`lrpilot.pictures.style`.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lrpilot.core.actions import Trial, TrialLosses
from lrpilot.core.history import History
from lrpilot.errors import SettingError
from lrpilot.maths.forecast import Forecast
from lrpilot.pictures.style import CHOSEN, DATA, FAINT, INK, QUIET, dress
from lrpilot.policies.autolrs.stage import LRCandidate, LRSearch, LRStage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (9.0, 4.0)  # inches
BAND = 2.0  # standard deviations of the surrogate, each side
HEAD_ROOM = 0.12  # of the range of losses, above and below
CURVE = 200  # places at which a decay is drawn
SHADES = (0.15, 0.85)  # of the colour map, smallest and largest lr


def plot_stage(stage: LRStage, history: History, axes: "tuple[Axes, Axes] | None" = None) -> "tuple[Axes, Axes]":
    """How the lr of a stage was found: its Trials on the left, loss against lr on the right.

    Left: training losses of each Trial of the search that decided, one shade an lr, and its held-out readings where
    there are any, as dots; beyond them the score: a forecast with its interval at the end of the stage, and the decay
    that was fitted for it, or the held-out loss at the end of the Trial. Right: scores, the
    surrogate with a band of two standard deviations, what diverged (crosses at the top), the Trials of a shorter
    search before it (faint), and the lr that was chosen.

    Args:
        stage: from the result of AutoLRS, or from its state.
        history: of the training that the stage belongs to: the losses of the Trials are in it.
        axes: two axes to draw on; new ones side by side, 9 x 4 inches, when None.

    Returns:
        The two axes.

    Raises:
        SettingError: the stage was not searched for, or the history is another training's.
    """
    if stage.search is None:
        raise SettingError(
            f"A stage must have been searched for to be drawn, got the one at step {stage.begin}: {stage.code.value} "
            "Choose a stage whose search is not None."
        )
    trials = _trials(stage.search, history)
    trial_ax, lr_ax = _new_axes() if axes is None else axes
    for ax in (trial_ax, lr_ax):
        dress(ax)
    low, high = _loss_range(stage, trials)
    _draw_trials(trial_ax, stage.search, trials, high)
    _draw_surrogate(lr_ax, stage.search)
    _draw_scores(lr_ax, stage, high)
    lr_ax.axvline(stage.lr, color=CHOSEN, lw=1.5, zorder=1.5, label=f"chosen: {stage.lr:.2g}")
    for ax in (trial_ax, lr_ax):
        ax.set_ylim(low, high)
    _name(trial_ax, lr_ax, stage)
    return trial_ax, lr_ax


# ------------------------------------------------------------------ what is drawn


def _trials(search: LRSearch, history: History) -> list[tuple[Trial, TrialLosses]]:
    """The Trials of a search and what was seen of each, in the order of its candidates."""
    seen = [
        (event.action, event.observation)
        for event in history.events
        if event.step == search.begin
        and isinstance(event.action, Trial)
        and isinstance(event.observation, TrialLosses)
        and event.action.steps == search.steps
    ]
    seen = seen[-len(search.candidates) :]
    if [trial.shape(0) for trial, _ in seen] != list(search.lrs):
        raise SettingError(
            f"The history must hold the trials of the stage, got {len(seen)} of {len(search.candidates)} at step "
            f"{search.begin}. Give the history of the training that the stage belongs to."
        )
    return seen


def _loss_range(stage: LRStage, trials: list[tuple[Trial, TrialLosses]]) -> tuple[float, float]:
    """Losses at the bottom and at the top of both pictures; what lies above is drawn at the top."""
    assert stage.search is not None  # plot_stage has seen to it
    series = [seen.losses for _, seen in trials]
    firsts = [losses[0] for losses in series if losses and math.isfinite(losses[0])]
    scores = [score for score in stage.scores if math.isfinite(score)]
    best = [losses for losses, score in zip(series, stage.scores, strict=True) if score == min(stage.scores)]
    inside = [loss for losses in best for loss in losses if math.isfinite(loss)]
    low, high = min([*scores, *inside, *firsts], default=0.0), max([*firsts, *inside, *_middle(scores)], default=1.0)
    room = HEAD_ROOM * ((high - low) or abs(high) or 1.0)
    return low - room, high + room


def _middle(scores: list[float]) -> list[float]:
    return [float(np.median(scores))] if scores else []


def _draw_trials(ax: "Axes", search: LRSearch, trials: list[tuple[Trial, TrialLosses]], high: float) -> None:
    for candidate, (trial, seen) in zip(search.candidates, trials, strict=True):
        color = _shade(candidate.lr, search)
        shown = _below(seen.losses, high)
        steps = np.arange(1, len(shown) + 1)
        ax.plot(steps, shown, color=color, lw=1.0, alpha=0.8, zorder=2)
        read_at = (trial.read_every or 1) * np.arange(1, len(seen.readings) + 1)
        ax.plot(read_at, _below(seen.readings, high), ls="", marker=".", ms=4, color=color, zorder=2.5)
        if not math.isfinite(candidate.score):
            ax.plot(steps[-1:], shown[-1:], ls="", marker="x", ms=5, mew=1.3, color=color, zorder=3)
            continue
        at = search.horizon if _is_forecast(candidate) else search.steps
        xs, ys = [steps[-1], at], [shown[-1], candidate.score]
        if _is_forecast(candidate) and candidate.forecast is not None and candidate.forecast.code.from_model:
            xs, ys = _decay(candidate.forecast, search.horizon, trial.read_every)
        ax.plot(xs, _below(ys, high), color=color, lw=0.8, ls=(0, (2, 2)), zorder=2)
        _draw_score(ax, at, candidate, color, high)


def _below(losses: Any, high: float) -> Any:
    """The losses, with what lies above the picture, or is not finite, at its top."""
    return np.minimum(np.where(np.isfinite(losses), losses, high), high)


def _decay(fitted: Forecast, horizon: int, read_every: int | None) -> tuple[Any, Any]:
    """Steps of the Trial and losses of the decay that was fitted, to the end of the stage.

    Args:
        fitted: the forecast, from a model.
        horizon: steps of the stage.
        read_every: steps between the readings that it counts; None for training losses, one a step.
    """
    assert fitted.a is not None and fitted.b is not None and fitted.c is not None and fitted.tail is not None
    every = read_every or 1
    last = horizon if read_every is None else horizon / read_every - 1
    x = np.geomspace(1.0, last + 1.0, CURVE) - 1.0
    fall = np.exp(fitted.b * x) if math.isinf(fitted.tail) else (1 - fitted.b * x / fitted.tail) ** -fitted.tail
    return np.minimum((x + 1) * every, horizon), fitted.a * fall + fitted.c


def _draw_score(ax: "Axes", at: float, candidate: LRCandidate, color: Any, high: float) -> None:
    """A dot, with the interval of a forecast; a triangle at the top where it is off the scale."""
    off = candidate.score > high
    y, marker = (high, "^") if off else (candidate.score, "o")
    if _is_forecast(candidate) and not off:
        ax.plot([at, at], [candidate.lower, min(candidate.upper, high)], color=color, lw=1.0, alpha=0.6, zorder=2)
    ax.plot([at], [y], ls="", marker=marker, ms=5, color=color, mec="white", mew=0.6, zorder=3)


def _draw_surrogate(ax: "Axes", search: LRSearch) -> None:
    surrogate = search.surrogate
    if surrogate is None:
        return
    lrs = 10.0 ** np.asarray(surrogate.log_lrs)
    mean, std = np.asarray(surrogate.mean), np.asarray(surrogate.std)
    ax.fill_between(lrs, mean - BAND * std, mean + BAND * std, color=DATA, alpha=0.12, lw=0, zorder=1, label="± 2 std")
    ax.plot(lrs, mean, color=DATA, lw=1.5, zorder=2, label="surrogate")


def _draw_scores(ax: "Axes", stage: LRStage, high: float) -> None:
    if stage.scouts is not None:
        lrs, scores = _finite(stage.scouts)
        ax.plot(
            lrs, scores, ls="", marker="o", ms=4, mfc="white", mec=QUIET, label=f"{stage.scouts.steps} steps before"
        )
    assert stage.search is not None  # plot_stage has seen to it
    for candidate in stage.search.candidates:
        color = _shade(candidate.lr, stage.search)
        if math.isfinite(candidate.score):
            _draw_score(ax, candidate.lr, candidate, color, high)
        else:
            ax.plot([candidate.lr], [high], ls="", marker="x", ms=6, mew=1.4, color=color, zorder=3, label="diverged")


def _finite(search: LRSearch) -> tuple[list[float], list[float]]:
    found = [(one.lr, one.score) for one in search.candidates if math.isfinite(one.score)]
    return [lr for lr, _ in found], [score for _, score in found]


def _is_forecast(candidate: LRCandidate) -> bool:
    return candidate.lower < candidate.upper


def _shade(lr: float, search: LRSearch) -> Any:
    """Darker for larger lrs."""
    from matplotlib import colormaps

    low, high = math.log10(min(search.lrs)), math.log10(max(search.lrs))
    place = 0.5 if high == low else (math.log10(lr) - low) / (high - low)
    return colormaps["viridis_r"](SHADES[0] + (SHADES[1] - SHADES[0]) * place)


# ------------------------------------------------------------------ axes


def _new_axes() -> "tuple[Axes, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    return left, right


def _name(trial_ax: "Axes", lr_ax: "Axes", stage: LRStage) -> None:
    search = stage.search
    assert search is not None  # plot_stage has seen to it
    forecasts = any(_is_forecast(one) for one in search.candidates)
    if forecasts:
        trial_ax.set_xscale("log")
        trial_ax.axvline(search.steps, color=FAINT, lw=1.2, zorder=0)
    trial_ax.set_xlabel(f"step of the trial (the stage ends at {search.horizon})" if forecasts else "step of the trial")
    read = "held-out readings, forecast" if search.validating else "and forecast"
    trial_ax.set_ylabel(f"training loss, {read}" if forecasts else "training loss, and held-out loss at the end")
    lr_ax.set_xscale("log")
    lr_ax.set_xlabel("learning rate")
    lr_ax.tick_params(labelleft=True)
    title = f"Stage of {stage.steps} steps from step {stage.begin}: learning rate {stage.lr:.2g}"
    trial_ax.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold")
    handles, labels = lr_ax.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    # Above the axes: the dots may be anywhere inside.
    lr_ax.legend(
        list(shown.values()),
        list(shown),
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(shown),
        columnspacing=1.0,
        handlelength=1.2,
        fontsize=7.5,
        frameon=False,
        labelcolor=INK,
    )
