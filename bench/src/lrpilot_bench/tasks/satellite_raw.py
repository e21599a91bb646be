"""Satellite pixels as they stand in the file, from 0 to 255, and an MLP: inputs that nobody scaled."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lrpilot_bench.data.mlbench import satellite
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

NUM_VAL = NUM_TEST = 1_000


def data() -> Splits:
    """4,435 patches train, 1,000 validate and 1,000 test; 36 numbers."""
    table = satellite()
    order = np.random.default_rng(0).permutation(len(table.targets))
    test, val, train = np.split(order, [NUM_TEST, NUM_TEST + NUM_VAL])

    def part(rows: NDArray[np.int64]) -> Split:
        return Split(torch.from_numpy(table.inputs[rows]).float(), torch.from_numpy(table.targets[rows]))

    return Splits(part(train), part(val), part(test))


def model() -> nn.Module:
    """36-128-128-6 with ReLU: 22,022 parameters."""
    return nn.Sequential(nn.Linear(36, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 6))


TASKS = (
    Task(
        name="satellite_raw",
        title="kinds of soil from 36 unscaled satellite pixels, 3-layer MLP, batch 32",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=1_932,  # 14 epochs
        batch_size=32,
        families=(OptimizerFamily("sgd", lr_grid(0.001), default="sgd_step", weight_decay=5e-4),),
        handmade="step",
        eval_batch_size=500,
        remark="inputs of length 500 make the loss steep: the tutorials' lr kills the net",
    ),
)
