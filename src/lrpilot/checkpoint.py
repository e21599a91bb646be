"""The checkpoint file of a fit."""

import os
import time
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist

from lrpilot.errors import SettingError, StateError
from lrpilot.training.distributed import is_distributed
from lrpilot.training.interrupts import deferred_interrupt

CHECKPOINT_SECONDS = 60.0


class Resumable(Protocol):
    """What can be saved."""

    def state_dict(self) -> dict[str, Any]:
        """Data that ``torch.load(weights_only=True)`` accepts."""


def _own_file(path: Path) -> Path:
    """The file of this rank: ranks differ in their random generators, and so in what they save."""
    return path.with_name(f"{path.name}.rank{dist.get_rank()}") if is_distributed() else path


class Checkpoint:
    """A file that always holds a whole state: written beside, then renamed."""

    def __init__(self, path: str | os.PathLike[str] | None, *, resume: bool) -> None:
        self._path = None if path is None else _own_file(Path(path))
        self._written = time.monotonic()
        if self._path is not None and self._path.exists() and not resume:
            raise SettingError(
                f"checkpoint must not exist yet unless resume=True, got {self._path}. "
                "Pass resume=True to continue it, or choose another file."
            )

    def read(self, keys: frozenset[str]) -> dict[str, Any] | None:
        """The saved state, which has at least ``keys``; None where there is no file."""
        if self._path is None or not self._path.exists():
            return None
        try:
            state = torch.load(self._path, weights_only=True, map_location="cpu")
        except Exception as error:
            raise self._foreign(str(error)) from error
        if not isinstance(state, dict) or not keys <= state.keys():
            missing = keys - set(state if isinstance(state, dict) else ())
            raise self._foreign(f"no {', '.join(sorted(missing))} in it")
        return state

    def _foreign(self, why: str) -> StateError:
        return StateError(f"checkpoint must be a whole file written by fit, got {self._path} ({why}). Choose another.")

    def save_if_due(self, loop: Resumable) -> None:
        """Save if the last time is long ago."""
        if self._path is not None and time.monotonic() - self._written >= CHECKPOINT_SECONDS:
            self.save(loop)

    def save(self, loop: Resumable) -> None:
        """Save now; the file is whole at every moment."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with deferred_interrupt():
            try:
                torch.save(loop.state_dict(), beside)
                os.replace(beside, self._path)
            finally:
                beside.unlink(missing_ok=True)
        self._written = time.monotonic()
