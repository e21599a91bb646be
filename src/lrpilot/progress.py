"""Progress bars on stderr, for work that takes more than a second. Nothing is drawn where nobody looks."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

PATIENCE_SECONDS = 1.0
REFRESH_SECONDS = 0.1
BAR_WIDTH = 16  # columns


@dataclass
class ProgressBar:
    """A bar that appears only once the work has taken a second.

    Attributes:
        label: what is being done.
        total: number of units, or None if unknown.
    """

    label: str
    total: int | None = None

    def __post_init__(self) -> None:
        self._started = self._drawn = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    @property
    def due(self) -> bool:
        """Whether :meth:`update` would draw: what it would show need not be worked out before."""
        now = time.monotonic()
        return now - self._started >= PATIENCE_SECONDS and now - self._drawn >= REFRESH_SECONDS

    def update(self, done: int, note: str = "") -> None:
        """Show that ``done`` units are done."""
        if not self.due:
            return
        self._drawn = time.monotonic()
        if self._bar is None:
            self._open()
        self._bar.update(self._task, completed=done, note=note)

    def _open(self) -> None:
        from rich.progress import TaskProgressColumn, TextColumn

        counted = [TextColumn("{task.completed}")]
        if self.total is not None:
            counted = [TextColumn("{task.completed}/{task.total}"), TaskProgressColumn()]
        self._bar = drawn_bar(*counted)
        self._bar.start()
        self._task = self._bar.add_task(self.label, total=self.total, note="")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def drawn_bar(*counted: Any) -> Any:
    """The look of every bar, on stderr: a description, the bar, what is counted, and a note (its task's field "note").

    Args:
        counted: columns of rich that say how far it is.

    Returns:
        A ``rich.progress.Progress`` that is not started.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    console = Console(stderr=True)
    # The note gives way first: at 80 columns bar and count stay whole.
    remark = TextColumn(
        "{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"), markup=False
    )
    return Progress(
        TextColumn("{task.description}", table_column=Column(no_wrap=True)),
        BarColumn(bar_width=BAR_WIDTH),
        *counted,
        remark,
        console=console,
        transient=True,
        expand=True,
        disable=not console.is_terminal,
    )


@contextmanager
def progress_bar(label: str, *, total: int | None = None, show: bool = True) -> Iterator[ProgressBar | None]:
    """A bar for the block, or None when it is not to be shown."""
    if not show:
        yield None
        return
    bar = ProgressBar(label, total)
    try:
        yield bar
    finally:
        bar.close()
