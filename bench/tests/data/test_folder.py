"""The data folder: what is found in it, what is refused, and that a fetch is whole or leaves nothing."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from lrpilot.errors import DataError, MissingDependencyError
from lrpilot_bench.data import folder


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_fill_moves_the_named_files_and_removes_its_scratch(tmp_path: Path) -> None:
    def make(scratch: Path) -> Path:
        (scratch / "inner").mkdir()
        (scratch / "inner" / "a.txt").write_text("whole")
        (scratch / "download.zip").write_text("not wanted")
        return scratch / "inner"

    target = folder.fill(tmp_path / "data" / "set", ["a.txt"], make)

    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == [
        "data",
        "data/set",
        "data/set/a.txt",
    ]
    assert (target / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("problem", [KeyboardInterrupt, DataError("other content"), OSError("disk full")])
def test_a_fetch_that_ends_early_leaves_the_folder_as_it_was(problem: BaseException, tmp_path: Path) -> None:
    def make(scratch: Path) -> Path:
        (scratch / "a.txt").write_text("half")
        raise problem

    with pytest.raises(problem if isinstance(problem, type) else type(problem)):
        folder.fill(tmp_path / "data" / "set", ["a.txt"], make)

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_fetch_left_is_removed_a_day_later(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".fetching-old", tmp_path / ".fetching-fresh"
    for left in (old, fresh):
        left.mkdir()
        (left / "half.zip").write_text("half")
    yesterday = time.time() - folder.STALE_SECONDS - 60
    os.utime(old, (yesterday, yesterday))

    folder.fill(tmp_path / "set", [], lambda scratch: scratch)

    assert not old.exists() and fresh.exists()  # the fresh one may be another process's


def test_a_file_is_refused_unless_it_is_the_published_one(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"published")
    assert folder.read_checked(file, sha256(b"published")) == b"published"
    assert folder.read_checked(file, sha256(b"PUBLISHED"), unpack=bytes.upper) == b"PUBLISHED"

    file.write_bytes(b"publishe")
    with pytest.raises(DataError, match=r"a\.txt must have sha256 .* Delete .*a\.txt.*make data.*lrpilot bench data"):
        folder.read_checked(file, sha256(b"published"))


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()

    with pytest.raises(DataError, match="whole file"):
        folder.read_checked(tmp_path / "a.txt", sha256(b""))


def test_check_files_names_the_missing_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")

    with pytest.raises(DataError, match="must hold b"):
        folder.check_files(tmp_path, {"a": sha256(b"x"), "b": sha256(b"y")})


def test_a_tool_is_heard_out(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    assert folder.run_tool(["ls"], tmp_path) == "here\n"

    with pytest.raises(MissingDependencyError, match=r"exit status \d.*no-such-file.*LRPILOT_DATA"):
        folder.run_tool(["ls", "no-such-file"], tmp_path)


def test_a_python_package_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = []

    def fake_pip(command: list[str], place: Path) -> str:
        commands.append(command)
        (Path(command[command.index("-d") + 1]) / "it-1.zip").touch()
        return ""

    monkeypatch.setattr(folder, "run_tool", fake_pip)

    assert folder.python_package("it==1", tmp_path).name == "it-1.zip"
    assert "--no-deps" in commands[0] and commands[0][-1] == "it==1"


def test_no_file_from_a_registry_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "run_tool", lambda command, place: "")

    with pytest.raises(DataError, match=r"one file, got \[\]"):
        folder.python_package("it==1", tmp_path)
