"""Loaders on tiny generated files: what they return, and what they say when files are missing or wrong."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lrpilot.errors import DataError, MissingDependencyError, SettingError
from lrpilot_bench import data
from lrpilot_bench.data import fashion, folder

NUM_TRAIN_FILE, NUM_TEST_FILE = 20, 8


def idx(array: np.ndarray) -> bytes:
    """An idx file: two zeros, type 8 (bytes), number of dimensions, big-endian sizes, data."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def contents() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (NUM_TRAIN_FILE, 28, 28))
    images[0] = 0
    images[1] = 255
    return {
        fashion.TRAIN_IMAGES: idx(images),
        fashion.TRAIN_LABELS: idx(np.arange(NUM_TRAIN_FILE) % 10),
        fashion.TEST_IMAGES: idx(rng.integers(0, 256, (NUM_TEST_FILE, 28, 28))),
        fashion.TEST_LABELS: idx(np.arange(NUM_TEST_FILE)),
    }


def write(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents().items():
        (folder / name).write_bytes(gzip.compress(content))
    return folder


@pytest.fixture(autouse=True)
def _tiny_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tiny files are the published ones here, and this machine has neither the package nor a cache."""
    monkeypatch.setattr(fashion, "FASHION_SUMS", {n: hashlib.sha256(c).hexdigest() for n, c in contents().items()})
    monkeypatch.setattr(fashion, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: tmp_path / "home"))


# ------------------------------------------------------------------ Fashion-MNIST


def test_parts_follow_one_another_in_the_training_file(tmp_path: Path) -> None:
    splits = data.fashion_mnist(write(tmp_path / "here"), num_train=12, num_val=5)

    assert splits.train.targets.tolist() == [i % 10 for i in range(12)]
    assert splits.val.targets.tolist() == [i % 10 for i in range(12, 17)]
    assert splits.test.targets.tolist() == list(range(NUM_TEST_FILE))
    assert splits.train.inputs.shape == (12, 1, 28, 28)
    assert splits.train.inputs.dtype == torch.float32 and splits.train.targets.dtype == torch.int64


def test_pixels_are_standardised_with_the_published_numbers(tmp_path: Path) -> None:
    train = data.fashion_mnist(write(tmp_path / "here"), num_train=12, num_val=5).train

    black, white = -0.2860 / 0.3530, (1 - 0.2860) / 0.3530  # by hand
    torch.testing.assert_close(train.inputs[0], torch.full((1, 28, 28), black))
    torch.testing.assert_close(train.inputs[1], torch.full((1, 28, 28), white))


@pytest.mark.parametrize("place", ["argument", "argument/sub", "variable/sub", "debian", "cache"])
def test_files_are_found_in_every_documented_place(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = {
        "argument": tmp_path / "a",
        "argument/sub": tmp_path / "a" / "fashion-mnist",
        "variable/sub": tmp_path / "v" / "fashion-mnist",
        "debian": tmp_path / "debian",
        "cache": tmp_path / "home" / ".cache" / "lrpilot" / "fashion-mnist",
    }[place]
    write(folder)
    if place == "variable/sub":
        monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path / "v"))

    splits = data.fashion_mnist(tmp_path / "a" if "argument" in place else None, num_train=12, num_val=5)

    assert len(splits.train) == 12


def test_a_named_folder_is_the_only_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "debian")
    monkeypatch.setenv(data.DATA_VARIABLE, str(tmp_path / "empty"))

    with pytest.raises(MissingDependencyError):
        data.fashion_mnist()


def test_missing_files_say_where_they_were_sought_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError) as raised:
        data.fashion_mnist()

    message = str(raised.value)
    for part in (
        str(tmp_path / "debian"),
        ".cache",
        "apt-get install dataset-fashion-mnist",
        "make data",
        "LRPILOT_DATA",
    ):
        assert part in message
    assert isinstance(raised.value, ImportError)


def test_one_missing_file_counts_as_missing(tmp_path: Path) -> None:
    (write(tmp_path / "here") / fashion.TEST_LABELS).unlink()

    with pytest.raises(MissingDependencyError):
        data.fashion_mnist(tmp_path / "here")


@pytest.mark.parametrize(
    "damage",
    [lambda packed: packed[: len(packed) // 2], lambda packed: b"no gzip at all", lambda packed: b"", None],
    ids=["truncated", "not gzip", "empty", "other content"],
)
def test_damaged_files_are_refused(damage, tmp_path: Path) -> None:
    file = write(tmp_path / "here") / fashion.TRAIN_LABELS
    other = gzip.compress(idx(np.zeros(NUM_TRAIN_FILE)))
    file.write_bytes(damage(file.read_bytes()) if damage else other)

    with pytest.raises(DataError, match=r"train-labels.*make data"):
        data.fashion_mnist(tmp_path / "here", num_train=12, num_val=5)


def test_recompressed_files_are_accepted(tmp_path: Path) -> None:
    file = write(tmp_path / "here") / fashion.TRAIN_IMAGES
    packed = file.read_bytes()
    file.write_bytes(gzip.compress(gzip.decompress(packed), compresslevel=1, mtime=1))
    assert file.read_bytes() != packed

    data.fashion_mnist(tmp_path / "here", num_train=12, num_val=5)


@pytest.mark.parametrize(("num_train", "num_val"), [(0, 5), (12, 0), (16, 5)])
def test_impossible_sizes_are_refused(num_train: int, num_val: int, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="20"):
        data.fashion_mnist(write(tmp_path / "here"), num_train=num_train, num_val=num_val)


# ------------------------------------------------------------------ fetching


def test_fetch_unpacks_the_package_into_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def fake_tool(command: list[str], folder: str) -> None:
        commands.append(command[:2])
        if command[0] == "apt-get":
            Path(folder, "package.deb").touch()
        else:
            write(Path(command[-1], *fashion.DEBIAN_FOLDER.parts[1:]))

    monkeypatch.setattr(folder, "run_tool", fake_tool)

    target = fashion.fetch_fashion_mnist(tmp_path / "data")

    assert target == tmp_path / "data" / "fashion-mnist"
    assert commands == [["apt-get", "download"], ["dpkg-deb", "-x"]]
    assert len(data.fashion_mnist(tmp_path / "data", num_train=12, num_val=5).train) == 12
    assert fashion.fetch_fashion_mnist(tmp_path / "data") == target
    assert len(commands) == 2  # a second fetch finds everything at hand


def test_fetch_refuses_a_package_with_other_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "run_tool", lambda command, folder: None)

    with pytest.raises(DataError, match="package must hold"):
        fashion.fetch_fashion_mnist(tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", [["no-such-program-here"], ["false"]])
def test_a_tool_that_fails_is_a_missing_dependency(command: list[str], tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=command[0]):
        folder.run_tool(command, str(tmp_path))


# ------------------------------------------------------------------ digits


def test_digits_are_split_once_and_standardised_by_the_training_part() -> None:
    splits = data.digits(seed=3, num_val=200, num_test=100)

    assert [len(part) for part in splits] == [1797 - 300, 200, 100]
    spread = splits.train.inputs.std(dim=0, correction=0)
    torch.testing.assert_close(splits.train.inputs.mean(dim=0), torch.zeros(64), atol=1e-5, rtol=0)
    assert all(abs(s - 1) < 1e-5 or s == 0 for s in spread.tolist())
    everything = torch.cat([part.targets for part in splits])
    # per class, from the data set's own description
    assert everything.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_depend_on_the_seed_alone() -> None:
    again, other = data.digits(seed=3), data.digits(seed=4)

    assert torch.equal(data.digits(seed=3).train.inputs, again.train.inputs)
    assert not torch.equal(again.train.targets, other.train.targets)


def test_digits_refuse_a_split_that_leaves_nothing_to_train_on() -> None:
    with pytest.raises(SettingError, match="1797"):
        data.digits(num_val=1000, num_test=797)
