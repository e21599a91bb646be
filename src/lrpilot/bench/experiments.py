"""Experiments of single methods: suites of their own, with tasks and settings that no other suite runs.

Like every suite (:mod:`lrpilot.bench.protocol`) each is a pure function of its scope; what comes first is run first.
"""

from collections.abc import Iterator

from lrpilot.bench.jobs import Job
from lrpilot.bench.methods.lr_tuner import HELD, STEP_FACTORS
from lrpilot.bench.methods.schedules import UNWARMED
from lrpilot.bench.methods.weighted_factors import BATCHES, NUM_FACTORS

TUNER_TASK, TUNER_TASK_FULL = "papers_fashion", "papers_fashion_full"
TUNER_FAMILIES = ("sgd", "plain_sgd", "adam")
TUNER_METHODS = ("constant_unwarmed", "lr_tuner_epochs", "lr_tuner", "lr_tuner_saturation")
SEED_LRS = (0.05, 0.075, 0.125, 0.15)  # AutoLR, Table 12; 0.1 is everywhere else
STEP_FACTOR_TASKS = ("fashion_bn", "char_kjv", "diamonds")

FACTORS_TASK = "factors_fashion"
START_LR = 0.005  # of the paper
FAR_LR = 1.0  # its start 200 times too large


def lr_tuner_jobs(seeds: tuple[int, ...]) -> Iterator[Job]:
    """LRTuner's: AutoLR's Tables 14, 2 and 12, a pair at the papers' size, and steps beyond the minimiser."""
    for seed in seeds:
        for family in TUNER_FAMILIES:
            yield from (Job(TUNER_TASK, method, seed=seed, family=family) for method in TUNER_METHODS)
        yield from (Job(TUNER_TASK, f"lr_tuner_held_{round(100 * part)}", seed=seed, family="sgd") for part in HELD)
        yield from (Job(TUNER_TASK, "lr_tuner_epochs", seed=seed, family="sgd", lr=lr) for lr in SEED_LRS)
        for factor in STEP_FACTORS:
            yield from (Job(task, f"lr_tuner_factor_{factor:g}", seed=seed) for task in STEP_FACTOR_TASKS)
    yield from (Job(TUNER_TASK_FULL, method, family="sgd") for method in TUNER_METHODS[:2])


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
