"""What ``lrpilot.find_lr`` suggests on the example task, judged by the full grid.

    python -m lrpilot_bench.studies.fashion_finders          # a few minutes on one core; resumes; then writes the table
    python -m lrpilot_bench.studies.fashion_finders --table  # only the table, from the records

Needs the records of ``fashion_grid.py`` and ``peers.py``; writes ``docs/finders.md``.
"""

import argparse
from typing import Any

import torch

from lrpilot_bench.store.records import Job, finite, run_missing
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.fashion_grid import GRID_FILE
from lrpilot_bench.studies.fashion_tasks import CONFIGS, SEEDS, example
from lrpilot_bench.studies.finders_page import write_page
from lrpilot_bench.studies.peers import PEERS_FILE

FINDERS_FILE = RECORDS / "fashion_finders.jsonl"
TABLE_FILE = DOCS / "finders.md"

# (target, method, num_steps) of find_lr, all other settings at their defaults. Wittmann's minimum needs no run
# of its own: it is one of the suggestions of step sampling. A range test takes 5 x 20 steps, like the peers.
FINDERS = (("decay", "step_sampling", 20), ("constant", "step_sampling", 20), ("constant", "range_test", 20))


def jobs() -> list[dict[str, Any]]:
    """Every finder on every configuration and seed."""
    return [
        {
            "config": config,
            "target": target,
            "method": method,
            "num_steps": num_steps,
            "seed": seed,
            "train_images": example.NUM_TRAIN,
        }
        for config in CONFIGS
        for target, method, num_steps in FINDERS
        for seed in SEEDS
    ]


def run(job: Job) -> dict[str, Any]:
    """One search, and everything it says."""
    from lrpilot import find_lr

    config = CONFIGS[job["config"]]
    training = example.make_training(batch_norm=config.batch_norm, optimizer=config.optimizer, seed=job["seed"])
    settings = {name: job[name] for name in ("target", "method", "num_steps")}
    found = find_lr(training, **settings, progress=False)
    return {
        "lr": found.lr,
        "code": found.code.name,
        "window": found.window,
        "interval": found.interval,
        "suggestions": dict(found.suggestions),
        "lrs": list(found.lrs),
        "losses": [finite(loss) for loss in found.losses],
        "start_loss": found.start_loss,
        "lengths": [[pick.num_steps, pick.lr, *pick.interval] for pick in found.lengths],
        "cost_in_steps": round(found.cost.steps, 1),
    }


def main() -> None:
    """Run what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        run_missing(FINDERS_FILE, jobs(), run, say=lambda line: print(line, flush=True))
    titles = {name: config.title for name, config in CONFIGS.items()}
    write_page(TABLE_FILE, GRID_FILE, PEERS_FILE, FINDERS_FILE, titles, images=example.NUM_TRAIN)
    print(f"wrote {TABLE_FILE}")


if __name__ == "__main__":
    main()
