"""Fashion-MNIST on one processor core: find a learning rate for a decaying schedule, then train with it.

    python examples/fashion_mnist.py                     # about half a minute, finding included
    lrpilot find examples/fashion_mnist.py:training      # the same search from the command line

The four factories differ in what makes a learning rate hard to choose: with or without BatchNorm, SGD with
momentum or AdamW.
"""

import gzip
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    from lrpilot import Training

# The files of the Debian package dataset-fashion-mnist, or those that `make data` fetches.
FOLDERS = ("/usr/share/datasets/fashion-mnist", "~/.cache/lrpilot/fashion-mnist")
MEAN, STD = 0.2860, 0.3530  # of the 60,000 training images, pixels in [0, 1]
NUM_TRAIN = 12_000  # images; a fifth of the training file, so that an epoch takes half a second
NUM_VAL = 2_000  # images from the rest of the training file; the test file stays unread
BATCH_SIZE = 128  # images; 93 whole batches an epoch
VAL_BATCH_SIZE = 500  # images; no gradients are kept, so larger batches cost no memory that matters
EPOCHS = 12  # 1,116 steps: long enough that a wrong lr shows, short enough to repeat hundreds of times
TOTAL_STEPS = EPOCHS * (NUM_TRAIN // BATCH_SIZE)  # optimizer steps
WARMUP = 0.05  # of the steps, rising linearly to the peak lr
MOMENTUM = 0.9  # of SGD, the usual value
WEIGHT_DECAY = 0.01  # of AdamW, torch's default
CHANNELS = (8, 16, 32)  # small: about 5 ms per step on one core, and still above 85 % accuracy


class SmallConvNet(nn.Module):
    """Three 3 x 3 convolutions and a linear layer: 28 -> 14 -> 7 -> 4 pixels, 11,000 parameters.

    Args:
        batch_norm: normalise after each convolution. Without it a too large lr kills the network.
    """

    def __init__(self, *, batch_norm: bool = True) -> None:
        super().__init__()
        first, second, third = CHANNELS
        self.features = nn.Sequential(
            _block(1, first, stride=2, batch_norm=batch_norm),
            _block(first, second, stride=2, batch_norm=batch_norm),
            _block(second, third, stride=2, batch_norm=batch_norm),
        )
        self.classify = nn.Linear(third * 4 * 4, 10)  # 10 classes

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, n x 10, of images n x 1 x 28 x 28."""
        scores: Tensor = self.classify(self.features(images).flatten(1))
        return scores


def _block(inputs: int, outputs: int, *, stride: int, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=not batch_norm)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs) if batch_norm else nn.Identity(), nn.ReLU())


Batch = tuple[Tensor, Tensor]


class Images(NamedTuple):
    """Images n x 1 x 28 x 28 with mean 0 and standard deviation 1, and their classes, in two parts."""

    train: TensorDataset
    val: list[Batch]


@cache
def data() -> Images:
    """The images, read once."""
    named = os.environ.get("LRPILOT_DATA")
    folders = [Path(named), Path(named) / "fashion-mnist"] if named else [Path(name).expanduser() for name in FOLDERS]
    folder = next((folder for folder in folders if (folder / "train-images-idx3-ubyte.gz").is_file()), None)
    if folder is None:
        raise SystemExit(f"Fashion-MNIST is not in {', '.join(map(str, folders))}. Get it with `make data`.")
    count = NUM_TRAIN + NUM_VAL
    pixels, classes = read_idx(folder / "train-images-idx3-ubyte.gz"), read_idx(folder / "train-labels-idx1-ubyte.gz")
    images = pixels[:count].float().div_(255).sub_(MEAN).div_(STD).unsqueeze(1)
    labels = classes[:count].long()
    held_out = zip(images[NUM_TRAIN:].split(VAL_BATCH_SIZE), labels[NUM_TRAIN:].split(VAL_BATCH_SIZE), strict=True)
    return Images(TensorDataset(images[:NUM_TRAIN], labels[:NUM_TRAIN]), list(held_out))


def train_loader(seed: int) -> DataLoader:
    """Training batches, shuffled anew every epoch; the order depends on the seed and nothing else."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(data().train, BATCH_SIZE, shuffle=True, drop_last=True, generator=generator)


def read_idx(path: Path) -> Tensor:
    """A file of bytes in the IDX format: the number of dimensions is its fourth byte, their sizes follow."""
    content = gzip.decompress(path.read_bytes())
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).copy().reshape(shape))


def loss_fn(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of a batch, in nats."""
    images, labels = batch
    return nn.functional.cross_entropy(model(images), labels)


def make_model(*, batch_norm: bool, seed: int) -> SmallConvNet:
    """A new network; ``seed`` fixes its initial weights."""
    torch.manual_seed(seed)
    return SmallConvNet(batch_norm=batch_norm)


def make_optimizer(name: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """``name`` is "sgd" (with momentum) or "adamw"."""
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM)
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=WEIGHT_DECAY)


def make_training(*, batch_norm: bool, optimizer: str, seed: int) -> "Training":
    """Everything a run needs, in the object that lrpilot measures and flies."""
    from lrpilot import Training

    model = make_model(batch_norm=batch_norm, seed=seed)
    return Training(
        model,
        make_optimizer(optimizer, model, lr=0.1 if optimizer == "sgd" else 1e-3),  # textbook defaults, to be replaced
        loss_fn,
        train_loader(seed),
        data().val,
        seed=seed,
    )


def training(*, seed: int = 0) -> "Training":
    """BatchNorm, SGD with momentum."""
    return make_training(batch_norm=True, optimizer="sgd", seed=seed)


def training_adamw(*, seed: int = 0) -> "Training":
    """BatchNorm, AdamW."""
    return make_training(batch_norm=True, optimizer="adamw", seed=seed)


def training_plain(*, seed: int = 0) -> "Training":
    """No BatchNorm, SGD with momentum: a too large lr kills this network."""
    return make_training(batch_norm=False, optimizer="sgd", seed=seed)


def training_plain_adamw(*, seed: int = 0) -> "Training":
    """No BatchNorm, AdamW."""
    return make_training(batch_norm=False, optimizer="adamw", seed=seed)


@torch.no_grad()
def evaluate(model: nn.Module) -> tuple[float, float]:
    """Mean loss and accuracy on the validation images, in evaluation mode; the mode is put back."""
    mode = model.training
    model.eval()
    loss = correct = 0.0
    for images, labels in data().val:
        scores = model(images)
        loss += nn.functional.cross_entropy(scores, labels, reduction="sum").item()
        correct += (scores.argmax(dim=1) == labels).sum().item()
    model.train(mode)
    count = NUM_VAL
    return loss / count, correct / count


def main() -> None:
    """Find the peak lr, train under warmup and linear decay, print what came out."""
    from lrpilot import Schedule, find_lr, fit

    torch.set_num_threads(1)  # a net this small gains nothing from a second thread
    run = training(seed=0)
    found = find_lr(run, target="decay")
    print(f"peak lr {found.lr}: {found.status} (cost: {found.cost.steps:.0f} training steps)")
    if found.lr is None:
        return
    fit(run, Schedule("linear", lr=found.lr, warmup=WARMUP), total_steps=TOTAL_STEPS)
    loss, accuracy = evaluate(run.model)
    print(f"after {TOTAL_STEPS} steps: validation loss {loss:.4f}, accuracy {accuracy:.1%}")


if __name__ == "__main__":
    main()
