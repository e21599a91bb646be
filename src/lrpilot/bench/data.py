"""Real data without a download at import: scikit-learn's digits, and Fashion-MNIST from its four files.

Files are looked for in one data folder, checked by their sha256 before use, and never written by a loader;
:func:`fetch_fashion_mnist` (``python -m lrpilot.bench.data``) is the only function that writes.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrpilot.bench.splits import Split
from lrpilot.bench.splits import Splits as Splits  # part of this module's face
from lrpilot.errors import DataError, MissingDependencyError, SettingError

DATA_VARIABLE = "LRPILOT_DATA"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_PACKAGE = "dataset-fashion-mnist"
SUBFOLDER = "fashion-mnist"

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"

# sha256 of the content, not of the .gz file: Debian and the authors (Xiao et al. 2017) compressed it differently.
FASHION_SUMS: Mapping[str, str] = {
    TRAIN_IMAGES: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    TRAIN_LABELS: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    TEST_IMAGES: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    TEST_LABELS: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
FASHION_MEAN, FASHION_STD = 0.2860, 0.3530  # of the 60,000 training images, pixels in [0, 1]


# ------------------------------------------------------------------ digits


def digits(*, seed: int = 0, num_val: int = 300, num_test: int = 300) -> Splits:
    """scikit-learn's 1,797 handwritten digits (8 x 8 pixels), standardised with the training part's statistics.

    Args:
        seed: of the split.
        num_val: validation samples.
        num_test: test samples; the rest trains.

    Returns:
        Inputs n x 64, targets 0-9.
    """
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    if not 0 < num_val + num_test < len(targets):
        raise SettingError(f"num_val + num_test must be in (0, {len(targets)}), got {num_val} + {num_test}.")
    order = np.random.default_rng(seed).permutation(len(targets))
    test, val, train = np.split(order, [num_test, num_test + num_val])
    mean, std = inputs[train].mean(axis=0), inputs[train].std(axis=0)
    scaled = (inputs - mean) / np.where(std > 0, std, 1.0)  # corner pixels are always 0

    def part(rows: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Split:
        return Split(torch.from_numpy(scaled[rows]).float(), torch.from_numpy(targets[rows]).long())

    return Splits(part(train), part(val), part(test))


# ------------------------------------------------------------------ Fashion-MNIST


def data_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """The folder that data files are read from and fetched to.

    Args:
        folder: taken as it is when given.

    Returns:
        ``folder``, else the environment's ``LRPILOT_DATA``, else the user's cache folder.
    """
    if folder is not None:
        return Path(folder)
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "lrpilot"


def fashion_mnist(
    folder: str | os.PathLike[str] | None = None, *, num_train: int = 12_000, num_val: int = 2_000
) -> Splits:
    """Fashion-MNIST: 28 x 28 grey images of clothing in 10 classes (Xiao et al. 2017).

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
    found = _find_fashion(folder)
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


def _split(images: Tensor, labels: Tensor) -> Split:
    scaled = images.float().div_(255).sub_(FASHION_MEAN).div_(FASHION_STD)
    return Split(scaled.unsqueeze(1), labels.long())


def _find_fashion(folder: str | os.PathLike[str] | None) -> Path:
    """The first folder that holds all four files."""
    base = data_folder(folder)
    places = [base / SUBFOLDER, base]
    if folder is None and not os.environ.get(DATA_VARIABLE):
        places.insert(0, DEBIAN_FOLDER)
    for place in places:
        if all((place / name).is_file() for name in FASHION_SUMS):
            return place
    raise MissingDependencyError(
        f"Fashion-MNIST needs its four .gz files, found them in none of {', '.join(map(str, places))}. "
        f"Get them with 'apt-get install {DEBIAN_PACKAGE}' or 'make data', or name their folder in {DATA_VARIABLE}."
    )


def _read_idx(path: Path) -> Tensor:
    """Check one file and unpack it: uint8, in the shape its header states."""
    data = _checked_content(path)
    start = 4 + 4 * data[3]  # two zeros, the type code (8: unsigned bytes), the number of dimensions, their sizes
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=start).copy().reshape(shape))


def _checked_content(path: Path) -> bytes:
    remedy = f"Delete {path} and get it again with 'make data'."
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} must be a whole gzip file, got one that is not ({error}). {remedy}") from error
    expected, got = FASHION_SUMS[path.name], hashlib.sha256(data).hexdigest()
    if got != expected:
        raise DataError(f"The content of {path.name} must have sha256 {expected}, got {got}. {remedy}")
    return data


# ------------------------------------------------------------------ fetching


def fetch_fashion_mnist(folder: str | os.PathLike[str] | None = None) -> Path:
    """Put the four files into the data folder with Debian's own tools, unless they are at hand already.

    Returns:
        The folder that holds them.

    Raises:
        MissingDependencyError: this is no Debian-like system, or the package could not be downloaded.
        DataError: what came is not the published data.
    """
    try:
        return _checked(_find_fashion(folder))
    except MissingDependencyError:
        pass
    target = data_folder(folder) / SUBFOLDER
    with tempfile.TemporaryDirectory() as scratch:
        _run_tool(["apt-get", "download", DEBIAN_PACKAGE], scratch)
        for package in Path(scratch).glob("*.deb"):
            _run_tool(["dpkg-deb", "-x", str(package), scratch], scratch)
        unpacked = _checked(Path(scratch, *DEBIAN_FOLDER.parts[1:]))
        target.mkdir(parents=True, exist_ok=True)
        for name in FASHION_SUMS:
            shutil.move(unpacked / name, target / name)
    return target


def _checked(place: Path) -> Path:
    for name in FASHION_SUMS:
        if not (place / name).is_file():
            raise DataError(f"The package must hold {name}, got none in {place}. Update the package lists and retry.")
        _checked_content(place / name)
    return place


def _run_tool(command: list[str], folder: str) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise MissingDependencyError(
            f"Fetching needs the program {command[0]!r}, found none. Copy the four .gz files of Fashion-MNIST into a "
            f"folder by hand and name it in {DATA_VARIABLE}."
        ) from error
    except subprocess.CalledProcessError as error:
        raise MissingDependencyError(
            f"'{' '.join(command)}' must succeed, got exit status {error.returncode}: {error.stderr.strip()}. "
            "Run 'apt-get update' first, or copy the files by hand."
        ) from error


if __name__ == "__main__":
    sys.stdout.write(f"{fetch_fashion_mnist(sys.argv[1] if len(sys.argv) > 1 else None)}\n")
