"""Pictures of a run, without a window and without pyplot's global state."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrpilot.core.history import History

# Training losses are averaged over about this many stretches of a run.
POINTS = 60


@contextmanager
def picture(path: Path, *, panels: int = 1, width: float = 5.5) -> Iterator[list["Axes"]]:
    """Axes side by side, written to ``path`` when the block ends."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * panels, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    yield list(figure.subplots(1, panels, squeeze=False)[0])
    figure.savefig(path, dpi=110)


def draw_history(history: "History", losses: "Axes", lrs: "Axes", *, label: str | None = None) -> None:
    """Draw the training loss and the lr of a run over its steps."""
    steps, smooth = smoothed(history.losses)
    losses.plot(steps, smooth, label=label)
    lrs.plot(range(1, len(history.lrs) + 1), history.lrs, label=label)
    losses.set(xlabel="step", ylabel="training loss", yscale="log" if min(smooth, default=0) > 0 else "linear")
    lrs.set(xlabel="step", ylabel="learning rate", yscale="log")


def smoothed(values: Sequence[float], points: int = POINTS) -> tuple[list[float], list[float]]:
    """Means over equal stretches: their middles (steps from 1) and values, non-finite ones left out."""
    width = max(1, math.ceil(len(values) / points))
    steps, means = [], []
    for start in range(0, len(values), width):
        stretch = [v for v in values[start : start + width] if math.isfinite(v)]
        if stretch:
            steps.append(start + (len(values[start : start + width]) + 1) / 2)
            means.append(sum(stretch) / len(stretch))
    return steps, means
