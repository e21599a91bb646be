"""A Ray cluster does what processes do: the same records but for the time they took."""

import os
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import fake_attempts
from lrpilot.errors import MissingDependencyError, SettingError
from lrpilot_bench.plugins import PLUGINS_VARIABLE
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.run import ray_workers
from lrpilot_bench.run.ray_workers import RayPool
from lrpilot_bench.run.runner import Runner
from lrpilot_bench.run.workers import ProcessPool, attempt
from lrpilot_bench.store.records import read_records

JOBS = [
    *(Job("fake", "fake_plain", seed=seed) for seed in range(3)),
    *(Job("digits", method, horizon=0.1) for method in ("linear", "find_decay_linear")),
    Job("fake", "fake_crash"),
    Job("fake", "fake_missing"),
    Job("fake_without_data", "fake_plain"),
    Job("fake", "fake_out_of_memory"),
]


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv(PLUGINS_VARIABLE, "fake_bench")
    made = ray_workers._import_ray()
    made.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield made
    made.shutdown()


def records_of(pool: Any, path: Path) -> tuple[list[dict[str, Any]], dict[Job, str]]:
    """Records in the order of their runs, without what may differ; and what was refused."""
    try:
        summary = Runner(path, lambda lookup: JOBS, pool).run()
    finally:
        pool.close()
    records = [{**record, "seconds": None} for record in read_records(path)]
    return sorted(records, key=lambda record: record["run"]), {r.job: r.reason for r in summary.refused}


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.filterwarnings("ignore")  # of Ray's own
def test_two_ray_workers_make_the_records_that_two_processes_make(ray: Any, tmp_path: Path) -> None:
    pool = RayPool("local:2")
    assert pool.free() == 2
    on_ray, refused_on_ray = records_of(pool, tmp_path / "ray.jsonl")
    assert ray.is_initialized(), "a Ray that somebody else has started is left running"
    here, refused_here = records_of(ProcessPool(2, partial(attempt, device="cpu")), tmp_path / "here.jsonl")

    assert on_ray == here and len(on_ray) == 7
    assert refused_on_ray == refused_here and len(refused_here) == 2

    # One whose worker is killed is tried once more, then recorded as a crash.
    runs = {Job("fake", "fake_dies"): "x"}
    dying = RayPool("local:2", at_most=1)
    assert dying.free() == 1
    dying._task = ray.remote(num_cpus=1, max_retries=0)(
        lambda *_: fake_attempts.fateful(*runs, runs=runs, log=tmp_path / "log")
    )
    Runner(tmp_path / "dying.jsonl", lambda lookup: list(runs), dying).run()
    (dead,) = read_records(tmp_path / "dying.jsonl")
    assert dead["error"] == "Its worker died 2 times: its Ray worker ended (WorkerCrashedError)."


def test_ray_is_asked_to_stay_quiet_and_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    ray_workers._import_ray()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_without_ray_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingDependencyError, match="pip install ray"):
        RayPool("local:2")


@pytest.mark.parametrize("address", ["local:0", "local:two", "local:"])
def test_a_local_ray_needs_a_number(address: str) -> None:
    with pytest.raises(SettingError, match="Write for example local:2"):
        RayPool(address)


def test_an_address_where_no_ray_is() -> None:
    with pytest.raises(SettingError, match=r"running Ray cluster, got 'auto'.*ray start --head"):
        RayPool("auto")


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "127.0.0.1:99999999"])
def test_an_address_where_nobody_listens_is_said_at_once(address: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # taken, but not listened to
        address = address.format(held.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(SettingError, match=rf"running Ray cluster, got '{address}'.*write local:2"):
            RayPool(address)
    assert time.monotonic() - began < ray_workers.PROBE_SECONDS + 1


def test_somebody_who_listens_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ray_workers._probe(f"127.0.0.1:{port}")
        monkeypatch.setattr(ray_workers, "CLIENT_PORT", port)
        ray_workers._probe("ray://127.0.0.1")
    for other in ("auto", "somewhere", "anyscale://cluster:1"):
        ray_workers._probe(other)
