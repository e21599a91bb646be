"""Shape: a learning rate (or momentum) as a function of the step, in knots and kinds of curve.

Between two knots a kind says which transform of the value moves on a straight line: the value itself
(linear), its logarithm (exponential decay), 1/y (time-based decay), 1/y² (inverse square root), or its
position on half a cosine. Every schedule of the field is a handful of such segments, so a schedule can be
saved, compared and replayed without a line of code.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Literal

from lrpilot.core.codec import record
from lrpilot.errors import SettingError, unknown_name

Kind = Literal["hold", "linear", "cosine", "exponential", "inverse", "inverse_sqrt"]

Interpolation = Callable[[float, float, float], float]


def _linear(y0: float, y1: float, u: float) -> float:
    return y0 + (y1 - y0) * u


def _cosine(y0: float, y1: float, u: float) -> float:
    share = math.cos(0.5 * math.pi * u) ** 2  # not (1 + cos) / 2, which rounds to 0 long before u = 1
    return y0 * share + y1 * (1.0 - share)


def _exponential(y0: float, y1: float, u: float) -> float:
    return y0 * math.pow(y1 / y0, u)


def _inverse(y0: float, y1: float, u: float) -> float:
    return 1.0 / _linear(1.0 / y0, 1.0 / y1, u)


def _inverse_sqrt(y0: float, y1: float, u: float) -> float:
    return 1.0 / math.sqrt(_linear(y0**-2, y1**-2, u))


_INTERPOLATIONS: dict[str, Interpolation] = {
    "hold": lambda y0, y1, u: y0,
    "linear": _linear,
    "cosine": _cosine,
    "exponential": _exponential,
    "inverse": _inverse,
    "inverse_sqrt": _inverse_sqrt,
}
_NEEDS_POSITIVE = frozenset({"exponential", "inverse", "inverse_sqrt"})


@record
class Shape:
    """A piecewise function of the step.

    Attributes:
        steps: positions of the knots, n numbers, non-decreasing; two knots at one position are a jump,
            and the later one holds there.
        values: value at each knot, n finite numbers >= 0.
        kinds: curve between knots i and i+1, n - 1 names.

    Before the first knot the first value holds, after the last knot the last.

    Raises:
        SettingError: the three do not fit together.
    """

    steps: tuple[float, ...]
    values: tuple[float, ...]
    kinds: tuple[Kind, ...] = ()

    def __post_init__(self) -> None:
        if not self.steps or len(self.values) != len(self.steps) or len(self.kinds) != len(self.steps) - 1:
            raise SettingError(
                "A shape of n knots needs n steps, n values and n - 1 kinds, "
                f"got {len(self.steps)}, {len(self.values)} and {len(self.kinds)}."
            )
        if any(b < a for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise SettingError(f"Knot positions must not decrease, got {self.steps}. Sort the knots.")
        if not all(math.isfinite(v) and v >= 0 for v in self.values):
            raise SettingError(f"Knot values must be finite and >= 0, got {self.values}.")
        self._check_kinds()

    def _check_kinds(self) -> None:
        for i, kind in enumerate(self.kinds):
            if kind not in _INTERPOLATIONS:
                raise unknown_name("kind", kind, _INTERPOLATIONS)
            if kind in _NEEDS_POSITIVE and min(self.values[i : i + 2]) <= 0:
                raise SettingError(f"A segment of kind {kind!r} needs values > 0, got {self.values[i : i + 2]}.")

    def __call__(self, step: float) -> float:
        """Value at ``step``."""
        after = bisect_right(self.steps, step)
        if after == 0:
            return self.values[0]
        if after == len(self.steps):
            return self.values[-1]
        start, end = self.steps[after - 1], self.steps[after]
        u = (step - start) / (end - start)
        return _INTERPOLATIONS[self.kinds[after - 1]](self.values[after - 1], self.values[after], u)

    @property
    def is_constant(self) -> bool:
        """Whether it has a single knot."""
        return len(self.steps) == 1

    def first(self, steps: int) -> list[float]:
        """Values at steps 0, 1, ..., steps - 1."""
        return [self(step) for step in range(steps)]

    def later(self, steps: int) -> "Shape":
        """The same curve, begun ``steps`` steps later: its step 0 is step ``steps`` of this one."""
        return self if steps == 0 else Shape(tuple(at - steps for at in self.steps), self.values, self.kinds)

    def scaled(self, factor: float) -> "Shape":
        """The same shape with every value multiplied by ``factor``."""
        return Shape(self.steps, tuple(v * factor for v in self.values), self.kinds)


def constant(value: float) -> Shape:
    """The same value at every step."""
    return Shape((0.0,), (value,))


def ramp(start: float, end: float, steps: float, kind: Kind = "linear") -> Shape:
    """From ``start`` at step 0 to ``end`` at step ``steps``."""
    return Shape((0.0, float(steps)), (start, end), (kind,))


def annealed(peak: float, steps: int) -> Shape:
    """A straight line from ``peak`` to zero over ``steps`` steps: the shape of an annealed Trial.

    Step 0 runs at the peak and the last step at peak / steps, so that every step moves.
    """
    return ramp(peak, 0.0, steps)
