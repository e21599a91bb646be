"""Fashion-MNIST, conv net with BatchNorm."""

from torch import nn

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def data() -> Splits:
    """40,000 images train and the next 4,000 validate: 1.6 epochs in 1,000 steps, so no overfitting."""
    return fashion_mnist(num_train=40_000, num_val=4_000)


def block(channels_in: int, channels: int) -> nn.Sequential:
    """3 x 3 convolution that halves the size, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def model() -> nn.Module:
    """16, 32 and 64 channels, 28 x 28 to 4 x 4 pixels, and a linear layer: 33,658 parameters."""
    return nn.Sequential(block(1, 16), block(16, 32), block(32, 64), nn.Flatten(), nn.Linear(64 * 4 * 4, 10))


TASKS = (
    Task(
        name="fashion_bn",
        title="Fashion-MNIST, 3-layer conv net with BatchNorm, batch 64",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=64,
        families=(
            OptimizerFamily("sgd", lr_grid(0.05), default="sgd_step", weight_decay=5e-4),
            OptimizerFamily("adamw", lr_grid(0.01), default="adamw_constant", weight_decay=0.01),
        ),
        handmade="step",
        remark="the everyday case: a normalised conv net forgives much, so the choice of lr matters least here",
    ),
)
