"""Kills ``lrpilot bench run`` at random moments: ``python kill_driver.py FOLDER KILLS SEED ARGUMENTS...``.

Every bench is a fork of this process, which has loaded all the code before, so that a start takes
milliseconds instead of the seconds that torch takes; from the command line down it is the real thing, but
that the workers only seem to train (see fake_attempts). After the kills one bench is left in peace. What
was seen goes to FOLDER/seen.json.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

JOB_SECONDS = 0.02
SEEDS = 200
LATEST_KILL = 2.5  # times what a start takes here and now: from nothing done to a dozen runs written


def bench(arguments: list[str], folder: Path, runs: dict[Any, str]) -> int:
    """Start a bench; its process."""
    child = os.fork()
    if child:
        return child
    import fake_attempts
    from lrpilot.cli.app import app
    from lrpilot_bench.cli import commands as command
    from lrpilot_bench.run.workers import ProcessPool

    run = partial(fake_attempts.seem, runs=runs, log=folder / "starts.jsonl", seconds=JOB_SECONDS)
    command._pool = lambda processes, ray, device: ProcessPool(2, run)
    with (folder / "said.txt").open("a") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    status = 1
    try:
        app(["bench", "run", "--records", str(folder / "records.jsonl"), *arguments], standalone_mode=False)
        status = 0
    finally:
        os._exit(status)


def start_seconds(arguments: list[str], folder: Path, runs: dict[Any, str]) -> float:
    """Seconds from the start of a bench to its first record; it is killed then."""
    began = time.perf_counter()
    child = bench(arguments, folder, runs)
    while not lines(folder / "records.jsonl") and time.perf_counter() - began < 30:
        time.sleep(0.01)
    taken = time.perf_counter() - began
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return taken


def all_runs() -> dict[Any, str]:
    """The run of every job that may be wanted; where all losses are equal, a sweep's first point wins."""
    from lrpilot_bench.cli.options import load_plugins
    from lrpilot_bench.protocol.jobs import Job, plan
    from lrpilot_bench.protocol.wanted import oracle_sweep
    from lrpilot_bench.tasks.registry import get_task

    load_plugins(["fake_bench"])
    sweep = oracle_sweep(get_task("fake"))
    names = ("linear", "cosine", "wsd", "fake_plain")
    jobs = [Job("fake", name, seed=seed) for name in names for seed in range(SEEDS)]
    jobs += [*sweep, *(replace(sweep[0], seed=seed) for seed in range(SEEDS))]
    return {job: plan(job).run for job in jobs}


def main() -> None:
    folder, kills, seed, arguments = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    import lrpilot.cli.app  # noqa: F401  # all that a bench loads, once

    runs = all_runs()
    chance = random.Random(seed)
    records = folder / "records.jsonl"
    seen = []
    latest = LATEST_KILL * start_seconds(arguments, folder, runs)
    for _ in range(kills):
        before = records.read_bytes() if records.exists() else b""
        starts_before = len(lines(folder / "starts.jsonl"))
        child = bench(arguments, folder, runs)
        time.sleep(chance.uniform(0, latest))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        after = records.read_bytes() if records.exists() else b""
        whole = before[: before.rfind(b"\n") + 1]
        seen.append(
            {
                "killed": os.WIFSIGNALED(status),
                "kept": after.startswith(whole),
                "whole": after.count(b"\n"),
                "torn": not after.endswith(b"\n") and after != b"",
                "recorded_before": [json.loads(line)["run"] for line in whole.splitlines()],
                "started": [line["run"] for line in lines(folder / "starts.jsonl")[starts_before:]],
            }
        )
    _, status = os.waitpid(bench(arguments, folder, runs), 0)
    document = {"kills": seen, "last_status": os.waitstatus_to_exitcode(status), "latest": latest}
    (folder / "seen.json").write_text(json.dumps(document))


def lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; none where it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


if __name__ == "__main__":
    main()
