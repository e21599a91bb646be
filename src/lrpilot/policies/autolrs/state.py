"""What AutoLRS remembers between two calls: a record for each phase of a flight, and one of what outlives them."""

import math
from dataclasses import replace

from lrpilot.core.actions import HeldOut, Observation, TrialLosses
from lrpilot.core.codec import record
from lrpilot.policies.autolrs.stage import LRSearch, LRStage
from lrpilot.policies.finders.step_sampling import StepSampling, StepSamplingState
from lrpilot.policies.guard import Guard, Health

# --------------------------------------------------------------------- phases


@record
class KeptTrial:
    """The Trial whose end is held.

    Attributes:
        key: it is held under.
        lr: it was flown at, natural units.
    """

    key: str
    lr: float


@record
class FindingInterval:
    """Step sampling looks for the interval.

    Attributes:
        finder: that looks.
        found: its own state.
    """

    finder: StepSampling
    found: StepSamplingState


@record
class WarmingUp:
    """A straight ramp before the first search (published).

    Attributes:
        steps: of it.
    """

    steps: int


@record
class ReadingLevel:
    """The held-out loss before the first search is read (default)."""


@record
class Searching:
    """The lr of the next stage is searched for.

    Attributes:
        search: as far as it has come; its queue begins with the lr of the Trial that is asked for.
        scouts: the search of shorter Trials before it; None where there was none.
        kept: the Trial of this search whose end is held.
    """

    search: LRSearch
    scouts: LRSearch | None = None
    kept: KeptTrial | None = None


@record
class MarkingStage:
    """The place where the stage, or what is left of it, begins is marked (default).

    Attributes:
        steps: that are to be trained from there.
        warming: whether they begin with a ramp to the lr.
        kept: the Trial that they go on from; None where there is none.
    """

    steps: int
    warming: bool = False
    kept: KeptTrial | None = None


@record
class ContinuingTrial:
    """The stage goes on from the Trial that chose its lr.

    Attributes:
        kept: that Trial.
    """

    kept: KeptTrial


@record
class TrainingStage:
    """The stage is trained.

    Attributes:
        steps: of the Train that is asked for.
        warming: whether it begins with a ramp to the lr.
    """

    steps: int
    warming: bool = False


@record
class RewindingStage:
    """The training goes back to the mark (default)."""


@record
class StagesDone:
    """No step is left."""


Phase = (
    FindingInterval
    | WarmingUp
    | ReadingLevel
    | Searching
    | MarkingStage
    | ContinuingTrial
    | TrainingStage
    | RewindingStage
    | StagesDone
)

# ---------------------------------------------------------- what outlives them


@record
class SearchBill:
    """What the measurements of a flight cost.

    Attributes:
        spent: by all of them so far, in steps.
        evaluation: what reading a held-out loss takes, in steps; 0 before one was read.
        charged: whether they are paid for out of the steps that remain.
    """

    spent: float = 0.0
    evaluation: float = 0.0
    charged: bool = False


@record
class Watch:
    """What the default knows of the training's health.

    Attributes:
        guard: who is to blame, what is lost, and the ceiling.
        safe: health where the present stage began: what a Rewind goes back to.
        first_train: training loss where the first search began, of one batch; None before.
        first_high: largest training loss there, of as many batches as a Trial has steps: in the one with the smallest
            lr; None before one has come to its end.
        first: batch that the Trials of the next search begin with: those before gave no number.
        part: steps between two looks at a stage in which a loss was no number, each of which ends with a mark; None
            where there was none.
    """

    guard: Guard = Guard()
    safe: Health | None = None
    first_train: float | None = None
    first_high: float | None = None
    first: int = 0
    part: int | None = None


@record
class AutoLRSState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now, or being done.
        lr: in force, or of the next Train; natural units.
        step: kept steps taken, as last told.
        remaining: kept steps left then; None for an open horizon.
        continues: whether Trials may be continued.
        interval: lrs that the first search may try; None before it is known.
        stages: every stage so far, the present one last.
        bill: what it all costs.
        first_loss: loss where the first search began: held-out where that was read, else training; None before.
        watch: over the training; the published rules keep none.
    """

    phase: Phase
    lr: float
    step: int
    remaining: int | None
    continues: bool = False
    interval: tuple[float, float] | None = None
    stages: tuple[LRStage, ...] = ()
    bill: SearchBill = SearchBill()
    first_loss: float | None = None
    watch: Watch = Watch()

    @property
    def total(self) -> int | None:
        """Kept steps of the whole training, as far as is known now."""
        return None if self.remaining is None else self.step + self.remaining


def moved_on(state: AutoLRSState, observation: Observation) -> tuple[AutoLRSState, float]:
    """Where the training stands after an observation, and what that was a measurement of has cost, in steps.

    A measurement costs what it took from the steps that remained, or else what it did.
    """
    progress, before = observation.progress, state.remaining
    here = replace(state, step=progress.step, remaining=progress.remaining)
    if not isinstance(observation, TrialLosses | HeldOut):
        return here, 0.0
    paid = 0 if before is None or progress.remaining is None else before - progress.remaining
    cost = float(paid) if paid > 0 else observation.cost
    bill = replace(state.bill, spent=state.bill.spent + cost, charged=state.bill.charged or paid > 0)
    return replace(here, bill=bill), cost


def with_first_loss(state: AutoLRSState, seen: TrialLosses) -> AutoLRSState:
    """With the loss at the very first search: that which was read there, or else of the first Trial that has one."""
    if state.first_loss is not None or not seen.losses or not math.isfinite(seen.losses[0]):
        return state
    return replace(state, first_loss=seen.losses[0])
