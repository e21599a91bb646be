"""Tables of the UCI repository from Debian's ``r-cran-mlbench``: letters and satellite pictures."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrpilot_bench.data.folder import (
    PathLike,
    check_files,
    debian_packages,
    fetch_checked,
    find_folder,
    read_checked,
)
from lrpilot_bench.data.r_data import data_frame

SUBFOLDER = "mlbench"
SUMS = {
    "LetterRecognition.rda": "967a1a3e10b548d7269cbe50182bcecd6365cc58ea07638bbc34c51f17f34f1d",
    "Satellite.rda": "29f8cf9bb1bc51b769d694c9caf740fd1c36ed6a7c87603edf5985962e330f64",
}
PACKAGE = "r-cran-mlbench"
FOLDER = "usr/lib/R/site-library/mlbench/data"


@dataclass(frozen=True)
class Table:
    """Numbers and what they are to tell.

    Attributes:
        inputs: float64, rows x columns, as published.
        targets: int64 class numbers, in the order of ``classes``.
        classes: names, sorted.
    """

    inputs: NDArray[np.float64]
    targets: NDArray[np.int64]
    classes: tuple[str, ...]


def letters(folder: PathLike | None = None) -> Table:
    """20,000 images of capital letters as 16 whole numbers from 0 to 15 (Frey and Slate 1991)."""
    return _table("LetterRecognition", "lettr", folder)


def satellite(folder: PathLike | None = None) -> Table:
    """6,435 patches of a Landsat picture: 3 x 3 pixels of 4 bands, pixel by pixel, from 0 to 255; 6 kinds of soil."""
    return _table("Satellite", "classes", folder)


def _table(name: str, label: str, folder: PathLike | None) -> Table:
    """A table whose column ``label`` is the target.

    Raises:
        MissingDependencyError: the file is not there; the message says how to get it.
        DataError: it is not the published one.
    """
    file = f"{name}.rda"
    columns = data_frame(read_checked(find_mlbench(folder) / file, SUMS[file]))
    classes, targets = np.unique(np.array(columns.pop(label)), return_inverse=True)
    inputs = np.array(list(columns.values()), dtype=np.float64).T
    return Table(inputs, targets.astype(np.int64), tuple(map(str, classes)))


def fetch_mlbench(folder: PathLike | None = None) -> Path:
    """Put the two files into the data folder, unless they are there."""
    return fetch_checked(find_mlbench, SUMS, _download, subfolder=SUBFOLDER, folder=folder)


def find_mlbench(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The tables of mlbench", SUMS, subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    return check_files(debian_packages([PACKAGE], scratch) / FOLDER, SUMS)
