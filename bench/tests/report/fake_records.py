"""Records as the benchmark would write them, from a toy model of training: quick, seeded, with every kind of trouble.

Final loss = floor + gap x (1 + curvature x (decades from the best lr)²), with seed noise; far above the best lr it
diverges. Nothing here is measured.
"""

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lrpilot_bench.analysis.catalogue import Catalogue, FamilyFacts, FinderFacts, MethodFacts, TaskFacts

Record = dict[str, Any]
RunId = Callable[[Record], str]

POINTS = 20
SCHEDULES = ("linear", "cosine", "wsd", "constant")


@dataclass(frozen=True)
class Toy:
    """How a fake task answers to an lr.

    Attributes:
        initial: loss before training.
        floor: loss that no lr gets below.
        gap: what the best lr leaves above the floor.
        best: its natural lr.
        curvature: of the loss in decades of lr.
        cliff: decades above the best lr where it diverges.
        noise: of the seeds, relative.
        steps: of a plain run.
    """

    initial: float
    floor: float
    gap: float
    best: float
    curvature: float = 0.8
    cliff: float = 1.1
    noise: float = 0.01
    steps: int = 1000


TOYS = {
    "digits": Toy(2.30, 0.10, 0.06, 8e-3, noise=0.04),
    "fashion_bn": Toy(2.32, 0.20, 0.09, 0.12, curvature=0.5, noise=0.015),
    "fashion_plain": Toy(2.31, 0.22, 0.12, 0.03, curvature=1.4, cliff=0.7),
    "char_kjv": Toy(4.15, 1.10, 0.45, 3e-3, noise=0.006),
    "minilm_movies": Toy(0.694, 0.30, 0.14, 1.2e-4, curvature=1.1, noise=0.02),
    "diamonds": Toy(1.02, 0.02, 0.012, 2e-2, noise=0.03),
}


def _lrs(best: float) -> tuple[float, ...]:
    return tuple(float(f"{best * 2.0**k:.3g}") for k in range(-5, 6))


def _task(name: str, title: str, kind: str, default: str, **more: Any) -> TaskFacts:
    return TaskFacts(name, title, (FamilyFacts(kind, default, _lrs(TOYS[name].best)),), **more)


TASKS = (
    _task("digits", "scikit-learn's digits, 3-layer MLP with dropout, batch 32", "adamw", "adamw_constant"),
    _task("fashion_bn", "Fashion-MNIST, conv net with BatchNorm, batch 64", "sgd", "sgd_step", remark="forgives"),
    _task("fashion_plain", "Fashion-MNIST, conv net without normalisation, batch 64", "sgd", "sgd_step"),
    _task("char_kjv", "King James text, 4-layer character transformer, batch 32", "adamw", "adamw_constant"),
    _task("minilm_movies", "Movie-review sentences, pretrained MiniLM, batch 16", "adamw", "adamw_linear_5e5"),
    _task(
        "diamonds", "Diamond prices, MLP, batch 128", "adamw", "adamw_constant",
        score_name="squared error", score_better="lower",
    ),
)  # fmt: skip

SCHEDULE_LRS = {"sgd": 0.1, "adamw": 1e-3}


def _method(name: str, title: str, group: str, lrs: Any = None, **more: Any) -> MethodFacts:
    return MethodFacts(name, title, group, f"what {name} documents", lrs, **more)


def _finder(name: str, title: str, schedule: str, *suggestions: str) -> MethodFacts:
    facts = FinderFacts(schedule, suggestions, own=title.startswith("find_lr"))
    return _method(name, f"{title} (pick only)", "finder", equal_compute=False, finder=facts)


METHODS = (
    *(_method(kind, f"{kind}, default lr", "schedule", SCHEDULE_LRS) for kind in SCHEDULES),
    _method("adamw_constant", "AdamW 1e-3", "default", {"sgd": 1e-3, "adamw": 1e-3}),
    _method("adamw_linear_5e5", "AdamW 5e-5, linear", "default", {"sgd": 5e-5, "adamw": 5e-5}),
    _method("sgd_step", "SGD 0.1, steps", "default", {"sgd": 0.1, "adamw": 0.1}),
    _method("schedule_free", "schedule-free", "peer", {"sgd": 1.0, "adamw": 2.5e-3}),
    _method("prodigy_cosine", "Prodigy + cosine", "peer", {"sgd": 1.0, "adamw": 1.0}),
    _method("gen", "GeN", "peer"),
    _method("polling", "efficient-polling-lr-scheduler", "peer", {"sgd": 0.1, "adamw": 1e-3}),
    _method("tlf_linear", "pytorch-lr-finder + linear", "peer"),
    _method("find_decay_linear", "find_lr (decay) + linear", "lrpilot"),
    _method("find_decay_linear_free", "find_lr (decay) + linear, search free", "lrpilot", equal_compute=False),
    _method("autopilot", "Autopilot", "lrpilot"),
    _method("find_constant", "find_lr (constant)", "lrpilot"),
    _finder("pick_find_lr_decay", "find_lr, target decay", "linear", "annealed"),
    _finder("pick_find_lr_constant", "find_lr, target constant", "constant", "midpoint", "steepest", "minimum_over_10"),
    _finder("pick_torch_lr_finder", "pytorch-lr-finder", "linear", "steepest"),
)
PICKERS = {
    "pick_find_lr_decay": ("find_lr_decay", {"annealed": 1.3}, 150.0),
    "pick_find_lr_constant": ("find_lr_constant", {"midpoint": 0.4, "steepest": 0.2, "minimum_over_10": 0.15}, 110.0),
    "pick_torch_lr_finder": ("torch_lr_finder", {"steepest": 0.08}, 300.0),
}
# How far (in decades) from the best lr a method trains, and what it spends on probes of its budget.
OFFSETS = {
    "schedule_free": (0.25, 0.0), "prodigy_cosine": (0.15, 0.0), "gen": (-0.4, 0.2), "polling": (-0.5, 0.05),
    "tlf_linear": (-0.9, 0.1), "find_decay_linear": (0.08, 0.06), "find_decay_linear_free": (0.08, 0.06),
    "find_constant": (-0.3, 0.05), "autopilot": (0.16, 0.02),
}  # fmt: skip
WITHOUT_DECAY = {"constant": 1.35, "adamw_constant": 1.35, "find_constant": 1.3, "polling": 1.25}

CATALOGUE = Catalogue({task.name: task for task in TASKS}, {method.name: method for method in METHODS})


def hashed(record: Record) -> str:
    """A name for the run of a record."""
    names = ("task", "method", "seed", "family", "lr", "horizon", "repeat")
    return hashlib.sha256(json.dumps([record[name] for name in names]).encode()).hexdigest()[:16]


@dataclass
class Faker:
    """Makes records.

    Args:
        catalogue: tasks (of the names in ``TOYS``, or like digits) and methods.
        run_id: names the run of a record.
    """

    catalogue: Catalogue = field(default_factory=lambda: CATALOGUE)
    run_id: RunId = hashed

    def record(
        self,
        task: str,
        method: str,
        seed: int = 0,
        *,
        lr: float | None = None,
        lr_factor: float = 1.0,
        horizon: float = 1.0,
        repeat: int = 0,
    ) -> Record:
        """The record of one run."""
        facts, entry, toy = self.catalogue.tasks[task], self.catalogue.methods[method], self.toy(task)
        kind = facts.families[0].kind
        if lr is None and entry.lrs is not None:
            lr = float(f"{entry.lrs[kind] * lr_factor:.6g}")
        steps = max(1, round(toy.steps * horizon))
        off, probes = self._offset(method, lr, toy)
        status, final = self._outcome(toy, method, off, horizon, _rng(task, method, seed, lr, horizon))
        made: Record = {
            "schema": 1, "run": "", "task": task, "method": method, "seed": seed, "family": kind, "lr": lr,
            "lr_factor": lr_factor, "horizon": horizon, "repeat": repeat, "version": "1",
            "settings": {}, "status": status, "error": None, "steps": steps,
        }  # fmt: skip
        made |= self._results(toy, method, steps, probes, status, final, lr or toy.best * 10**off)
        made |= {"weights": _digest(task, method, seed, lr, horizon), "machine": dict(MACHINE), "code": "0.1.0"}
        made["notes"] = self._notes(method, toy, seed)
        made["run"] = self.run_id(made)
        return made

    def toy(self, task: str) -> Toy:
        """How the task answers to an lr."""
        best = self.catalogue.tasks[task].families[0].oracle_lrs[5]
        return TOYS.get(task) or Toy(2.3, 0.2, 0.1, best)

    def _offset(self, method: str, lr: float | None, toy: Toy) -> tuple[float, float]:
        if method in OFFSETS and lr is None:
            return OFFSETS[method]
        if method == "prodigy_cosine":
            return 0.15 + 0.05 * abs(math.log10(lr or 1.0)), 0.0
        if method == "schedule_free":
            return 0.25 + math.log10((lr or 1.0) / (1.0 if (lr or 0) > 0.02 else 2.5e-3)) * 0.6, 0.0
        if method in OFFSETS:
            return OFFSETS[method]
        return math.log10((lr or toy.best) / toy.best), 0.0

    def _outcome(self, toy: Toy, method: str, off: float, horizon: float, rng: random.Random) -> tuple[str, float]:
        if off > toy.cliff + rng.uniform(-0.05, 0.05):
            return "diverged", toy.initial * 1.3 if rng.random() < 0.5 else math.nan
        worse = WITHOUT_DECAY.get(method, 1.0) * horizon**-0.3
        loss = toy.floor + toy.gap * worse * (1 + toy.curvature * off**2 * (1 if off < 0 else 1.6))
        return "finished", min(loss, 0.97 * toy.initial) * (1 + toy.noise * rng.gauss(0, 1) * 0.5)

    def _results(
        self, toy: Toy, method: str, steps: int, probes: float, status: str, final: float, lr: float
    ) -> Record:
        kept = 0 if method.startswith("pick_") else round(steps * (1 - probes))
        compute = PICKERS[method][2] / (3 * steps) if method in PICKERS else 1.0
        if method.endswith("_free"):
            compute += probes
        samples = round(compute * steps * 32)
        passes = {"forwards": samples, "backwards": samples}
        last = toy.initial if kept == 0 else final
        ends = {"val_loss": _finite(last), "val_score": 0.5, "test_loss": _finite(last * 1.02), "test_score": 0.49}
        return {
            "kept_steps": kept, "final": ends, "compute": compute, "declared": passes, "counted": dict(passes),
            "curve": _curve(toy, steps, kept, compute, last, lr, method), "status": status,
            "seconds": round(0.03 * steps * compute * 1.02, 3),
        }  # fmt: skip

    def _notes(self, method: str, toy: Toy, seed: int) -> Record:
        if method not in PICKERS:
            return {"picked_lr": toy.best * 1.2} if method.startswith("find_") else {}
        _, factors, cost = PICKERS[method]
        rng = _rng(method, toy.best, seed)
        picks = {name: float(f"{toy.best * f * math.exp(rng.gauss(0, 0.25)):.4g}") for name, f in factors.items()}
        first = next(iter(picks.values()))
        return {"picked_lr": first, "search_cost": cost, "suggestions": picks, "interval": None, "reason": None}


MACHINE = {"cpu_count": 2, "architecture": "x86_64", "python": "3.11.7", "torch": "2.13.0+cpu", "threads": 1}


def bench_records(
    faker: Faker | None = None, *, seeds: int = 3, start_lrs: bool = True, troubles: bool = True
) -> list[Record]:
    """A whole benchmark: sweeps, methods, repeats, start lrs, horizons, and some trouble."""
    faker = faker or Faker()
    made = [record for task in faker.catalogue.tasks for record in _sweeps(faker, task)]
    for task in faker.catalogue.tasks:
        for method in faker.catalogue.methods:
            made += [faker.record(task, method, seed) for seed in range(seeds)]
        made += [faker.record(task, "linear", repeat=1)]
    if start_lrs:
        made += list(_start_lrs(faker, seeds))
    for task in ("fashion_plain", "diamonds"):
        if task in faker.catalogue.tasks:
            made += list(_horizons(faker, task))
    once = list({record["run"]: record for record in made}.values())
    return _troubled(once) if troubles else once


def _sweeps(faker: Faker, task: str) -> Iterator[Record]:
    family = faker.catalogue.tasks[task].families[0]
    for kind in SCHEDULES:
        yield from (faker.record(task, kind, lr=lr) for lr in family.oracle_lrs)
    yield from (faker.record(task, "linear", seed, lr=family.oracle_lrs[k]) for seed in range(5) for k in (4, 5, 6))
    yield from (faker.record(task, "cosine", seed, lr=family.oracle_lrs[k]) for seed in range(5) for k in (4, 5, 6))
    yield from (faker.record(task, "wsd", seed, lr=family.oracle_lrs[k]) for seed in range(5) for k in (4, 5, 6))


def _start_lrs(faker: Faker, seeds: int) -> Iterator[Record]:
    for task in faker.catalogue.tasks:
        for name, method in faker.catalogue.methods.items():
            if method.lrs is None or not (method.group in ("default", "peer") or name == "linear"):
                continue
            for factor in (1 / 30, 30.0):
                yield from (faker.record(task, name, seed, lr_factor=factor) for seed in range(seeds))


def _horizons(faker: Faker, task: str) -> Iterator[Record]:
    family = faker.catalogue.tasks[task].families[0]
    for horizon in (0.25, 4.0):
        yield from (faker.record(task, "linear", lr=lr, horizon=horizon) for lr in family.oracle_lrs)
        for name in ("find_decay_linear", "schedule_free", "prodigy_cosine", "linear", family.default):
            yield from (faker.record(task, name, seed, horizon=horizon) for seed in range(3))


def _troubled(records: list[Record]) -> list[Record]:
    """One crash (with markup in its words), a method that was not run on two tasks."""
    kept = [r for r in records if not (r["method"] == "gen" and r["task"] in ("char_kjv", "diamonds"))]
    for record in kept:
        if record["method"] == "polling" and record["task"] == "minilm_movies" and record["lr_factor"] == 1.0:
            record["status"] = "crashed"
            record["error"] = "RuntimeError: <script>alert('x')</script> | `a` & _b_ (poll, line 7)"
    return kept


def _curve(toy: Toy, steps: int, kept: int, compute: float, final: float, lr: float, method: str) -> Record:
    shares = [k / POINTS for k in range(POINTS + 1)]
    decay = method not in WITHOUT_DECAY and method != "schedule_free"
    losses = [_loss_at(toy.initial, final, share) for share in shares]
    lrs = [lr * (1 - s if decay else 1.0) * min(1.0, s / 0.05) if s else math.nan for s in shares]
    scores = [0.1 + 0.4 * s for s in shares]
    return {
        "steps": [round(kept * s) for s in shares], "compute": [round(3 * steps * compute * s, 1) for s in shares],
        "val_loss": [_finite(x) for x in losses], "val_score": scores,
        "train_loss": [None, *(_finite(x * 0.97) for x in losses[1:])], "lr": [_finite(x) for x in lrs],
    }  # fmt: skip


def _loss_at(initial: float, final: float, share: float) -> float:
    if math.isnan(final):
        return initial if share < 0.1 else math.nan
    shape = (math.exp(-6 * share) * (1 - share) + 0.12 * (1 - share)) / 1.12
    return float(f"{final + (initial - final) * shape:.5g}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _rng(*what: Any) -> random.Random:
    return random.Random(repr(what))


def _digest(*what: Any) -> str:
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]
