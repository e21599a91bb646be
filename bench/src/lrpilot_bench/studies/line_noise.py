"""How much of a superbatch's loss, and of the lr that a Line asks for, is noise: AutoLR's Figure 7 and one step more.

    python -m lrpilot_bench.studies.line_noise          # three minutes on one core

The papers' 4-layer net on Fashion-MNIST is trained at the papers' seed lr. Twice on the way one step is a Line that is
read at the five published factors on an epoch of minibatches, once. Superbatches of 1 to 100 minibatches are then drawn
from these with replacement, a thousand times each. *Paired* superbatches have the same minibatches for all five
factors, as ours and the papers' have; *fresh* ones have minibatches of their own for each factor.
"""

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lrpilot.core.actions import Line
from lrpilot.policies.lr_tuner.published import PAPER_FACTORS, published_step
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.tasks.registry import get_task

Table = NDArray[np.float64]

TASK = "papers_fashion"
FAMILIES = ("plain_sgd", "sgd")
SEED_LR = 0.1  # the papers', for SGD with and without momentum
PLACES = (300, 1500)  # kept steps before the Line
POOL = 187  # minibatches read: an epoch of the 12,000 images
SIZES = (1, 2, 5, 10, 20, 50, 100)
DRAWS = 1000
NO_CLIP = 1e30  # what is measured is the parabola, not the limit on its step


def read_lines(family: str) -> Iterator[tuple[int, Table]]:
    """Losses of the pool at the five factors, minibatches x 5, at every place of one training."""
    task = get_task(TASK)
    session = Session(task, task.family(family), seed=0, steps=max(PLACES))
    training = session.training(session.optimizer(SEED_LR))
    substrate = LiveSubstrate(training)
    for step, batch in enumerate(session.batches(), start=1):
        if step in PLACES:
            substrate.arm_line()
            substrate.before_kept_step()
        training.step(batch)
        if step in PLACES:
            substrate.after_kept_step()
            yield step, np.array(substrate.line(Line(PAPER_FACTORS, POOL)))
            substrate.release_line()
        if step == max(PLACES):
            return


def draw(pool: Table, size: int, generator: np.random.Generator, *, paired: bool) -> Table:
    """One superbatch.

    Args:
        pool: losses, minibatches x factors.
        size: minibatches of the superbatch.
        generator: what is drawn with.
        paired: the same minibatches for all factors, or fresh ones for each.

    Returns:
        Losses, ``size`` x factors.
    """
    if paired:
        return pool[generator.integers(len(pool), size=size)]
    rows = generator.integers(len(pool), size=(size, pool.shape[1]))
    return np.take_along_axis(pool, rows, axis=0)


def wanted_factor(rows: Table) -> float:
    """1 + ε*/η by the published rule, without its clip: in [0.1, 3]."""
    return published_step(PAPER_FACTORS, rows.tolist(), SEED_LR, NO_CLIP).factor


def spread(values: Sequence[float]) -> dict[str, float]:
    """Standard deviation, and what stands for it where a few far values would be all of it."""
    low, high = np.quantile(values, (0.16, 0.84))
    return {"deviation": statistics.stdev(values), "half_width": float(high - low) / 2}


def noise(pool: Table, generator: np.random.Generator) -> dict[str, Any]:
    """What superbatches of every size say at one place.

    Returns:
        The means over the whole pool, and by size the spread of the loss at factor 1, and for paired and for fresh
        minibatches the spread of the wanted factor and how often it lies on the pool's side of 1.
    """
    at_one, whole = PAPER_FACTORS.index(1.0), wanted_factor(pool)
    sizes = []
    for size in SIZES:
        row: dict[str, Any] = {"minibatches": size}
        for name, paired in (("paired", True), ("fresh", False)):
            drawn = [draw(pool, size, generator, paired=paired) for _ in range(DRAWS)]
            if paired:
                row["loss"] = spread([float(rows[:, at_one].mean()) for rows in drawn])
            factors = [wanted_factor(rows) for rows in drawn]
            same = sum((factor - 1.0) * (whole - 1.0) > 0 for factor in factors)
            row[name] = {**spread(factors), "same_sign": same / DRAWS}
        sizes.append(row)
    return {"loss": float(pool[:, at_one].mean()), "factor": whole, "sizes": sizes}


def measure() -> list[dict[str, Any]]:
    """Every place of both trainings."""
    places = []
    for family in FAMILIES:
        for step, pool in read_lines(family):
            seen = noise(pool, np.random.default_rng(0))
            places.append({"task": TASK, "family": family, "lr": SEED_LR, "step": step, **seen})
            print(f"{family}, step {step}: loss {seen['loss']:.3f}, factor {seen['factor']:.2f}", flush=True)
    return places


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RECORDS / "line_noise.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = {"pool": POOL, "draws": DRAWS, "places": measure(), "machine": machine_facts()}
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
