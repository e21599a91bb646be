"""The LRTuner papers' own experiment (AutoLR, Table 14): their net on Fashion-MNIST, three optimizers, many epochs."""

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.papers_net import model
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

EPOCHS = 15
BATCH_SIZE = 64  # the example's default, which the papers take over


def data() -> Splits:
    """12,000 images train, 2,000 validate: a fifth of the papers' data."""
    return fashion_mnist(num_train=12_000, num_val=2_000)


FAMILIES = (
    OptimizerFamily("sgd", lr_grid(0.1), default="constant_unwarmed"),
    OptimizerFamily("plain_sgd", lr_grid(0.1), default="constant_unwarmed"),
    OptimizerFamily("adam", lr_grid(0.001), default="constant_unwarmed"),
)

TASKS = (
    Task(
        name="papers_fashion",
        title="Fashion-MNIST (12,000 images, 15 epochs), the LRTuner papers' 4-layer net, batch 64",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=EPOCHS * (12_000 // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        families=FAMILIES,
        experiment=True,
        remark="the papers' experiment at a fifth of their images and a third of their epochs",
    ),
)
