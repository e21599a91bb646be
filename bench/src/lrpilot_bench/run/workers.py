"""Workers: processes that run one job after another, and what comes back from them.

A worker is spawned fresh (no state of the parent), computes with one thread, keeps a task's data between
jobs, and leaves when its parent is gone, however that ended.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from threading import Thread
from traceback import format_exception

from lrpilot.errors import LRPilotError
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.pool import Attempt, Blame, Outcome

GRACE_SECONDS = 5.0  # for an idle worker to leave
FALSE_STARTS = 3  # workers in a row that die before they are ready: no job's fault
READY = "ready"


def attempt(job: Job, *, device: str) -> Outcome[Job]:
    """Run a job in this process; whatever goes wrong comes back as words.

    Only what cannot become a record is a reason: data or a package that is missing, a task that cannot be
    made. A method that crashes has a record that says so.
    """
    one_thread()
    from lrpilot_bench.run.execute import execute

    began, crashes = time.perf_counter(), list[Exception]()
    try:
        record = execute(job, device=device, on_crash=crashes.append)
    except MemoryError:
        return Outcome(job, death="it ran out of memory", seconds=time.perf_counter() - began)
    except Exception as error:
        return Outcome(job, reason=_words(error), blame=_blame(job), seconds=time.perf_counter() - began)
    seconds = time.perf_counter() - began
    printed = "".join(format_exception(crashes[0])).rstrip() if crashes else None
    return Outcome(job, record=record, seconds=seconds, traceback=printed)


def _blame(job: Job) -> Blame:
    """The task, if its data cannot be loaded; else the method on it."""
    from lrpilot_bench.session import loaded
    from lrpilot_bench.tasks.registry import get_task

    try:
        loaded(get_task(job.task).load)
    except Exception:
        return "task"
    return "job"


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, LRPilotError) else f"{type(error).__name__}: {text}"


# ---------------------------------------------------------------------- in the worker


def one_thread() -> None:
    """Compute with one thread: torch's own collapse where processes share cores, and seconds compare."""
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded
    import torch

    torch.set_num_threads(1)


def _work(pipe: Connection, run: Attempt[Job]) -> None:
    """Run jobs until there are no more."""
    Thread(target=_leave_with_parent, daemon=True).start()
    pipe.send(READY)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(run(job))


def _leave_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # only a spawned process works
    parent.join()
    os._exit(1)


# ---------------------------------------------------------------------- in the parent


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: Job | None = None
    began: float = 0.0
    ready: bool = False


class ProcessPool:
    """Worker processes on this machine, started when they are needed.

    Args:
        processes: how many.
        run: does a job in a worker, such as :func:`attempt` on a device; picklable.
    """

    def __init__(self, processes: int, run: Attempt[Job]) -> None:
        self._run = run
        self._most = processes
        self._workers: list[_Worker] = []
        self._false_starts = 0

    def free(self) -> int:
        """How many more jobs it takes now."""
        return self._most - sum(worker.job is not None for worker in self._workers)

    def submit(self, job: Job) -> None:
        """Give a job to an idle worker, or to a new one."""
        worker = next((worker for worker in self._workers if worker.job is None), None) or self._start()
        worker.job, worker.began = job, time.perf_counter()
        with suppress(OSError):  # a dead one shows when it is waited for
            worker.pipe.send(job)

    def _start(self) -> _Worker:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._run), daemon=True)
        # Ctrl-C reaches the whole group; a worker inherits the mask, and leaves the decision to its parent. What
        # else a first start starts would take the mask away, so it goes first.
        resource_tracker.ensure_running()
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        theirs.close()  # so that a dead worker reads as the end of the pipe
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def collect(self, timeout: float) -> list[Outcome[Job]]:
        """What has ended; waits ``timeout`` seconds at most for the first.

        Raises:
            LRPilotError: workers die before they have begun to work.
        """
        busy = {worker.pipe: worker for worker in self._workers if worker.job is not None}
        heard = connection.wait(list(busy), timeout)
        return [outcome for pipe, worker in busy.items() if pipe in heard for outcome in self._hear(worker)]

    def _hear(self, worker: _Worker) -> Iterator[Outcome[Job]]:
        assert worker.job is not None
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            yield self._bury(worker, worker.job)
            return
        if message == READY:
            worker.ready, self._false_starts = True, 0
            return
        worker.job = None
        yield message

    def _bury(self, worker: _Worker, job: Job) -> Outcome[Job]:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        ending = _ending(worker.process.exitcode)
        if worker.ready:
            return Outcome(job, death=ending, seconds=time.perf_counter() - worker.began)
        self._false_starts += 1
        if self._false_starts == FALSE_STARTS:
            raise LRPilotError(
                f"Workers must start, got {FALSE_STARTS} in a row that did not: {ending}. "
                "What they say stands above; try it with --processes 1."
            )
        return Outcome(job)

    def close(self) -> None:
        """End the workers, and what they are doing."""
        for worker in self._workers:
            worker.pipe.close()  # the idle read this as the end
            if worker.job is not None:
                worker.process.kill()
        for worker in self._workers:
            worker.process.join(GRACE_SECONDS)
            worker.process.kill()
            worker.process.join()
        self._workers.clear()


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"its process was ended by {signal.Signals(-exitcode).name}"
    return f"its process ended with exit status {exitcode}"
