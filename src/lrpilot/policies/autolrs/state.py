"""What AutoLRS remembers between two calls: plain data."""

import math
from enum import Enum
from typing import Literal

from lrpilot.core.codec import coded_enum, record
from lrpilot.core.trials import Tried
from lrpilot.maths.forecast import Forecast
from lrpilot.maths.surrogate import Surrogate
from lrpilot.policies.finders.step_sampling import StepSampling, StepSamplingState
from lrpilot.policies.guard import Blame, Health

# What is asked for now, or being done:
#   find     the interval, by step sampling
#   warmup   a straight ramp before the first search (published)
#   level    the held-out loss before the first search (default)
#   search   a Trial of one candidate
#   mark     remember where the stage begins
#   continue go on from the Trial of the lr that was chosen
#   train    the stage
#   rewind   back to where it began
#   done     no step is left
Phase = Literal["find", "warmup", "level", "search", "mark", "continue", "train", "rewind", "done"]


@coded_enum
class StageCode(Enum):
    """How the lr of a stage came about: the value is the sentence."""

    OK = "The lr with the lowest expected loss was taken."
    AT_LOWER_EDGE = "The best lr is the smallest one allowed. Lower min_lr: a smaller one may be better still."
    AT_UPPER_EDGE = "The best lr is the largest one allowed. Raise max_lr: a larger one may be better still."
    UNBRACKETED = (
        "The best lr was the largest one tried: half a decade less was taken. Allow more overhead, or give an interval."
    )
    FLAT = (
        "The lrs tried differ by no more than the loss scatters: the present lr was kept, as far as the interval "
        "allows. Try longer trials."
    )
    ALL_DIVERGED = "Every lr that was tried diverged: a smaller one than all of them was taken. Lower min_lr."
    NO_NUMBER = (
        "The loss was no number in the same step at every lr that was tried: the present lr was kept. Look for such "
        "values in the data and the model."
    )
    NOT_SEARCHED = (
        "A search could not be paid for, out of the overhead or out of what is left: the present lr was kept, as far "
        "as the interval allows."
    )
    LOST = "The training diverged, and the published rules know no way back: the lr was kept."


@record
class LRCandidate:
    """One lr that was tried.

    Attributes:
        tried: its Trial; ``tried.loss`` is the score: the loss expected of the lr. inf where it diverged.
        lower: of the score's interval; equal to the score where that was measured and not forecast.
        upper: likewise.
        forecast: of the losses that count; it counts readings where those are held-out. None where none was made.
        end: training loss at the end of the Trial: median of its last quarter; inf where it diverged.
        no_number_at: step of the Trial at which a loss was no number, past the last for the held-out loss; None where
            all were.
    """

    tried: Tried
    lower: float
    upper: float
    forecast: Forecast | None = None
    end: float = math.inf
    no_number_at: int | None = None

    @property
    def lr(self) -> float:
        """Natural units."""
        return self.tried.lr

    @property
    def score(self) -> float:
        """The loss expected of the lr; inf where it diverged."""
        return self.tried.loss


@record
class LRSearch:
    """The search before a stage, whole; the first of a training may be two, of short Trials and of longer ones.

    Attributes:
        begin: kept steps taken when it began.
        steps: τ', of a Trial.
        horizon: τ, of the stage that is searched for.
        most: k, the most lrs to try.
        min_lr: lower end of the interval, natural units.
        max_lr: upper end.
        validating: whether held-out losses count (published: from some stage on).
        queue: lrs to try next, in this order, before the surrogate chooses.
        candidates: the lrs tried, in their order.
        surrogate: fitted to all of them; None before the first that did not diverge.
        spent: what the search has cost so far, in steps.
        scouting: whether a search of longer Trials may follow, about the lr that this one finds.
        first: batch that its Trials begin with: those before gave no number.
        again: lr that is tried again since then; None for none.
    """

    begin: int
    steps: int
    horizon: int
    most: int
    min_lr: float
    max_lr: float
    validating: bool
    queue: tuple[float, ...]
    candidates: tuple[LRCandidate, ...] = ()
    surrogate: Surrogate | None = None
    spent: float = 0.0
    scouting: bool = False
    first: int = 0
    again: float | None = None

    @property
    def lrs(self) -> tuple[float, ...]:
        """Tried, in their order."""
        return tuple(one.lr for one in self.candidates)

    @property
    def scores(self) -> tuple[float, ...]:
        """Of each; inf where it diverged."""
        return tuple(one.score for one in self.candidates)


@record
class LRStage:
    """A stage, and how its lr was found.

    Attributes:
        begin: kept steps taken when it began.
        steps: kept steps planned.
        lr: it begins with, natural units; where the stage was taken back, the lower one that it went on with.
        code: how it was chosen.
        decays: whether it goes to zero.
        search: that decided; None where there was none.
        scouts: a search of shorter Trials before it; None where there was none.
        rewinds: how often the stage was taken back since its lr wrecked the training.
        continued: of its steps, those of the Trial that it goes on from; 0 where it was trained from its beginning.
    """

    begin: int
    steps: int
    lr: float
    code: StageCode
    decays: bool = False
    search: LRSearch | None = None
    scouts: LRSearch | None = None
    rewinds: int = 0
    continued: int = 0

    @property
    def lrs(self) -> tuple[float, ...]:
        """Tried by the search that decided, in their order; empty where there was none."""
        return () if self.search is None else self.search.lrs

    @property
    def scores(self) -> tuple[float, ...]:
        """Of each; inf where it diverged."""
        return () if self.search is None else self.search.scores

    @property
    def ends(self) -> tuple[float, ...]:
        """Training losses that the Trials of that search came to; inf where they diverged."""
        return () if self.search is None else tuple(one.end for one in self.search.candidates)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The lrs between which the best one plausibly lies; None where there was no surrogate."""
        return None if self.search is None or self.search.surrogate is None else self.search.surrogate.interval


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
class AutoLRSState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now.
        lr: in force, or of the next Train; natural units.
        step: kept steps taken, as last told.
        remaining: kept steps left then; None for an open horizon.
        interval: lrs that a search may try; None before it is known.
        finder: of the interval; None where it is not searched for.
        found: the finder's own state.
        search: the last search; None before the first.
        scouts: the search of shorter Trials that came before the present one; None where there was none.
        stages: every stage so far, the present one last.
        train_steps: of the Train asked for.
        warming: whether that Train begins with a ramp to its lr.
        searches: stages that were searched for, or that should have been.
        validating: whether held-out losses count.
        evaluation: what reading a held-out loss costs, in steps; 0 before one was read.
        first_loss: loss where the first search began: held-out where that was read, else training; None before.
        first_train: training loss there, of one batch; None before.
        first_high: largest training loss there, of as many batches as a Trial has steps: in the one with the smallest
            lr; None before one has come to its end.
        spent: what all measurements have cost so far, in steps.
        charged: whether they are paid for out of the steps that remain.
        health: losses of a sound training; None before the first, and under the published rules.
        safe: ``health`` where the present stage began: what a Rewind goes back to.
        ceiling: lrs above it have wrecked the training.
        blame: what is known of losses that were no number.
        lost: such losses in the training since the last part that was sound.
        first: batch that the Trials of the next search begin with.
        part: steps between two looks at a stage in which there was such a loss, each of which ends with a mark; None
            where there was none.
        continues: whether Trials may be continued.
        kept: the Trial of the present search whose end is held.
    """

    phase: Phase
    lr: float
    step: int
    remaining: int | None
    interval: tuple[float, float] | None
    finder: StepSampling | None = None
    found: StepSamplingState | None = None
    search: LRSearch | None = None
    scouts: LRSearch | None = None
    stages: tuple[LRStage, ...] = ()
    train_steps: int = 1
    warming: bool = False
    searches: int = 0
    validating: bool = False
    evaluation: float = 0.0
    first_loss: float | None = None
    first_train: float | None = None
    first_high: float | None = None
    spent: float = 0.0
    charged: bool = False
    health: Health | None = None
    safe: Health | None = None
    ceiling: float = math.inf
    blame: Blame = Blame()
    lost: int = 0
    first: int = 0
    part: int | None = None
    continues: bool = False
    kept: KeptTrial | None = None

    @property
    def total(self) -> int | None:
        """Kept steps of the whole training, as far as is known now."""
        return None if self.remaining is None else self.step + self.remaining
