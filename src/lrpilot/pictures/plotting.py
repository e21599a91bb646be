"""Pictures of what was found and of what was flown. Nothing is shown or saved here.

Where no axes are given, a figure of its own is made without pyplot, so that no global state is touched and
no window opens; ``axes.figure.savefig(...)`` writes it, and a notebook shows it.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lrpilot.core.actions import Rewind
from lrpilot.core.history import History
from lrpilot.found import FoundLR, LengthPick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Corner = Literal["upper left", "upper right", "lower left", "lower right"]

INK = "#22303c"  # text
QUIET = "#6b7a88"  # everything that is not the answer
FAINT = "#dfe5ea"  # grid
CHOSEN = "#c8372d"  # the answer
DATA = "#1f6f9f"
# Told apart by lightness too, so that they survive a grey printer and colour blindness.
RUNS = ("#1f6f9f", "#e08a1e", "#4a9a5b", "#7b4f9d", "#c8372d", "#8a6d52", "#3fb0ac", "#555f69")
LENGTHS = ("#9cc9e3", "#4f9cc9", "#1b5e8a", "#0c2f4a")  # short to long trials

SIZE = (6.0, 4.0)  # inches
OFF_SCALE = 0.18  # losses above the start loss are drawn up to this share of the reduction
FLAG_HEIGHT = 0.075  # of the axes, a row of labels
SMOOTHING = 0.02  # of a run, each side of the moving average


def plot_found(found: FoundLR, ax: "Axes | None" = None) -> "Axes":
    """Loss against lr, with the window (decay: the interval), every suggestion, and what diverged.

    Args:
        found: the result of a finder.
        ax: axes to draw on; new ones, 6 x 4 inches, when None.

    Returns:
        The axes.
    """
    ax = _new_axes(1)[0] if ax is None else ax
    dress(ax)
    curves = _curves(found)
    low, high = _loss_range(found, curves)
    span = found.interval or found.window
    if span is not None and found.lr is not None:
        ax.axvspan(*span, color=CHOSEN, alpha=0.07, lw=0, zorder=0)
    for label, color, lrs, losses in curves:
        _draw_curve(ax, lrs, losses, low=low, high=high, color=color, label=label)
    if found.start_loss is not None and math.isfinite(found.start_loss):
        ax.axhline(found.start_loss, color=QUIET, lw=0.9, ls=(0, (5, 3)), zorder=1, label="untrained")
    _mark_picks(ax, found.lengths, low, high)
    flags = _flags(found)
    rows = len(flags) or 3  # without a suggestion, the legend is up there
    ax.set_xscale("log")
    _limit_lrs(ax, curves, flags)
    # Head room for one row of labels per suggestion; the curves end below it.
    bottom = low - 0.06 * (high - low)
    ax.set_ylim(bottom, bottom + (high - bottom) / (1.0 - FLAG_HEIGHT * (rows + 0.6)))
    _draw_flags(ax, flags, bottom)
    ax.set_xlabel("peak learning rate" if found.target == "decay" else "learning rate")
    ax.set_ylabel(found.metric)
    ax.set_title(_headline(found), loc="left", fontsize=10.5, color=INK, fontweight="bold")
    if found.lr is None:
        ax.text(0.03, 0.04, _wrap(found.status), transform=ax.transAxes, fontsize=8.5, color=CHOSEN, va="bottom")
    _legend(ax, _free_corner(found))
    return ax


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
    lr_ax, loss_ax = _new_axes(2) if axes is None else axes
    for ax in (lr_ax, loss_ax):
        dress(ax)
    smoothed: list[Any] = []
    for i, (name, history) in enumerate(histories.items()):
        color = RUNS[i % len(RUNS)]
        _draw_lrs(lr_ax, history, color, name)
        smoothed.append(_draw_losses(loss_ax, history, color, name, faint=len(histories) > 3))
    _scale_lrs(lr_ax, histories)
    _scale_losses(loss_ax, np.concatenate([np.empty(0), *smoothed]))
    lr_ax.set_ylabel("learning rate")
    lr_ax.tick_params(labelbottom=False)
    loss_ax.set_ylabel("training loss")
    loss_ax.set_xlabel("step")
    if len(histories) > 1:
        _legend(loss_ax, "upper right")
    return lr_ax, loss_ax


# ------------------------------------------------------------------ axes


def _new_axes(rows: int) -> "list[Axes]":
    from matplotlib.figure import Figure

    size = (SIZE[0], SIZE[1] if rows == 1 else 5.0)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    axes: Any = figure.subplots(rows, 1, sharex=True, squeeze=False)
    return [ax for (ax,) in axes]


def dress(ax: "Axes") -> None:
    """A quiet frame: two spines, a faint grid behind the data."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(colors=INK, labelsize=8.5, which="both")
    ax.tick_params(which="minor", length=0)
    ax.grid(visible=True, color=FAINT, lw=0.7)
    ax.set_axisbelow(True)
    ax.xaxis.label.set(color=INK, fontsize=9.5)
    ax.yaxis.label.set(color=INK, fontsize=9.5)


def _legend(ax: "Axes", where: Corner) -> None:
    handles, labels = ax.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    if shown:
        ax.legend(list(shown.values()), list(shown), loc=where, fontsize=8, frameon=False, labelcolor=INK)


# ----------------------------------------------------------------- found

Curve = tuple[str, str, tuple[float, ...], tuple[float, ...]]


def _curves(found: FoundLR) -> list[Curve]:
    """Label, colour, lrs and losses of each curve to draw."""
    if not found.lengths:
        return [("trials" if found.method != "range_test" else "one run", DATA, found.lrs, found.losses)]
    colors = LENGTHS if len(found.lengths) > 1 else (DATA,)
    shades = [colors[min(i, len(colors) - 1)] for i in range(len(found.lengths))]
    return [
        (f"{pick.num_steps} steps", shade, pick.lrs, pick.losses)
        for pick, shade in zip(found.lengths, shades, strict=True)
    ]


def _loss_range(found: FoundLR, curves: list[Curve]) -> tuple[float, float]:
    """Losses at the bottom and the top of the curves; what lies above is drawn at the top."""
    finite = [loss for *_, losses in curves for loss in losses if math.isfinite(loss)]
    start = found.start_loss
    if start is None or not math.isfinite(start):
        start = float(np.median(finite)) if finite else 0.0
    low = min([*finite, start])
    if low < start and found.lr is not None:
        return low, start + OFF_SCALE * (start - low)
    # No reduction to measure in: show the middle of what there is.
    high = float(np.quantile(finite, 0.75)) if finite else start
    margin = max(high - low, 1e-3 * abs(start), 1e-12)
    return low - 0.5 * margin, max(high, start) + 0.5 * margin


def _draw_curve(
    ax: "Axes", lrs: Sequence[float], losses: Sequence[float], *, low: float, high: float, color: str, label: str
) -> None:
    x, y = np.asarray(lrs), np.asarray(losses)
    finite, beyond = np.isfinite(y), ~(y <= high)
    crowded = len(x) > 60
    ax.plot(
        x[finite],
        np.minimum(y[finite], high),
        color=color,
        lw=1.3 if crowded else 1.5,
        zorder=2,
        label=label,
        marker=None if crowded else "o",
        ms=4,
        mec="white",
        mew=0.6,
        markevery=list(np.flatnonzero(~beyond[finite])),
    )
    off = beyond & finite
    ax.plot(x[off], np.full(off.sum(), high), ls="", marker="^", ms=4.5, color=color, mec="white", mew=0.5, zorder=3)
    if not finite.all():
        ax.plot(
            x[~finite],
            np.full((~finite).sum(), high),
            ls="",
            marker="x",
            ms=5,
            mew=1.3,
            color=color,
            zorder=3,
            label="diverged" if not label.endswith("steps") else None,
        )


def _mark_picks(ax: "Axes", lengths: Sequence[LengthPick], low: float, high: float) -> None:
    """A small diamond below each curve of annealed trials, at its pick."""
    for i, pick in enumerate(lengths):
        color = LENGTHS[min(i, len(LENGTHS) - 1)] if len(lengths) > 1 else DATA
        last = "best of each length" if i == len(lengths) - 1 else None
        at = low - 0.03 * (high - low)
        ax.plot([pick.lr], [at], ls="", marker="D", ms=4.5, color=color, mec="white", mew=0.5, zorder=4, label=last)


Flag = tuple[float, str, bool]


def _flags(found: FoundLR) -> list[Flag]:
    """lr, label and whether it is the answer, of each vertical line."""
    if found.lr is None:
        return []
    if found.target == "decay":
        low, high = found.interval or (found.lr, found.lr)
        return [(found.lr, f"peak {found.lr:.2g}  ({low:.2g} to {high:.2g})", True)]
    named = sorted((lr, name) for name, lr in found.suggestions.items() if lr is not None)
    return [(lr, f"{name.replace('_', ' ')} {lr:.2g}", lr == found.lr) for lr, name in named]


def _limit_lrs(ax: "Axes", curves: list[Curve], flags: list[Flag]) -> None:
    lrs = [lr for _, _, lrs, _ in curves for lr in lrs] + [lr for lr, *_ in flags]
    if not lrs:
        lrs = [1e-7, 10.0]  # a search that was over before it began
    margin = (max(lrs) / min(lrs)) ** 0.03 * 1.05
    ax.set_xlim(min(lrs) / margin, max(lrs) * margin)


def _draw_flags(ax: "Axes", flags: list[Flag], bottom: float) -> None:
    """Vertical lines with their labels in a staircase, so that no label meets another's line."""
    if not flags:
        return
    left, right = (math.log10(edge) for edge in ax.get_xlim())
    centre = sum(math.log10(lr) for lr, *_ in flags) / len(flags)
    to_right = centre < left + 0.55 * (right - left)
    top = ax.get_ylim()[1]
    # The outermost line, on the side the labels lean away from, is the tallest.
    for row, (lr, label, chosen) in enumerate(flags if to_right else flags[::-1]):
        height = 1.0 - FLAG_HEIGHT * (row + 0.5)
        color = CHOSEN if chosen else QUIET
        y = bottom + height * (top - bottom)
        ax.plot([lr, lr], [bottom, y], color=color, lw=1.5 if chosen else 1.0, zorder=1.5 if chosen else 1.2)
        ax.annotate(
            label,
            (lr, y),
            xytext=(4 if to_right else -4, 0),
            textcoords="offset points",
            color=color,
            fontsize=8.5,
            ha="left" if to_right else "right",
            va="center",
            fontweight="bold" if chosen else "normal",
        )


def _headline(found: FoundLR) -> str:
    if found.lr is None:
        return "No reliable suggestion"
    if found.target == "decay":
        return f"Peak learning rate for a decay to zero: {found.lr:.2g}"
    return f"Learning rate to hold: {found.lr:.2g}"


def _free_corner(found: FoundLR) -> Corner:
    """Below the plateau of small lrs the axes are empty, unless the best lr lies there."""
    if found.lr is None or len(found.lrs) < 2:
        return "upper left"
    low, high = math.log10(found.lrs[0]), math.log10(found.lrs[-1])
    return "lower left" if math.log10(found.lr) > 0.5 * (low + high) - 0.5 else "lower right"


def _wrap(sentence: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(sentence, 72))


# --------------------------------------------------------------- flights


def _draw_lrs(ax: "Axes", history: History, color: str, name: str) -> None:
    lrs = np.array(history.lrs, dtype=float)
    ax.plot(np.arange(len(lrs)), lrs, color=color, lw=1.6, label=name)
    rewinds = [e.step for e in history.events if isinstance(e.action, Rewind) and 0 < e.step <= len(lrs)]
    if rewinds:
        ax.plot(rewinds, lrs[np.array(rewinds) - 1], ls="", marker="v", ms=6, color=color, mec="white", mew=0.6)


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
