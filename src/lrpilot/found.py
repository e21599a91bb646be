"""The result of a search for a learning rate, which shows itself and what follows from it."""

from typing import TYPE_CHECKING

from lrpilot.core.codec import record
from lrpilot.core.found import Finding
from lrpilot.maths.trend import Trend, length_trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@record
class FoundLR(Finding):
    """A learning rate, the evidence for it, and what it cost.

    Attributes:
        lr: the suggestion in natural units (the largest group's), or None with a reason in ``code``.
        target: "constant" (an lr to hold) or "decay" (a peak for a schedule that ends at zero).
        method: name of the method that found it.
        code: outcome as an enum.
        window: (min_lr, max_lr) worth considering, or None.
        interval: decay: where the best peak plausibly lies; None otherwise.
        suggestions: every suggestion of the method by name; None where it has none.
        lrs: lrs tried, ascending.
        losses: loss of each; inf where the trial diverged.
        start_loss: loss of the untrained state (lr -> 0), same measure as ``losses``; None if not read.
        lengths: decay: the pick of each trial length, shortest first.
        metric: which loss was compared, in words.
        cost: everything the search spent.
    """

    @property
    def trend(self) -> Trend | None:
        """Decay: how the best peak moves with the length of the trials (decades per decade); else None."""
        return length_trend(self.lengths) if self.lengths else None

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Draw the curve with its window and suggestions.

        Args:
            ax: axes to draw on; new ones when None.

        Returns:
            The axes. Nothing is shown or saved.
        """
        from lrpilot.pictures.found import plot_found

        return plot_found(self, ax)
