"""What LRTuner decides on a few forwards, beside the papers' setting on five hundred, on the same recorded Lines.

Trainings of three tasks at constant lrs, from far too small to too large, so that raises and cuts are wanted. At points
spread over each of them, one optimizer step is a Line that is read twice:

* as published: 5 factors on 100 batches. ε* and its standard error over the batches say which way the lr should
  go, and whether that is certain.
* by the default's own code (:class:`LRTuner`, asked and told): 3 factors on a few of its own batches, and the check of
  its prediction. Twice, because an explore may only raise the lr and an exploit only lower it.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from lrpilot.core.actions import Line, LineLosses, Progress
from lrpilot.core.policy import Context
from lrpilot.maths.line_fit import TrustRegion, fit_line, is_usable, t_quantile
from lrpilot.policies.lr_tuner import LRTuner
from lrpilot.policies.lr_tuner.published import PAPER_FACTORS
from lrpilot.policies.lr_tuner.state import CheckingPrediction, LRTunerState, ReadingLine, SuperbatchLevel
from lrpilot.training.measure.substrate import LiveSubstrate
from lrpilot_bench.run.measurements import Settings, measure_missing
from lrpilot_bench.session import Session
from lrpilot_bench.store.records import Record
from lrpilot_bench.studies.checkout import RECORDS
from lrpilot_bench.tasks.registry import get_task

Read = Callable[[Line], tuple[tuple[float, ...], ...]]

DECISIONS = RECORDS / "line_decisions.jsonl"
TASKS = (("fashion_bn", "sgd"), ("char_kjv", "adamw"), ("papers_net", "adamw"))
SHARES = (1 / 30, 1 / 5, 1.0, 5.0)  # of the lr in the middle of the task's grid
POINTS = 18  # Lines of a training, evenly spaced
PAPER_BATCHES = 100
PAPER_FORWARDS = (len(PAPER_FACTORS) + 1) * PAPER_BATCHES  # the Line, and the superbatch that its window ends with
CONFIDENCE = 0.95

# An explore all through the training, or an exploit: what would be decided at this point in either phase.
PHASES = {"explore": 1.0, "exploit": 0.0}
SHORT = 1400  # steps: a training so short that a decision may cost 28 forwards and no more
SATURATING = LRTuner(exploit="saturation")  # only then is there a decision in exploit
ALLOWANCES = {"no limit": replace(SATURATING, overhead=None), f"{SHORT} steps": SATURATING}


# ------------------------------------------------------------------ the two settings


def published_view(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """What the papers' setting sees.

    Args:
        rows: batches x 5, finite.

    Returns:
        The loss at factor 1; the factor that the parabola asks for and its standard error (None where there is none);
        slope and curvature with theirs.
    """
    fit = fit_line(PAPER_FACTORS, rows)
    return {
        "loss": fit.level,
        "minimiser": fit.minimiser,
        "error": fit.minimiser_error if math.isfinite(fit.minimiser_error) else None,
        "slope": [fit.slope, fit.slope_error],
        "curvature": [fit.curvature, fit.curvature_error],
    }


def wanted_sign(line: Record) -> int:
    """1 where the papers' setting certainly raises the lr, -1 where it certainly cuts it, 0 where it is not certain."""
    if line["minimiser"] is None or line["error"] is None:
        return 0
    change = line["minimiser"] - 1.0
    margin = t_quantile(0.5 + CONFIDENCE / 2, PAPER_BATCHES - 1) * line["error"]
    return 0 if abs(change) <= margin else int(math.copysign(1, change))


def decide(tuner: LRTuner, state: LRTunerState, read: Read) -> tuple[dict[str, float], LRTunerState]:
    """Let the tuner ask for Lines until it has decided.

    Args:
        tuner: asked and told.
        state: where a Line is due.
        read: losses of a Line, batches x factors.

    Returns:
        The factor of the lr (1 for none), the forwards it took with the superbatch's, the batches read; and the state
        after it.
    """
    begun, batches = state, tuner.superbatch
    while isinstance(state.phase, ReadingLine | CheckingPrediction):
        line = tuner.ask(state)
        assert isinstance(line, Line)
        batches = max(batches, line.first + line.batches)
        state = tuner.tell(state, LineLosses(state.progress, line.factors, read(line)))
    forwards = tuner.superbatch + state.tally.forwards - begun.tally.forwards
    return {"factor": state.present.lr / begun.present.lr, "forwards": forwards, "batches": batches}, state


def decided_sign(explore: float, exploit: float) -> int:
    """Which way the default moves the lr in the phase that may: 1, -1, or 0 where it holds it in both.

    Args:
        explore: factor decided in explore, >= 1.
        exploit: factor decided in exploit, <= 1.
    """
    return 1 if explore > 1.0 else -1 if exploit < 1.0 else 0


# ------------------------------------------------------------------------- recording


class LineReader:
    """Reads the Lines of one training both ways.

    Args:
        session: what is trained, at a constant lr.
        lr: natural units.
    """

    def __init__(self, session: Session, lr: float) -> None:
        self.lr = lr
        self.optimizer = session.optimizer(lr)
        self.training = session.training(self.optimizer)
        self.substrate = LiveSubstrate(self.training)
        self._superbatches = len(session.splits.train) // session.task.batch_size // PAPER_BATCHES
        # The trust region is what an LRTuner carries from one decision to the next.
        self._trust: dict[tuple[str, str], TrustRegion] = {}

    def step_and_read(self, batch: Any, step: int, index: int) -> Record | None:
        """Take a step, and read the Line along it.

        Args:
            batch: that the step is taken on.
            step: kept steps, this one among them.
            index: of the Line.

        Returns:
            None where a loss is no number: an LRTuner would rewind there.
        """
        self.substrate.arm_line()
        self.substrate.before_kept_step()
        self.training.step(batch)
        self.substrate.after_kept_step()
        # Superbatch 0 has the default's batches: the papers' are others, and another hundred every time.
        first = PAPER_BATCHES * (1 + index % (self._superbatches - 1))
        rows = self.substrate.line(Line(PAPER_FACTORS, PAPER_BATCHES, first))
        level = tuple(row[0] for row in self.substrate.line(Line((1.0,), LRTuner().superbatch)))
        if not all(is_usable(loss) for row in (*rows, level) for loss in row):
            return None
        read = cache(self.substrate.line)  # what several decisions ask for is read once, and charged to each
        default = {name: self._decide(name, SuperbatchLevel(level, step), read) for name in ALLOWANCES}
        self.substrate.release_line()
        return {"step": step, **published_view(rows), "default": default}

    def _decide(self, allowance: str, level: SuperbatchLevel, read: Read) -> Record:
        seen = {}
        for phase, explore in PHASES.items():
            tuner = replace(ALLOWANCES[allowance], explore=explore)
            state = tuner.init(Context(self.lr, Progress(level.step, SHORT - level.step)))
            trust = self._trust.get((allowance, phase), state.trust)
            seen[phase], after = decide(tuner, replace(state, phase=ReadingLine(), level=level, trust=trust), read)
            self._trust[allowance, phase] = after.trust
        return seen


def record_training(job: Settings) -> Record:
    """The Lines of one training."""
    task = get_task(job["task"])
    family = task.family(job["family"])
    lr = job["lr_share"] * family.oracle_lrs[len(family.oracle_lrs) // 2]
    session = Session(task, family, seed=0, steps=job["steps"])
    reader, every = LineReader(session, lr), job["steps"] // job["points"]
    lines: list[Record] = []
    for step, batch in enumerate(session.batches(), start=1):
        if step % every:
            reader.training.step(batch)
        elif (line := reader.step_and_read(batch, step, len(lines))) is not None:
            lines.append(line)
        if step == every * job["points"]:
            break
    return {"lr": lr, "lines": lines}


def record_all() -> list[Record]:
    """Every training that has no record yet; all records."""
    jobs = [
        {"task": task, "family": family, "lr_share": share, "steps": 1000, "points": POINTS}
        for task, family in TASKS
        for share in SHARES
    ]
    return measure_missing(DECISIONS, jobs, record_training, say=lambda text: print(text, flush=True))


# --------------------------------------------------------------------------- counting


def agreement(lines: Iterable[Record], allowance: str) -> dict[str, float]:
    """How often the default goes where the papers' setting certainly would, and what it takes.

    Args:
        lines: as recorded.
        allowance: a key of :data:`ALLOWANCES`.

    Returns:
        Counts: ``lines``; of these with a certain sign ``raises`` and ``cuts``; of those the ``same`` sign, ``held``,
        and the ``opposite`` one; of the uncertain ones ``moved``. ``median`` and ``mean`` forwards of all decisions,
        in explore and in exploit.
    """
    lines = list(lines)
    wanted = [wanted_sign(line) for line in lines]
    seen = [line["default"][allowance] for line in lines]
    decided = [decided_sign(each["explore"]["factor"], each["exploit"]["factor"]) for each in seen]
    products = [a * b for a, b in zip(wanted, decided, strict=True) if a]
    forwards = [each[phase]["forwards"] for each in seen for phase in PHASES]
    return {
        "lines": len(lines),
        "raises": wanted.count(1),
        "cuts": wanted.count(-1),
        "same": products.count(1),
        "held": products.count(0),
        "opposite": products.count(-1),
        "moved": sum(1 for a, b in zip(wanted, decided, strict=True) if not a and b),
        "median": statistics.median(forwards),
        "mean": statistics.mean(forwards),
    }
