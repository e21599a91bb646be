"""The experiment of loss-weighted factors, in the small: a net with BatchNorm, plain SGD at lr 0.005, batch 32.

Its paper trains a ResNet-18 on CIFAR-10 for 100 epochs with PyTorch's defaults.
"""

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.fashion_bn import model
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

EPOCHS = 15
BATCH_SIZE = 32


def data() -> Splits:
    """12,000 images train, 2,000 validate."""
    return fashion_mnist(num_train=12_000, num_val=2_000)


TASKS = (
    Task(
        name="factors_fashion",
        title="Fashion-MNIST (12,000 images, 15 epochs), 3-layer conv net with BatchNorm, batch 32",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=EPOCHS * (12_000 // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        families=(OptimizerFamily("plain_sgd", lr_grid(0.05), default="constant_unwarmed"),),
        experiment=True,
        remark="the shape of the paper's Table 1 and figures: same start lr for all",
    ),
)
