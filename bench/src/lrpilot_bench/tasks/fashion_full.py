"""Fashion-MNIST, all images, fashion_bn's net four times as wide, for a GPU."""

from torch import nn

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def data() -> Splits:
    """58,000 images train, the last 2,000 validate."""
    return fashion_mnist(num_train=58_000, num_val=2_000)


def block(channels_in: int, channels: int) -> nn.Sequential:
    """3 x 3 convolution that halves the size, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
    )


def model() -> nn.Module:
    """64, 128 and 256 channels: 411,082 parameters."""
    return nn.Sequential(block(1, 64), block(64, 128), block(128, 256), nn.Flatten(), nn.Linear(256 * 4 * 4, 10))


TASKS = (
    Task(
        name="fashion_full",
        title="Fashion-MNIST, all images, wide 3-layer conv net with BatchNorm, batch 128",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=4530,  # 10 epochs
        batch_size=128,
        families=(
            OptimizerFamily("sgd", lr_grid(0.05), default="sgd_step", weight_decay=5e-4),
            OptimizerFamily("adamw", lr_grid(0.004), default="adamw_constant", weight_decay=0.01),
        ),
        handmade="step",
        eval_batch_size=2000,
        large=True,
        remark="fashion_bn with 13 times the parameters and 9 times the training samples seen",
    ),
)
