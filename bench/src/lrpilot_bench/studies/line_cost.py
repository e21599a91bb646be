"""What Lines cost: time and memory of a Line, LRTuner's share of a training, and what its few forwards are worth.

    python -m lrpilot_bench.studies.line_cost [--only PART] ...

Parts: time, memory, factors, overhead, decisions.

A section is written into the record when it ends, and the sections that were not asked for stay as they are; without
``--only`` all of them run. ``time`` (two minutes) wants a machine that does nothing else. The others count, and do not
mind: about a minute, one, two, and ten. ``decisions`` goes on where it ended (see ``line_decisions.py``).
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot import Pilot, Training, fit
from lrpilot.core.actions import Line, Rewind
from lrpilot.policies.lr_tuner import LRTuner, PublishedLRTuner
from lrpilot.policies.weighted_factors import PublishedWeightedFactors, WeightedFactors
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot.training.restore.tree import tensors_of
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.line_decisions import record_all
from lrpilot_bench.studies.probe_cost import live_bytes
from lrpilot_bench.tasks.char_kjv import CharTransformer
from lrpilot_bench.tasks.fashion_resnet import resnet18
from lrpilot_bench.tasks.registry import get_task
from lrpilot_bench.tasks.task import class_loss

BATCHES = 20  # that a training of a timed model has


@dataclass(frozen=True)
class Subject:
    """A model whose Lines are timed and weighed: at least 5 ms a forward on one thread."""

    title: str
    make_model: Callable[[], nn.Module]
    make_batch: Callable[[], tuple[Tensor, Tensor]]


def images() -> tuple[Tensor, Tensor]:
    """32 images of 32 x 32 pixels."""
    return torch.randn(32, 1, 32, 32), torch.randint(10, (32,))


def characters() -> tuple[Tensor, Tensor]:
    """16 windows of 64 characters."""
    windows = torch.randint(63, (16, 65))
    return windows[:, :-1].clone(), windows[:, 1:].clone()


SUBJECTS = {
    "conv net": Subject("ResNet-18, 8 channels wide, batch 32", partial(resnet18, 8), images),
    "transformer": Subject(
        "4-layer character transformer, 128 wide, batch 16",
        partial(CharTransformer, length=64, width=128, heads=4, layers=4),
        characters,
    ),
}


def make_training(
    subject: Subject, make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
) -> Training:
    """The subject in the middle of its training: the optimizer's state exists."""
    torch.manual_seed(0)
    model, batches = subject.make_model(), [subject.make_batch() for _ in range(BATCHES)]
    optimizer = make_optimizer(model.parameters(), lr=1e-4)
    training = Training.from_criterion(model, optimizer, class_loss, batches, batches[:2])
    for batch in batches[:2]:
        training.step(batch)
    return training


# ---------------------------------------------------------------------- time

# Factors and batches. The first is the least that LRTuner reads, the last what the papers have for factors.
SHAPES = ((2, 2), (3, 4), (5, 20))
LIMIT = 1.10


def factors(count: int) -> tuple[float, ...]:
    """Evenly spaced from 0.5 to 1.5."""
    return tuple(0.5 + i / (count - 1) for i in range(count))


class Stopwatch:
    """Wall and CPU seconds of the blocks it was started for."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter() - self._began[0]
        self.cpu += time.process_time() - self._began[1]


def time_line(training: Training, substrate: LiveSubstrate, line: Line, batches: Sequence[Any]) -> Stopwatch:
    """A Line with both its copies of the parameters, but without the step that it is read along."""
    watch = Stopwatch()
    substrate.arm_line()
    with watch:
        substrate.before_kept_step()
    training.step(batches[0])
    with watch:
        substrate.after_kept_step()
        substrate.line(line)
        substrate.release_line()
    return watch


def time_forwards(training: Training, line: Line, batches: Sequence[Any]) -> Stopwatch:
    """As many forward passes on the same batches, and their losses as numbers."""
    watch = Stopwatch()
    with watch, torch.no_grad():
        for _ in line.factors:
            torch.stack([training.loss(batch) for batch in batches]).tolist()
    return watch


def time_ratio(subject: Subject, shape: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Lines and bare forward passes in turn."""
    training, line = make_training(subject), Line(factors(shape[0]), shape[1])
    substrate = LiveSubstrate(training)
    batches = list(training.probe_data.train.take(line.batches))

    def pair() -> tuple[Stopwatch, Stopwatch]:
        return time_line(training, substrate, line, batches), time_forwards(training, line, batches)

    pair()  # and the proof that its step is linear, which every training pays once
    pairs = [pair() for _ in range(repeats)]
    forwards = len(line.factors) * line.batches
    return {
        "model": subject.title, "factors": shape[0], "batches": shape[1], "limit": LIMIT,
        "ratio": statistics.median(a.wall / b.wall for a, b in pairs),
        "cpu_ratio": statistics.median(a.cpu / b.cpu for a, b in pairs),
        "forward_ms": 1e3 * statistics.median(b.wall for _, b in pairs) / forwards,
        "line_seconds": [round(a.wall, 5) for a, _ in pairs],
        "forward_seconds": [round(b.wall, 5) for _, b in pairs],
    }  # fmt: skip


def measure_time(repeats: int) -> list[dict[str, Any]]:
    """Every subject in every shape, about the same time for each."""
    rows = []
    for subject in SUBJECTS.values():
        for shape in SHAPES:
            many = max(repeats // 5, repeats * 4 // (shape[0] * shape[1]))
            rows.append(time_ratio(subject, shape, many))
            seen = rows[-1]
            print(
                f"{subject.title:50s} {shape[0]} factors, {shape[1]:2d} batches: {seen['ratio']:.3f} "
                f"(CPU {seen['cpu_ratio']:.3f}; {seen['forward_ms']:.1f} ms a forward)",
                flush=True,
            )
    return rows


# -------------------------------------------------------------------- memory

MANY_FACTORS = (3, 9, 65)


def size_of(tensors: Any) -> int:
    """Bytes of all tensors in nested containers."""
    return sum(t.numel() * t.element_size() for t in tensors_of(tensors))


@contextmanager
def watched(training: Training) -> Iterator[list[int]]:
    """Live tensor bytes at every forward pass inside."""
    loss_fn, readings = training.loss_fn, [0]
    assert loss_fn is not None  # from_criterion makes one

    def watching(model: nn.Module, batch: Any) -> Tensor:
        readings.append(live_bytes())
        return loss_fn(model, batch)

    training.loss_fn = watching
    try:
        yield readings
    finally:
        training.loss_fn = loss_fn


def line_data(batches: Sequence[Any]) -> int:
    """Data that a Line holds, and no copy of the model: its batches, and a copy of the one that it reads."""
    return size_of(batches) + size_of(batches[0])


def line_bytes(subject: Subject, count: int) -> dict[str, Any]:
    """Live tensor bytes at every forward pass of a Line, against those of the training before it."""
    training, line = make_training(subject), Line(factors(count), 2)
    batches = list(training.probe_data.train.take(line.batches))
    substrate = LiveSubstrate(training)
    time_line(training, substrate, line, batches)  # what is made on first use
    before = live_bytes()
    substrate.arm_line()
    substrate.before_kept_step()
    training.step(batches[0])
    substrate.after_kept_step()
    with watched(training) as readings:
        substrate.line(line)
    data = line_data(batches)
    copies = 2 * size_of(training.trainable_parameters)
    extra = max(readings) - before - data
    return {"model": subject.title, "factors": count, "two_copies_bytes": copies, "extra_bytes": extra,
            "batch_bytes": data, "ratio": extra / copies}  # fmt: skip


def measure_memory() -> list[dict[str, Any]]:
    """Every subject with few and with many factors."""
    rows = [line_bytes(subject, count) for subject in SUBJECTS.values() for count in MANY_FACTORS]
    for row in rows:
        print(f"{row['model']:50s} {row['factors']:2d} factors: {row['ratio']:.4f} of two copies", flush=True)
    return rows


# --------------------------------------------------- weighted factors' memory

NUM_FACTORS = (3, 5, 7, 9)
OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


def flown_bytes(subject: Subject, kind: str, policy: WeightedFactors | PublishedWeightedFactors) -> int:
    """Most bytes that a decision holds beyond the training's own: its Line, and the mark where there is one."""
    training = make_training(subject, OPTIMIZERS[kind])
    batches = list(training.probe_data.train.take(policy.batches))
    time_line(training, LiveSubstrate(training), Line((0.5, 1.0), policy.batches), batches)  # what is made on first use
    before = live_bytes()
    pilot = Pilot(training, policy, total_steps=100)

    def fly(steps: int) -> None:
        for _ in range(steps):
            pilot.step(training.step(batches[0]))

    pilot.start()
    fly(int(policy.window))  # the first decision, which proves besides that the step is linear
    with watched(training) as readings:
        fly(int(policy.window))
    return max(readings) - before - line_data(batches)


def copied_bytes(subject: Subject, candidates: Sequence[float]) -> int:
    """The same where the model is copied for each candidate, and every copy takes a step of its own."""
    training = make_training(subject, torch.optim.SGD)
    lr, batch = training.raw_optimizer.param_groups[0]["lr"], next(training.train_source.epoch())
    readings: list[int] = []
    before = live_bytes()
    gradients = [p.grad for p in training.model.parameters()]
    copies = [copy.deepcopy(training.model) for _ in candidates]
    with torch.no_grad():
        for model, factor in zip(copies, candidates, strict=True):
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                assert gradient is not None  # the training has taken steps
                parameter.sub_(gradient, alpha=factor * lr)
            class_loss(model(batch[0]), batch[1])
            readings.append(live_bytes())
    return max(readings) - before


def factors_bytes(subject: Subject, count: int) -> dict[str, Any]:
    """One number of factors, all ways to read them; on batches of two samples, for their size drops out."""
    whole = subject.make_batch

    def two_samples() -> tuple[Tensor, Tensor]:
        inputs, targets = whole()
        return inputs[:2].clone(), targets[:2].clone()

    subject = replace(subject, make_batch=two_samples)
    published, ours = WeightedFactors.paper(count, window=2), WeightedFactors(count, window=2)
    one = size_of(make_training(subject).trainable_parameters)
    row: dict[str, Any] = {
        "model": subject.title, "factors": count, "one_copy_bytes": one,
        "copies": copied_bytes(subject, published.factors), "published": flown_bytes(subject, "sgd", published),
        "default sgd": flown_bytes(subject, "sgd", ours), "default adamw": flown_bytes(subject, "adamw", ours),
    }  # fmt: skip
    print(f"{subject.title:50s}", *(f"{name} {value / one:.2f}" for name, value in list(row.items())[3:]), flush=True)
    return row


def measure_factors() -> list[dict[str, Any]]:
    """Every subject with every number of factors."""
    return [factors_bytes(subject, count) for subject in SUBJECTS.values() for count in NUM_FACTORS]


# ------------------------------------------------------------------ overhead

SHORT_STEPS = 1400
SHARES = (1 / 30, 1.0, 30.0)  # of the default seed lrs
SEEDS = {"sgd": 0.1, "adamw": 1e-3}
TUNED = (("fashion_bn", "sgd"), ("char_kjv", "adamw"), ("papers_net", "adamw"))
EPOCH = 40_000 // 64  # steps of fashion_bn's
PAPER_EPOCHS = 5  # of the papers' fifty


def overhead(task_name: str, kind: str, tuner: LRTuner | PublishedLRTuner, steps: int, lr: float) -> dict[str, Any]:
    """Fly a training, and set what its measurements cost against its kept steps."""
    task = get_task(task_name)
    session = Session(task, task.family(kind), seed=0, steps=steps, lr=lr)
    result = fit(session.training(session.optimizer(lr)), tuner, total_steps=steps, progress=False)
    training, events = 3.0 * result.steps, result.history.events
    counted = session.counter.tally.forward_equivalents(task.batch_size) - training
    row: dict[str, Any] = {
        "task": task_name, "family": kind, "policy": tuner.name, "lr": lr, "steps": result.steps,
        "forward_equivalents": result.cost.forward_equivalents, "counted": counted, "training": training,
        "share": counted / training, "lines": result.cost.lines,
        "rewinds": sum(isinstance(event.action, Rewind) for event in events),
        "lrs": list(dict.fromkeys(result.history.lrs[: steps // 4])),  # while it explores, at least
    }  # fmt: skip
    print(f"{task_name:12s} {tuner.name:15s} lr {lr:<8.3g} {steps} steps: {100 * row['share']:.2f} %", flush=True)
    return row


def measure_overhead() -> dict[str, Any]:
    """The default with either end, in 1,400 steps; the papers' row in as many, and in five epochs."""
    default, saturating = (
        [overhead(task, kind, tuner, SHORT_STEPS, share * SEEDS[kind]) for task, kind in TUNED for share in SHARES]
        for tuner in (LRTuner(), LRTuner(exploit="saturation"))
    )
    paper = [
        overhead("fashion_bn", "sgd", LRTuner.paper("fashion-mnist", epochs=steps / EPOCH), steps, SEEDS["sgd"])
        for steps in (SHORT_STEPS, PAPER_EPOCHS * EPOCH)
    ]
    return {"limit": 0.03, "default": default, "saturating": saturating, "paper": paper}


# ---------------------------------------------------------------------- main


def write_section(path: Path, name: str, section: Any) -> None:
    """Put a section, and the machine that it was measured on, into the record."""
    record = json.loads(path.read_text()) if path.exists() else {}
    record[name] = {"measured": section, "machine": machine_facts()}
    path.write_text(json.dumps(record, indent=1) + "\n")


def main() -> None:
    """Measure what is asked for, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sections = ("time", "memory", "factors", "overhead", "decisions")
    parser.add_argument("--only", action="append", choices=sections, help="this section; may be given several times")
    parser.add_argument("--repeats", type=int, default=50, help="pairs of the smallest timed Lines")
    parser.add_argument("--out", type=Path, default=RECORDS / "line_cost.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = options.only or sections
    measured = {
        "time": lambda: measure_time(options.repeats),
        "memory": measure_memory,
        "factors": measure_factors,
        "overhead": measure_overhead,
    }
    for name, measure in measured.items():
        if name in wanted:
            write_section(options.out, name, measure())
    if "decisions" in wanted:
        record_all()


if __name__ == "__main__":
    main()
