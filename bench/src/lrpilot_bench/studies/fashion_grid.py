"""The judge: final validation loss over a full grid of learning rates, in a plain torch loop.

Independent of lrpilot on purpose: nothing below but the reading of the data and the writing of records is
the library's. 4 configurations x learning rates x {constant, warmup and linear decay to zero} x 3 seeds.
Equal seeds share initial weights and data order.

    python -m lrpilot_bench.studies.fashion_grid            # about 40 minutes on one core; stops and resumes anywhere
    python -m lrpilot_bench.studies.fashion_grid --smoke    # half a minute, into a temporary file
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lrpilot_bench.store.records import Job, finite, run_missing, thinned
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.fashion_tasks import CONFIGS, SEEDS, example

GRID_FILE = RECORDS / "fashion_grid.jsonl"
SCHEDULES = ("constant", "linear")
PER_DECADE = 3  # lrs per decade: a factor of 2.15 from one to the next

# First and last exponent (thirds of a decade) of each configuration's grid, set after a one-seed pilot so
# that the best lr of both schedules lies strictly inside.
SPANS = {
    "bn-sgd": (-9, 0),
    "bn-adamw": (-12, 0),
    "plain-sgd": (-8, 0),
    "plain-adamw": (-11, -2),
}

# Some tools pick lrs at which nothing is learned; a point a decade is enough to judge these.
TAILS = {"bn-sgd": (1e-6, 1e-5, 1e-4), "bn-adamw": (1e-6, 1e-5)}


def grid(config: str) -> list[float]:
    """Learning rates of a configuration, ascending, to three figures, without the tail."""
    first, last = SPANS[config]
    return [float(f"{10 ** (k / PER_DECADE):.3g}") for k in range(first, last + 1)]


def lr_at(step: int, peak: float, schedule: str, steps: int) -> float:
    """The lr of one step: constant, or 5 % linear warmup and then straight to zero after the last step."""
    if schedule == "constant":
        return peak
    warmup: int = round(example.WARMUP * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (steps - step) / (steps - warmup)


def jobs(steps: int) -> list[dict[str, Any]]:
    """Every run: the grid one seed after the other, so that a part of it is already a whole sweep; then the tails."""
    dense = {config: grid(config) for config in CONFIGS}
    return [
        {
            "config": config,
            "schedule": schedule,
            "lr": lr,
            "seed": seed,
            "steps": steps,
            "train_images": example.NUM_TRAIN,
        }
        for lrs in (dense, TAILS)
        for seed in SEEDS
        for config in lrs
        for schedule in SCHEDULES
        for lr in lrs[config]
    ]


def fly(job: Job) -> dict[str, Any]:
    """Train once, as any user would, and read the validation images at the end."""
    config, steps = CONFIGS[job["config"]], job["steps"]
    model = example.make_model(batch_norm=config.batch_norm, seed=job["seed"])
    optimizer = example.make_optimizer(config.optimizer, model, job["lr"])
    start_loss, _ = example.evaluate(model)
    losses: list[float] = []
    for step, batch in zip(range(steps), _endless(job["seed"]), strict=False):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, job["lr"], job["schedule"], steps)
        loss = example.loss_fn(model, batch)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    val_loss, val_accuracy = example.evaluate(model)
    return {
        "start_loss": start_loss,
        "val_loss": finite(val_loss),
        "val_accuracy": val_accuracy if math.isfinite(val_loss) else None,
        # divergence: non-finite, or worse in the end than the untrained network
        "diverged": not (math.isfinite(losses[-1]) and val_loss <= start_loss),
        "steps_taken": len(losses),
        "train_losses": thinned(losses),
    }


def _endless(seed: int) -> Iterator[Any]:
    loader = example.train_loader(seed)
    while True:
        yield from loader


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a few short runs into a temporary file")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="only the first so many seeds")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.smoke:
        with tempfile.TemporaryDirectory() as scratch:
            short = [job for job in jobs(steps=93) if job["seed"] == 0][::3]
            run_missing(Path(scratch) / "grid.jsonl", short, fly, say=_say)
        return
    wanted = [job for job in jobs(example.TOTAL_STEPS) if job["seed"] in SEEDS[: options.seeds]]
    run_missing(GRID_FILE, wanted, fly, say=_say)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
