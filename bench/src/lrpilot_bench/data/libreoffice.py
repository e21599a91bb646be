"""English-German sentence pairs: the paragraphs of LibreOffice's help, translated by people (MPL-2.0)."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lrpilot.errors import DataError, MissingDependencyError
from lrpilot_bench.data.folder import HOW, PathLike, data_folder, debian_packages, fill, find_folder

SUBFOLDER = "libreoffice-help"
FILE = "en-de.tsv"  # columns: help page, English, German
MIN_PAIRS = 30_000  # no sha256: Debian's security updates replace the package; 7.4.7 has 35,254
HELP = "usr/share/libreoffice/help"
PACKAGES = ("libreoffice-help-en-us", "libreoffice-help-de")

PARAGRAPH = re.compile(r'<(p|h\d)\b[^>]*\bid="((?:par|hd)_id[^"]+)"[^>]*>(.*?)</\1>', re.DOTALL)


@dataclass(frozen=True, order=True)
class Pair:
    """One paragraph in both languages.

    Attributes:
        page: file of the help it stands on; a split by page keeps near-duplicates together.
        english: text, its white space single blanks.
        german: its translation.
    """

    page: str
    english: str
    german: str


def libreoffice_help(folder: PathLike | None = None) -> list[Pair]:
    """Every pair once, sorted by page; paragraphs that were left untranslated are left out.

    Raises:
        MissingDependencyError: the file is not there; the message says how to get it.
        DataError: it holds too little to be the whole help.
    """
    path = find_libreoffice_help(folder) / FILE
    *lines, rest = path.read_text(encoding="utf-8").split("\n")
    pairs = [Pair(*row) for row in (line.split("\t") for line in lines) if len(row) == 3]
    if rest or len(pairs) != len(lines) or len(pairs) < MIN_PAIRS:
        raise DataError(
            f"{FILE} must hold at least {MIN_PAIRS:,} whole lines of 3 columns, got {len(pairs):,} of "
            f"{len(lines) + bool(rest):,} lines. Delete {path} and get it again with {HOW}."
        )
    return pairs


def fetch_libreoffice_help(folder: PathLike | None = None) -> Path:
    """Put the pairs into the data folder, unless they are there: extracted from Debian's help packages."""
    try:
        libreoffice_help(folder)
        return find_libreoffice_help(folder)
    except MissingDependencyError:
        return fill(data_folder(folder) / SUBFOLDER, [FILE], _download)


def find_libreoffice_help(folder: PathLike | None = None) -> Path:
    """The folder that holds its files, unchecked; a MissingDependencyError says how to get what is missing."""
    return find_folder("The LibreOffice help", [FILE], subfolder=SUBFOLDER, folder=folder)


def _download(scratch: Path) -> Path:
    root = debian_packages(PACKAGES, scratch) / HELP
    pairs = pairs_of(root / "en-US", root / "de")
    if len(pairs) < MIN_PAIRS:
        raise DataError(f"The packages must hold at least {MIN_PAIRS:,} pairs, got {len(pairs):,}.")
    lines = [f"{pair.page}\t{pair.english}\t{pair.german}\n" for pair in pairs]
    (scratch / FILE).write_text("".join(lines), encoding="utf-8")
    return scratch


def pairs_of(english: Path, german: Path) -> list[Pair]:
    """Pairs of two unpacked help trees: paragraphs of one page and id. A pair that recurs is kept once."""
    translated = dict(_paragraphs(german))
    kept: dict[tuple[str, str], Pair] = {}
    for key, text in sorted(dict(_paragraphs(english)).items()):
        other = translated.get(key, "")
        if text and other and text != other:
            kept.setdefault((text, other), Pair(key[0], text, other))
    return sorted(kept.values())


def _paragraphs(root: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """((page, id), text) of every paragraph under a folder."""
    for path in sorted(root.rglob("*.html")):
        page = path.relative_to(root).as_posix()
        for match in PARAGRAPH.finditer(path.read_text(encoding="utf-8")):
            text = html.unescape(re.sub(r"<[^>]+>", "", match[3]))
            yield (page, match[2]), " ".join(text.split())
