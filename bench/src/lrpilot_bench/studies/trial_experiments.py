"""Write docs/trial-experiments.md from the records of the suite autolrs, and of the comparison, alone."""

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lrpilot_bench.analysis.recorded import Bench, Run
from lrpilot_bench.methods.autolrs import ABLATED, MAX_TAU, TAU, WIDTH
from lrpilot_bench.methods.schedules import DEFAULT_LRS
from lrpilot_bench.protocol.experiments import AUTOLRS_HORIZON, AUTOLRS_TASKS, TUNED
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.studies.checkout import DOCS, RECORDS
from lrpilot_bench.studies.line_experiments import MISSING, counted, percent, read, three
from lrpilot_bench.studies.markdown import Row, render, verdict
from lrpilot_bench.studies.time_to_loss import in_words, speedup
from lrpilot_bench.studies.trial_claims import claim_rows
from lrpilot_bench.tasks.registry import get_task

PAGE = DOCS / "trial-experiments.md"
Runs = Mapping[int, Run]

OURS, PAID, FREE = "autolrs", "autolrs_paper", "autolrs_paper_free"
NAMES = {"constant": "constant", "cosine": "cosine", "clr": "CLR", "sgdr": "SGDR"}
GROUP_NAMES = {
    ("fashion_bn", "sgd"): "Fashion-MNIST, conv net with BatchNorm, SGD with momentum",
    ("fashion_bn", "adamw"): "Fashion-MNIST, the same net, AdamW",
    ("char_kjv", "adamw"): "King James text, character transformer, AdamW",
}
SHORT_NAMES = dict(zip(AUTOLRS_TASKS, ("Fashion, SGD", "Fashion, AdamW", "characters, AdamW"), strict=True))
OVERHEAD_AIM = 1.3  # of the default: compute ÷ that of its kept steps


# ------------------------------------------------------------ tuned schedules


@dataclass(frozen=True)
class Tuned:
    """A schedule with the lr that was the best of a sweep at seed 0.

    Attributes:
        lrs: swept, ascending, natural units.
        lr: the best; None where none finished.
        runs: at the best, by seed.
    """

    lrs: tuple[float, ...]
    lr: float | None
    runs: Runs

    @property
    def inside(self) -> bool:
        """Whether the best has a neighbour on either side."""
        return self.lr is not None and self.lrs[0] < self.lr < self.lrs[-1]


def tuned(bench: Bench, task: str, kind: str, method: str) -> Tuned:
    """A schedule at the best lr on record."""
    every = [run for run in bench.every(task, method, family=kind) if run.horizon == AUTOLRS_HORIZON]
    swept = {run.lr: run.loss for run in every if run.seed == 0 and run.lr is not None and not run.repeat}
    finished = {lr: loss for lr, loss in swept.items() if loss < float("inf")}
    best = min(finished, key=lambda lr: finished[lr]) if finished else None
    runs = {} if best is None else bench.runs(task, method, family=kind, lr=best, horizon=AUTOLRS_HORIZON)
    return Tuned(tuple(sorted(swept)), best, runs)


def schedules(bench: Bench, task: str, kind: str) -> dict[str, Tuned]:
    """The tuned schedules that have a run."""
    found = {method: tuned(bench, task, kind, method) for method in TUNED}
    return {method: one for method, one in found.items() if one.runs}


def best_schedule(found: Mapping[str, Tuned]) -> str | None:
    """The schedule of the lowest mean final validation loss; None where there is none.

    Those with the most seeds compete: a sweep whose winner has one seed so far would win by its luck.
    """
    most = max((len(one.runs) for one in found.values()), default=0)
    whole = {method: one.runs for method, one in found.items() if len(one.runs) == most}
    return min(whole, key=lambda method: statistics.fmean(run.loss for run in whole[method].values()), default=None)


def settings_of(bench: Bench, task: str, kind: str, method: str) -> Runs:
    """Runs of a setting of AutoLRS, by seed."""
    return bench.runs(task, method, family=kind, horizon=AUTOLRS_HORIZON)


def sweep_rows(bench: Bench) -> Iterator[Row]:
    """The lr of every schedule, and the lrs it was chosen from."""
    for task, kind in AUTOLRS_TASKS:
        found = [tuned(bench, task, kind, method) for method in TUNED]
        yield SHORT_NAMES[task, kind], *map(_sweep_words, found), _interval(DEFAULT_LRS[kind], found[0].lr)


def _interval(top: float, best: float | None) -> str:
    """The interval of the published setting, and where the best constant lr lies."""
    words = f"{top / WIDTH:g} to {top:g}"
    if best is None or top / WIDTH <= best <= top:
        return words
    return f"{words}; the best constant lr lies {'above' if best > top else 'below'}"


def _sweep_words(found: Tuned) -> str:
    if found.lr is None:
        return MISSING
    edge = "" if found.inside else ", **at the edge**"
    return f"{found.lr:.3g} (of {len(found.lrs)}, {found.lrs[0]:.3g} to {found.lrs[-1]:.3g}{edge})"


# ----------------------------------------------------------------- end to end

MEASURES = ("lr", "validation loss", "test loss", "test accuracy, %", "compute ÷ plain run", "÷ its own steps", "seeds")
SPEEDS = ("steps", "total compute", "steps, CLR's loss", "steps, SGDR's loss")


def titled(bench: Bench, task: str, kind: str) -> Iterator[tuple[str, Runs]]:
    """Every row of a training: the schedules, then AutoLRS."""
    for method in TUNED:
        found = tuned(bench, task, kind, method)
        yield f"{NAMES[method]}, tuned" + ("" if found.lr is None else f" ({found.lr:.3g})"), found.runs
    for method in (OURS, PAID, FREE):
        yield bench.catalogue.methods[method].title, settings_of(bench, task, kind, method)


def loss_rows(bench: Bench, task: str, kind: str) -> Iterator[Row]:
    """Final losses, and what they cost."""
    for title, runs in titled(bench, task, kind):
        found = list(runs.values())
        if not found:
            yield title, MISSING, *("",) * (len(MEASURES) - 2)
            continue
        yield (
            title,
            counted(found, lambda run: run.loss, three),
            counted(found, lambda run: run.test_loss, three),
            counted(found, lambda run: float(run.test_score or 0.0), percent),
            f"{statistics.fmean(run.compute for run in found):.2f}",
            f"{overhead(found):.2f}" if any(run.record["kept_steps"] for run in found) else "",
            f"{len(found)}",
        )


def overhead(runs: list[Run]) -> float:
    """Total compute ÷ that of the kept steps alone, mean over the runs that kept any."""
    kept = [(run.compute, run.record["kept_steps"] / run.steps) for run in runs if run.record["kept_steps"]]
    return statistics.fmean(compute / steps for compute, steps in kept)


def speed_rows(bench: Bench, task: str, kind: str) -> Iterator[Row]:
    """Steps and compute to the final loss of the best schedule, and of the slides' two."""
    found = schedules(bench, task, kind)
    best = best_schedule(found)
    for title, runs in titled(bench, task, kind):
        if not runs or best is None:
            yield title, MISSING, *("",) * (len(SPEEDS) - 1)
            continue
        against = partial(speedup, runs)
        target = against(found[best].runs)
        others = [against(found[method].runs if method in found else {}) for method in ("clr", "sgdr")]
        yield (
            title,
            in_words(target, target.steps),
            in_words(target, target.compute),
            *(in_words(other, other.steps) for other in others),
        )


def training_numbers(bench: Bench, task: str, kind: str) -> dict[str, Any]:
    """One training: losses, then how soon."""
    best = best_schedule(schedules(bench, task, kind))
    return {
        "title": GROUP_NAMES[task, kind],
        "losses": loss_rows(bench, task, kind),
        "which": "the best schedule" if best is None else f"the best schedule, here {NAMES[best]}",
        "speeds": speed_rows(bench, task, kind),
    }


# -------------------------------------------------------- the aim, and scores


def ratio(runs: Runs, others: Runs) -> float | None:
    """Final validation loss ÷ the other's, geometric mean over the seeds that both finished; None without one."""
    seeds = [seed for seed in runs.keys() & others.keys() if not (runs[seed].failed or others[seed].failed)]
    return geometric_mean([runs[seed].loss / others[seed].loss for seed in seeds]) if seeds else None


def ratio_words(value: float | None) -> str:
    """Three digits behind the point: differences are of a few percent."""
    return MISSING if value is None else f"{value:.3f}"


def aim_rows(bench: Bench) -> Iterator[Row]:
    """What the default is to do: cost at most 0.3 of its steps, at no higher loss than the published setting."""
    for task, kind in AUTOLRS_TASKS:
        ours, paid, free = (settings_of(bench, task, kind, method) for method in (OURS, PAID, FREE))
        found = schedules(bench, task, kind)
        best = best_schedule(found)
        costs = [overhead(list(runs.values())) if runs else None for runs in (paid, ours)]
        to_paid, to_free, to_best = (
            ratio(ours, runs) for runs in (paid, free, {} if best is None else found[best].runs)
        )
        cells = [MISSING if cost is None else f"{cost:.2f}" for cost in costs]
        yield (
            SHORT_NAMES[task, kind],
            *cells,
            *map(ratio_words, (to_paid, to_free, to_best)),
            _aim(costs[1], to_paid, ours),
        )


def _aim(cost: float | None, to_paid: float | None, ours: Runs) -> str:
    if cost is None or to_paid is None:
        return ""
    return verdict(cost <= OVERHEAD_AIM and to_paid <= 1.0 and not any(run.failed for run in ours.values()))


def score_rows(bench: Bench) -> Iterator[Row]:
    """The default with its Trials scored in other ways."""
    base = [settings_of(bench, task, kind, OURS) for task, kind in AUTOLRS_TASKS]
    for method, words in ((OURS, "average (the default)"), *((f"{OURS}_{score}", score) for score in ABLATED)):
        runs = [settings_of(bench, task, kind, method) for task, kind in AUTOLRS_TASKS]
        losses = [counted(list(found.values()), lambda run: run.loss, three) for found in runs]
        ratios = [ratio(found, ours) for found, ours in zip(runs, base, strict=True)]
        known = [value for value in ratios if value is not None]
        yield words, *losses, ratio_words(geometric_mean(known) if len(known) == len(ratios) else None)


# ------------------------------------------------------------------- the page


def page(bench: Bench, judged: Bench) -> str:
    """The whole page."""
    steps = AUTOLRS_HORIZON * get_task(AUTOLRS_TASKS[0][0]).steps
    return render(
        "trial-experiments",
        {
            "horizon": AUTOLRS_HORIZON,
            "steps": steps,
            "tau": TAU,
            "max_tau": MAX_TAU,
            "first": 0.1 * TAU * steps,
            "tuned": [NAMES[method] for method in TUNED],
            "width": WIDTH,
            "sweeps": sweep_rows(bench),
            "measures": MEASURES,
            "speeds": SPEEDS,
            "trainings": [training_numbers(bench, task, kind) for task, kind in AUTOLRS_TASKS],
            "aimed_overhead": OVERHEAD_AIM - 1,
            "aims": aim_rows(bench),
            "shorts": list(SHORT_NAMES.values()),
            "scores": score_rows(bench),
            "claims": claim_rows(judged),
        },
    )


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(*(read(RECORDS / f"{name}.jsonl") for name in ("autolrs", "bench"))))


if __name__ == "__main__":
    main()
