"""A data set as tensors in three parts, and the two ways to read a part: batches in order, or shuffled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lrpilot.errors import DataError

Batch = tuple[Tensor, Tensor]


class _Rows(Dataset[Batch]):
    """Rows of two tensors, fetched a batch at a time: one indexing instead of a copy per sample."""

    def __init__(self, split: "Split") -> None:
        self.split = split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Batch:
        return self.split.inputs[index], self.split.targets[index]

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indices)
        return self.split.inputs[rows], self.split.targets[rows]


def _as_fetched(batch: Any) -> Any:
    """Collate function for batches that :class:`_Rows` has already stacked."""
    return batch


@dataclass(frozen=True)
class Split:
    """Inputs and targets of one part of a data set.

    Attributes:
        inputs: float32, n x ..., standardised.
        targets: int64 class numbers, n.
    """

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise DataError(f"Inputs and targets need one length, got {len(self.inputs)} and {len(self.targets)}.")

    def __len__(self) -> int:
        return len(self.targets)

    def head(self, rows: int) -> "Split":
        """The first rows; all of them where there are no more."""
        return Split(self.inputs[:rows], self.targets[:rows])

    def batches(self, batch_size: int) -> list[Batch]:
        """Every row once, in order, as (inputs, targets) batches; the last one may be smaller."""
        return list(zip(self.inputs.split(batch_size), self.targets.split(batch_size), strict=True))

    def loader(self, batch_size: int, *, seed: int) -> "DataLoader[Batch]":
        """A DataLoader that shuffles anew every epoch and drops the rest smaller than a batch.

        Args:
            batch_size: samples per batch.
            seed: of the loader's own generator; the order depends on nothing else.
        """
        generator = torch.Generator().manual_seed(seed)
        return DataLoader(
            _Rows(self), batch_size, shuffle=True, drop_last=True, generator=generator, collate_fn=_as_fetched
        )


@dataclass(frozen=True)
class Splits:
    """A data set in three parts: decisions are made on ``val``; ``test`` is read once, at the end."""

    train: Split
    val: Split
    test: Split

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.val, self.test))
