"""One drawing style for every picture of the project. Nothing is shown or saved here.

Where no axes are given, a figure of its own is made without pyplot, so that no global state is touched and
no window opens; ``axes.figure.savefig(...)`` writes it, and a notebook shows it.
"""

from typing import TYPE_CHECKING, Any, Literal

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

SIZE = (6.0, 4.0)  # inches
TWO_ROWS = 5.0  # inches, height


def new_axes(rows: int) -> "list[Axes]":
    """Axes of a new figure, one above the other; they share their abscissa."""
    from matplotlib.figure import Figure

    size = (SIZE[0], SIZE[1] if rows == 1 else TWO_ROWS)
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


def legend(ax: "Axes", where: Corner) -> None:
    """The labels of what is drawn, each once."""
    handles, labels = ax.get_legend_handles_labels()
    shown = dict(zip(labels, handles, strict=True))
    if shown:
        ax.legend(list(shown.values()), list(shown), loc=where, fontsize=8, frameon=False, labelcolor=INK)
