"""Jobs that only seem to run, for what is about workers and files: milliseconds each, and no torch."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.pool import Outcome


def seeming_record(job: Job, run: str, **changes: Any) -> dict[str, Any]:
    """A record as execute() makes it, of a run that finished."""
    final = {"val_loss": 0.5, "val_score": 0.9, "test_loss": 0.5, "test_score": 0.9}
    return {
        "schema": 1,
        "run": run,
        **job.to_dict(),
        "version": "1",
        "settings": {},
        "status": "finished",
        "error": None,
        "steps": 1000,
        "kept_steps": 1000,
        "final": final,
        "compute": 1.0,
        "declared": {"forwards": 1, "backwards": 1},
        "counted": {"forwards": 1, "backwards": 1},
        "notes": {},
        "curve": {},
        "weights": None,
        "seconds": 0.02,
        **changes,
    }


def seem(job: Job, *, runs: Mapping[Job, str], log: Path, seconds: float = 0.0) -> Outcome:
    """Note the start, wait, and come back with a record."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, (json.dumps({"run": runs[job], "pid": os.getpid()}) + "\n").encode())
    os.close(handle)
    time.sleep(seconds)
    return Outcome(job, record=seeming_record(job, runs[job]), seconds=seconds)


def fateful(job: Job, *, runs: Mapping[Job, str], log: Path) -> Outcome:
    """As :func:`seem`, but the worker of some methods is killed, always or once."""
    tried = log.read_text().count(runs[job]) if log.exists() else 0
    outcome = seem(job, runs=runs, log=log)
    if job.method == "fake_dies" or (job.method == "fake_dies_once" and tried == 0):
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


class CannotStart:
    """What a worker does not even receive."""

    def __reduce__(self) -> Any:
        return (os._exit, (7,))

    def __call__(self, job: Job) -> Outcome:
        raise AssertionError
