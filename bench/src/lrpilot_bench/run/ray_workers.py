"""The same jobs on a Ray cluster: one Ray task a job; records are written by the parent as ever."""

import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrpilot.errors import LRPilotError, MissingDependencyError, SettingError
from lrpilot_bench.plugins import PLUGINS_VARIABLE, named_plugins
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run.pool import Outcome
from lrpilot_bench.run.workers import attempt

LOCAL = "local"  # a Ray of this bench's own, on this machine; "local:2" with two workers
CLIENT_PORT = 10001  # of ray://HOST
PROBE_SECONDS = 5.0  # for a cluster to answer; Ray itself would try a dead address for minutes
# Read by Ray when it is imported: no statistics leave the machine, and stderr belongs to the progress.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


class RayPool:
    """Workers of a Ray cluster, on which lrpilot and the data must be at hand.

    Args:
        address: "auto", "ray://HOST:PORT", "HOST:PORT"; or "local", "local:2" for one of its own.
        at_most: jobs at a time; None for one a core of the cluster (a GPU, where models train on one).
        device: where they train.

    Raises:
        MissingDependencyError: Ray is not installed.
        SettingError: there is no Ray at that address.
    """

    def __init__(self, address: str, *, at_most: int | None = None, device: str = "cpu") -> None:
        self._ray = _import_ray()
        cores = _local_cores(address)
        self._shut = not self._ray.is_initialized()  # one that somebody has started is left running
        if self._shut:
            _connect(self._ray, address, cores)
        self._device = device
        self._most = self._room() if at_most is None else min(at_most, self._room())
        self._task = self._ray.remote(num_cpus=1, num_gpus=int(self._on_gpu), max_retries=0)(_attempt_on_ray)
        self._jobs: dict[Any, tuple[Job, float]] = {}

    @property
    def _on_gpu(self) -> bool:
        return self._device.startswith("cuda")

    def _room(self) -> int:
        there: Mapping[str, float] = self._ray.cluster_resources()
        room = int(min(there.get("CPU", 0), there.get("GPU", 0) if self._on_gpu else float("inf")))
        if room < 1:
            needed = "a core and a GPU" if self._on_gpu else "a core"
            raise SettingError(f"A Ray cluster must have {needed} free for a run, got {dict(there)}. Add a node.")
        return room

    def free(self) -> int:
        """How many more jobs it takes now."""
        return self._most - len(self._jobs)

    def submit(self, job: Job) -> None:
        """Start a job as a Ray task."""
        self._jobs[self._task.remote(job, self._device, named_plugins(), sys.path)] = (job, time.perf_counter())

    def collect(self, timeout: float) -> list[Outcome[Job]]:
        """What has ended; waits ``timeout`` seconds at most for the first."""
        ended, _ = self._ray.wait(list(self._jobs), num_returns=1, timeout=timeout)
        return [self._finish(reference) for reference in ended]

    def _finish(self, reference: Any) -> Outcome[Job]:
        job, began = self._jobs.pop(reference)
        try:
            outcome: Outcome[Job] = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # before the job began: lrpilot is missing there, say
            return Outcome(job, reason=f"A Ray worker could not begin it: {' '.join(str(error.cause).split())}")
        except self._ray.exceptions.RayError as error:
            return Outcome(job, death=f"its Ray worker ended ({type(error).__name__})", seconds=_since(began))
        return outcome

    def close(self) -> None:
        """End what is running, and leave the cluster as it was found."""
        for reference in self._jobs:
            self._ray.cancel(reference, force=True)
        self._jobs.clear()
        if self._shut:
            self._ray.shutdown()


def _attempt_on_ray(job: Job, device: str, modules: tuple[str, ...], folders: list[str]) -> Outcome[Job]:
    """In a Ray worker, which other benches may have used before.

    It imports from where the parent does, as a spawned process would, so far as these folders are on its machine.
    """
    sys.path += [folder for folder in folders if folder not in sys.path and Path(folder).is_dir()]
    os.environ[PLUGINS_VARIABLE] = ",".join(modules)
    return attempt(job, device=device)


def _import_ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "--ray needs the package 'ray', found none. Get it with 'pip install ray'."
        ) from error
    return ray


def _local_cores(address: str) -> int | None:
    """Cores of a Ray of its own; None for all of them, or where the address is of a cluster."""
    name, colon, count = address.partition(":")
    if name != LOCAL or not colon:
        return None
    if not count.isdecimal() or int(count) < 1:
        raise SettingError(f"A local Ray needs a number of workers >= 1, got {address!r}. Write for example local:2.")
    return int(count)


def _connect(ray: Any, address: str, cores: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    own = {"include_dashboard": False, "num_cpus": cores}
    local = address.partition(":")[0] == LOCAL
    if not local:
        _probe(os.environ.get("RAY_ADDRESS", address) if address == "auto" else address)
    try:
        ray.init(address=LOCAL if local else address, **quiet, **(own if local else {}))
    except LRPilotError:
        raise
    except Exception as error:  # Ray raises a class of its own for every way to fail
        raise _no_cluster(address, error) from error


def _probe(address: str) -> None:
    """Make sure that somebody listens at HOST:PORT; any other form is left to Ray, which refuses it at once."""
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if scheme == "ray" and not host:
        host, port = place, str(CLIENT_PORT)
    if scheme not in ("", "ray") or not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> SettingError:
    said = " ".join(str(error).split())[:200]
    return SettingError(
        f"--ray must be the address of a running Ray cluster, got {address!r} ({said}). "
        "Start one with 'ray start --head', or write local:2."
    )


def _since(began: float) -> float:
    return time.perf_counter() - began
