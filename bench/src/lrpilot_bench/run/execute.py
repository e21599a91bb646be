"""One job, run: from fresh weights to its record."""

import math
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from lrpilot.errors import MissingDependencyError
from lrpilot_bench.methods import method as method_module
from lrpilot_bench.methods.registry import get_method
from lrpilot_bench.protocol.jobs import Job, plan
from lrpilot_bench.run.recording import MeasuredRun, record_of
from lrpilot_bench.session import DivergedError, Session
from lrpilot_bench.store.schema import CRASHED, DIVERGED, FINISHED
from lrpilot_bench.tasks.registry import get_task

WORDS = 500  # of an error's text on record, in characters
METHOD_FILE = method_module.__file__  # whose Method.train calls fly

# Not the method's fault: these end the bench instead of being recorded.
NOT_A_RESULT = (MissingDependencyError, ModuleNotFoundError, MemoryError)


def execute(job: Job, *, device: str = "cpu", on_crash: Callable[[Exception], None] | None = None) -> dict[str, Any]:
    """Run a job.

    Args:
        job: what to run.
        device: where.
        on_crash: called with what a method raised, where it crashed; its record holds one line about it.

    Returns:
        Its record, plain data. ``status`` is "finished", "diverged" (non-finite, or a final validation loss
        above the initial one) or "crashed" (with the error).

    Raises:
        SettingError: the job cannot be run at all.
        MissingDependencyError: data or a package is missing; the message says how to get it.
    """
    planned = plan(job)
    task, method = get_task(job.task), get_method(job.method)
    for package in method.packages:  # its import is no part of the seconds of a run
        with suppress(ImportError):
            import_module(package)
    session = Session(task, task.family(job.family), seed=job.seed, steps=planned.steps, lr=planned.lr, device=device)
    status, error = FINISHED, None
    try:
        method.train(session)
    except DivergedError:
        status = DIVERGED
    except NOT_A_RESULT:
        raise
    except Exception as problem:
        status, error = CRASHED, _in_words(problem)
        if on_crash is not None:
            on_crash(problem)
    seconds = session.seconds
    session.finish()
    measured = MeasuredRun.of(session, planned)
    session.counter.remove()
    first, last = session.curve.val_loss[0], session.curve.val_loss[-1]
    if status == FINISHED and not (math.isfinite(last) and last <= first):
        status = DIVERGED
    return record_of(planned, status, measured, error=error, seconds=seconds, device=device)


def _in_words(problem: Exception) -> str:
    """The error and where it came from, without paths of this machine."""
    frame = _place(traceback.extract_tb(problem.__traceback__))
    where = f"({Path(frame.filename).name}, line {frame.lineno}, in {frame.name})"
    return f"{type(problem).__name__}: {problem}"[: WORDS - len(where) - 1] + f" {where}"


def _place(frames: Sequence[traceback.FrameSummary]) -> traceback.FrameSummary:
    """The last line of the method's own: in the folder of the file that its ``fly`` is in.

    What raised may be deep in a library, or the session that found the method overspending; whoever wrote the method
    looks for the place in their own file.
    """
    trained = [i for i, frame in enumerate(frames) if frame.filename == METHOD_FILE]
    inside = frames[trained[0] + 1 :] if trained else ()
    own = [frame for frame in inside if Path(frame.filename).parent == Path(inside[0].filename).parent]
    return own[-1] if own else frames[-1]
