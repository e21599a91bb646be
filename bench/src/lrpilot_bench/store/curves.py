"""The curve of one run: what a record keeps of its training."""

import math
from typing import Any

DIGITS = 5  # significant digits of a number in a record


def compact(value: float) -> float | None:
    """The number with the digits that a record keeps; None (JSON's null) where it is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


class Curve:
    """Points of a run, each with what happened since the one before.

    Attributes:
        steps: kept steps at each point.
        compute: forward-equivalents at each point, probes included.
        val_loss: validation loss at each point.
        val_score: validation score at each point.
        train_loss: mean training loss since the point before; NaN at the first.
        lr: lr of the last step before the point; NaN at the first.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.compute: list[float] = []
        self.val_loss: list[float] = []
        self.val_score: list[float] = []
        self.train_loss: list[float] = []
        self.lr: list[float] = []
        self._losses: list[float] = []
        self._lr = math.nan

    def add_step(self, loss: float, lr: float) -> None:
        """One kept step."""
        self._losses.append(loss)
        self._lr = lr

    def add_point(self, step: int, compute: float, val_loss: float, val_score: float) -> None:
        """One evaluation, after ``step`` kept steps."""
        losses, self._losses = self._losses, []
        self.steps.append(step)
        self.compute.append(compute)
        self.val_loss.append(val_loss)
        self.val_score.append(val_score)
        self.train_loss.append(sum(losses) / len(losses) if losses else math.nan)
        self.lr.append(self._lr)

    def to_dict(self, *, every: int = 1) -> dict[str, Any]:
        """Plain data for a record.

        Args:
            every: 1 for all points; n for the first, every n-th after it, and the last. What happened since the
                point before is then said of the last stretch alone.
        """
        last = len(self.steps) - 1
        kept = [i for i in range(last + 1) if i % every == 0 or i == last]
        floats = {name: getattr(self, name) for name in ("compute", "val_loss", "val_score", "train_loss", "lr")}
        return {
            "steps": [self.steps[i] for i in kept],
            **{name: [compact(values[i]) for i in kept] for name, values in floats.items()},
        }
