"""A stage of AutoLRS, and how its lr was found: what its flights result in, as plain data."""

import math
from enum import Enum

from lrpilot.core.codec import coded_enum, record
from lrpilot.core.trials import Tried
from lrpilot.maths.forecast import Forecast
from lrpilot.maths.surrogate import Surrogate


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
    def train_losses(self) -> tuple[float, ...]:
        """Training losses that the Trials of that search came to; inf where they diverged."""
        return () if self.search is None else tuple(one.end for one in self.search.candidates)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The lrs between which the best one plausibly lies; None where there was no surrogate."""
        return None if self.search is None or self.search.surrogate is None else self.search.surrogate.interval
