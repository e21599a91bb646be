"""A bench that is killed at random moments loses no run, repeats none, and leaves a file that can be read."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
KILLS = 50
SEEDS = 200  # more runs than the killed benches can do


def arguments(seeds: int) -> list[str]:
    return [
        *("--plugin", "fake_bench", "--task", "fake", "--suite", "oracle", "--suite", "methods"),
        *("--method", "linear", "--method", "cosine", "--method", "wsd", "--method", "fake_plain"),
        *("--seeds", f"0-{seeds - 1}"),
    ]


@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    driver = [sys.executable, str(TESTS / "kill_driver.py"), str(tmp_path), str(KILLS), "7", *arguments(SEEDS)]
    done = subprocess.run(driver, cwd=TESTS, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    kills = seen["kills"]

    assert seen["last_status"] == 0, (tmp_path / "said.txt").read_text()[-2000:]
    assert all(kill["killed"] for kill in kills), "every one was still at work"
    assert all(kill["kept"] for kill in kills), "no record ever changed or went"
    for kill in kills:
        assert not set(kill["started"]) & set(kill["recorded_before"]), "no recorded run is begun again"
    assert sum(not kill["started"] for kill in kills) >= 2, "some before the first run"
    assert sum(bool(kill["started"]) for kill in kills) >= 10, "many in the midst"

    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    runs = Counter(record["run"] for record in records)
    methods = Counter(record["method"] for record in records)
    assert set(runs.values()) == {1}
    assert methods == {"linear": 11 + SEEDS - 1 + SEEDS, "cosine": 11 + SEEDS, "wsd": 11 + SEEDS, "fake_plain": SEEDS}
    assert_gone({line["pid"] for line in map(json.loads, (tmp_path / "starts.jsonl").read_text().splitlines())})


def assert_gone(pids: set[int]) -> None:
    """Workers leave with their parent, however that went."""
    deadline = time.monotonic() + 10
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if Path(f"/proc/{pid}").exists()}
        time.sleep(0.05)
    assert not left


class Command:
    """``lrpilot bench run`` on the fake task, as the installed command and in a process group of its own."""

    def __init__(self, folder: Path, seeds: int) -> None:
        self.records = folder / "records.jsonl"
        self.words = [
            *(str(Path(sys.executable).with_name("lrpilot")), "bench", "run", "--processes", "1"),
            *("--plugin", "fake_bench", "--task", "fake", "--suite", "methods", "--method", "fake_plain"),
            *("--seeds", f"0-{seeds - 1}", "--records", str(self.records)),
        ]

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(self.words, cwd=TESTS, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def written(self) -> int:
        return self.records.read_bytes().count(b"\n") if self.records.exists() else 0

    def end_after(self, more: int, signal_: signal.Signals) -> tuple[int, str]:
        """Start it, send a signal once ``more`` runs are written; its exit status and what it said."""
        before, process = self.written(), self.start()
        while self.written() < before + more and process.poll() is None:
            time.sleep(0.002)
        if signal_ is signal.SIGINT:
            os.killpg(process.pid, signal_)  # as a terminal does
        else:
            process.send_signal(signal_)
        _, said = process.communicate(timeout=60)
        return process.returncode, said


@pytest.mark.slow
def test_the_installed_command_goes_on_after_a_kill_and_after_ctrl_c(tmp_path: Path) -> None:
    seeds = 250
    command = Command(tmp_path, seeds)
    status, _ = command.end_after(10, signal.SIGKILL)
    assert status == -signal.SIGKILL and 10 <= command.written() < seeds
    status, said = command.end_after(10, signal.SIGINT)
    assert status == 130 and "the same command goes on" in said and "Traceback" not in said
    so_far = command.written()
    assert 20 <= so_far < seeds

    last = subprocess.run([*command.words, "--json"], cwd=TESTS, capture_output=True, text=True)

    document = json.loads(last.stdout)
    assert (document["present"], document["done"]) == (so_far, seeds - so_far)
    records = [json.loads(line) for line in command.records.read_text().splitlines()]
    assert sorted(record["seed"] for record in records) == list(range(seeds))
    assert last.stderr == ""
