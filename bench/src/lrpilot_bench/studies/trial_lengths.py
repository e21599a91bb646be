"""Which lr looks best after Trials of different length, and which is best in the end.

    python -m lrpilot_bench.studies.trial_lengths        # a minute on a free core

The digits and the net of examples/autolrs.py, which has no normalisation. From fresh weights Trials of 14, 27, 60 and
120 steps at constant lr, on a grid of a quarter decade, judged by the held-out loss on the averaged weights, with SGD
and momentum 0.9 and with AdamW. And the same lrs of SGD held for 1,000 steps, judged by the held-out loss at the end.

Writes ``records/trial_lengths.json``.
"""

import json
import math
import statistics
from typing import Any

import torch

from lrpilot import Schedule, fit
from lrpilot.core.actions import Trial
from lrpilot.core.shape import constant
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.digits_example import make_training

RECORD = RECORDS / "trial_lengths.json"
LENGTHS = (14, 27, 60, 120)
HELD = 1000
SEEDS = (0, 1, 2)
OPTIMIZERS = ("sgd", "adamw")
LRS = tuple(10 ** (k / 4) for k in range(-12, 1))  # 0.001 to 1


def trial_losses(optimizer: str, seed: int, steps: int) -> list[float | None]:
    """Held-out loss of a Trial at each lr; None where it was no number."""
    substrate = LiveSubstrate(make_training(seed, LRS[0], optimizer=optimizer))
    seen = [substrate.trial(Trial(constant(lr), steps, evaluate="average")) for lr in LRS]
    found = [None if one is None else one.held_out for one in seen]
    return [None if loss is None or not math.isfinite(loss) else round(loss, 4) for loss in found]


def held_loss(seed: int, lr: float) -> float | None:
    """Held-out loss after a training at that lr; None where it is no number."""
    training = make_training(seed, lr)
    fit(training, Schedule("constant"), total_steps=HELD, progress=False)
    loss = training.evaluate()
    return round(loss, 4) if math.isfinite(loss) else None


def best_lr(losses: list[float | None]) -> float:
    """The lr of the lowest loss."""
    return min(zip((math.inf if loss is None else loss for loss in losses), LRS, strict=True))[1]


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """The best lr of every seed: by optimizer and length of the Trial, and held."""
    best: dict[str, Any] = {
        optimizer: {steps: [best_lr(losses) for losses in of_seeds] for steps, of_seeds in of_lengths.items()}
        for optimizer, of_lengths in record["trials"].items()
    }
    return best | {"held": [best_lr(losses) for losses in record["held"]]}


def main() -> None:
    """Measure, show, write."""
    torch.set_num_threads(1)
    record: dict[str, Any] = {"lrs": [round(lr, 6) for lr in LRS], "seeds": SEEDS, "steps_held": HELD}
    record["trials"] = {
        optimizer: {str(steps): [trial_losses(optimizer, seed, steps) for seed in SEEDS] for steps in LENGTHS}
        for optimizer in OPTIMIZERS
    }
    record["held"] = [[held_loss(seed, lr) for lr in LRS] for seed in SEEDS]
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    for name, best in summary(record).items():
        if name == "held":
            print(f"held for {HELD} steps: best lr {' '.join(f'{lr:.2g}' for lr in best)}")
            continue
        for steps, lrs in best.items():
            print(f"{name}, {steps} steps: best lr {' '.join(f'{lr:.2g}' for lr in lrs)}")
    for lr, *losses in zip(LRS, *record["held"], strict=True):
        finite = [loss for loss in losses if loss is not None]
        print(f"held at {lr:.2g}: {losses}, mean {statistics.fmean(finite) if finite else math.nan:.3f}")


if __name__ == "__main__":
    main()
