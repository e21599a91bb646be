"""Made-up records, and a catalogue of two tasks to read them with."""

import math
from collections.abc import Iterable
from typing import Any

from lrpilot_bench.analysis.catalogue import Catalogue, FamilyFacts, FinderFacts, MethodFacts, TaskFacts
from lrpilot_bench.analysis.recorded import Bench, load

GRID = tuple(0.01 * 2.0**k for k in range(11))  # 0.01 to 10.24
DEFAULTS = {"sgd": 0.1, "adamw": 0.1}
STEPS = 100

METHODS = (
    *(MethodFacts(kind, f"{kind}, default", "schedule", lrs=DEFAULTS) for kind in ("constant", "linear", "cosine")),
    MethodFacts("wsd", "wsd, default", "schedule", lrs=DEFAULTS),
    MethodFacts("nothing", "do nothing", "default", lrs=DEFAULTS),
    MethodFacts("prodigy", "Prodigy", "peer"),
    MethodFacts("gen", "GeN", "peer"),
    MethodFacts("tlf", "range test", "peer", lrs=DEFAULTS),
    MethodFacts("ours", "ours", "lrpilot"),
    MethodFacts("ours_free", "ours, free", "lrpilot", equal_compute=False),
    MethodFacts(
        "pick_ours", "our pick", "finder", equal_compute=False, finder=FinderFacts("linear", ("a", "b"), own=True)
    ),
)
FAMILY = FamilyFacts("sgd", "nothing", GRID)
CATALOGUE = Catalogue(
    {name: TaskFacts(name, f"the task {name}", (FAMILY, FamilyFacts("adamw", "nothing", GRID))) for name in ("t", "u")},
    {method.name: method for method in METHODS},
)


def record(task: str, method: str, loss: float, **changes: Any) -> dict[str, Any]:
    """One record; its curve falls from 10 to the loss at three quarters of the compute."""
    facts = CATALOGUE.methods.get(method)
    horizon = changes.get("horizon", 1.0)
    default = facts.lr_for("sgd") if facts else None
    steps = round(STEPS * horizon)
    made: dict[str, Any] = {
        "schema": 1,
        "task": task,
        "method": method,
        "seed": 0,
        "family": "sgd",
        "lr": None if default is None else default * changes.get("lr_factor", 1.0),
        "lr_factor": 1.0,
        "horizon": 1.0,
        "repeat": 0,
        "version": "1",
        "settings": {},
        "status": "finished" if math.isfinite(loss) else "diverged",
        "error": None,
        "steps": steps,
        "kept_steps": steps,
        "final": {name: loss if math.isfinite(loss) else None for name in ("val_loss", "test_loss")}
        | {"val_score": 0.9, "test_score": 0.8},
        "compute": 1.0,
        "declared": {"forwards": 800, "backwards": 800},
        "counted": {"forwards": 800, "backwards": 800},
        "notes": {},
        "curve": {
            "compute": [0.0, 1.5 * steps, 2.25 * steps, 3.0 * steps],
            "val_loss": [10.0, None, loss, loss] if math.isfinite(loss) else [10.0, None, None, None],
        },
        "weights": "aa",
        "seconds": 2.0,
        "machine": {"cpu_count": 2},
        "code": "0.1.0",
    }
    made |= changes
    key = ("task", "method", "seed", "family", "lr", "steps", "repeat", "version", "settings")
    return {"run": repr([made[name] for name in key])} | made


def seeded(task: str, method: str, losses: Iterable[float], **changes: Any) -> list[dict[str, Any]]:
    """Records of seeds 0, 1, ..."""
    return [record(task, method, loss, seed=seed, **changes) for seed, loss in enumerate(losses)]


def bowl(lr: float, *, best_lr: float, best: float) -> float:
    """A loss that doubles with every two doublings of lr away from the best one."""
    return float(best * 2.0 ** (abs(math.log2(lr / best_lr)) / 2.0))


def swept(task: str, kind: str, *, best_lr: float = GRID[5], best: float = 1.0, **changes: Any) -> list[dict[str, Any]]:
    """The records of a sweep over the whole grid."""
    return [record(task, kind, bowl(lr, best_lr=best_lr, best=best), lr=lr, **changes) for lr in GRID]


def oracle_records(task: str = "t", *, seeds: int = 5) -> list[dict[str, Any]]:
    """A complete oracle: cosine at GRID[4] wins with 1.0, 1.1, 1.2, ... by seed."""
    sweeps = (
        swept(task, "linear", best=1.3)
        + swept(task, "cosine", best_lr=GRID[4], best=1.0)
        + swept(task, "wsd", best=1.2)
    )
    more = [record(task, "cosine", 1.0 + 0.1 * seed, seed=seed, lr=GRID[4]) for seed in range(1, seeds)]
    return sweeps + more


def bench(*records: list[dict[str, Any]]) -> Bench:
    """All of them, read."""
    return load([each for some in records for each in some], CATALOGUE)
