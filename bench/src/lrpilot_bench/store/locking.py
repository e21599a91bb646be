"""One writer for a file of records."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lrpilot.errors import DataError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``path`` for the block; the system lets go of it even when this process is killed.

    The file itself is locked, so nothing is left beside it; it is made where there is none, and goes again if nothing
    was written.

    Raises:
        DataError: another process holds it, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = not path.exists()
        file = path.open("ab")
    except OSError as error:
        file_above = next((above for above in path.parents if above.is_file()), None)
        why = error.strerror if file_above is None else f"{file_above} is a file, and no folder"
        raise DataError(
            f"Records need a file that can be written, got {path} ({why}). Name another one with --records."
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"A file of records takes one bench at a time, got {path}, which another one is writing. "
                "Wait for its end, or name another file with --records."
            ) from error
        try:
            yield
        finally:
            if made and path.exists() and path.stat().st_size == 0:
                path.unlink()  # while it is still locked, so that nobody else has begun to write it
