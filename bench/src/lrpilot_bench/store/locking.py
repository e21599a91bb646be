"""One writer for a file of records."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lrpilot.errors import DataError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file of records ``path`` for the block; the system lets go of it even when this process is killed.

    A lock lies beside the file (``path``.lock) for as long, so that the file itself can be read meanwhile.

    Raises:
        DataError: another process holds it, or it cannot be written.
    """
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.open("ab").close()  # what cannot be written is said now, and not after the first run
        lock.acquire(timeout=0)
    except Timeout as error:
        raise DataError(
            f"A file of records takes one bench at a time, got {path}, which another one is writing. "
            "Wait for its end, or name another file with --records."
        ) from error
    except OSError as error:
        file_above = next((above for above in path.parents if above.is_file()), None)
        why = error.strerror if file_above is None else f"{file_above} is a file, and no folder"
        raise DataError(
            f"Records need a file that can be written, got {path} ({why}). Name another one with --records."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):  # a lock that is left lying is no harm: the next bench takes it
            Path(lock.lock_file).unlink()  # while it is held: who waits for it sees that it is gone
        lock.release()
