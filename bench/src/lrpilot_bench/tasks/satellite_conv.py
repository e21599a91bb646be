"""Satellite: kinds of soil from 3 x 3 pixels of four bands, small conv net, SGD, 40 epochs."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lrpilot_bench.data.mlbench import satellite
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

NUM_VAL = NUM_TEST = 1_000
EPOCHS, BATCH_SIZE = 40, 64


def data() -> Splits:
    """4,435 patches train, 1,000 validate and 1,000 test; 4 x 3 x 3, each band standardised."""
    table = satellite()
    order = np.random.default_rng(0).permutation(len(table.targets))
    pixels = table.inputs.reshape(-1, 3, 3, 4).transpose(0, 3, 1, 2)  # the file has the four bands of a pixel together
    test, val, train = np.split(order, [NUM_TEST, NUM_TEST + NUM_VAL])
    mean, std = (of(pixels[train], axis=(0, 2, 3), keepdims=True) for of in (np.mean, np.std))

    def part(rows: NDArray[np.int64]) -> Split:
        return Split(
            torch.from_numpy((pixels[rows] - mean) / std).float(),
            torch.from_numpy(table.targets[rows]),
        )

    return Splits(part(train), part(val), part(test))


def model() -> nn.Module:
    """Convolutions of 32 and 64 channels, a hidden layer of 64: 24,000 parameters."""
    return nn.Sequential(
        nn.Conv2d(4, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 6),
    )


TASKS = (
    Task(
        name="satellite_conv",
        title="kinds of soil from 3 x 3 satellite pixels, 2 convolutions and 2 linear layers, batch 64, 40 epochs",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=EPOCHS * (4_435 // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        # At the usual 5e-4 the sweep's best lr lay beside the edge, and two of five seeds died there.
        families=(OptimizerFamily("sgd", lr_grid(0.05), default="sgd_step", weight_decay=5e-3),),
        handmade="step",
        eval_batch_size=500,
        remark="many epochs with SGD on little data",
    ),
)
