"""The picture of a flight's report: the lr, what was tried on the way, and what was done against harm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lrpilot.core.actions import Average
from lrpilot.core.history import History
from lrpilot.core.searches import Search
from lrpilot.pictures.flights import draw_lrs
from lrpilot.pictures.style import CHOSEN, DATA, QUIET, dress, legend, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 15  # lrs that lie further apart than this factor are drawn on a log scale


def plot_report(
    history: History,
    searches: Sequence[Search],
    averages: Sequence[tuple[int, Average | None]] = (),
    ax: "Axes | None" = None,
) -> "Axes":
    """The lr over the steps. Dots are lrs that were tried, crosses those that came to nothing, triangles rewinds.

    Args:
        history: of the flight.
        searches: that were made in it.
        averages: from which step on an average was flown, and from which (None) no more; shaded.
        ax: axes to draw on; new ones, 6 x 4 inches, when None.

    Returns:
        The axes.
    """
    ax = new_axes(1)[0] if ax is None else ax
    dress(ax)
    ends = [*(step for step, _ in averages[1:]), len(history.lrs)]
    for (step, average), end in zip(averages, ends, strict=False):
        if average is not None:
            ax.axvspan(step, end, color=DATA, alpha=0.06, lw=0, zorder=0, label="averaged")
    _draw_searches(ax, searches)
    for event in history.events:
        if event.phase == "cooldown":
            ax.axvline(event.step, color=QUIET, lw=0.9, ls=(0, (5, 3)), zorder=1, label="cooldown")
    draw_lrs(ax, history, DATA, "lr")
    _scale(ax, history, searches)
    ax.set_xlabel("step")
    ax.set_ylabel("learning rate")
    legend(ax, "upper right")
    return ax


def _draw_searches(ax: "Axes", searches: Sequence[Search]) -> None:
    sound = [(s.step, t.lr) for s in searches for t in s.tried if t.loss is not None and t.lr > 0]
    lost = [(s.step, t.lr) for s in searches for t in s.tried if t.loss is None and t.lr > 0]
    best = [(s.step, s.best.lr) for s in searches if s.best is not None and s.best.lr > 0]
    if sound:
        ax.plot(*zip(*sound, strict=True), ls="", marker="o", ms=3, color=QUIET, alpha=0.7, zorder=3, label="tried")
    if lost:
        ax.plot(*zip(*lost, strict=True), ls="", marker="x", ms=4, color=QUIET, zorder=3, label="tried, diverged")
    if best:
        ax.plot(*zip(*best, strict=True), ls="", marker="o", ms=4, color=CHOSEN, zorder=4, label="lowest loss")


def _scale(ax: "Axes", history: History, searches: Sequence[Search]) -> None:
    """Linear, so that a linear decay is a straight line, unless what was tried or flown at its height is far apart."""
    tried = [one.lr for search in searches for one in search.tried if one.lr > 0]
    highest = max(history.lrs, default=None)
    shown = [*tried, *([] if highest is None else [highest])]
    if not shown:
        return
    if max(shown) / min(shown) > WIDE:
        ax.set_yscale("log")
        ax.set_ylim(min(shown) / 3, max(shown) * 2)
    else:
        ax.set_ylim(0, max(shown) * 1.08)
