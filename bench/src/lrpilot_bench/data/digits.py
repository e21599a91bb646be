"""scikit-learn's handwritten digits: the data that needs no file."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from lrpilot.errors import SettingError
from lrpilot_bench.data.splits import Split, Splits

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digits(*, seed: int = 0, num_val: int = 300, num_test: int = 300) -> Splits:
    """scikit-learn's 1,797 handwritten digits (8 x 8 pixels), standardised with the training part's statistics.

    Args:
        seed: of the split.
        num_val: validation samples.
        num_test: test samples; the rest trains.

    Returns:
        Inputs n x 64, targets 0-9.
    """
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    if not 0 < num_val + num_test < len(targets):
        raise SettingError(f"num_val + num_test must be in (0, {len(targets)}), got {num_val} + {num_test}.")
    order = np.random.default_rng(seed).permutation(len(targets))
    test, val, train = np.split(order, [num_test, num_test + num_val])
    mean, std = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    scaled = (inputs - mean) / np.where(std > 0, std, 1.0)  # corner pixels are always 0

    def part(rows: "NDArray[np.int64]") -> Split:
        return Split(torch.from_numpy(scaled[rows]).float(), torch.from_numpy(targets[rows]).long())

    return Splits(part(train), part(val), part(test))
