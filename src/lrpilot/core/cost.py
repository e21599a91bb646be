"""What the measurements cost, in work and in seconds."""

from lrpilot.core.codec import record


@record
class Cost:
    """Work done beyond the user's own steps.

    Attributes:
        forwards: forward passes, each weighted by its samples ÷ the training batch size.
        backwards: backward passes, weighted likewise.
        seconds: wall time.
        trials: Trials flown.
        trial_steps: optimizer steps taken inside Trials.
        evaluations: held-out evaluations.
        lines: Lines read.
    """

    forwards: float = 0.0
    backwards: float = 0.0
    seconds: float = 0.0
    trials: int = 0
    trial_steps: int = 0
    evaluations: int = 0
    lines: int = 0

    @property
    def forward_equivalents(self) -> float:
        """Forward passes, counting a backward pass as two: one training step is 3."""
        return self.forwards + 2.0 * self.backwards

    @property
    def steps(self) -> float:
        """The same in plain training steps."""
        return self.forward_equivalents / 3.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, f) + getattr(other, f) for f in _FIELDS))

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, f) - getattr(other, f) for f in _FIELDS))


_FIELDS = ("forwards", "backwards", "seconds", "trials", "trial_steps", "evaluations", "lines")
