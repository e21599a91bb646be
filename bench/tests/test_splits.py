"""Reading a part of a data set: in order, or shuffled as a DataLoader that probes can twin."""

import pytest
import torch

from lrpilot.errors import DataError
from lrpilot.training.bound.sources import twin_loader
from lrpilot_bench.data.splits import Split


def split_of(count: int) -> Split:
    return Split(torch.arange(count).float().unsqueeze(1), torch.arange(count))


def test_batches_hold_every_row_in_order() -> None:
    batches = split_of(7).batches(3)

    assert [targets.tolist() for _, targets in batches] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_loader_shuffles_every_epoch_and_keeps_pairs_together() -> None:
    loader = split_of(10).loader(3, seed=5)
    first, second = ([targets for _, targets in loader] for _ in range(2))

    assert [len(targets) for targets in first] == [3, 3, 3]
    assert len(set(torch.cat(first).tolist())) == 9
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(torch.cat(first), torch.cat([t for _, t in split_of(10).loader(3, seed=5)]))
    for inputs, targets in loader:
        assert torch.equal(inputs.squeeze(1), targets.float())


def test_a_loader_can_be_twinned_for_probes() -> None:
    batches = list(twin_loader(split_of(10).loader(3, seed=5), seed=1))

    assert [inputs.shape for inputs, _ in batches] == [(3, 1)] * 3


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="3 and 2"):
        Split(torch.zeros(3, 1), torch.zeros(2))
