"""How far along a Line a parabola is believed: wider where it predicted the loss, narrower where it did not."""

from dataclasses import replace

from lrpilot.core.codec import record
from lrpilot.errors import SettingError

# Prediction errors (see LineFit.prediction_error). At the minimum of a parabola the two terms of the predicted
# change add up to three times the change itself, so that these are 60 % and 15 % of the predicted gain.
FAILED = 0.2
GOOD = 0.05


def is_good_enough(error: float) -> bool:
    """Whether a prediction with this error is one to act on."""
    return error <= FAILED


@record
class TrustRegion:
    """The factors within ``radius`` of 1.

    Attributes:
        radius: largest |s − 1| believed.
        smallest: the radius never falls below it.
        largest: the radius never grows beyond it.
    """

    radius: float = 1.0
    smallest: float = 1.0 / 64
    largest: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.radius <= self.largest:
            raise SettingError(f"A trust region needs 0 < smallest <= radius <= largest, got {self}.")

    def clip(self, factor: float) -> float:
        """The factor inside the region that is nearest to ``factor``."""
        return min(max(factor, 1.0 - self.radius), 1.0 + self.radius)

    def after(self, error: float, factor: float) -> "TrustRegion":
        """The region after a prediction was checked.

        Args:
            error: of the prediction, >= 0; inf where the loss was not finite.
            factor: where it was checked. Only a check in the outer half says that more could be believed.
        """
        if not is_good_enough(error):
            return self.shrunk()
        if error <= GOOD and abs(factor - 1.0) >= 0.5 * self.radius:
            return replace(self, radius=min(self.largest, 2.0 * self.radius))
        return self

    def shrunk(self) -> "TrustRegion":
        """Half as wide."""
        return replace(self, radius=max(self.smallest, 0.5 * self.radius))
