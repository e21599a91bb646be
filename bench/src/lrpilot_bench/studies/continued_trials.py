"""What going on from Trials saves: AutoLRS as published, with and without ``continue_trials``.

    python -m lrpilot_bench.studies.continued_trials        # a minute or two on a free core

The training of examples/autolrs.py, stages of 1/15 to 8/15 of 990 steps, twelve seeds, by ``fit``: once for 990 kept
steps, and once for the total compute of 990 steps.

Writes ``records/continued_trials.json``.
"""

import json
import statistics
from typing import Any

import torch

from lrpilot import AutoLRS, fit
from lrpilot.core.actions import Continue, Trial, TrialLosses
from lrpilot.core.history import Event
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.studies.digits_example import example, make_training

RECORD = RECORDS / "continued_trials.json"
STEPS = 990
SEEDS = range(12)
POLICY = AutoLRS.paper(1e-3, 0.1, tau=1 / 15, max_tau=8 / 15)
LIMITS: dict[str, dict[str, Any]] = {
    f"{STEPS} kept steps": {"total_steps": STEPS},
    f"a compute of {3 * STEPS}": {"budget": 3.0 * STEPS},
}


def continued_steps(events: list[Event]) -> int:
    """Steps of the Trials that were gone on from."""
    held: dict[str, int] = {}
    steps = 0
    for event in events:
        if isinstance(event.action, Trial) and event.action.keep is not None:
            assert isinstance(event.observation, TrialLosses)
            held[event.action.keep] = len(event.observation.losses)
        elif isinstance(event.action, Continue):
            steps += held[event.action.key]
    return steps


def run(seed: int, limit: dict[str, Any], *, continues: bool) -> dict[str, Any]:
    """One training: its steps, what became of those of Trials, its compute, and the held-out loss at the end."""
    training = make_training(seed, example.GOOD_LR)
    result = fit(training, POLICY, continue_trials=continues, progress=False, **limit)
    events = result.history.events
    flown = sum(len(event.observation.losses) for event in events if isinstance(event.observation, TrialLosses))
    continued = continued_steps(events)
    return {
        "kept": result.steps,
        "anew": result.steps - continued,
        "thrown_away": flown - continued,
        "compute": round(result.total_compute, 1),
        "loss": round(training.evaluate(), 4),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Medians over seeds; of the loss the mean and the deviation too."""
    losses = [run["loss"] for run in runs]
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return medians | {"mean": statistics.fmean(losses), "deviation": statistics.stdev(losses)}


def main() -> None:
    """Measure, seed by seed, write, show."""
    torch.set_num_threads(1)
    record: dict[str, Any] = {name: {"without": [], "with": []} for name in LIMITS}
    for seed in SEEDS:
        for name, limit in LIMITS.items():
            for key, continues in (("without", False), ("with", True)):
                record[name][key].append(run(seed, limit, continues=continues))
        RECORD.write_text(json.dumps(record) + "\n")
    for name, by_setting in record.items():
        for key, runs in by_setting.items():
            words = ", ".join(f"{what} {value:.4g}" for what, value in summary(runs).items())
            print(f"{name}, {key} continued Trials, {len(runs)} seeds: {words}")


if __name__ == "__main__":
    main()
