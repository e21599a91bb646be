"""How far a forecast of the loss is off, on real Trials: from their first tenth to their end.

    python benchmarks/forecast_error.py

Two tasks, three starts each (fresh weights, and trainings of two lengths), ten constant lrs from far too small to
far too large: 60 Trials of 1,000 steps, recorded once (about a quarter of an hour on one core; it resumes). The
forecast sees the first 100 training losses of a Trial and is compared with its last loss and with the mean of its last
tenth, next to two dumb forecasts: the last loss of the window, and the mean of its last tenth. The Trials of a task
read the same batches, so "the last loss" is that of a single batch for all of them.

The Trials go to ``records/forecast_trials.jsonl``, what is made of them to ``records/forecast_error.json``.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from fashion_tasks import RECORDS

from lrpilot.bench.records import Job, Record, run_missing
from lrpilot.bench.session import Session
from lrpilot.bench.tasks.registry import get_task
from lrpilot.core.actions import Trial
from lrpilot.core.forecast import Forecast, forecast
from lrpilot.core.shape import constant
from lrpilot.training.substrate import LiveSubstrate

TRIALS = RECORDS / "forecast_trials.jsonl"
ERRORS = RECORDS / "forecast_error.json"
TASKS = (("fashion_bn", "sgd"), ("char_kjv", "adamw"))
STARTS = (0, 300, 1500)  # kept steps before the Trial, at the lr in the middle of the task's grid
# Of that lr: from a hundredth to thirty times it.
SHARES = tuple(float(f"{10 ** (-2 + 3.5 * k / 9):.3g}") for k in range(10))
STEPS = 1000  # τ
WINDOW = STEPS // 10  # τ′
SEED = 0

# What the loss at τ is taken to be, from the losses of the window.
PREDICTORS: dict[str, Callable[[Sequence[float]], float]] = {
    "default": lambda window: forecast(window, horizon=STEPS).value,
    "paper": lambda window: forecast(window, horizon=STEPS, form="paper").value,
    "last loss": lambda window: window[-1],
    "mean of last tenth": lambda window: tail_mean(window),
}
# What it came to.
TRUTHS: dict[str, Callable[[Sequence[float]], float]] = {
    "last loss": lambda losses: losses[-1],
    "mean of last tenth": lambda losses: tail_mean(losses),
}


def tail_mean(losses: Sequence[float]) -> float:
    """Mean of the last tenth."""
    return float(np.mean(losses[-(len(losses) // 10) :]))


# -------------------------------------------------------------------------- recording


def jobs() -> list[dict[str, Any]]:
    """One for each Trial; those of one start follow one another."""
    return [
        {"task": task, "family": family, "start": start, "lr_share": share, "steps": STEPS, "seed": SEED}
        for task, family in TASKS
        for start in STARTS
        for share in SHARES
    ]


class Recorder:
    """Flies Trials; a start is trained up to once for all its Trials."""

    def __init__(self) -> None:
        self._start: tuple[Any, ...] | None = None

    def __call__(self, job: Job) -> Record:
        """The lr, natural units, and the training losses, fewer than asked for where one was not finite."""
        start = (job["task"], job["family"], job["start"], job["seed"])
        if start != self._start:
            self._substrate, self._middle = self._train_up_to(*start)
            self._start = start
        lr = float(f"{job['lr_share'] * self._middle:.3g}")
        losses, _, stop = self._substrate.trial(Trial(constant(lr), job["steps"]))
        # The last one is not finite where the Trial was stopped, which JSON cannot say.
        kept = losses if stop is None else losses[:-1]
        return {"lr": lr, "losses": [float(f"{loss:.4g}") for loss in kept]}

    def _train_up_to(self, task_name: str, kind: str, steps: int, seed: int) -> tuple[LiveSubstrate, float]:
        task = get_task(task_name)
        family = task.family(kind)
        middle = family.oracle_lrs[len(family.oracle_lrs) // 2]
        session = Session(task, family, seed=seed, steps=max(1, steps))
        training = session.training(session.optimizer(middle))
        batches = session.batches()
        for _ in range(steps):
            training.step(next(batches))
        return LiveSubstrate(training), middle


def record_all() -> list[Record]:
    """Every Trial that has no record yet; all records."""
    return run_missing(TRIALS, jobs(), Recorder(), say=lambda text: print(text, flush=True))


# --------------------------------------------------------------------------- judging


def judge(trials: Iterable[Record]) -> Record:
    """Errors, choices and coverage.

    Args:
        trials: as recorded, those of a start next to one another; those that were stopped are only counted.

    Returns:
        ``errors``: by truth, predictor and task ("all" too), median and 90th percentile of |forecast − truth| ÷ truth.
        ``choices``: by predictor, one ratio for each start. ``covered``: by task. ``worse``: the Trials of which the
        default knows less than the mean of the last tenth of the window does.
    """
    trials = list(trials)
    whole = [trial for trial in trials if len(trial["losses"]) == STEPS]
    tasks = {"all": whole} | {name: [t for t in whole if t["task"] == name] for name, _ in TASKS}
    return {
        "trials": len(whole),
        "stopped": len(trials) - len(whole),
        "errors": {
            truth: {name: {task: spread(of, name, truth) for task, of in tasks.items()} for name in PREDICTORS}
            for truth in TRUTHS
        },
        "choices": {name: choices(whole, name) for name in PREDICTORS},
        "covered": {task: coverage(of) for task, of in tasks.items()},
        "worse": [row for row in map(comparison, whole) if row["default_error"] > row["level_error"]],
    }


def error(trial: Record, predictor: str, truth: str) -> float:
    """Relative error of one forecast."""
    came_to = TRUTHS[truth](trial["losses"])
    return abs(PREDICTORS[predictor](trial["losses"][:WINDOW]) - came_to) / came_to


def spread(trials: Sequence[Record], predictor: str, truth: str) -> dict[str, float]:
    """Median and 90th percentile of the relative errors."""
    errors = [error(trial, predictor, truth) for trial in trials]
    return {"median": rounded(np.median(errors)), "p90": rounded(np.quantile(errors, 0.9))}


def choices(trials: Sequence[Record], predictor: str) -> list[float]:
    """For each start, the last tenth at the lr with the lowest forecast ÷ that at the best lr."""
    ratios = []
    for _, of in groupby(trials, key=lambda trial: (trial["task"], trial["start"])):
        group = list(of)
        ends = [tail_mean(trial["losses"]) for trial in group]
        forecasts = [PREDICTORS[predictor](trial["losses"][:WINDOW]) for trial in group]
        ratios.append(rounded(ends[int(np.argmin(forecasts))] / min(ends)))
    return ratios


def coverage(trials: Sequence[Record]) -> dict[str, float]:
    """How often the end lies inside the interval of nine tenths, and how often below it."""
    seen = [(ahead(trial), tail_mean(trial["losses"])) for trial in trials]
    return {
        "inside": rounded(np.mean([one.lower <= end <= one.upper for one, end in seen])),
        "below": rounded(np.mean([end < one.lower for one, end in seen])),
    }


def comparison(trial: Record) -> Record:
    """One Trial: what was forecast, what it came to, and the errors."""
    seen = ahead(trial)
    return {
        **{name: trial[name] for name in ("task", "start", "lr")},
        "level": rounded(tail_mean(trial["losses"][:WINDOW])),
        "default": rounded(seen.value),
        "interval": [rounded(seen.lower), rounded(seen.upper)],
        "code": seen.code.name,
        "end": rounded(tail_mean(trial["losses"])),
        "default_error": rounded(error(trial, "default", "mean of last tenth")),
        "level_error": rounded(error(trial, "mean of last tenth", "mean of last tenth")),
    }


def ahead(trial: Record) -> Forecast:
    """The default forecast from the window of a Trial."""
    return forecast(trial["losses"][:WINDOW], horizon=STEPS)


def rounded(value: Any) -> float:
    """To four digits, as the losses are."""
    return float(f"{float(value):.4g}")


def show(found: Record) -> None:
    """The tables."""
    print(
        f"{found['trials']} Trials, {found['stopped']} stopped as not finite. |forecast - truth| / truth: median, p90"
    )
    for truth, rows in found["errors"].items():
        print(f"\nagainst the {truth}")
        for name, cells in rows.items():
            print(f"  {name:20s}" + "  ".join(f"{task} {c['median']:.3f} {c['p90']:.3f}" for task, c in cells.items()))
    print("\nloss at the chosen lr / lowest loss, by start")
    for name, ratios in found["choices"].items():
        print(f"  {name:20s}" + " ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"\ncovered by the interval: {found['covered']}")


def main() -> None:
    """Record what is missing, judge, write."""
    found = judge(record_all())
    show(found)
    settings = {"window": WINDOW, "horizon": STEPS, "tasks": [name for name, _ in TASKS], "starts": list(STARTS)}
    ERRORS.write_text(json.dumps({**settings, **found}, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
