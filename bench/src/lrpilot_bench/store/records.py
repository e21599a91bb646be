"""Records of experiments: one JSON object a line, appended whole or not at all."""

import errno
import json
import math
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lrpilot.errors import DataError

Record = dict[str, Any]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to ``path``, whole or not at all.

    A line that a killed writer left half done is moved to the end of ``path``.torn before (see
    :func:`torn_warning`); nothing is ever thrown away.

    Raises:
        ValueError: the record holds a non-finite number, which JSON cannot; use :func:`finite`.
        DataError: the line could not be written (a full disk, say), or the file holds something else than
            records; it is as it was before.
    """
    line = (json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend_last_line(path)
        _append_whole(path, line)
    except OSError as error:
        raise DataError(
            f"A record must be written to {path}, got {error.strerror or error}. "
            "Make room or name another file; every record written before is kept, and the bench resumes there."
        ) from error


def _append_whole(path: Path, line: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        before = os.fstat(handle).st_size
        try:
            written = os.write(handle, line)
            if written < len(line):  # a disk that fills up takes what still fits, and says nothing
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)


def _mend_last_line(path: Path) -> None:
    """End the file with a line end: after a good last line, or by moving a torn one away."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
    _, torn = _read(path)
    if not torn:
        _append_whole(path, b"\n")
        return
    _append_whole(torn_path(path), torn + b"\n")
    os.truncate(path, path.stat().st_size - len(torn))


def read_records(path: Path) -> list[Record]:
    """Every record of ``path``, a last one without its line end too; none where the file does not exist.

    A torn last line is no record; :func:`torn_warning` tells of it.

    Raises:
        DataError: the file cannot be read, or a line of it is not a JSON object.
    """
    return _read(path)[0]


def torn_path(path: Path) -> Path:
    """Where torn lines of ``path`` are kept."""
    return path.with_name(f"{path.name}.torn")


def torn_warning(path: Path) -> str | None:
    """A sentence about a last line that a killed writer left half done; None where there is none.

    Raises:
        DataError: as of :func:`read_records`.
    """
    torn = _read(path)[1]
    if not torn:
        return None
    return (
        f"The last line of {path} is half done ({len(torn)} bytes), as a killed writer leaves it: it does not count, "
        f"and goes to {torn_path(path)} when the next record is written."
    )


def _read(path: Path) -> tuple[list[Record], bytes]:
    """The records, and the torn last line, which only a file of records can have."""
    try:
        *lines, last = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], b""
    except OSError as error:
        raise DataError(
            f"Records need a file that can be read, got {path} ({error.strerror}). Name another one."
        ) from error
    try:
        records = [_parse(path, number, line) for number, line in enumerate(lines, start=1)]
    except DataError as error:
        if any(_is_object(line) for line in (*lines, last)):
            raise
        raise _no_records(path, lines[0]) from error
    if last:
        with suppress(DataError):
            return [*records, _parse(path, len(lines) + 1, last)], b""
    if last and not records:
        raise _no_records(path, last)
    return records, last


def _no_records(path: Path, first: bytes) -> DataError:
    return DataError(
        f"A file of records must hold a JSON object in every line, got {path}, which begins with {_shown(first)}: "
        "it is no file of records. Name another file; this one is left as it is."
    )


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8")), dict)
    except ValueError:
        return False


def _parse(path: Path, number: int, line: bytes) -> Record:
    try:
        record = json.loads(line.decode("utf-8"))
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError are
        raise DataError(
            f"Every line must be a JSON object in UTF-8, got {_shown(line)} in line {number} of {path}. "
            "Delete that line, or name another file."
        ) from error
    if not isinstance(record, dict):
        raise DataError(
            f"Every line must be a JSON object, got {_shown(line)} in line {number} of {path}. "
            "Delete that line, or name another file."
        )
    return record


def _shown(line: bytes) -> str:
    return repr(line[:40].decode("utf-8", errors="replace"))


def finite(value: float | None) -> float | None:
    """The number itself, or None (JSON's null) where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def machine_facts(device: str = "cpu") -> dict[str, Any]:
    """What the seconds in a record depend on: processors, threads and versions (no host names).

    Args:
        device: where the model is trained. Where that is no CPU the facts name its kind ("cuda"), and the GPU.
    """
    import torch

    kind = torch.device(device).type
    other = {} if kind == "cpu" else {"device": kind}
    if kind == "cuda" and torch.cuda.is_available():
        other["gpu"] = torch.cuda.get_device_name(device)
    return {
        "cpu_count": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **other,
    }
