"""The picture of what was flown: lr and training loss against the step."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lrpilot.core.actions import Rewind
from lrpilot.core.history import History
from lrpilot.pictures.style import RUNS, dress, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHING = 0.02  # of a run, each side of the moving average


def plot_flights(histories: dict[str, History], axes: "tuple[Axes, Axes] | None" = None) -> "tuple[Axes, Axes]":
    """Learning rate and training loss against the step, for several runs.

    Losses are shown as a centred moving average over 4 % of the run, raw losses faintly behind. A triangle
    on the lr marks a rewind.

    Args:
        histories: runs by name.
        axes: one pair of axes, for the lr and for the loss; new ones, 6 x 5 inches, when None.

    Returns:
        The two axes.
    """
    lr_ax, loss_ax = new_axes(2) if axes is None else axes
    for ax in (lr_ax, loss_ax):
        dress(ax)
    smoothed: list[Any] = []
    for i, (name, history) in enumerate(histories.items()):
        color = RUNS[i % len(RUNS)]
        draw_lrs(lr_ax, history, color, name)
        smoothed.append(_draw_losses(loss_ax, history, color, name, faint=len(histories) > 3))
    _scale_lrs(lr_ax, histories)
    _scale_losses(loss_ax, np.concatenate([np.empty(0), *smoothed]))
    lr_ax.set_ylabel("learning rate")
    lr_ax.tick_params(labelbottom=False)
    loss_ax.set_ylabel("training loss")
    loss_ax.set_xlabel("step")
    if len(histories) > 1:
        legend(loss_ax, "upper right")
    return lr_ax, loss_ax


def draw_lrs(ax: "Axes", history: History, color: str, name: str) -> None:
    """The lr of every step, and a triangle at every rewind."""
    lrs = np.array(history.lrs, dtype=float)
    ax.plot(np.arange(len(lrs)), lrs, color=color, lw=1.6, label=name)
    rewinds = [e.step for e in history.events if isinstance(e.action, Rewind) and 0 < e.step <= len(lrs)]
    if rewinds:
        at = lrs[np.array(rewinds) - 1]
        ax.plot(rewinds, at, ls="", marker="v", ms=6, color=color, mec="white", mew=0.6, label="rewind")


def _draw_losses(ax: "Axes", history: History, color: str, name: str, *, faint: bool) -> Any:
    """Draw one run; its smoothed losses."""
    losses = np.array(history.losses, dtype=float)
    steps = np.flatnonzero(np.isfinite(losses))
    raw = losses[steps]
    smooth = _moving_average(raw, max(1, round(SMOOTHING * len(raw))))
    ax.plot(steps, raw, color=color, lw=0.5, alpha=0.08 if faint else 0.2, zorder=1)
    ax.plot(steps, smooth, color=color, lw=1.6, label=name, zorder=2)
    return smooth


def _moving_average(y: Any, reach: int) -> Any:
    """Mean over ``reach`` values each side, fewer at the ends; centred, so that nothing is delayed."""
    sums = np.concatenate([[0.0], np.cumsum(y)])
    at = np.arange(len(y))
    first, last = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(y))
    return (sums[last] - sums[first]) / (last - first)


def _scale_lrs(ax: "Axes", histories: dict[str, History]) -> None:
    """Linear, so that a linear decay is a straight line, unless the peaks are decades apart."""
    peaks = [max(history.lrs) for history in histories.values() if history.lrs]
    if not peaks:
        return
    if min(peaks) > 0 and max(peaks) / min(peaks) > 15:
        ax.set_yscale("log")
        ax.set_ylim(min(peaks) / 30, max(peaks) * 1.6)
    else:
        ax.set_ylim(0, max(peaks) * 1.08)


def _scale_losses(ax: "Axes", smoothed: Any) -> None:
    """Log where the losses span a factor of four or more."""
    if not len(smoothed):
        return
    low, high = float(smoothed.min()), float(np.quantile(smoothed, 0.995))
    if low > 0 and high / low > 4:
        from matplotlib.ticker import LogLocator, NullFormatter

        ax.set_yscale("log")
        ax.set_ylim(low / 1.15, high * 1.15)
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter(NullFormatter())
    elif high > low:
        ax.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
