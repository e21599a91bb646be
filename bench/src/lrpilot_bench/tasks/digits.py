"""Digits: scikit-learn's 8 x 8 images, a small MLP; seconds on one core, for the smoke run."""

from torch import nn

from lrpilot_bench.data import digits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def model() -> nn.Module:
    """64-64-64-10 with ReLU and dropout: 9,000 parameters."""
    return nn.Sequential(
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(64, 10),
    )


TASKS = (
    Task(
        name="digits",
        title="scikit-learn's digits, 3-layer MLP with dropout, batch 32",
        module=__name__,
        load=digits,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=32,
        families=(OptimizerFamily("adamw", lr_grid(0.008), default="adamw_constant", weight_decay=0.01),),
        smoke=True,
        remark="the smoke run: 1,197 images overfit, so a small lr does well",
    ),
)
