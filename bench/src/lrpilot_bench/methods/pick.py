"""What a finder of learning rates says: its pick."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class NoPickError(Exception):
    """A finder gives no lr, so there is nothing to train with: the run has failed."""


@dataclass(frozen=True)
class Pick:
    """What a finder suggests.

    Attributes:
        lr: the suggestion that is to be used, natural units; None where the finder gives none.
        cost: forward-equivalents of the search; they are declared.
        suggestions: everything it suggests, by name.
        interval: lrs between which the best one plausibly lies, where the finder says so.
        reason: why there is no lr, in words.
        extra: further plain data for the record: an outcome, the steps of a range test, what is not restored.
    """

    lr: float | None
    cost: float
    suggestions: Mapping[str, float | None] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    reason: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def require(self) -> float:
        """The lr.

        Raises:
            NoPickError: there is none.
        """
        if self.lr is None:
            raise NoPickError(self.reason)
        return self.lr

    def notes(self) -> dict[str, Any]:
        """Plain data for a record."""
        return {
            "picked_lr": self.lr,
            "search_cost": self.cost,
            "suggestions": dict(self.suggestions),
            "interval": None if self.interval is None else list(self.interval),
            "reason": self.reason,
            **self.extra,
        }
