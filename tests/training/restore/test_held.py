"""What a module keeps as plain attributes goes back."""

import torch
from torch import Tensor, nn

from lrpilot.training.restore.module_state import PlainAttributes


class Remembering(nn.Module):
    """Writes a memory in place, and notes what it has seen in an attribute that was not there."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.seen + 1 if hasattr(self, "seen") else 0
        self.seen = seen
        return x + self.memory.add_(1)


def test_a_tensor_that_is_written_in_place_goes_back() -> None:
    module = Remembering()
    memory, attributes = module.memory, PlainAttributes(module)
    for _ in range(2):
        module(torch.ones(3))
        attributes.restore()
        assert module.memory is memory and memory.tolist() == [0, 0, 0]


def test_born_attributes_are_gone() -> None:
    module = Remembering()
    attributes = PlainAttributes(module)
    module(torch.ones(3))
    attributes.restore()
    assert not hasattr(module, "seen")
