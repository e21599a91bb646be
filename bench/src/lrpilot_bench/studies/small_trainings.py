"""Small trainings beside the tasks: seconds each, for numbers that take more trainings than development tasks are.

No suite runs them and nothing is judged on them. Their data is made up, scikit-learn's own, or a development task's:
none of a judging task's, but for the satellite picture, which tasks of both sides are made from. They go where the
tasks do not: batches of thousands, all of the data in one batch, a few hundred steps, saturating units, and no hidden
layer at all.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot_bench.data import digits
from lrpilot_bench.data.reuters import CLASSES
from lrpilot_bench.data.splits import Split, Splits
from lrpilot_bench.tasks import fashion_plain, reuters_bag, satellite_raw
from lrpilot_bench.tasks.task import OptimizerFamily, Task, class_accuracy, class_loss, lr_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRIEDMAN_ROWS, FRIEDMAN_HELD = 40_000, 4_000  # in all; to validate, and as many to test
SMALLEST_STD = 1e-6  # a column that never changes is left at 0

# ----------------------------------------------------------------------- data


def friedman1() -> Splits:
    """10 made-up numbers of which 5 matter, with noise; 32,000 rows train."""
    from sklearn.datasets import make_friedman1

    return _cut(
        *make_friedman1(FRIEDMAN_ROWS, noise=1.0, random_state=0), num_val=FRIEDMAN_HELD, num_test=FRIEDMAN_HELD
    )


def friedman2() -> Splits:
    """4 made-up numbers whose scales lie far apart, without noise; 32,000 rows train."""
    from sklearn.datasets import make_friedman2

    return _cut(
        *make_friedman2(FRIEDMAN_ROWS, noise=0.0, random_state=0), num_val=FRIEDMAN_HELD, num_test=FRIEDMAN_HELD
    )


def diabetes() -> Splits:
    """scikit-learn's 442 patients; 292 train."""
    from sklearn.datasets import load_diabetes

    return _cut(*load_diabetes(return_X_y=True), num_val=100, num_test=50)


def cancer() -> Splits:
    """scikit-learn's 569 tumours; 389 train."""
    from sklearn.datasets import load_breast_cancer

    return _cut(*load_breast_cancer(return_X_y=True), num_val=120, num_test=60)


def all_digits() -> Splits:
    """scikit-learn's digits; 1,200 train, which is a round batch."""
    return digits(num_test=297)


def satellite() -> Splits:
    """``satellite_raw``'s patches, scaled."""
    return _scaled(satellite_raw.data())


def _cut(inputs: "NDArray[Any]", targets: "NDArray[Any]", *, num_val: int, num_test: int) -> Splits:
    """Scaled parts in a fixed random order; float targets are numbers to predict, n x 1."""
    order = np.random.default_rng(0).permutation(len(inputs))
    test, val, train = np.split(order, [num_test, num_test + num_val])
    numbers = targets[:, None] if targets.dtype.kind == "f" else targets

    def part(rows: "NDArray[np.int64]") -> Split:
        return Split(torch.from_numpy(inputs[rows]), torch.from_numpy(numbers[rows]))

    return _scaled(Splits(part(train), part(val), part(test)))


def _scaled(splits: Splits) -> Splits:
    """By the training part's statistics: inputs, and targets that are numbers; class numbers stay."""

    def like(those: Tensor, scaled: Tensor) -> Tensor:
        return ((scaled - those.mean(dim=0)) / those.std(dim=0).clamp(min=SMALLEST_STD)).float()

    train = splits.train
    return Splits(
        *(
            Split(
                like(train.inputs, part.inputs),
                like(train.targets, part.targets) if part.targets.is_floating_point() else part.targets.long(),
            )
            for part in splits
        )
    )


# --------------------------------------------------------------------- models


def mlp(*widths: int, between: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers from width to width, with an activation between two."""
    layers: list[nn.Module] = []
    for width, after in pairwise(widths):
        layers += [nn.Linear(width, after), between()]
    return nn.Sequential(*layers[:-1])


def fashion_net() -> nn.Module:
    """784-128-128-10 with ReLU, from images."""
    return nn.Sequential(nn.Flatten(), mlp(784, 128, 128, 10))


def conv1d_net() -> nn.Module:
    """Two convolutions along the 64 pixels, row by row."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 64)),
        *(nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2)),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )


def batchnorm_net() -> nn.Module:
    """Two convolutions of the 8 x 8 pixels with BatchNorm."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(32 * 16, 10),
    )


def linear_bag() -> nn.Module:
    """Each word votes for the classes: an embedding that is summed, and nothing after it."""
    return nn.EmbeddingBag(reuters_bag.NUM_WORDS + 2, len(CLASSES), mode="sum", padding_idx=reuters_bag.PAD)


# ------------------------------------------------------------------ trainings


def adamw(middle: float) -> OptimizerFamily:
    """AdamW, its lrs around ``middle``."""
    return OptimizerFamily("adamw", lr_grid(middle), default="adamw_constant", weight_decay=0.01)


def sgd(middle: float) -> OptimizerFamily:
    """SGD with momentum 0.9, its lrs around ``middle``."""
    return OptimizerFamily("sgd", lr_grid(middle), default="sgd_step", weight_decay=5e-4)


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """In standard deviations of the target; both n x 1."""
    return (outputs - targets).abs()


def _training(name: str, title: str, **rest: Any) -> Task:
    return Task(name=name, title=title, module=__name__, **{"criterion": class_loss, "score": class_accuracy} | rest)


NUMBERS: dict[str, Any] = {
    "criterion": nn.functional.mse_loss,
    "score": absolute_error,
    "score_name": "absolute error",
    "score_better": "lower",
}

# The shortest first.
TRAININGS = (
    _training(
        "diabetes", "progress of diabetes from 10 numbers, 2-layer MLP, batch 32", **NUMBERS, load=diabetes,
        make_model=lambda: mlp(10, 64, 1), steps=300, batch_size=32, families=(adamw(0.01), sgd(0.02)),
    ),
    _training(
        "cancer", "tumours from 30 numbers, 2-layer MLP with tanh, batch 32", load=cancer,
        make_model=lambda: mlp(30, 64, 2, between=nn.Tanh), steps=500, batch_size=32,
        families=(adamw(0.01), sgd(0.1)),
    ),
    _training(
        "satellite_large_batch", "kinds of soil from 36 scaled pixels, 3-layer MLP, batch 1,024", load=satellite,
        make_model=lambda: mlp(36, 64, 64, 6), steps=300, batch_size=1024, families=(adamw(0.03), sgd(0.1)),
    ),
    _training(
        "digits_full_batch", "digits, 2-layer MLP, all 1,200 in a batch", load=all_digits,
        make_model=lambda: mlp(64, 64, 10), steps=300, batch_size=1200, families=(adamw(0.01), sgd(0.1)),
    ),
    _training(
        "digits_conv1d", "digits, two convolutions along the pixels, batch 32", load=digits,
        make_model=conv1d_net, steps=350, batch_size=32, families=(adamw(0.01), sgd(0.05)),
    ),
    _training(
        "digits_sigmoid", "digits, 3-layer MLP with sigmoids, batch 32", load=digits,
        make_model=lambda: mlp(64, 64, 64, 10, between=nn.Sigmoid), steps=1000, batch_size=32,
        families=(adamw(0.01), sgd(0.5)),
    ),
    _training(
        "digits_batchnorm", "digits, two convolutions with BatchNorm, batch 64", load=digits,
        make_model=batchnorm_net, steps=600, batch_size=64, families=(adamw(0.01), sgd(0.05)),
    ),
    _training(
        "reuters_linear", "Reuters R8, a linear classifier of its words, batch 32", load=reuters_bag.data,
        make_model=linear_bag, steps=600, batch_size=32, families=(adamw(0.01), sgd(1.0)), eval_batch_size=500,
    ),
    _training(
        "reuters_sgd", "reuters_bag's net by SGD, batch 32", load=reuters_bag.data,
        make_model=reuters_bag.BagOfWords, steps=500, batch_size=32, families=(sgd(5.0),), eval_batch_size=500,
    ),
    _training(
        "friedman2", "a made-up function of 4 numbers, 3-layer MLP, batch 2,048", **NUMBERS, load=friedman2,
        make_model=lambda: mlp(4, 64, 64, 1), steps=300, batch_size=2048, families=(adamw(0.03), sgd(0.1)),
    ),
    _training(
        "friedman1", "a made-up function of 10 numbers, 3-layer MLP, batch 4,096", **NUMBERS, load=friedman1,
        make_model=lambda: mlp(10, 64, 64, 1), steps=300, batch_size=4096, families=(adamw(0.03), sgd(0.1)),
    ),
    _training(
        "fashion_large_batch", "Fashion-MNIST, 3-layer MLP, batch 2,048", load=fashion_plain.data,
        make_model=fashion_net, steps=250, batch_size=2048, families=(adamw(0.01), sgd(0.1)),
    ),
)  # fmt: skip
