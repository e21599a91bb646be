"""What must not move a suggestion, measured on Fashion-MNIST: units of the loss, containers, data seeds.

    python -m lrpilot_bench.studies.invariances

Shifts are in decades against the suggestion of the unchanged training; the tolerance is 0.1 decade. Over five
data seeds (order of the batches; the initial weights are the same) the spread may be 0.3 decade. About ten
minutes on one core.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrpilot import Training, find_lr, simulate
from lrpilot.flight.landscape import RecordedCurve
from lrpilot.found import FoundLR
from lrpilot.policies.finders.step_sampling import StepSampling
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.fashion_example import example

TOLERANCE = 0.1  # decades
DATA_SEEDS = range(5)
MAX_SPREAD = 0.3  # decades, largest minus smallest over the data seeds
TARGETS = ("constant", "decay")

LossFn = Callable[[nn.Module, Any], Tensor]
Batches = list[tuple[Tensor, Tensor]]


def make_training(
    optimizer: str,
    *,
    change_loss: Callable[[Tensor], Tensor] = lambda loss: loss,
    wrap: Callable[[Tensor, Tensor], Any] = lambda images, labels: (images, labels),
    unwrap: Callable[[Any], tuple[Tensor, Tensor]] = lambda batch: batch,
    data_seed: int = 0,
) -> Training:
    """The example task with one thing changed."""
    model = example.make_model(batch_norm=True, seed=0)

    def loss_fn(model: nn.Module, batch: Any) -> Tensor:
        return change_loss(example.loss_fn(model, unwrap(batch)))

    def batches(loader: Any) -> list[Any]:
        return [wrap(images, labels) for images, labels in loader]

    torch.manual_seed(data_seed)
    train = batches(example.train_loader(data_seed))
    val = example.data().val
    made = example.make_optimizer(optimizer, model, lr=0.1 if optimizer == "sgd" else 1e-3)
    return Training(model, made, loss_fn, train, val, seed=data_seed)


def search(optimizer: str, target: Any, **changes: Any) -> FoundLR:
    """One find_lr on the task with ``changes``."""
    effort: Any = "thorough" if target == "decay" else "quick"
    found = find_lr(make_training(optimizer, **changes), target=target, effort=effort, progress=False)
    print(f"{optimizer:6s} {target:9s} {sorted(changes)!s:32s} lr {found.lr}", flush=True)
    return found


def decades(found: FoundLR, base: FoundLR) -> float:
    """How far a suggestion lies above the base one; inf where there is none."""
    if found.lr is None or base.lr is None:
        return math.inf
    return math.log10(found.lr / base.lr)


def of_units(optimizer: str, target: str, base: FoundLR) -> list[dict[str, Any]]:
    """Loss scaled and shifted: SGD's lr is in units of 1 / loss, Adam's has none."""
    scaled = search(optimizer, target, change_loss=lambda loss: loss * 1000)
    shifted = search(optimizer, target, change_loss=lambda loss: loss + 1000)
    expected = -3.0 if optimizer == "sgd" else 0.0
    return [
        entry(optimizer, target, "loss x 1000", expected, decades(scaled, base)),
        entry(optimizer, target, "loss + 1000", 0.0, decades(shifted, base)),
    ]


def of_containers(optimizer: str, target: str, base: FoundLR) -> list[dict[str, Any]]:
    """The same batches in another container."""
    as_list = search(optimizer, target, wrap=lambda x, y: [x, y], unwrap=lambda b: (b[0], b[1]))
    as_dict = search(optimizer, target, wrap=lambda x, y: {"x": x, "y": y}, unwrap=lambda b: (b.pop("x"), b.pop("y")))
    return [
        entry(optimizer, target, "batches as lists", 0.0, decades(as_list, base)),
        entry(optimizer, target, "batches as dicts that the step empties", 0.0, decades(as_dict, base)),
    ]


def of_data_seeds(optimizer: str, target: str, base: FoundLR) -> dict[str, Any]:
    """The same weights, batches in five orders."""
    lrs = [base.lr] + [search(optimizer, target, data_seed=seed).lr for seed in DATA_SEEDS if seed]
    logs = [math.log10(lr) if lr else math.nan for lr in lrs]
    spread = max(logs) - min(logs)
    return {"optimizer": optimizer, "target": target, "change": "5 data seeds", "lrs": lrs, "spread_decades": spread,
            "standard_deviation": float(np.std(logs, ddof=1)), "holds": spread <= MAX_SPREAD}  # fmt: skip


def of_recorded_curve(base: FoundLR, optimizer: str) -> list[dict[str, Any]]:
    """The very curve that was measured, scaled and shifted."""
    rows = []
    for name, scale, shift in (("recorded curve x 1e4", 1e4, 0.0), ("recorded curve + 1e4", 1.0, 1e4)):
        picks = [
            simulate(
                StepSampling(),
                RecordedCurve(base.lrs, tuple(a * x + b for x in base.losses), a * (base.start_loss or 0.0) + b),
                lr=0.1,
            ).result
            for a, b in ((1.0, 0.0), (scale, shift))
        ]
        rows.append(entry(optimizer, "constant", name, 0.0, decades(picks[1], picks[0])))
    return rows


def entry(optimizer: str, target: str, change: str, expected: float, seen: float) -> dict[str, Any]:
    """One row of the record."""
    holds = abs(seen - expected) <= TOLERANCE
    return {"optimizer": optimizer, "target": target, "change": change, "expected_decades": expected,
            "shift_decades": seen, "holds": holds}  # fmt: skip


def main() -> None:
    """Run everything, print a table, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RECORDS / "invariances.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for optimizer in ("sgd", "adamw"):
        for target in TARGETS:
            base = search(optimizer, target)
            rows += of_units(optimizer, target, base)
            rows += of_containers(optimizer, target, base)
            rows.append(of_data_seeds(optimizer, target, base))
            if target == "constant":
                rows += of_recorded_curve(base, optimizer)
    for row in rows:
        seen = row.get("shift_decades", row.get("spread_decades"))
        verdict = "ok" if row["holds"] else "NO"
        print(f"{row['optimizer']:6s} {row['target']:9s} {row['change']:40s} {seen:+8.4f}  {verdict}")
    options.out.write_text(json.dumps({"rows": rows, "machine": machine_facts()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
