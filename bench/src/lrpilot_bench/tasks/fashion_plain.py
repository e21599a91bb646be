"""Fashion-MNIST, conv net without any normalisation, SGD with momentum: a large lr kills it."""

from torch import nn

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def data() -> Splits:
    """40,000 images train and the next 4,000 validate, as for the net with BatchNorm."""
    return fashion_mnist(num_train=40_000, num_val=4_000)


def model() -> nn.Module:
    """fashion_bn's net with biases in place of BatchNorm: 33,546 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 4 * 4, 10),
    )


TASKS = (
    Task(
        name="fashion_plain",
        title="Fashion-MNIST, 3-layer conv net without normalisation, batch 64",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=64,
        families=(OptimizerFamily("sgd", lr_grid(0.08), default="sgd_step", weight_decay=5e-4),),
        handmade="step",
        remark="nothing holds the activations: a too large lr kills the units for good",
    ),
)
