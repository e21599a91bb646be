"""The King James text, from Debian's ``bible-kjv``: public domain, 4.1 million characters."""

import re
from pathlib import Path

from lrpilot_bench.data.folder import (
    PathLike,
    check_files,
    debian_packages,
    fetch_checked,
    find_folder,
    read_checked,
    run_tool,
)

SUBFOLDER = "king-james"
FILE = "kjv.txt"
SUMS = {FILE: "cd45f0c9cedab8e4439bd6486c8952c77cc8b0ecc5d1f6ae3513f2039f47229d"}


def king_james(folder: PathLike | None = None) -> str:
    """The verses in order, one a line, without their references: 63 different characters.

    Raises:
        MissingDependencyError: the file is not there; the message says how to get it.
        DataError: it is not the published one.
    """
    content = read_checked(find_king_james(folder) / FILE, SUMS[FILE]).decode("ascii")
    return re.sub(r"^\S+ ", "", content, flags=re.MULTILINE)


def king_james_verses(folder: PathLike | None = None) -> list[tuple[str, str]]:
    """The 31,102 verses in order, each with the short name of its book ("Gen"), of which there are 66.

    Raises:
        MissingDependencyError: the file is not there; the message says how to get it.
        DataError: it is not the published one.
    """
    content = read_checked(find_king_james(folder) / FILE, SUMS[FILE]).decode("ascii")
    found = (re.fullmatch(r"(\S+?)\d+:\d+ (.*)", line) for line in content.splitlines())
    return [(match[1], match[2]) for match in found if match is not None]


def fetch_king_james(folder: PathLike | None = None) -> Path:
    """Put ``kjv.txt`` into the data folder, unless it is there; what the package's own program prints."""
    return fetch_checked(find_king_james, SUMS, _download, subfolder=SUBFOLDER, folder=folder)


def find_king_james(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The King James text", SUMS, subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    root = debian_packages(["bible-kjv", "bible-kjv-text"], scratch)
    text = run_tool([str(root / "usr/bin/bible"), "-p", str(root / "usr/lib"), "-f", "gen1:1-rev22:21"], scratch)
    (scratch / FILE).write_text(text, encoding="ascii")
    return check_files(scratch, SUMS)
