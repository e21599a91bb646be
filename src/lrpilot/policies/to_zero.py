"""The straight way to zero that ends a training, in parts: a look, a mark or a bad batch may come in between."""

from lrpilot.core.codec import record
from lrpilot.core.shape import Shape, ramp


@record
class ToZero:
    """A line to zero, and where on it the training stands.

    Attributes:
        lr: where the line begins, natural units.
        steps: of the whole line, >= 1.
        done: of these, steps that are behind, < steps.
    """

    lr: float
    steps: int
    done: int = 0

    @property
    def left(self) -> int:
        """Steps of the rest, >= 1."""
        return self.steps - self.done

    @property
    def shape(self) -> Shape:
        """The rest; its lrs are bit for bit those of the whole line."""
        if self.done == 0:
            return ramp(self.lr, 0.0, self.steps)
        return Shape((-float(self.done), float(self.left)), (self.lr, 0.0), ("linear",))

    def after(self, steps: int) -> "ToZero | None":
        """The rest after so many steps more; None where nothing is left."""
        return ToZero(self.lr, self.steps, self.done + steps) if steps < self.left else None
