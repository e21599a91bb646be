"""Diamonds: the logarithm of a price from ten properties, MLP, mean squared error."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lrpilot_bench.data.diamonds import CATEGORIES, NUMBERS, diamonds
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, lr_grid

NUM_VAL = NUM_TEST = 4_000
FARTHEST = 5.0  # standard deviations; the rarest proportions would lie up to 17 away
LARGEST = 20.0  # mm


def data() -> Splits:
    """45,772 rows train, 4,000 validate and 4,000 test."""
    table = rows()
    order = np.random.default_rng(0).permutation(len(table))
    test, val, train = np.split(table[order], [NUM_TEST, NUM_TEST + NUM_VAL])
    mean, std = train.mean(axis=0), train.std(axis=0)
    std[-1] = 1.0  # the log price is centred only, so that errors are relative errors of the price

    def part(raw: NDArray[np.float64]) -> Split:
        scaled = torch.from_numpy((raw - mean) / std).float()
        return Split(scaled[:, :-1].clamp(-FARTHEST, FARTHEST), scaled[:, -1:].clone())

    return Splits(part(train), part(val), part(test))


def rows() -> NDArray[np.float64]:
    """6 numbers, 20 columns of 0 and 1 for the categories, and the natural log of the price; sorted.

    146 exact repeats are dropped, lest test rows be trained on, and 23 rows with a size of 0 or over 30 mm:
    with those typing errors, the validation losses of neighbouring lrs differed by 5 % at random.
    """
    columns = diamonds()
    numbers = [columns[name] for name in NUMBERS if name != "price"]
    ones = [columns[name] == rank for name, values in CATEGORIES.items() for rank in range(len(values))]
    sizes = np.stack([columns[name] for name in ("x", "y", "z")])
    possible = ((sizes > 0) & (sizes < LARGEST)).all(axis=0)
    return np.unique(np.column_stack([*numbers, *ones, np.log(columns["price"])])[possible], axis=0)


def model() -> nn.Module:
    """26-128-128-1 with ReLU: 20,097 parameters."""
    return nn.Sequential(nn.Linear(26, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of the log price: 0.1 is about 10 % of the price. Both n x 1."""
    return (outputs - targets).abs()


TASKS = (
    Task(
        name="diamonds",
        title="diamonds, log price from 10 properties, 3-layer MLP with squared error, batch 64",
        module=__name__,
        load=data,
        make_model=model,
        criterion=nn.functional.mse_loss,
        score=absolute_error,
        steps=2000,
        batch_size=64,
        families=(OptimizerFamily("adamw", lr_grid(0.008), default="adamw_constant", weight_decay=0.01),),
        score_name="absolute error",
        score_better="lower",
        eval_batch_size=1000,
        remark="regression: a wide flat basin of good lrs, at whose upper end the net dies",
    ),
)
