"""Least-squares parabola through noisy losses near a minimum."""

import math
from collections.abc import Sequence

import numpy as np

from lrpilot.core.codec import record
from lrpilot.errors import SettingError


@record
class Parabola:
    """y = minimum + curvature · (x - vertex)², with curvature > 0.

    Attributes:
        vertex: x of the minimum, unclamped.
        minimum: y there.
        curvature: coefficient of (x - vertex)²; > 0.
        noise: standard deviation of the residuals, 0 where three points leave none.
    """

    vertex: float
    minimum: float
    curvature: float
    noise: float

    def __call__(self, x: float) -> float:
        """Fitted y at x."""
        return self.minimum + self.curvature * (x - self.vertex) ** 2

    def half_width(self, rise: float) -> float:
        """Distance from the vertex at which y has risen by ``rise`` (>= 0)."""
        return math.sqrt(rise / self.curvature)


def fit_parabola(x: Sequence[float], y: Sequence[float]) -> Parabola | None:
    """Fit a parabola that opens upwards.

    Args:
        x: n >= 3 places, at least three of them different.
        y: finite value at each.

    Returns:
        The parabola, or None where the points do not curve upwards (beyond rounding).

    Raises:
        SettingError: fewer than three different places, or a value is not finite.
    """
    if len(x) != len(y) or len(set(x)) < 3:
        raise SettingError(f"A parabola needs three different places, got {len(set(x))} for {len(y)} values.")
    if not all(map(math.isfinite, [*x, *y])):
        raise SettingError(f"A parabola needs finite points, got {list(x)} and {list(y)}. Leave the others out.")
    # Centred and scaled: the fit is then as exact far from the origin as near it.
    centre, low = float(np.mean(x)), float(min(y))
    width, height = float(np.ptp(x)) / 2, float(np.ptp(y))
    if height == 0:
        return None
    u, v = (np.asarray(x) - centre) / width, (np.asarray(y) - low) / height
    design = np.stack([np.ones_like(u), u, u * u], axis=1)
    (c, b, a), *_ = np.linalg.lstsq(design, v, rcond=None)
    if a <= 1e-9:
        return None
    left = len(u) - 3
    noise = float(np.sqrt(np.sum((v - design @ (c, b, a)) ** 2) / left)) if left > 0 else 0.0
    return Parabola(
        vertex=centre - width * float(b / (2 * a)),
        minimum=low + height * float(c - b * b / (4 * a)),
        curvature=height * float(a) / width**2,
        noise=height * noise,
    )
