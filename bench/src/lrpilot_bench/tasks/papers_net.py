"""Fashion-MNIST, the net of the LRTuner papers (AutoLR, Table 14): pytorch/examples' MNIST net before November 2019."""

from torch import Tensor, nn

from lrpilot_bench.data import fashion_mnist
from lrpilot_bench.data.splits import Splits
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid


def data() -> Splits:
    """20,000 images train, each seen once in 1,000 steps; the next 2,000 validate."""
    return fashion_mnist(num_train=20_000, num_val=2_000)


class ChannelsLast(nn.Module):
    """Images of one channel, laid out with the channel last: pooling takes a third of the time, values stay."""

    def forward(self, images: Tensor) -> Tensor:
        """N x 1 x height x width; ``contiguous(memory_format=...)`` would do nothing where one layout fits both."""
        return images.reshape(len(images), *images.shape[2:], 1).movedim(-1, 1)


def model() -> nn.Module:
    """Convolutions of 20 and 50 channels, 5 x 5, no dropout: 431,080 parameters."""
    return nn.Sequential(
        ChannelsLast(),
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 4 * 50, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    )


TASKS = (
    Task(
        name="papers_net",
        title="Fashion-MNIST, the LRTuner papers' 4-layer net, batch 20",
        module=__name__,
        load=data,
        make_model=model,
        criterion=class_loss,
        score=class_accuracy,
        steps=1000,
        batch_size=20,
        families=(
            OptimizerFamily("adamw", lr_grid(0.003), default="adamw_constant", weight_decay=0.01),
            OptimizerFamily("sgd", lr_grid(0.03), default="sgd_step", weight_decay=5e-4),
        ),
        remark="the papers' own case, with small batches",
    ),
)
