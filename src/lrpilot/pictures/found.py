"""The picture of what a finder found: loss against lr, what is suggested, and what diverged."""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lrpilot.core.found import Finding, LengthPick
from lrpilot.pictures.style import CHOSEN, DATA, INK, QUIET, Corner, dress, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTHS = ("#9cc9e3", "#4f9cc9", "#1b5e8a", "#0c2f4a")  # short to long trials
OFF_SCALE = 0.18  # losses above the start loss are drawn up to this share of the reduction
FLAG_HEIGHT = 0.075  # of the axes, a row of labels

Curve = tuple[str, str, tuple[float, ...], tuple[float, ...]]
Flag = tuple[float, str, bool]


def plot_found(found: Finding, ax: "Axes | None" = None) -> "Axes":
    """Loss against lr, with the window (decay: the interval), every suggestion, and what diverged.

    Args:
        found: the result of a finder.
        ax: axes to draw on; new ones, 6 x 4 inches, when None.

    Returns:
        The axes.
    """
    ax = new_axes(1)[0] if ax is None else ax
    dress(ax)
    curves = _curves(found)
    low, high = _loss_range(found, curves)
    span = found.interval or found.window
    if span is not None and found.lr is not None:
        ax.axvspan(*span, color=CHOSEN, alpha=0.07, lw=0, zorder=0)
    for label, color, lrs, losses in curves:
        _draw_curve(ax, lrs, losses, low=low, high=high, color=color, label=label, named=len(curves) == 1)
    if found.start_loss is not None and math.isfinite(found.start_loss):
        ax.axhline(found.start_loss, color=QUIET, lw=0.9, ls=(0, (5, 3)), zorder=1, label="untrained")
    _mark_picks(ax, found.lengths, low, high)
    prior = found.suggestions.get("expected")
    if prior is not None:
        ax.axvline(prior, color=QUIET, lw=1.0, ls=(0, (1, 2)), zorder=1, label="expected before the trials")
    flags = _flags(found)
    rows = len(flags) or 3  # without a suggestion, the legend is up there
    ax.set_xscale("log")
    _limit_lrs(ax, found, flags)
    # Head room for one row of labels per suggestion; the curves end below it.
    bottom = low - 0.06 * (high - low)
    ax.set_ylim(bottom, bottom + (high - bottom) / (1.0 - FLAG_HEIGHT * (rows + 0.6)))
    _draw_flags(ax, flags, bottom)
    ax.set_xlabel("peak learning rate" if found.target == "decay" else "learning rate")
    ax.set_ylabel(found.metric)
    ax.set_title(_headline(found), loc="left", fontsize=10.5, color=INK, fontweight="bold")
    if found.lr is None:
        ax.text(0.03, 0.04, _wrap(found.status), transform=ax.transAxes, fontsize=8.5, color=CHOSEN, va="bottom")
    legend(ax, _free_corner(found))
    return ax


def _curves(found: Finding) -> list[Curve]:
    """Label, colour, lrs and losses of each curve to draw."""
    if not found.lengths:
        return [("trials" if found.method != "range_test" else "one run", DATA, found.lrs, found.losses)]
    colors = LENGTHS if len(found.lengths) > 1 else (DATA,)
    shades = [colors[min(i, len(colors) - 1)] for i in range(len(found.lengths))]
    return [
        (f"{pick.num_steps} steps", shade, pick.lrs, pick.losses)
        for pick, shade in zip(found.lengths, shades, strict=True)
    ]


def _loss_range(found: Finding, curves: list[Curve]) -> tuple[float, float]:
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
    ax: "Axes",
    lrs: Sequence[float],
    losses: Sequence[float],
    *,
    low: float,
    high: float,
    color: str,
    label: str,
    named: bool,
) -> None:
    """A curve; what diverged is in the legend only where that is ``named``, once."""
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
            label="diverged" if named else None,
        )


def _mark_picks(ax: "Axes", lengths: Sequence[LengthPick], low: float, high: float) -> None:
    """A small diamond below each curve of annealed trials, at its pick."""
    for i, pick in enumerate(lengths):
        color = LENGTHS[min(i, len(LENGTHS) - 1)] if len(lengths) > 1 else DATA
        every = "best of each length" if len(lengths) > 1 else "best of a trial"
        last = every if i == len(lengths) - 1 else None
        at = low - 0.03 * (high - low)
        ax.plot([pick.lr], [at], ls="", marker="D", ms=4.5, color=color, mec="white", mew=0.5, zorder=4, label=last)


def _flags(found: Finding) -> list[Flag]:
    """lr, label and whether it is the answer, of each vertical line."""
    if found.lr is None:
        return []
    if found.target == "decay":
        low, high = found.interval or (found.lr, found.lr)
        return [(found.lr, f"peak {found.lr:.2g}  ({low:.2g} to {high:.2g})", True)]
    named = sorted((lr, name) for name, lr in found.suggestions.items() if lr is not None)
    return [(lr, f"{name.replace('_', ' ')} {lr:.2g}", lr == found.lr) for lr, name in named]


def _limit_lrs(ax: "Axes", found: Finding, flags: list[Flag]) -> None:
    """From the smallest to the largest lr of anything that is drawn, and a margin."""
    lrs = [lr for _, _, lrs, _ in _curves(found) for lr in lrs] + [lr for lr, *_ in flags]
    lrs += [lr for lr in (*(found.interval or ()), found.suggestions.get("expected")) if lr is not None]
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


def _headline(found: Finding) -> str:
    if found.lr is None:
        return "No reliable suggestion"
    if found.target == "decay":
        return f"Peak learning rate for a decay to zero: {found.lr:.2g}"
    return f"Learning rate to hold: {found.lr:.2g}"


def _free_corner(found: Finding) -> Corner:
    """Below the plateau of small lrs the axes are empty, unless the best lr lies there."""
    if found.lr is None or len(found.lrs) < 2:
        return "upper left"
    low, high = math.log10(found.lrs[0]), math.log10(found.lrs[-1])
    return "lower left" if math.log10(found.lr) > 0.5 * (low + high) - 0.5 else "lower right"


def _wrap(sentence: str) -> str:
    return "\n".join(textwrap.wrap(sentence, 72))
