"""What an AutoLRS search takes beyond its steps: wall time, and the share of its decisions, in one run.

    python benchmarks/search_cost.py [--steps 3000]

A training of the benchmark in a plain loop. Searches and plain steps take turns in it, so that the ratio holds on a
machine whose speed drifts. What the searches took is set against as many plain steps as their Trials had, and against
all of their work in plain steps (the readings of held-out losses too). scipy is loaded before.
"""

import argparse
import json
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from fashion_tasks import RECORDS

from lrpilot import AutoLRS, Pilot
from lrpilot.bench.records import machine_facts
from lrpilot.bench.session import Session
from lrpilot.bench.tasks.registry import get_task
from lrpilot.core.actions import Observation
from lrpilot.core.codec import record
from lrpilot.core.cost import Cost
from lrpilot.core.surrogate import fit_surrogate
from lrpilot.policies.autolrs_state import AutoLRSState

TASK, KIND, LR = "fashion_bn", "sgd", 0.1
LIMIT = 1.10
INTERVAL = (1e-3, 1e-1)
POLICIES = {
    "published": AutoLRS.paper(*INTERVAL),
    "default": AutoLRS(*INTERVAL),
    "default, raw score": AutoLRS(*INTERVAL, score="raw"),
}
deciding: list[float] = []  # seconds of each decision; a policy is frozen and has no place for them


@record
class Timed(AutoLRS):
    """Notes how long each decision takes: the surrogate, the forecast, and what else the policy does."""

    def tell(self, state: AutoLRSState, observation: Observation) -> AutoLRSState:
        """Decide, and note the time."""
        start = time.perf_counter()
        state = super().tell(state, observation)
        deciding.append(time.perf_counter() - start)
        return state


def timed(policy: AutoLRS, steps: int) -> dict[str, Any]:
    """Train in a plain loop; what the searches took, and what plain steps took between them."""
    deciding.clear()
    task = get_task(TASK)
    session = Session(task, task.family(KIND), seed=0, steps=steps, lr=LR)
    training = session.training(session.optimizer(LR))
    pilot = Pilot(training, replace(Timed(), **vars(policy)), total_steps=steps)
    plain, searching, searches = 0.0, 0.0, Cost()
    start = time.perf_counter()
    for batch in islice(session.batches(), steps):  # fetching a batch is part of a plain step, as it is of a Trial's
        loss, before = training.step(batch), pilot.cost
        middle = time.perf_counter()
        pilot.step(loss)
        end, spent = time.perf_counter(), pilot.cost - before
        plain += middle - start
        start = end
        if spent.trials:
            searching += end - middle
            searches += spent
    step = plain / steps
    return {
        "steps": steps, "step_ms": 1e3 * step, "search_seconds": searching,
        "trials": searches.trials, "trial_steps": searches.trial_steps, "work": searches.steps,
        "ratio": searching / (searches.trial_steps * step), "ratio_of_work": searching / (searches.steps * step),
        "deciding": sum(deciding) / searching,
    }  # fmt: skip


def main() -> None:
    """Measure, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    fit_surrogate((1e-3, 1e-2), (1.0, 0.5), min_lr=1e-3, max_lr=1e-1)  # loads what it needs
    rows = {}
    for name, policy in POLICIES.items():
        rows[name] = timed(policy, options.steps)
        ratios = f"{rows[name]['ratio']:.3f}, of its work {rows[name]['ratio_of_work']:.3f}"
        print(f"{name:20s} {ratios}   deciding {100 * rows[name]['deciding']:.2f} %", flush=True)
    report = {"task": TASK, "limit": LIMIT, "measured": rows, "machine": machine_facts()}
    (RECORDS / "search_cost.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
