"""Experiments of single methods: suites of their own, with tasks and settings that no other suite runs.

Like every suite (:mod:`lrpilot_bench.protocol.wanted`) each is a pure function of its scope, and of the records where a
sweep has a winner; what comes first is run first.
"""

from collections.abc import Iterator
from dataclasses import replace

from lrpilot_bench.methods.autolrs import ABLATED
from lrpilot_bench.methods.lr_tuner import HELD, STEP_FACTORS
from lrpilot_bench.methods.schedules import UNWARMED
from lrpilot_bench.methods.weighted_factors import BATCHES, NUM_FACTORS
from lrpilot_bench.protocol.jobs import Job
from lrpilot_bench.protocol.winners import Lookup, best_of, widening_sweep
from lrpilot_bench.tasks.registry import get_task

TUNER_TASK, TUNER_TASK_FULL = "papers_fashion", "papers_fashion_full"
# The papers do not say how much momentum; the example that their net is from had 0.5.
HALF_TASK, HALF_TASK_FULL = "papers_fashion_half", "papers_fashion_full_half"
TUNER_FAMILIES = ("sgd", "plain_sgd", "adam")
TUNER_METHODS = ("constant_unwarmed", "lr_tuner_epochs", "lr_tuner", "lr_tuner_saturation")
SEED_LRS = (0.05, 0.075, 0.125, 0.15)  # AutoLR, Table 12; 0.1 is everywhere else
STEP_FACTOR_TASKS = ("fashion_bn", "char_kjv", "diamonds")

FACTORS_TASK = "factors_fashion"
START_LR = 0.005  # of the paper
FAR_LR = 1.0  # its start 200 times too large
# With BatchNorm that start kills nothing. Without, 200 times a good one does.
DEADLY_TASK, DEADLY_LRS = "fashion_plain", (0.05, 10.0)
DEADLY_METHODS = ("constant_unwarmed", "weighted_factors_paper", "weighted_factors")

AUTOLRS_TASKS = (("fashion_bn", "sgd"), ("fashion_bn", "adamw"), ("char_kjv", "adamw"))  # with the optimizer family
# A stage of 7.5 % of 4,000 steps has Trials of 30 as published, which is what a forecast needs; of 1,000 steps, of 8.
AUTOLRS_HORIZON = 4.0
AUTOLRS_METHODS = ("autolrs", "autolrs_paper", "autolrs_paper_free", *(f"autolrs_{score}" for score in ABLATED))
TUNED = ("constant", "cosine", "clr", "sgdr")  # the slides' baselines, and two that everybody has


def lr_tuner_jobs(seeds: tuple[int, ...]) -> Iterator[Job]:
    """LRTuner's: AutoLR's Tables 14, 2 and 12, runs at the papers' size, and steps beyond the minimiser."""
    for seed in seeds:
        for family in TUNER_FAMILIES:
            yield from (Job(TUNER_TASK, method, seed=seed, family=family) for method in TUNER_METHODS)
        yield from (Job(TUNER_TASK, f"lr_tuner_held_{round(100 * part)}", seed=seed, family="sgd") for part in HELD)
        yield from (Job(TUNER_TASK, "lr_tuner_epochs", seed=seed, family="sgd", lr=lr) for lr in SEED_LRS)
        for factor in STEP_FACTORS:
            yield from (Job(task, f"lr_tuner_factor_{factor:g}", seed=seed) for task in STEP_FACTOR_TASKS)
    for seed in seeds:
        yield from (Job(HALF_TASK, method, seed=seed, family="sgd") for method in TUNER_METHODS[:3])
    for task in (TUNER_TASK_FULL, HALF_TASK_FULL):
        yield from (Job(task, method, family="sgd") for method in TUNER_METHODS[:3])


def weighted_factors_jobs(seeds: tuple[int, ...]) -> Iterator[Job]:
    """Loss-weighted factors': Table 1's shape, numbers of factors and of scoring batches, a start far too large."""
    own, published = "weighted_factors", "weighted_factors_epochs"
    schedules = tuple(f"{kind}_unwarmed" for kind in UNWARMED)
    varied = [f"{name}_n{many}" for name in (own, published) for many in NUM_FACTORS]
    varied += [f"{own}_b{many}" for many in BATCHES]
    varied += [f"{published}_b{many}" for many in BATCHES if many != 1]
    for seed in seeds:
        yield from (Job(FACTORS_TASK, method, seed=seed, lr=START_LR) for method in (*schedules, own, published))
        for method in ("constant_unwarmed", own, f"{own}_n7", published, f"{published}_n7"):
            yield Job(FACTORS_TASK, method, seed=seed, lr=FAR_LR)
        yield from (Job(FACTORS_TASK, method, seed=seed, lr=START_LR) for method in varied)
        yield from (Job(DEADLY_TASK, method, seed=seed, lr=lr) for lr in DEADLY_LRS for method in DEADLY_METHODS)


def autolrs_jobs(seeds: tuple[int, ...], lookup: Lookup) -> Iterator[Job]:
    """AutoLRS': its settings and ablations beside four schedules, each at the best lr of a sweep at seed 0."""
    sweeps = [tuned_sweep(task, kind, method, lookup) for task, kind in AUTOLRS_TASKS for method in TUNED]
    for jobs in sweeps:
        yield from jobs
    for seed in seeds:
        for task, kind in AUTOLRS_TASKS:
            for method in AUTOLRS_METHODS:
                yield Job(task, method, seed=seed, family=kind, horizon=AUTOLRS_HORIZON)
        winners = [best_of(jobs, lookup) for jobs in sweeps]
        yield from (replace(best, seed=seed) for best in winners if best is not None)


def tuned_sweep(task: str, kind: str, method: str, lookup: Lookup) -> list[Job]:
    """The lrs that a schedule of the experiment of AutoLRS is tuned over, from the middle of the oracle's on."""
    lrs = get_task(task).family(kind).oracle_lrs
    job = Job(task, method, family=kind, horizon=AUTOLRS_HORIZON)
    return widening_sweep(job, lrs[len(lrs) // 2], lookup)
