"""Loss series of short real trainings, for comparing forecasts with the AutoLRS authors' implementation.

    python -m lrpilot_bench.studies.autolrs_series OUT.json        # two minutes on one core

Ten trainings of 200 steps from fresh weights, two tasks, constant lrs from too small to too large. Each gives a series
of training losses (its first 100, 150 or 200 steps) and one of validation losses (a small fixed subset every other
step): 20 series of at least 100 points, rounded to five significant digits before anything reads them.

``records/autolrs_forecasts.json`` holds these series and what the authors' code made of each. That code
(github.com/YuchenJin/autolrs, MIT licence, at the commit that the record names) is not part of this project: it was
run by itself, in an environment of its own requirements, by filling its ``RingBuffer`` with a series and calling
``exponential_forcast`` as its server does.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from lrpilot_bench.session import Session
from lrpilot_bench.tasks.registry import get_task

RUNS = {  # lrs by task and family, natural units
    ("fashion_bn", "sgd"): (0.001, 0.01, 0.05, 0.4, 1.5),
    ("char_kjv", "adamw"): (1e-4, 1e-3, 3e-3, 0.02, 0.1),
}
STEPS = 200
TRAINING_LENGTHS = (100, 150, 200, 100, 200)
VALIDATION_EVERY = 2  # steps
HORIZON = 10  # times the length of a series, as τ is to τ′


def record(task_name: str, kind: str, lr: float, length: int) -> list[dict[str, Any]]:
    """The two series of one training."""
    task = get_task(task_name)
    session = Session(task, task.family(kind), seed=0, steps=2 * STEPS)  # the evaluations are charged too
    optimizer = session.optimizer(lr)
    training, validation = [], []
    for step, batch in zip(range(1, STEPS + 1), session.batches(), strict=False):
        training.append(session.step(optimizer, batch))
        if step % VALIDATION_EVERY == 0:
            validation.append(session.evaluate(batches=1))
    facts = {"task": task_name, "family": kind, "lr": lr}
    return [
        {**facts, "kind": "training", "every": 1, **series(training[:length])},
        {**facts, "kind": "validation", "every": VALIDATION_EVERY, **series(validation)},
    ]


def series(losses: list[float]) -> dict[str, Any]:
    """A series as it is stored, and the place to forecast, both counted in readings from 0."""
    return {"horizon": HORIZON * len(losses), "losses": [float(f"{loss:.5g}") for loss in losses]}


def main() -> None:
    """Record all series."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for (task, kind), lrs in RUNS.items():
        for lr, length in zip(lrs, TRAINING_LENGTHS, strict=True):
            found += record(task, kind, lr, length)
            print(f"{task} lr {lr:g}: {found[-2]['losses'][-1]} training, {found[-1]['losses'][-1]} validation")
    options.out.write_text(json.dumps(found, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
