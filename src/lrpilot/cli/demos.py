"""What ``lrpilot demo`` trains: small classifiers, on scikit-learn's digits (no file needed) and on Fashion-MNIST."""

import gzip
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrpilot.errors import DataError, MissingDependencyError
from lrpilot.training import Training

Batch = tuple[Tensor, Tensor]

# Optimizer steps of a run: 43 epochs of the digits (three seeds take half a minute on one core), 3 of Fashion-MNIST.
DIGITS_STEPS, FASHION_STEPS = 1600, 2500
DATA_VARIABLE = "LRPILOT_DATA"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530  # of the 60,000 training images, pixels in [0, 1]
NUM_TRAIN, NUM_VAL = 50_000, 2_000  # images of Fashion-MNIST's training file; its test file stays unread


@dataclass(frozen=True)
class Data:
    """A data set in two parts: inputs (float32, n x ..., standardised) and class numbers (int64, n)."""

    train_inputs: Tensor
    train_targets: Tensor
    val_inputs: Tensor
    val_targets: Tensor

    def loader(self, batch_size: int, *, seed: int) -> "DataLoader[tuple[Tensor, ...]]":
        """Training batches, shuffled anew every epoch by a generator of the loader's own; a smaller rest is dropped."""
        generator = torch.Generator().manual_seed(seed)
        rows = TensorDataset(self.train_inputs, self.train_targets)
        return DataLoader(rows, batch_size, shuffle=True, drop_last=True, generator=generator)

    def held_out(self, batch_size: int) -> list[Batch]:
        """Validation batches, in order."""
        return list(zip(self.val_inputs.split(batch_size), self.val_targets.split(batch_size), strict=True))


def digits() -> Data:
    """scikit-learn's handwritten digits (8 x 8 pixels), standardised with the training part's statistics.

    1,797 in all: 300 are held out, and 300 more are left alone.
    """
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(targets))
    _, val, train = np.split(order, [300, 600])
    mean, std = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    scaled = torch.from_numpy((inputs - mean) / np.where(std > 0, std, 1.0)).float()  # corner pixels are always 0
    classes = torch.from_numpy(targets).long()
    return Data(scaled[train], classes[train], scaled[val], classes[val])


def fashion_mnist() -> Data:
    """Fashion-MNIST: 28 x 28 grey images of clothing in 10 classes (Xiao et al. 2017).

    Raises:
        MissingDependencyError: its files are not there; the message says how to get them.
        DataError: a file is damaged.
    """
    folder = _fashion_folder()
    images, labels = _read_idx(folder / IMAGES), _read_idx(folder / LABELS).long()
    scaled = images[: NUM_TRAIN + NUM_VAL].float().div_(255).sub_(FASHION_MEAN).div_(FASHION_STD).unsqueeze(1)
    held_out = slice(NUM_TRAIN, NUM_TRAIN + NUM_VAL)
    return Data(scaled[:NUM_TRAIN], labels[:NUM_TRAIN], scaled[held_out], labels[held_out])


def _fashion_folder() -> Path:
    named = os.environ.get(DATA_VARIABLE)
    base = Path(named) if named else Path.home() / ".cache" / "lrpilot"
    places = [*([] if named else [DEBIAN_FOLDER]), base / "fashion-mnist", base]
    for place in places:
        if all((place / name).is_file() for name in (IMAGES, LABELS)):
            return place
    raise MissingDependencyError(
        f"Fashion-MNIST needs {IMAGES} and {LABELS}, looked in vain for them in {', '.join(map(str, places))}. "
        f"Get them with 'apt-get install {DEBIAN_PACKAGE}' or 'lrpilot bench data' (of the distribution "
        f"lrpilot-bench), or name their folder in {DATA_VARIABLE}."
    )


def _read_idx(path: Path) -> Tensor:
    """One file: uint8, in the shape that its header states."""
    try:
        data = gzip.decompress(path.read_bytes())
        start = 4 + 4 * data[3]  # two zeros, the type code (8: unsigned bytes), the number of dimensions, their sizes
        shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
        return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).copy().reshape(shape))
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DataError(f"{path.name} must be a whole file, got one that is not ({error}). Get it again.") from error


@dataclass(frozen=True)
class Demo:
    """What the demo trains.

    Attributes:
        title: one line.
        make: a fresh training from a seed: the same seed, the same weights and batches.
        accuracy: share of the validation set that a trained model gets right.
        steps: optimizer steps of a run.
    """

    title: str
    make: Callable[[int], Training]
    accuracy: Callable[[Training], float]
    steps: int


def demo_on(data: str) -> Demo:
    """What is trained on "digits" or "fashion-mnist".

    Raises:
        MissingDependencyError: Fashion-MNIST is not there; the message says how to get it.
    """
    if data == "digits":
        title = "scikit-learn's digits with jittered pixels, 3-layer MLP, AdamW, batch 32"
        return _classification(title, digits(), _mlp, batch_size=32, steps=DIGITS_STEPS, jitter=0.7)
    title = "Fashion-MNIST (50,000 images), 3 convolutions with BatchNorm, AdamW, batch 64"
    return _classification(title, fashion_mnist(), _conv_net, batch_size=64, steps=FASHION_STEPS)


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def _conv_net() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((1, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 4 * 4, 10))


def _classification(
    title: str, data: Data, fresh: Callable[[], nn.Module], *, batch_size: int, steps: int, jitter: float = 0.0
) -> Demo:
    """A demo from a data set and a model; ``jitter`` is the deviation of noise added to inputs in training."""

    def loss_fn(model: nn.Module, batch: Batch) -> torch.Tensor:
        inputs, targets = batch
        if model.training and jitter > 0:
            inputs = inputs + jitter * torch.randn_like(inputs)
        return torch.nn.functional.cross_entropy(model(inputs), targets)

    def make(seed: int) -> Training:
        torch.manual_seed(seed)
        model = fresh()
        loader, held_out = data.loader(batch_size, seed=seed), data.held_out(256)
        return Training(model, torch.optim.AdamW(model.parameters()), loss_fn, loader, held_out, seed=seed)

    def accuracy(training: Training) -> float:
        with torch.no_grad():
            right = training.model.eval()(data.val_inputs).argmax(1) == data.val_targets
        return float(right.float().mean())

    return Demo(title, make, accuracy, steps)
