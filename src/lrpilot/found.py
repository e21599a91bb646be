"""The result of a search for a learning rate, which shows itself and what follows from it."""

from typing import TYPE_CHECKING

from lrpilot.core.codec import record
from lrpilot.core.found import Finding
from lrpilot.maths.peak import Trend, length_trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@record
class FoundLR(Finding):
    """A learning rate, the evidence for it, and what it cost.

    Its attributes are those of :class:`~lrpilot.core.found.Finding`.
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
