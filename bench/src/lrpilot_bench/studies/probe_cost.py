"""What probing costs beyond its work, as ratios taken in one run.

    python -m lrpilot_bench.studies.probe_cost [--repeats 25]

Every ratio compares two things timed in turn (A B A B ...), and is the median of the pairwise ratios, so
that it holds on a machine whose speed drifts.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lrpilot import Pilot, Schedule, Training
from lrpilot.core.actions import Trial
from lrpilot.core.shape import constant
from lrpilot.training.bound.state import Snapshot, live_tree
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.restore.tree import tensors_of
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies.checkout import RECORDS

TRIAL_STEPS = 20
WIDTH = 1024  # three layers of this width at batch 256: about 30 ms a step on one core
BATCH = 256


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired_ratio(a: Callable[[], Any], b: Callable[[], Any], repeats: int) -> tuple[float, list[float]]:
    """Median of time(a) / time(b) over pairs, after one warm-up of each."""
    a(), b()
    ratios = [seconds(a) / seconds(b) for _ in range(repeats)]
    return statistics.median(ratios), ratios


def make_training() -> Training:
    """An MLP of 1.3 million parameters in the middle of its training."""
    torch.manual_seed(0)
    layers = [nn.Linear(256, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10)]
    model = nn.Sequential(*layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batches = [(torch.randn(BATCH, 256), torch.randint(10, (BATCH,))) for _ in range(TRIAL_STEPS)]
    training = Training.from_criterion(model, optimizer, nn.CrossEntropyLoss(), batches, batches[:2])
    for batch in batches[:2]:
        training.step(batch)  # the optimizer's state exists, as in the middle of a training
    return training


def plain_steps(training: Training) -> None:
    """The loop a user would write."""
    for inputs, targets in training.train_source.epoch():
        training.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(training.model(inputs), targets)
        loss.backward()
        training.optimizer.step()


def trial_ratio(training: Training, repeats: int) -> dict[str, Any]:
    """A Trial of n steps, with its snapshot and restore, against n plain steps."""
    substrate = LiveSubstrate(training)
    substrate.check()

    def trial() -> None:
        substrate.trial(Trial(constant(1e-4), TRIAL_STEPS))
        substrate.forget_snapshot()  # every Trial pays for its own snapshot here

    ratio, ratios = paired_ratio(trial, lambda: plain_steps(training), repeats)
    step_ms = 1e3 * min(seconds(lambda: plain_steps(training)) for _ in range(3)) / TRIAL_STEPS
    return {"ratio": ratio, "ratios": ratios, "limit": 1.05, "step_ms": step_ms}


def snapshot_ratio(training: Training, repeats: int) -> dict[str, Any]:
    """Snapshot and restore of everything, against copying the same tensors out and back."""
    sources = list(tensors_of(live_tree(training)))

    def copy_there_and_back() -> None:
        copies = [t.detach().clone() for t in sources]
        with torch.no_grad():
            for target, copied in zip(sources, copies, strict=True):
                target.detach().copy_(copied)

    ratio, ratios = paired_ratio(lambda: Snapshot(training).restore(), copy_there_and_back, 3 * repeats)
    size = sum(t.numel() * t.element_size() for t in sources)
    return {"ratio": ratio, "ratios": ratios, "limit": 1.5, "megabytes": size / 2**20}


def step_ratio(repeats: int) -> dict[str, Any]:
    """pilot.step() in the middle of a schedule against LambdaLR.step(), optimizer steps excluded."""
    calls = 2000
    parameter = nn.Parameter(torch.ones(2))
    theirs_optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.LambdaLR(theirs_optimizer, lambda step: 1.0 / (1 + step))
    theirs_optimizer.step()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    training = Training.from_criterion(model, optimizer, nn.MSELoss(), [(torch.ones(1, 2), torch.ones(1, 1))])
    pilot = Pilot(training, Schedule("cosine", lr=0.1), total_steps=1_000_000)
    loss = torch.tensor(1.0)

    def ours() -> None:
        for _ in range(calls):
            pilot.driver.step_taken()  # as the optimizer's hook says
            pilot.step(loss)

    def ours_idle() -> None:
        for _ in range(calls):
            pilot.step(loss)

    def lambda_lr() -> None:
        for _ in range(calls):
            theirs.step()

    ratio, ratios = paired_ratio(ours, lambda_lr, repeats)
    idle, _ = paired_ratio(ours_idle, lambda_lr, repeats)
    return {"ratio": ratio, "ratios": ratios, "limit": 3.0, "ratio_without_optimizer_step": idle,
            "microseconds": 1e6 * seconds(ours) / calls}  # fmt: skip


def import_cost(repeats: int) -> dict[str, Any]:
    """Milliseconds that ``import lrpilot`` adds to starting Python."""

    def run(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    run("import lrpilot")
    extra = [1e3 * (seconds(lambda: run("import lrpilot")) - seconds(lambda: run("pass"))) for _ in range(2 * repeats)]
    return {"milliseconds": statistics.median(extra), "all": extra, "limit": 50.0}


def live_bytes() -> int:
    """Bytes of all tensor storages alive, each once."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        # type(), not isinstance(): some lazy objects warn when their __class__ is looked at.
        if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided:
            storage = thing.untyped_storage()
            with suppress(RuntimeError):  # a tensor that torch.compile only imagines has no bytes
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def memory(training: Training, *, gradients_alive: bool) -> dict[str, Any]:
    """Live tensor bytes at each step of a Trial, against those of the same plain steps plus one snapshot.

    Args:
        training: what is flown.
        gradients_alive: the loop still holds its gradients when the Trial starts; they are kept beside the
            Trial's own, and count as part of the snapshot.
    """
    readings: list[int] = []

    def step_fn(batch: Any) -> torch.Tensor:
        training.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(training.model(batch[0]), batch[1])
        loss.backward()
        training.optimizer.step()
        readings.append(live_bytes())
        return loss

    training.optimizer.zero_grad()
    batch = next(training.train_source.epoch())
    step_fn(batch)
    plain = readings[-1]
    snapshot = sum(t.numel() * t.element_size() for t in tensors_of(live_tree(training)))
    if gradients_alive:
        grads = [p.grad for p in training.model.parameters() if p.grad is not None]
        snapshot += sum(g.numel() * g.element_size() for g in grads)
        del grads
    else:
        training.optimizer.zero_grad()
    watched = Training(training.model, training.optimizer, None, [batch] * 4, [batch], step_fn=step_fn)
    substrate = LiveSubstrate(watched)
    substrate.check()
    readings.clear()
    substrate.trial(Trial(constant(1e-4), 4))
    # A Trial works on a copy of its batch, for a step may change it in place: data, not a copy of the model.
    batch_bytes = sum(t.numel() * t.element_size() for t in tensors_of(batch))
    extra = max(readings) - plain - batch_bytes
    return {"snapshot_bytes": snapshot, "extra_bytes_in_trial": extra, "batch_bytes": batch_bytes,
            "ratio": extra / snapshot}  # fmt: skip


def main() -> None:
    """Measure everything, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--out", type=Path, default=RECORDS / "probe_cost.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    training = make_training()
    report = {
        "trial / plain steps": trial_ratio(training, options.repeats),
        "snapshot + restore / copying": snapshot_ratio(training, options.repeats),
        "pilot.step / LambdaLR.step": step_ratio(options.repeats),
        "import lrpilot (ms)": import_cost(options.repeats),
        "memory of a Trial / snapshot": memory(training, gradients_alive=False),
        "the same with gradients alive": memory(training, gradients_alive=True),
        "machine": machine_facts(),
    }
    for name, entry in report.items():
        value = entry.get("ratio", entry.get("milliseconds"))
        if value is not None:
            print(f"{name:32s} {value:8.3f}   limit {entry.get('limit', 1.0)}")
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
