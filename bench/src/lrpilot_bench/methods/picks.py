"""What a finder of learning rates says, and what it leaves behind in the session it has looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lrpilot_bench.session import Session


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


class Traces:
    """What a training is made of, remembered, to see afterwards what was not put back.

    Args:
        session: as it is now.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._weights = _copies(session.model.named_parameters())
        self._buffers = _copies(session.model.named_buffers())
        self._generators = _generators(session)

    def left(self) -> list[str]:
        """What has changed since: some of "weights", "buffers", "mode", "generators" (torch's)."""
        model = self._session.model
        changed = {
            "weights": not _same(self._weights, dict(model.named_parameters())),
            "buffers": not _same(self._buffers, dict(model.named_buffers())),
            "mode": not model.training,
            "generators": not _same(self._generators, _generators(self._session)),
        }
        return [name for name, differs in changed.items() if differs]


def _copies(named: Any) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in named}


def _generators(session: Session) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if session.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(session.device)
    return states


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name].to(one[name].device)) for name in one)
