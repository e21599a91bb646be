"""The LRTuner papers' own experiment (AutoLR, Table 14) at their size: 50 epochs of all images."""

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.papers_net import model
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

EPOCHS = 50
BATCH_SIZE = 64


def data() -> Splits:
    """59,000 images train; 1,000 are kept back, because everything here is judged on images of its own."""
    return fashion_mnist(num_train=59_000, num_val=1_000)


TASKS = (
    Task(
        name="papers_fashion_full",
        title="Fashion-MNIST (59,000 images, 50 epochs), the LRTuner papers' 4-layer net, batch 64",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=EPOCHS * (59_000 // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        families=(OptimizerFamily("sgd", lr_grid(0.1), default="constant_unwarmed"),),
        large=True,
        experiment=True,
        remark="the papers' experiment; about 20 minutes a run on one core",
    ),
)
