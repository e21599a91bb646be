"""Kills fits with AutoLRS at random moments, and resumes them: ``python autolrs_kill_driver.py FOLDER KILLS SEED``.

Every fit is a fork of this process, which has loaded torch before and trained nothing. It ends itself by SIGKILL in the
n-th evaluation of its loss, n drawn at random over the whole run, searches included; a second fork resumes it. What
was seen goes to FOLDER/seen.json.
"""

import importlib
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lrpilot.checkpoint
from lrpilot import AutoLRS, Training, fit
from lrpilot.core.actions import Continue

STEPS = 28
LOADED_WHEN_USED = ("torch._dynamo", "scipy.interpolate", "scipy.optimize", "scipy.special", "lrpilot.maths.surrogate")
PAPER = AutoLRS.paper(1e-2, 1.0, tau=8, max_tau=8)
RUNS = ((AutoLRS(1e-2, 1.0, overhead=2.0), False), (PAPER, False), (PAPER, True))  # and whether Trials are continued


class Fuse:
    """Cross-entropy that counts its evaluations, and ends the process in the n-th."""

    def __init__(self, kill_at: int | None) -> None:
        self.calls = 0
        self.kill_at = kill_at

    def __call__(self, model: nn.Module, batch: Any) -> Tensor:
        self.calls += 1
        if self.calls == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        inputs, targets = batch
        return nn.functional.cross_entropy(model(inputs), targets)


def train(run: int, checkpoint: Path | None, kill_at: int | None, *, resume: bool) -> dict[str, Any]:
    """A whole fit, of a model with dropout and batch norm on shuffled data; how it ended."""
    policy, continue_trials = RUNS[run]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
    inputs = torch.randn(96, 4, generator=torch.Generator().manual_seed(1))
    loader = DataLoader(TensorDataset(inputs, inputs[:, :3].argmax(1)), batch_size=8, shuffle=True)
    fuse = Fuse(kill_at)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    training = Training(model, optimizer, fuse, loader)
    calls_in_searches: list[int] = []  # evaluations of the loss at the beginning and at the end of every measurement

    def note(event: Any) -> None:
        calls_in_searches.append(fuse.calls)

    result = fit(
        training,
        policy,
        total_steps=STEPS,
        continue_trials=continue_trials,
        progress=False,
        checkpoint=checkpoint,
        resume=resume,
        on_event=note,
    )
    return {
        "weights": [tensor.tolist() for tensor in model.state_dict().values()],
        "lrs": result.history.lrs,
        "events": [event.message for event in result.history.events],
        "calls": fuse.calls,
        "calls_in_searches": calls_in_searches,
        "continued": sum(isinstance(event.action, Continue) for event in result.history.events),
    }


def forked(work: Callable[[], dict[str, Any]], result: Path) -> int:
    """Do the work in a process of its own, which writes its result; how that process ended."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    status = 1
    try:
        result.write_text(json.dumps(work()))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    for module in LOADED_WHEN_USED:  # once, and not in every fork
        importlib.import_module(module)
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    lrpilot.checkpoint.CHECKPOINT_SECONDS = 0.0  # after every kept step, as a search follows it at once
    whole = []
    for run in range(len(RUNS)):
        assert forked(lambda run=run: train(run, None, None, resume=False), folder / f"whole{run}") == 0
        whole.append(json.loads((folder / f"whole{run}").read_text()))
    chance = random.Random(seed)
    seen = []
    for i in range(kills):
        run = i % len(RUNS)
        expected = whole[run]
        at, checkpoint, end = chance.randint(1, expected["calls"]), folder / f"{i}.pt", folder / f"end{i}"
        status = forked(lambda run=run, c=checkpoint, n=at: train(run, c, n, resume=False), end)
        killed, begun = os.WIFSIGNALED(status) and not end.exists(), checkpoint.exists()
        assert forked(lambda run=run, c=checkpoint: train(run, c, None, resume=True), end) == 0
        found = json.loads(end.read_text())
        marks = expected["calls_in_searches"]
        seen.append(
            {
                "killed": killed,
                "begun": begun,
                "in_search": any(low < at <= high for low, high in zip(marks[::2], marks[1::2], strict=False)),
                "continued": expected["continued"],
                "same": all(found[name] == expected[name] for name in ("weights", "lrs", "events")),
            }
        )
    (folder / "seen.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
