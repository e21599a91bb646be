"""The folder of a run."""

import json
import math
from pathlib import Path

import pytest

from lrpilot.cli.run_folder import RunFolder, open_run, run_folder
from lrpilot.core.actions import Evaluate, HeldOut, Progress
from lrpilot.core.history import Event, History
from lrpilot.errors import SettingError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_default_folders_never_collide() -> None:
    folders = [open_run("find", None).path for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(f.is_dir() and f.parent == Path("runs") and f.name.startswith("find-") for f in folders)


def test_a_used_folder_is_refused_and_force_clears_only_a_runs_own_files() -> None:
    folder = open_run("find", Path("out"))
    folder.write_result({"lr": 1})
    folder.checkpoint.write_text("old")
    (folder.path / "mine.txt").write_text("keep")
    with pytest.raises(SettingError, match=r"must be new or empty, got out\. .* add --resume"):
        open_run("find", Path("out"))
    open_run("find", Path("out"), force=True)
    assert [p.name for p in folder.path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_taken_away_again_but_only_if_the_run_made_it() -> None:
    Path("mine").mkdir()
    for out in (None, Path("new"), Path("mine")):
        with pytest.raises(ZeroDivisionError), run_folder("find", out):
            raise ZeroDivisionError
    assert [p.name for p in Path().iterdir()] == ["mine"]
    with run_folder("find", None) as kept:
        kept.write_result({"lr": 1})
    assert kept.result.is_file()


def test_a_folder_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    with pytest.raises(SettingError, match=r"can be made and written, got file/out \(Not a directory\)"):
        open_run("train", Path("file/out"))

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(SettingError, match=r"got out \(Permission denied\)\. Name another one"):
        open_run("train", Path("out"))


def test_an_empty_folder_is_fine_and_a_file_is_not() -> None:
    Path("out").mkdir()
    assert open_run("train", Path("out")).path == Path("out")
    Path("file").write_text("")
    with pytest.raises(SettingError, match="must be a folder, got the file file"):
        open_run("train", Path("file"))


def test_resume_needs_a_checkpoint() -> None:
    with pytest.raises(SettingError, match="needs the folder to resume"):
        open_run("train", None, resume=True)
    with pytest.raises(SettingError, match="got none in out"):
        open_run("train", Path("out"), resume=True)
    assert not Path("out").exists()
    Path("out").mkdir()
    RunFolder(Path("out")).checkpoint.write_text("here")
    assert open_run("train", Path("out"), resume=True).checkpoint.read_text() == "here"


def test_history_is_one_json_object_a_line_in_order() -> None:
    events = [Event("end", step, Evaluate(), HeldOut(Progress(step, None), 0.5)) for step in (0, 1, 2)]
    folder = open_run("train", None)
    folder.write_history(History([0.1, 0.2], [1.5, math.nan], events))
    lines = [json.loads(line) for line in folder.history.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 1, 2, 2]
    assert [("event" in line) for line in lines] == [True, False, True, False, True]
    assert lines[1] == {"step": 1, "lr": 0.1, "loss": 1.5}
    assert lines[3]["loss"] is None
    assert lines[0]["event"] == "step 0: evaluate held-out loss -> loss 0.5"
