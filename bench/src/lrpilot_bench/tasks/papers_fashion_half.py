"""The LRTuner papers' experiment with half the momentum, in both sizes.

Their "Momentum" row states no value, and fixed lr 0.1 with 0.9 comes out far above the training loss they print. The
example whose net they took had 0.5 as its default.
"""

from lrpilot_bench.tasks import papers_fashion, papers_fashion_full
from lrpilot_bench.tasks.papers_net import model
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

BATCH_SIZE = 64
FAMILIES = (OptimizerFamily("sgd", lr_grid(0.1), default="constant_unwarmed", momentum=0.5),)

TASKS = (
    Task(
        name="papers_fashion_half",
        title="Fashion-MNIST (12,000 images, 15 epochs), the LRTuner papers' 4-layer net, batch 64, momentum 0.5",
        module=__name__,
        load=papers_fashion.data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=15 * (12_000 // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        families=FAMILIES,
        experiment=True,
        remark="the papers' experiment at a fifth of their images, with the momentum of the example they took over",
    ),
    Task(
        name="papers_fashion_full_half",
        title="Fashion-MNIST (59,000 images, 50 epochs), the LRTuner papers' 4-layer net, batch 64, momentum 0.5",
        module=__name__,
        load=papers_fashion_full.data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=50 * (59_000 // BATCH_SIZE),
        batch_size=BATCH_SIZE,
        families=FAMILIES,
        large=True,
        experiment=True,
        remark="the papers' experiment, with the momentum of the example they took over; 15 minutes a run on one core",
    ),
)
