"""How far a forecast of the loss is off, on real Trials: from their first tenth to their end.

    python -m lrpilot_bench.studies.forecast_error

Two tasks, three starts each (fresh weights, and trainings of two lengths), ten constant lrs from far too small to
far too large: 60 Trials of 1,000 steps, recorded once (about a quarter of an hour on one core; it resumes). The
forecast sees the first 100 training losses of a Trial and is compared with its last loss and with the mean of its last
tenth, next to two dumb forecasts: the last loss of the window, and the mean of its last tenth. The Trials of a task
read the same batches, so "the last loss" is that of a single batch for all of them; "a loss of the last tenth" takes
each of the last hundred losses in turn.

The Trials go to ``records/forecast_trials.jsonl`` (the window and the last tenth in full, of what lies between the
means), what is made of them to ``records/forecast_error.json``.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from lrpilot.core.actions import Trial
from lrpilot.core.codec import record
from lrpilot.core.shape import constant
from lrpilot.maths.forecast import Forecast, forecast
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.run.measurements import Settings, measure_missing
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import Record
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.tasks.registry import get_task

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
# What it came to, from the losses of the last tenth: one value or several that each count.
TRUTHS: dict[str, Callable[[Sequence[float]], Sequence[float]]] = {
    "mean of last tenth": lambda end: [float(np.mean(end))],
    "last loss": lambda end: [end[-1]],
    "a loss of the last tenth": lambda end: end,
}
LEVEL, DEFAULT = "mean of last tenth", "default"


def tail_mean(losses: Sequence[float]) -> float:
    """Mean of the last tenth."""
    return float(np.mean(losses[-(len(losses) // 10) :]))


def kept(losses: Sequence[float]) -> Record:
    """What is recorded of the losses of a Trial, fewer than :data:`STEPS` where it was stopped.

    Returns:
        ``done``: how many. ``window`` and ``end``: the first and the last :data:`WINDOW`. ``tenths``: the mean of each
        tenth that was reached.
    """
    tenths = [losses[i : i + WINDOW] for i in range(0, len(losses) - WINDOW + 1, WINDOW)]
    return {
        "done": len(losses),
        "window": [rounded(loss) for loss in losses[:WINDOW]],
        "end": [rounded(loss) for loss in losses[-WINDOW:]],
        "tenths": [rounded(np.mean(tenth)) for tenth in tenths],
    }


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

    def __call__(self, job: Settings) -> Record:
        """The lr, natural units, and what is kept of the training losses."""
        start = (job["task"], job["family"], job["start"], job["seed"])
        if start != self._start:
            self._substrate, self._middle = self._train_up_to(*start)
            self._start = start
        lr = float(f"{job['lr_share'] * self._middle:.3g}")
        seen = self._substrate.trial(Trial(constant(lr), job["steps"]))
        assert seen is not None  # the data of the tasks is sound
        losses, _, stop, _ = seen
        # The last one is not finite where the Trial was stopped, which JSON cannot say.
        return {"lr": lr, **kept(losses if stop is None else losses[:-1])}

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
    return measure_missing(TRIALS, jobs(), Recorder(), say=lambda text: print(text, flush=True))


# --------------------------------------------------------------------------- judging


@record
class Case:
    """One Trial that went to its end.

    Attributes:
        trial: as recorded.
        ahead: its default forecast.
        predicted: by predictor.
    """

    trial: Record
    ahead: Forecast
    predicted: dict[str, float]

    @property
    def end(self) -> float:
        """The mean of the last tenth."""
        return float(np.mean(self.trial["end"]))

    def errors(self, predictor: str, truth: str = LEVEL) -> list[float]:
        """|forecast - truth| ÷ truth, of every value that the truth has."""
        return [abs(self.predicted[predictor] - value) / value for value in TRUTHS[truth](self.trial["end"])]


def case(trial: Record) -> Case:
    """Forecast one Trial."""
    window = trial["window"]
    return Case(trial, forecast(window, horizon=STEPS), {name: of(window) for name, of in PREDICTORS.items()})


def judge(trials: Iterable[Record]) -> Record:
    """Errors, choices and coverage.

    Args:
        trials: as recorded, those of a start next to one another; those that were stopped are only counted.

    Returns:
        ``errors``: by truth, group of Trials and predictor, median and 90th percentile of |forecast - truth| ÷ truth.
        The groups are all Trials, those of a task, and those of a task from one start. ``closer``: by group, in how
        many Trials the default is closer to the mean of the last tenth than each other predictor. ``choices``: by
        predictor, one ratio for each start. ``covered`` and ``luck``: by task. ``worse``: the Trials of which the
        default knows less than the mean of the last tenth of the window does.
    """
    trials = list(trials)
    cases = [case(trial) for trial in trials if trial["done"] == STEPS]
    tasks = {"all": cases} | {name: [c for c in cases if c.trial["task"] == name] for name, _ in TASKS}
    starts = {
        f"{name}, step {start}": [c for c in tasks[name] if c.trial["start"] == start]
        for name, _ in TASKS
        for start in STARTS
    }
    groups = {name: of for name, of in (tasks | starts).items() if of}
    return {
        "trials": len(cases),
        "stopped": len(trials) - len(cases),
        "errors": {
            truth: {group: {name: spread(of, name, truth) for name in PREDICTORS} for group, of in groups.items()}
            for truth in TRUTHS
        },
        "closer": {group: closer(of) for group, of in groups.items()},
        "choices": {name: choices(cases, name) for name in PREDICTORS},
        "covered": {task: coverage(of) for task, of in tasks.items()},
        "luck": {task: luck(of) for task, of in tasks.items() if task != "all" and of},
        "worse": [comparison(c) for c in cases if c.errors(DEFAULT) > c.errors(LEVEL)],
    }


def spread(cases: Sequence[Case], predictor: str, truth: str) -> dict[str, float]:
    """Median and 90th percentile of the relative errors."""
    errors = [error for one in cases for error in one.errors(predictor, truth)]
    return {"median": rounded(np.median(errors)), "p90": rounded(np.quantile(errors, 0.9))}


def closer(cases: Sequence[Case]) -> dict[str, int]:
    """How many Trials there are, and in how many the default is closer than each other predictor."""
    others = [name for name in PREDICTORS if name != DEFAULT]
    return {"trials": len(cases)} | {name: sum(c.errors(DEFAULT) < c.errors(name) for c in cases) for name in others}


def choices(cases: Sequence[Case], predictor: str) -> list[float]:
    """For each start, the last tenth at the lr with the lowest forecast ÷ that at the best lr."""
    ratios = []
    for _, of in groupby(cases, key=lambda one: (one.trial["task"], one.trial["start"])):
        group = list(of)
        chosen = min(group, key=lambda one: one.predicted[predictor])
        ratios.append(rounded(chosen.end / min(one.end for one in group)))
    return ratios


def coverage(cases: Sequence[Case]) -> dict[str, float]:
    """How often the end lies inside the interval of nine tenths, and how often below it."""
    return {
        "inside": rounded(np.mean([c.ahead.lower <= c.end <= c.ahead.upper for c in cases])),
        "below": rounded(np.mean([c.end < c.ahead.lower for c in cases])),
    }


def luck(cases: Sequence[Case]) -> dict[str, float]:
    """The last loss ÷ the mean of the last tenth, at the end of the window and of the Trial: median over Trials."""
    return {
        "window": rounded(np.median([c.predicted["last loss"] / c.predicted[LEVEL] for c in cases])),
        "end": rounded(np.median([c.trial["end"][-1] / c.end for c in cases])),
    }


def comparison(one: Case) -> Record:
    """One Trial: what was forecast, what it came to, the errors, and what happened in between."""
    return {
        **{name: one.trial[name] for name in ("task", "start", "lr", "tenths")},
        "level": rounded(one.predicted[LEVEL]),
        "forecast": rounded(one.predicted[DEFAULT]),
        "interval": [rounded(one.ahead.lower), rounded(one.ahead.upper)],
        "code": one.ahead.code.name,
        "end": rounded(one.end),
        "error": rounded(one.errors(DEFAULT)[0]),
        "level_error": rounded(one.errors(LEVEL)[0]),
    }


def rounded(value: Any) -> float:
    """To four digits, as the losses are."""
    return float(f"{float(value):.4g}")


def show(found: Record) -> None:
    """The tables."""
    print(
        f"{found['trials']} Trials, {found['stopped']} stopped as not finite. |forecast - truth| / truth: median, p90"
    )
    for truth, groups in found["errors"].items():
        print(f"\nagainst the {truth}")
        for group, cells in groups.items():
            print(f"  {group:22s}" + "  ".join(f"{name} {c['median']:.3f} {c['p90']:.3f}" for name, c in cells.items()))
    print(f"\nTrials in which the default is closer: {found['closer']['all']}")
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
