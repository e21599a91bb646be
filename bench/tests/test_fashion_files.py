"""The real Fashion-MNIST files, where they are at hand."""

import pytest
import torch

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.data import fashion_mnist


@pytest.mark.data
def test_the_published_files_load() -> None:
    try:
        splits = fashion_mnist(num_train=58_000, num_val=2_000)
    except MissingDependencyError as error:
        pytest.skip(str(error))

    labels = torch.cat([splits.train.targets, splits.val.targets])
    assert labels.bincount().tolist() == [6_000] * 10
    assert splits.test.targets.bincount().tolist() == [1_000] * 10
    pixels = torch.cat([splits.train.inputs, splits.val.inputs])
    assert abs(pixels.mean().item()) < 1e-3
    assert abs(pixels.std().item() - 1) < 1e-3
