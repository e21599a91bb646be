"""What a peer's finder has left behind in the session that it has looked at."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lrpilot_bench.session import Session


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
