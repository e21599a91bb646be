"""What a search of AutoLRS takes, beside as many plain training steps as its Trials have.

    python -m lrpilot_bench.studies.search_cost            # four minutes on a free core
    python -m lrpilot_bench.studies.search_cost --quick    # half a minute, short searches, nothing is written

The first search of a training is flown, which is most of what a training spends on searches; the time of a Trial
depends on its length alone. After every Trial as many plain steps are taken on a second training, with its own model,
optimizer and data order, so that what drifts in the machine is in both. Wall time and the processor time of the
thread are taken; on a machine with other work beside it only the second is to be relied on.

The net has BatchNorm, which makes a held-out reading dear: its statistics are estimated anew before. scipy is loaded
before. Writes ``records/search_cost.json``, row by row.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple
from unittest import mock

import torch

from lrpilot import AutoLRS, Pilot
from lrpilot.core.actions import Trial, TrialLosses
from lrpilot.core.history import Event
from lrpilot.maths.forecast import forecast
from lrpilot.maths.surrogate import fit_surrogate
from lrpilot.policies.autolrs import PublishedAutoLRS, candidates
from lrpilot.training import Training
from lrpilot_bench.data.splits import Batch
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import machine_facts
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.tasks.registry import get_task

RECORD = RECORDS / "search_cost.json"
TASK, KIND, LR = "fashion_bn", "sgd", 0.1
BATCH_SIZE = 192  # three times the task's: more than 15 ms a step
LIMIT, LEAST_STEP_MS = 1.10, 15.0
INTERVAL = (1e-3, 1e-1)
POLICIES = {
    "published": AutoLRS.paper(*INTERVAL),
    "default": AutoLRS(*INTERVAL),
    "default, raw score": AutoLRS(*INTERVAL, score="raw"),
}
# Setting and length of the training. The published Trials are of 100 steps in any.
ROWS = (
    ("published", 3_000),
    ("default", 1_000),
    ("default, raw score", 1_000),
    ("default", 3_000),
    ("default, raw score", 3_000),
    ("default", 10_000),
)
QUICK_ROWS = tuple((name, 300) for name in POLICIES)
WARM = 20  # plain steps before anything is timed


class Time(NamedTuple):
    """Seconds on the wall, and of the processor in this thread."""

    wall: float = 0.0
    cpu: float = 0.0

    def plus(self, other: "Time") -> "Time":
        """The sum."""
        return Time(self.wall + other.wall, self.cpu + other.cpu)

    def since(self, other: "Time") -> "Time":
        """The difference."""
        return Time(self.wall - other.wall, self.cpu - other.cpu)

    def over(self, other: "Time") -> dict[str, float]:
        """The ratio of each."""
        return {"wall": round(self.wall / other.wall, 4), "cpu": round(self.cpu / other.cpu, 4)}


def now() -> Time:
    """Both clocks."""
    return Time(time.perf_counter(), time.thread_time())


@dataclass
class Stopwatch:
    """Takes the time of every Trial, decision included, and then of as many plain steps.

    Attributes:
        plain: the second training.
        batches: its data.
        trials: steps of every Trial, its time, and that of the plain steps after it.
    """

    plain: Training
    batches: Iterator[Batch]
    trials: list[tuple[int, Time, Time]] = field(default_factory=list)
    _begun: Time = field(default_factory=Time)

    def __call__(self, event: Event) -> None:
        """What the pilot calls at the beginning and at the end of every measurement."""
        if not isinstance(event.action, Trial):
            return
        if event.phase == "begin":
            self._begun = now()
        elif isinstance(event.observation, TrialLosses):
            taken, steps = now().since(self._begun), len(event.observation.losses)
            self.trials.append((steps, taken, self.step(steps)))

    def step(self, steps: int) -> Time:
        """Plain steps, and what they took; fetching a batch is part of one, as it is of a Trial's."""
        begun = now()
        for _ in range(steps):
            self.plain.step(next(self.batches))
        return now().since(begun)


@contextmanager
def timed_parts() -> Iterator[dict[str, Time]]:
    """The time of all decisions inside the block, and of the surrogate and the forecasts in them."""
    parts = dict.fromkeys(("decisions", "surrogate", "forecast"), Time())

    def timed(part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed_work(*args: Any, **options: Any) -> Any:
            begun = now()
            try:
                return work(*args, **options)
            finally:
                parts[part] = parts[part].plus(now().since(begun))

        return timed_work

    with (
        mock.patch.object(AutoLRS, "tell", timed("decisions", AutoLRS.tell)),
        mock.patch.object(PublishedAutoLRS, "tell", timed("decisions", PublishedAutoLRS.tell)),
        mock.patch.object(candidates, "fit_surrogate", timed("surrogate", candidates.fit_surrogate)),
        mock.patch.object(candidates, "forecast", timed("forecast", candidates.forecast)),
    ):
        yield parts


def load_scipy() -> None:
    """Decide once, so that nothing is loaded while the clocks run."""
    fit_surrogate((1e-3, 1e-2), (1.0, 0.5), min_lr=1e-3, max_lr=1e-1)
    for form in ("default", "paper"):
        forecast([1.0 / (step + 1) for step in range(100)], horizon=1000, form=form)


def make_session(steps: int) -> Session:
    """A training of the task, in larger batches."""
    task = replace(get_task(TASK), batch_size=BATCH_SIZE)
    return Session(task, task.family(KIND), seed=0, steps=steps, lr=LR)


def measure(name: str, steps: int) -> dict[str, Any]:
    """The first search of a training of so many steps."""
    flown, plain = make_session(steps), make_session(steps)
    watch = Stopwatch(plain.training(plain.optimizer(LR)), plain.batches())
    pilot = Pilot(flown.training(flown.optimizer(LR)), POLICIES[name], total_steps=steps, on_event=watch)
    watch.step(WARM)
    with timed_parts() as parts:
        begun = now()
        pilot.start()
        searching = now().since(begun)
    beside = Time()
    for _, _, plain_time in watch.trials:
        beside = beside.plus(plain_time)
    searching = searching.since(beside)
    each = [taken.over(plain_time) for _, taken, plain_time in watch.trials]
    trial_steps, work = pilot.cost.trial_steps, pilot.cost.steps
    of_work = {clock: round(ratio * trial_steps / work, 4) for clock, ratio in searching.over(beside).items()}
    return {
        "setting": name, "steps": steps, "trials": len(each), "trial_steps": trial_steps, "work": round(work, 1),
        "step_ms": {"wall": round(1e3 * beside.wall / trial_steps, 2), "cpu": round(1e3 * beside.cpu / trial_steps, 2)},
        "ratio": searching.over(beside),
        "median": {clock: statistics.median(ratio[clock] for ratio in each) for clock in Time._fields},
        "ratio_of_work": of_work,
        "shares": {part: spent.over(searching) for part, spent in parts.items()},
        "decision_ms": round(1e3 * parts["decisions"].cpu / len(each), 2),
    }  # fmt: skip


def show(row: dict[str, Any]) -> str:
    """A line of the terminal."""
    ratios = ", ".join(
        f"{key} {row[key]['wall']:.3f} wall {row[key]['cpu']:.3f} cpu" for key in ("ratio", "median", "ratio_of_work")
    )
    shares = ", ".join(f"{part} {100 * share['cpu']:.2f} %" for part, share in row["shares"].items())
    trials = f"{row['trials']} Trials, {row['trial_steps']} steps of {row['step_ms']['cpu']:.1f} ms"
    return f"{row['setting']}, {row['steps']} steps ({trials}): {ratios}; {shares}"


def main() -> None:
    """Measure, print the ratios, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short searches, nothing is written")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    load_scipy()
    task = {"task": TASK, "batch_size": BATCH_SIZE, "limit": LIMIT, "least_step_ms": LEAST_STEP_MS}
    rows: list[dict[str, Any]] = []
    for name, steps in QUICK_ROWS if quick else ROWS:
        rows.append(measure(name, steps))
        print(show(rows[-1]), flush=True)
        if not quick:
            RECORD.write_text(json.dumps({**task, "rows": rows, "machine": machine_facts()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
