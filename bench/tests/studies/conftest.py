"""What the tests of the studies share."""

import pytest
import torch
from torch.utils.data import TensorDataset


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 made-up images whose brightness is their class, in place of the example's data."""
    from lrpilot_bench.studies.fashion_example import example

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (600,), generator=generator)
    images = torch.randn(600, 1, 28, 28, generator=generator) + labels.reshape(-1, 1, 1, 1)
    batches = list(zip(images.split(example.VAL_BATCH_SIZE), labels.split(example.VAL_BATCH_SIZE), strict=True))
    made = example.Images(TensorDataset(images, labels), batches)
    monkeypatch.setattr(example, "data", lambda: made)
