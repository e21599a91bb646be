"""Letters: 26 classes from 16 features, MLP, AdamW, over and over until it knows them by heart."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lrpilot_bench.data.mlbench import letters
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

NUM_TRAIN = 12_800
NUM_VAL = NUM_TEST = 2_900
EPOCHS, BATCH_SIZE = 30, 128


def data() -> Splits:
    """12,800 letters train, 2,900 validate and 2,900 test, in a fixed random order, the 1,332 exact repeats dropped."""
    table = letters()
    _, kept = np.unique(table.inputs, axis=0, return_index=True)
    order = kept[np.random.default_rng(0).permutation(len(kept))]
    test, val, train = np.split(order[: NUM_TEST + NUM_VAL + NUM_TRAIN], [NUM_TEST, NUM_TEST + NUM_VAL])
    mean, std = table.inputs[train].mean(axis=0), table.inputs[train].std(axis=0)

    def part(rows: NDArray[np.int64]) -> Split:
        inputs = torch.from_numpy((table.inputs[rows] - mean) / std).float()
        return Split(inputs, torch.from_numpy(table.targets[rows]))

    return Splits(part(train), part(val), part(test))


def model() -> nn.Module:
    """16-128-128-26 with ReLU: 22,042 parameters."""
    return nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 26))


TASKS = (
    Task(
        name="letters_epochs",
        title="letters from 16 features, 3-layer MLP, batch 128, 30 epochs",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=EPOCHS * (NUM_TRAIN // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        families=(OptimizerFamily("adamw", lr_grid(0.02), default="adamw_constant", weight_decay=0.1),),
        eval_batch_size=1000,
        remark="many epochs, towards interpolation",
    ),
)
