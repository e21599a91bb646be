"""The folder of a run: what was asked, what happened, and the picture of it."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrpilot.cli.report import to_json
from lrpilot.errors import SettingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lrpilot.core.history import History
    from lrpilot.report import FlightReport

RUNS = Path("runs")


@dataclass(frozen=True)
class RunFolder:
    """Where one run of a command keeps its files.

    Attributes:
        path: the folder; it exists.
    """

    path: Path

    @property
    def result(self) -> Path:
        """The outcome, the same document as ``--json`` prints."""
        return self.path / "result.json"

    @property
    def history(self) -> Path:
        """One JSON object a line: ``{"step", "lr", "loss"}``, and ``{"step", "event"}`` for decisions."""
        return self.path / "history.jsonl"

    @property
    def picture(self) -> Path:
        """The picture."""
        return self.path / "picture.png"

    @property
    def report(self) -> Path:
        """What was tried and chosen, why, and at what cost, in words."""
        return self.path / "report.txt"

    @property
    def report_data(self) -> Path:
        """The same as plain data."""
        return self.path / "report.json"

    def stage_picture(self, number: int) -> Path:
        """How the lr of a stage of AutoLRS was found; stages are counted from 1."""
        return self.path / f"stage-{number}.png"

    @property
    def found(self) -> Path:
        """The search that a training began with, so that a resumed run need not repeat it."""
        return self.path / "found.json"

    @property
    def checkpoint(self) -> Path:
        """From where a training resumes."""
        return self.path / "checkpoint.pt"

    def write_result(self, document: Mapping[str, Any]) -> None:
        """Write the outcome."""
        self.result.write_text(to_json(document) + "\n", encoding="utf-8")

    def write_report(self, report: "FlightReport") -> None:
        """Write the account of a flight, in words and as plain data."""
        self.report.write_text(f"{report}\n", encoding="utf-8")
        self.report_data.write_text(to_json(report.to_dict()) + "\n", encoding="utf-8")

    def write_history(self, history: "History") -> None:
        """Write every kept step and every decision, in order."""
        lines = [to_json(line, indent=None) for line in _lines(history)]
        self.history.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@contextmanager
def run_folder(command: str, out: Path | None, *, force: bool = False, resume: bool = False) -> Iterator[RunFolder]:
    """The folder of a run for the block, see :func:`open_run`; taken away again if the block left it empty."""
    existed = out is not None and out.exists()
    folder = open_run(command, out, force=force, resume=resume)
    try:
        yield folder
    finally:
        if not existed:
            with suppress(OSError):  # not empty: there is something to keep
                folder.path.rmdir()
                if out is None:
                    RUNS.rmdir()


def open_run(command: str, out: Path | None, *, force: bool = False, resume: bool = False) -> RunFolder:
    """Make the folder of a run, or take up the one to resume.

    Args:
        command: names the default folder, ``runs/COMMAND-TIMESTAMP``.
        out: the folder asked for.
        force: clear an earlier run's files from ``out``; other files stay.
        resume: go on in ``out``.

    Raises:
        SettingError: ``out`` is not empty or cannot be written, or nothing is there to resume.
    """
    if out is None:
        if resume:
            raise SettingError("--resume needs the folder to resume, got no --out. Add --out FOLDER.")
        out = _fresh(command)
    folder = RunFolder(out)
    if out.exists() and not out.is_dir():
        raise SettingError(f"--out must be a folder, got the file {out}. Name a folder.")
    if resume and not folder.checkpoint.is_file():
        raise SettingError(f"--resume needs the checkpoint of a stopped run, got none in {out}. Leave --resume away.")
    _require_writable(out)
    if not resume and any(out.iterdir()):
        if not force:
            go_on = "--resume to go on with its run, or " if folder.checkpoint.is_file() else ""
            raise SettingError(f"--out must be new or empty, got {out}. Name another folder, or add {go_on}--force.")
        stages = out.glob("stage-*.png")
        known = (folder.result, folder.history, folder.picture, folder.found, folder.checkpoint)
        for file in (*known, folder.report, folder.report_data, *stages):
            file.unlink(missing_ok=True)
    return folder


def _require_writable(path: Path) -> None:
    """Make the folder and try it, so that no run ends at a file it cannot write."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise SettingError(
            f"--out must be a folder that can be made and written, got {path} ({error.strerror}). Name another one."
        ) from error


def save_picture(axes: "Axes", path: Path) -> None:
    """Write the figure that the axes are on."""
    figure = axes.get_figure(root=True)
    assert figure is not None  # these axes were just drawn
    figure.savefig(path, dpi=110)


def _fresh(command: str) -> Path:
    name = f"{command}-{datetime.now():%Y%m%d-%H%M%S}"
    taken = sum(1 for _ in RUNS.glob(f"{name}*")) if RUNS.is_dir() else 0
    return RUNS / (f"{name}-{taken + 1}" if taken else name)


def _lines(history: "History") -> Iterable[dict[str, Any]]:
    events = list(history.events)
    for step, (lr, loss) in enumerate(zip(history.lrs, history.losses, strict=True), 1):
        while events and events[0].step < step:
            yield _event_line(events.pop(0))
        yield {"step": step, "lr": lr, "loss": loss}
    yield from (_event_line(event) for event in events)


def _event_line(event: Any) -> dict[str, Any]:
    return {"step": event.step, "event": event.message}
