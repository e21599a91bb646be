"""Records of experiments: one JSON object a line, appended whole, and runs that resume where they stopped.

A record is a job (what was run: plain settings) and its results, side by side in one flat object. A job
that has a record is done; everything else a sweep needs to resume follows from that.
"""

import errno
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrpilot.errors import DataError

Job = Mapping[str, Any]
Record = dict[str, Any]
Say = Callable[[str], None]


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add one line to ``path``, whole or not at all, after cutting off a line that a killed writer left half done.

    Raises:
        ValueError: the record holds a non-finite number, which JSON cannot; use :func:`finite`.
        DataError: the line could not be written (a full disk, say); the file is as it was before.
    """
    line = (json.dumps(record, allow_nan=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)
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


def _cut_torn_line(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
    text = path.read_bytes()
    os.truncate(path, text.rfind(b"\n") + 1)


def read_records(path: Path) -> list[Record]:
    """Every whole line of ``path``; none where the file does not exist.

    Raises:
        DataError: a whole line is not a JSON object.
    """
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [_parse(path, number, line) for number, line in enumerate(lines[:-1], start=1)]


def _parse(path: Path, number: int, line: str) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"Every line must be a JSON object, got line {number} of {path}. Delete that line.") from error
    if not isinstance(record, dict):
        raise DataError(f"Every line must be a JSON object, got {line[:40]!r} at line {number} of {path}.")
    return record


def finite(value: float | None) -> float | None:
    """The number itself, or None (JSON's null) where it is not finite."""
    return value if value is not None and math.isfinite(value) else None


def thinned(values: Sequence[float], at_most: int = 50) -> list[tuple[int, float | None]]:
    """At most ``at_most`` (index, value) pairs, evenly spaced, first and last included."""
    last = len(values) - 1
    if last < at_most:
        picks: Iterable[int] = range(last + 1)
    else:
        picks = sorted({round(i * last / (at_most - 1)) for i in range(at_most)})
    return [(i, finite(values[i])) for i in picks]


def machine_facts() -> dict[str, Any]:
    """What the seconds in a record depend on: processors, threads and versions (no host names)."""
    import torch

    return {
        "cpu_count": os.cpu_count(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def run_missing(
    path: Path, jobs: Sequence[Job], run: Callable[[Job], Mapping[str, Any]], *, say: Say | None = None
) -> list[Record]:
    """Run the jobs that have no record yet, in order, and record each as soon as it is done.

    Args:
        path: file of records; other sweeps may share it.
        jobs: flat plain-data settings, all with the same keys.
        run: does one job and returns its results (their keys differ from the job's).
        say: called with a progress line after each job.

    Returns:
        One record per job, in the order of ``jobs``.
    """
    done = _by_job(read_records(path), jobs)
    missing = [job for job in jobs if _key(job) not in done]
    facts = machine_facts() if missing else {}
    began = time.perf_counter()
    for count, job in enumerate(missing, start=1):
        started = time.perf_counter()
        results = run(job)
        seconds = round(time.perf_counter() - started, 3)
        record = {**job, **results, "seconds": seconds, "machine": facts}
        append_record(path, record)
        done[_key(job)] = record
        if say is not None:
            say(_progress(count, len(missing), time.perf_counter() - began, job))
    return [done[_key(job)] for job in jobs]


def _by_job(records: Iterable[Record], jobs: Sequence[Job]) -> dict[str, Record]:
    names = list(jobs[0]) if jobs else []
    return {_key({name: r[name] for name in names}): r for r in records if all(name in r for name in names)}


def _key(job: Job) -> str:
    return json.dumps(job, sort_keys=True)


def _progress(count: int, total: int, elapsed: float, job: Job) -> str:
    left = elapsed / count * (total - count)
    settings = " ".join(f"{name}={value}" for name, value in job.items())
    return f"{count}/{total} done, about {left / 60:.1f} min left: {settings}"
