"""What AutoLRS remembers between two calls: a record for each phase of a flight, and one of what outlives them."""

import math
from dataclasses import replace

from lrpilot.core.actions import Done, HeldOut, Observation, Progress, TrialLosses
from lrpilot.core.codec import record
from lrpilot.errors import PolicyError, StateError
from lrpilot.found import FoundLR
from lrpilot.policies.autolrs.stage import LRCandidate, LRSearch, LRStage
from lrpilot.policies.finders.step_sampling import StepSampling, StepSamplingState
from lrpilot.policies.guard import Guard, Health

# Where Trials may be continued, the one that the stage would go on from is held under one key, and the next is flown
# under the other.
KEYS = ("one trial", "the other")
# A choice so near to the lr of the Trial that is held, in decades, takes that lr: no Trial tells the two apart.
NEAR = 0.02

# --------------------------------------------------------------------- phases


@record
class FindingInterval:
    """Step sampling (``finder``) looks for the interval; ``found`` is its own state."""

    finder: StepSampling
    found: StepSamplingState

    def after(self, observation: Observation) -> "FindingInterval | FoundLR":
        """With one more of its measurements; what it has found where it is done."""
        found = self.finder.tell(self.found, observation)
        action = self.finder.ask(found)
        if not isinstance(action, Done):
            return replace(self, found=found)
        result: FoundLR = action.result
        return result


@record
class WarmingUp:
    """A straight ramp of so many steps before the first search (published)."""

    steps: int


@record
class ReadingLevel:
    """The held-out loss before the first search is read (default)."""


@record
class KeptTrial:
    """The Trial whose end is held under ``key``; it was flown at ``lr``, natural units."""

    key: str
    lr: float


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

    def key(self, remaining: int | None) -> str | None:
        """That the end of the next Trial is to be held under; None where it has more steps than remain."""
        if remaining is not None and self.search.steps > remaining:
            return None
        return KEYS[1] if self.kept is not None and self.kept.key == KEYS[0] else KEYS[0]

    def keeping(self, key: str | None, seen: TrialLosses, *, lr: float, choice: float) -> "Searching":
        """After one more Trial: of it and the one that is held, that stays whose lr is nearer to the choice.

        Published that is the best one. The default may choose the present lr although another did as well.

        Args:
            key: that the Trial was flown under; None where its end was not to be held.
            seen: what it came to; where it was stopped its end is not held.
            lr: that it was flown at, natural units.
            choice: the lr of the stage, were it to begin now.
        """
        if key is None or seen.stop is not None:
            return self
        if self.kept is not None and _decades(self.kept.lr, choice) <= _decades(lr, choice):
            return self
        return replace(self, kept=KeptTrial(key, lr))

    def held_lr(self, lr: float) -> float:
        """The lr of a stage: that of the Trial that is held, where it makes no difference."""
        return lr if self.kept is None or _decades(lr, self.kept.lr) > NEAR else self.kept.lr


def _decades(one: float, other: float) -> float:
    return abs(math.log10(one / other))


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
    """The stage goes on from the Trial that chose its lr."""

    kept: KeptTrial


@record
class TrainingStage:
    """The stage is trained: ``steps`` of it, which begin with a ramp to its lr where it is ``warming``."""

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


def unknown_phase(name: str, phase: Phase) -> PolicyError:
    """The error of the policy ``name`` in a phase that its flights do not have."""
    return PolicyError(f"{name} must be in a phase of its own, got {type(phase).__name__}. Resume its own state.")


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
        first_high: largest training loss where the first search began, of as many batches as a Trial has steps: in the
            one with the smallest lr; None before one has come to its end.
        first: batch that the Trials of the next search begin with: those before gave no number.
        part: steps between two looks at a stage in which a loss was no number, each of which ends with a mark; None
            where there was none.
        own_start: first loss that the loop gave, before any of its steps; None before it did.
        own_kind: whether it is of another kind than the losses of Trials (a loop may hand over a sum, a share, or a
            loss with another term in it): then the two are not compared.
    """

    guard: Guard = Guard()
    safe: Health | None = None
    first_high: float | None = None
    first: int = 0
    part: int | None = None
    own_start: float | None = None
    own_kind: bool = False

    def with_first_high(self, search: LRSearch, candidate: LRCandidate) -> "Watch":
        """After a Trial of the first search, which was ``search`` before it."""
        if candidate.tried.diverged or candidate.lr > min(search.lrs, default=math.inf):
            return self
        return replace(self, first_high=candidate.tried.high)


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
        first_train: training loss there, of one batch; None before.
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
    first_train: float | None = None
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
    """With the losses where the first search began: of its first Trial that has one, where none was read before."""
    if state.first_train is not None or not seen.losses or not math.isfinite(seen.losses[0]):
        return state
    first = state.first_loss if state.first_loss is not None else seen.losses[0]
    return replace(state, first_loss=first, first_train=seen.losses[0])


def replanned(state: AutoLRSState, progress: Progress, *, warmup: int) -> AutoLRSState:
    """Under another horizon: what is searched for or trained now stays, unless it is the way to zero.

    Args:
        state: where the flight stood.
        progress: kept steps taken, and left under the new horizon.
        warmup: steps of the ramp of the first stage, as it was laid out.

    Raises:
        StateError: its last stage has begun, its warmup is not over, or its stage ends after the new horizon.
    """
    here = replace(state, step=progress.step, remaining=progress.remaining)
    if not state.stages or isinstance(state.phase, Searching):
        return here
    stage = state.stages[-1]
    if stage.decays or isinstance(state.phase, StagesDone):
        raise StateError("AutoLRS has begun its last stage.")
    if here.total is not None and stage.begin + stage.steps > here.total:
        raise StateError(f"AutoLRS has begun a stage that ends after {stage.begin + stage.steps} steps.")
    if isinstance(state.phase, TrainingStage) and state.phase.warming:
        taken = here.step - stage.begin
        if taken < warmup:
            raise StateError(f"AutoLRS is in a warmup of {warmup} steps that it has laid out over another horizon.")
        return replace(here, phase=TrainingStage(stage.steps - taken))
    return here


def gone_on(before: AutoLRSState, state: AutoLRSState) -> tuple[AutoLRSState, int]:
    """The flight now that the Trial's steps are the first of its stage, and the steps of the stage that are left.

    Args:
        before: the state in which it was asked for.
        state: the same, with the steps taken and left since then.
    """
    stage = state.stages[-1]
    taken = state.step - stage.begin
    rest = stage.steps - taken
    if state.remaining is not None:
        # A budget gives back what the Trial has cost, and the last stage has all that is left.
        rest = state.remaining if stage.steps == before.remaining else min(rest, state.remaining)
    rest = max(0, rest)
    stage = replace(stage, steps=taken + rest, continued=taken)
    bill = replace(state.bill, spent=max(0.0, state.bill.spent - taken))
    return replace(state, stages=(*state.stages[:-1], stage), bill=bill), rest
