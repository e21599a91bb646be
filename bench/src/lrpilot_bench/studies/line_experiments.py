"""Write docs/line-experiments.md from the records of the suites lr_tuner and weighted_factors alone."""

import statistics
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from lrpilot_bench.analysis.catalogue import registered
from lrpilot_bench.analysis.oracle import oracle
from lrpilot_bench.analysis.recorded import Bench, Run, load
from lrpilot_bench.methods.lr_tuner import HELD, STEP_FACTORS
from lrpilot_bench.methods.schedules import UNWARMED
from lrpilot_bench.methods.weighted_factors import BATCHES, NUM_FACTORS
from lrpilot_bench.protocol.experiments import (
    DEADLY_LRS,
    DEADLY_METHODS,
    DEADLY_TASK,
    FACTORS_TASK,
    FAR_LR,
    HALF_TASK,
    HALF_TASK_FULL,
    SEED_LRS,
    START_LR,
    STEP_FACTOR_TASKS,
    TUNER_FAMILIES,
    TUNER_METHODS,
    TUNER_TASK,
    TUNER_TASK_FULL,
)
from lrpilot_bench.protocol.jobs import run_of
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.store.records import read_records
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.line_claims import claim_rows
from lrpilot_bench.studies.markdown import Row, render

PAGE = DOCS / "line-experiments.md"
MISSING = "not run"
# The default's end was chosen while looking at these seeds of the ablation's tasks; beside it the best peers.
CHOSEN_SEEDS, FRESH_SEEDS = (0, 1, 2), (3, 4)
FRESH_METHODS = ("lr_tuner", "prodigy_cosine", "schedule_free")

OPTIMIZERS = {"sgd": "momentum 0.9", "plain_sgd": "SGD", "adam": "Adam"}
HALF_MOMENTUM = "momentum 0.5"
# AutoLR, Table 14: (training loss, test accuracy) with the fixed lr and with the tuner, means over 7 runs of 50 epochs.
PUBLISHED = {
    "plain_sgd": ((0.005, 91.33), (0.001, 91.88)),
    "sgd": ((0.073, 89.31), (4.3e-4, 91.66)),
    "adam": ((0.018, 90.56), (0.002, 91.65)),
}
# AutoLR, Tables 2 and 12, CIFAR-10 on ResNet-18: test accuracy by explore epochs of 200, and by seed lr.
PUBLISHED_HELD = {0.0: 93.77, 0.1: None, 0.25: 94.52, 0.5: 94.79}
PUBLISHED_SEED_LRS = {0.05: 94.60, 0.075: 94.71, 0.1: 94.79, 0.125: 94.58, 0.15: 94.25}
# "Automated learning rate scheduling with in-training information", Table 1: test accuracy on CIFAR-10.
PUBLISHED_SCHEDULES = {"constant": 83.5, "linear": 85.2, "cosine": 85.0, "step": 84.4}
PUBLISHED_FACTORS = 87.0


def read(path: Path) -> Bench:
    """The runs of a file of records; none where it does not exist yet."""
    return load(read_records(path) if path.exists() else [], registered(), current_run=run_of)


# ------------------------------------------------------------------- numbers


def spread(values: Iterable[float], text: Callable[[float], str]) -> str:
    """Mean, ± the standard deviation where there are several."""
    found = list(values)
    if not found:
        return MISSING
    mean = text(statistics.mean(found))
    return mean if len(found) == 1 else f"{mean} ± {text(statistics.stdev(found))}"


def percent(value: float) -> str:
    """A fraction in percent."""
    return f"{100 * value:.2f}"


def three(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def accuracy(runs: Iterable[Run]) -> str:
    """Test accuracy in percent, of the runs that did not fail; how many did."""
    return counted(list(runs), lambda run: float(run.test_score or 0.0), percent)


def counted(runs: list[Run], value: Callable[[Run], float], text: Callable[[float], str]) -> str:
    """Mean and spread of the runs that did not fail, and how many did."""
    failed = sum(run.failed for run in runs)
    if runs and failed == len(runs):
        return f"all {failed} failed"
    words = spread((value(run) for run in runs if not run.failed), text)
    return f"{words} ({failed} failed)" if failed else words


def train_loss(run: Run) -> float:
    """Mean training loss of the last twentieth of the run."""
    return float(run.curve["train_loss"][-1])


def cells(runs: dict[int, Run]) -> Row:
    """Training loss, validation loss, test accuracy, compute, seeds and failures."""
    found = list(runs.values())
    if not found:
        return (MISSING, "", "", "", "")
    sound = [run for run in found if not run.failed]
    failed = len(found) - len(sound)
    if not sound:
        return (f"all {failed} failed", "", "", "", f"{failed}")
    return (
        spread((train_loss(run) for run in sound), three),
        spread((run.loss for run in sound), three),
        accuracy(sound),
        spread((run.compute for run in found), lambda x: f"{x:.2f}"),
        f"{len(found)}" + (f", {failed} failed" if failed else ""),
    )


MEASURES = ("training loss", "validation loss", "test accuracy, %", "compute ÷ plain run", "seeds")

# -------------------------------------------------------------------- LRTuner


def optimizer_rows(bench: Bench) -> Iterator[Row]:
    """AutoLR's Table 14."""
    for family in TUNER_FAMILIES:
        yield from table_14_rows(bench, TUNER_TASK, family, OPTIMIZERS[family], TUNER_METHODS)
    yield from table_14_rows(bench, HALF_TASK, "sgd", HALF_MOMENTUM, TUNER_METHODS[:3])


def full_rows(bench: Bench) -> Iterator[Row]:
    """What was run of it at the papers' size."""
    for task, words in ((TUNER_TASK_FULL, OPTIMIZERS["sgd"]), (HALF_TASK_FULL, HALF_MOMENTUM)):
        yield from table_14_rows(bench, task, "sgd", words, TUNER_METHODS[:3])


def table_14_rows(bench: Bench, task: str, family: str, words: str, methods: Iterable[str]) -> Iterator[Row]:
    """One optimizer's rows, beside what was published of the fixed lr and of the tuner."""
    for method in methods:
        published = ""
        if method in TUNER_METHODS[:2]:
            loss, score = PUBLISHED[family][TUNER_METHODS.index(method)]
            published = f"{loss:g}; {score}"
        runs = bench.runs(task, method, family=family)
        yield words, bench.catalogue.methods[method].title, *cells(runs), published


def held_rows(bench: Bench) -> Iterator[Row]:
    """AutoLR's Table 2."""
    for part in HELD:
        runs = bench.runs(TUNER_TASK, f"lr_tuner_held_{round(100 * part)}", family="sgd")
        yield f"{part:.0%}", *cells(runs), str(PUBLISHED_HELD[part] or "")


def held_alike(bench: Bench) -> list[tuple[float, float]]:
    """Which neighbours of these are the same trainings, bit for bit."""
    held = {part: bench.runs(TUNER_TASK, f"lr_tuner_held_{round(100 * part)}", family="sgd") for part in HELD}
    ends = {part: {seed: run.record["weights"] for seed, run in runs.items()} for part, runs in held.items()}
    return [(a, b) for a, b in pairwise(HELD) if ends[a] and ends[a] == ends[b]]


def seed_lr_rows(bench: Bench) -> Iterator[Row]:
    """AutoLR's Table 12."""
    for lr in sorted((*SEED_LRS, 0.1)):
        runs = bench.runs(TUNER_TASK, "lr_tuner_epochs", family="sgd", lr=lr)
        yield f"{lr:g}", *cells(runs), str(PUBLISHED_SEED_LRS[lr])


def step_factor_rows(bench: Bench, judged: Bench) -> Iterator[Row]:
    """The default, aiming beyond the minimiser, and with its other end; validation loss by task, on the same seeds."""
    rows = [(judged, "lr_tuner", "1 (the default)")]
    rows += [(bench, f"lr_tuner_factor_{factor:g}", f"{factor:g}") for factor in STEP_FACTORS]
    rows.append((judged, "lr_tuner_saturation", "1, decreases at saturation instead of the straight end"))
    for source, method, words in rows:
        runs = [on_common_seeds(source.runs(task, method), bench, task) for task in STEP_FACTOR_TASKS]
        yield words, *(counted(found, lambda run: run.loss, three) for found in runs)


def fresh_rows(judged: Bench) -> Iterator[Row]:
    """The default where its end was chosen, and where it was not: loss ÷ the oracle's."""
    others = tuple(task for task in judged.tasks() if task not in STEP_FACTOR_TASKS)
    for method in FRESH_METHODS:
        found = [
            over_oracle(judged, method, tasks, seeds)
            for tasks in (STEP_FACTOR_TASKS, others)
            for seeds in (CHOSEN_SEEDS, FRESH_SEEDS)
        ]
        yield judged.catalogue.methods[method].title, *found


def over_oracle(judged: Bench, method: str, tasks: Iterable[str], seeds: tuple[int, ...]) -> str:
    """Geometric mean over the seeds of those tasks that have the fresh ones too, and how many tasks these are."""
    ratios = []
    for task in tasks:
        losses, runs = oracle(judged, task).losses, judged.runs(task, method)
        if all(seed in losses and seed in runs for seed in (*CHOSEN_SEEDS, *FRESH_SEEDS)):
            ratios.append([runs[seed].loss / losses[seed] for seed in seeds])
    if not ratios:
        return MISSING
    return f"{geometric_mean([ratio for of_task in ratios for ratio in of_task]):.3f} ({len(ratios)} tasks)"


def on_common_seeds(runs: dict[int, Run], bench: Bench, task: str) -> list[Run]:
    """Those of the seeds on which the ablations have run."""
    ablations = [bench.runs(task, f"lr_tuner_factor_{factor:g}") for factor in STEP_FACTORS]
    return [run for seed, run in sorted(runs.items()) if all(seed in found for found in ablations)]


# ----------------------------------------------------------- weighted factors


def schedule_rows(bench: Bench) -> Iterator[Row]:
    """The shape of the paper's Table 1."""
    for kind in UNWARMED:
        runs = bench.runs(FACTORS_TASK, f"{kind}_unwarmed", lr=START_LR)
        yield kind, *cells(runs), f"{PUBLISHED_SCHEDULES[kind]}"
    for method, published in (("weighted_factors_epochs", f"{PUBLISHED_FACTORS}"), ("weighted_factors", "")):
        runs = bench.runs(FACTORS_TASK, method, lr=START_LR)
        yield bench.catalogue.methods[method].title, *cells(runs), published


def varied_rows(bench: Bench) -> Iterator[Row]:
    """Numbers of factors, and of scoring batches."""
    for own, words in (("weighted_factors_epochs", "as published"), ("weighted_factors", "default")):
        for many in sorted((*NUM_FACTORS, 5)):
            name = own if many == 5 else f"{own}_n{many}"
            yield words, f"{many} factors", *cells(bench.runs(FACTORS_TASK, name, lr=START_LR))
        published = own == "weighted_factors_epochs"
        for many in BATCHES:
            name = own if published and many == 1 else f"{own}_b{many}"
            yield words, f"{many} scoring batches", *cells(bench.runs(FACTORS_TASK, name, lr=START_LR))


def far_rows(bench: Bench) -> Iterator[Row]:
    """A start 200 times too large, on a net with BatchNorm."""
    own, published = "weighted_factors", "weighted_factors_epochs"
    methods = ("constant_unwarmed", published, f"{published}_n7", own, f"{own}_n7")
    return starts(bench, FACTORS_TASK, methods, (START_LR, FAR_LR))


def starts(bench: Bench, task: str, methods: Iterable[str], lrs: tuple[float, float]) -> Iterator[Row]:
    """Methods from a good start and from one far too large."""
    for method in methods:
        good, far = (bench.runs(task, method, lr=lr) for lr in lrs)
        yield bench.catalogue.methods[method].title, accuracy(good.values()), *cells(far)


# ------------------------------------------------------------------- the page


def page(tuner: Bench, factors: Bench, judged: Bench) -> str:
    """The whole page."""
    return render(
        "line-experiments",
        {
            "measures": MEASURES,
            "optimizers": optimizer_rows(tuner),
            "full": full_rows(tuner),
            "held": held_rows(tuner),
            "alike": held_alike(tuner),
            "seed_lrs": seed_lr_rows(tuner),
            "step_factor_tasks": STEP_FACTOR_TASKS,
            "step_factors": step_factor_rows(tuner, judged),
            "fresh": fresh_rows(judged),
            "start_lr": START_LR,
            "schedules": schedule_rows(factors),
            "varied": varied_rows(factors),
            "far_lr": FAR_LR,
            "far": far_rows(factors),
            "deadly_lrs": DEADLY_LRS,
            "deadly": starts(factors, DEADLY_TASK, DEADLY_METHODS, DEADLY_LRS),
            "claims": claim_rows(judged),
        },
    )


def main() -> None:
    """Write the page."""
    names = ("lr_tuner", "weighted_factors", "bench")
    PAGE.write_text(page(*(read(RECORDS / f"{name}.jsonl") for name in names)))


if __name__ == "__main__":
    main()
