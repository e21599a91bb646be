"""Claimed for AutoLRS and beam search, measured here, why they differ: rows for docs/trial-experiments.md.

From the records of the comparison alone. Every number of a reason is computed, and a reason whose fact does not hold is
not given.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lrpilot.policies.autolrs import AutoLRS
from lrpilot.policies.beam_search import BeamSearch
from lrpilot_bench.analysis.compare import all_rows, headlines
from lrpilot_bench.analysis.recorded import Bench
from lrpilot_bench.methods.autolrs import TAU
from lrpilot_bench.stats.aggregates import geometric_mean
from lrpilot_bench.studies.line_claims import MISSING, Facts, fell, gather, measured
from lrpilot_bench.studies.markdown import Row
from lrpilot_bench.studies.time_to_loss import Speedup, speedup

CYCLIC = ("clr", "sgdr")  # at their default lr: the slides' baselines, without their tuning
NEAR = 1.02  # × the oracle's loss: nothing to explain (the protocol's target)
LINEAR_TENTH = 0.9  # a linear decay is below a tenth of its peak after this share of the steps
SPREAD = 2.0  # last lrs of a task's seeds that differ by less are one
MOST = 0.95  # of the steps: where a search leaves more, what it costs does not matter
EARLY_TRIAL = 30  # readings that a forecast needs


@dataclass(frozen=True)
class TrialFacts:
    """What the records of a method on Trials say.

    Attributes:
        facts: of any method.
        overhead: compute ÷ that of the kept steps, median over the runs that kept any.
        first_trials: shortest and longest Trial of a published first stage over the tasks, in steps.
        sooner: kept steps to the final loss of CLR and of SGDR, each over all tasks.
    """

    facts: Facts
    overhead: float
    first_trials: tuple[int, int]
    sooner: dict[str, Speedup]


def trial_facts(judged: Bench, method: str) -> TrialFacts | None:
    """The facts of a method; None where it has no run."""
    facts = gather(judged, method, headlines(all_rows(judged)))
    if facts is None:
        return None
    runs = [run for task in judged.tasks() for run in judged.runs(task, method).values()]
    kept = [run.compute * run.steps / run.record["kept_steps"] for run in runs if run.record["kept_steps"]]
    trials = [math.ceil(AutoLRS.paper().trial * round(TAU * run.steps)) for run in runs]
    sooner = {other: over_tasks(judged, method, other) for other in CYCLIC}
    return TrialFacts(facts, statistics.median(kept), (min(trials), max(trials)), sooner)


def over_tasks(judged: Bench, method: str, other: str) -> Speedup:
    """Kept steps and compute of a schedule to its final loss ÷ the method's, geometric mean over tasks."""
    each = [speedup(judged.runs(task, method), judged.runs(task, other)) for task in judged.tasks()]
    means = [[value for one in each if (value := getattr(one, unit)) is not None] for unit in ("steps", "compute")]
    steps, compute = (geometric_mean(values) if values else None for values in means)
    return Speedup(sum(one.seeds for one in each), sum(one.reached for one in each), steps, compute)


def sooner_words(found: TrialFacts) -> str:
    """Where it came to the loss of CLR and of SGDR at their default lr, and how soon."""
    words = []
    for other, one in found.sooner.items():
        if not one.seeds:
            continue
        name = other.upper()
        ratio = "" if one.steps is None else f" ({name}'s steps ÷ its own there: {one.steps:.2f})"
        words.append(f"comes to the final loss of {name} at its default lr in {one.reached} of {one.seeds} runs{ratio}")
    return "; ".join(words)


# -------------------------------------------------------------------- reasons


def published_free(found: TrialFacts) -> list[str]:
    """The published setting, search not counted."""
    return [*too_short(found), *held_to_the_end(found.facts), *scattered(found.facts), BAR]


def published_paid(found: TrialFacts) -> list[str]:
    """The published setting, search counted."""
    return [left(found.facts), *too_short(found), *held_to_the_end(found.facts)]


def default(found: TrialFacts) -> list[str]:
    """Ours."""
    return [left(found.facts), *scattered(found.facts), ONE_START]


def beam(found: TrialFacts) -> list[str]:
    """The comparator."""
    policy = BeamSearch()
    candidates = policy.states * len(policy.factors)
    reasons = [f"of its steps one in {candidates} lies on the way to the final weights"]
    if found.facts.tenth_after < LINEAR_TENTH:
        greedy = "it keeps what has the least loss after one window, and so the least noise"
        reasons.append(f"{greedy}: {fell(found.facts)} (a linear decay: after 90 %)")
    return [
        *reasons,
        *scattered(found.facts),
        "the paper trains MLPs by epochs of the data, here a window is 1 % of the steps",
    ]


BAR = "the bar is the best of 33 swept points, all of which decay, where the slides have schedules tuned by hand"
ONE_START = "the oracle's lr is swept for each task, the start lr is one for all"


def left(facts: Facts) -> str:
    """What the search leaves of the steps, and whether that can be a reason."""
    words = f"search leaves {facts.kept:.0%} of the steps"
    return words if facts.kept < MOST else f"{words}, so that cost is not the reason"


def too_short(found: TrialFacts) -> list[str]:
    """Whether the first Trials are too short for a forecast on some task."""
    low, high = found.first_trials
    if low >= EARLY_TRIAL:
        return []
    steps = f"{low}" if low == high else f"{low} to {high}"
    return [f"Trials of the first stage have {steps} steps to forecast from, the paper's 100"]


def held_to_the_end(facts: Facts) -> list[str]:
    """Whether the lr stays up to the end."""
    if facts.end <= 0.1:
        return []
    return [
        f"no stage decays: in the median run the last lr is {facts.end:.2g} of the peak, and its noise is in the loss"
    ]


def scattered(facts: Facts) -> list[str]:
    """Whether a task's seeds end at different lrs."""
    if facts.seeds_differ < SPREAD:
        return []
    return [f"a task's seeds end at lrs that differ {facts.seeds_differ:.1f}-fold (geometric mean)"]


def why(found: TrialFacts, reasons: Callable[[TrialFacts], list[str]]) -> str:
    """The reasons, where there is something to explain."""
    regret = found.facts.line.finished_regret
    if regret is None:
        return "no oracle on record"
    if regret <= NEAR:
        return f"within {NEAR - 1:.0%} of the oracle: nothing to explain"
    return "; ".join(reasons(found))


# ----------------------------------------------------------------------- rows

STEPS_CLAIM = (
    "1.22 (ResNet-50), 1.43 (Transformer) and 1.5 times (BERT) faster than hand-tuned schedules, search not counted"
)
COST_CLAIM = "the search takes as many steps as the training: 2.0 × the compute of its steps"
OURS = "ours: at most 1.3 × the compute of its steps, at no higher loss than the published setting"
BEAM_CLAIM = "a better test accuracy than decaying schedules under certain conditions, MLPs (abstract)"


def claim_rows(judged: Bench) -> Iterator[Row]:
    """A row for each setting."""
    for method, title, claimed, reasons in (
        ("autolrs_paper_free", "AutoLRS, as published, probes free", STEPS_CLAIM, published_free),
        ("autolrs_paper", "AutoLRS, as published, probes paid for", COST_CLAIM, published_paid),
        ("autolrs", "AutoLRS", OURS, default),
        ("beam_search", "Beam search (Takase et al.)", BEAM_CLAIM, beam),
    ):
        found = trial_facts(judged, method)
        if found is None:
            yield title, claimed, MISSING, MISSING
            continue
        cost = f"{found.overhead:.2f} × the compute of its steps"
        words = [measured(found.facts), cost, sooner_words(found)]
        yield title, claimed, "; ".join(word for word in words if word), why(found, reasons)
