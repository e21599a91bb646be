"""Fashion-MNIST from its four files (Xiao et al. 2017)."""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrpilot.errors import DataError, MissingDependencyError, SettingError
from lrpilot_bench.data.folder import PathLike, data_folder, debian_packages, fill, find_folder, read_checked
from lrpilot_bench.data.splits import Split, Splits

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
SUBFOLDER = "fashion-mnist"

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"

# sha256 of the content, not of the .gz file: Debian and the authors compressed it differently.
FASHION_SUMS: Mapping[str, str] = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530  # of the 60,000 training images, pixels in [0, 1]


def fashion_mnist(folder: PathLike | None = None, *, num_train: int = 12_000, num_val: int = 2_000) -> Splits:
    """Fashion-MNIST: 28 x 28 grey images of clothing in 10 classes.

    Args:
        folder: where the four .gz files lie, themselves or in a subfolder ``fashion-mnist``. When None:
            ``LRPILOT_DATA``, else the Debian package's folder if present, else the user's cache folder.
        num_train: images from the beginning of the training file.
        num_val: the images right after them; the test file is kept whole and apart.

    Returns:
        Inputs n x 1 x 28 x 28 with mean 0 and standard deviation 1, targets 0-9.

    Raises:
        MissingDependencyError: a file is not there; the message says how to get it.
        DataError: a file is not the published one.
    """
    found = find_fashion_mnist(folder)
    files = {name: _read_idx(found / name) for name in FASHION_SUMS}
    available = len(files[TRAIN_LABELS])
    if num_train < 1 or num_val < 1 or num_train + num_val > available:
        raise SettingError(
            f"num_train and num_val must be positive and add up to at most {available}, got {num_train} and {num_val}."
        )
    images, labels = files[TRAIN_IMAGES], files[TRAIN_LABELS]
    return Splits(
        _split(images[:num_train], labels[:num_train]),
        _split(images[num_train : num_train + num_val], labels[num_train : num_train + num_val]),
        _split(files[TEST_IMAGES], files[TEST_LABELS]),
    )


def fetch_fashion_mnist(folder: PathLike | None = None) -> Path:
    """Put the four files into the data folder with Debian's own tools, unless they are at hand already.

    Returns:
        The folder that holds them.

    Raises:
        MissingDependencyError: this is no Debian-like system, or the package could not be downloaded.
        DataError: what came is not the published data.
    """
    try:
        return _checked(find_fashion_mnist(folder))
    except MissingDependencyError:
        return fill(data_folder(folder) / SUBFOLDER, list(FASHION_SUMS), _download)


def _download(scratch: Path) -> Path:
    return _checked(debian_packages([DEBIAN_PACKAGE], scratch).joinpath(*DEBIAN_FOLDER.parts[1:]))


def find_fashion_mnist(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    also = f"'apt-get install {DEBIAN_PACKAGE}'"
    return find_folder(
        "Fashion-MNIST", FASHION_SUMS, subfolder=SUBFOLDER, folder=folder, system=DEBIAN_FOLDER, also=also
    )


def _checked(place: Path) -> Path:
    for name in FASHION_SUMS:
        if not (place / name).is_file():
            raise DataError(f"The package must hold {name}, got none. Update the package lists and fetch again.")
        _content(place / name)
    return place


def _split(images: Tensor, labels: Tensor) -> Split:
    scaled = images.float().div_(255).sub_(FASHION_MEAN).div_(FASHION_STD)
    return Split(scaled.unsqueeze(1), labels.long())


def _read_idx(path: Path) -> Tensor:
    """Check one file and unpack it: uint8, in the shape its header states."""
    data = _content(path)
    start = 4 + 4 * data[3]  # two zeros, the type code (8: unsigned bytes), the number of dimensions, their sizes
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).copy().reshape(shape))


def _content(path: Path) -> bytes:
    return read_checked(path, FASHION_SUMS[path.name], unpack=_gunzip)


def _gunzip(packed: bytes) -> bytes:
    try:
        return gzip.decompress(packed)
    except zlib.error as error:  # not a ValueError, unlike what else can be wrong
        raise ValueError(str(error)) from error
