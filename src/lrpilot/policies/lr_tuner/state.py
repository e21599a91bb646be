"""The words of LRTuner: what it remembers between two calls, and the phases of a window. Plain data.

A window is a Train and the step of a Line. In the order in which they come:

    OpeningWindow       a step at a new lr, before the superbatch is read for the first time
    ReadingSuperbatch   the loss of the superbatch where the window begins
    MarkingWindow       remember this place
    TrainingWindow      the window, but for its last step
    CheckingWindow      its last step, and the loss of the superbatch after it
    ReadingLine         the losses along that step
    CheckingPrediction  the loss where the parabola wants to go (default)
    RewindingWindow     back to the last mark, or to the beginning (default)
    DroppingStart       forget the beginning (default)
    Cruising            steps that no measurement follows
    Annealing           straight to zero (default)
    WindowsDone         no step is left
"""

import math
from dataclasses import replace
from typing import Literal

from lrpilot.core.actions import LineLosses, Observation, Progress
from lrpilot.core.codec import record
from lrpilot.core.policy import not_asked_for
from lrpilot.errors import PolicyError
from lrpilot.maths.line_fit import TrustRegion, is_usable
from lrpilot.policies.guard import Guard, Health, LossWatch
from lrpilot.policies.to_zero import ToZero

# Why a Line was decided as it was:
#   minimiser   the lr goes to the minimum of the parabola
#   limited     the lr goes as far as the clip, the bound, or the trust region lets it
#   other_way   the line asks for a change that this phase does not accept, or for none
#   uncertain   not even the sign of the change is certain on the batches that may be read
#   unforeseen  the parabola did not foretell the loss where it wanted to go
#   stalled     the first windows gained nothing: a lower lr is tried
DecisionCode = Literal["minimiser", "limited", "other_way", "uncertain", "unforeseen", "stalled"]
# Explore raises the lr and never lowers it; exploit lowers it and never raises it.
Direction = Literal["up", "down"]


# ------------------------------------------------------------------- phases


@record
class OpeningWindow:
    """A step at the lr, after which the superbatch is read."""


@record
class ReadingSuperbatch:
    """The loss of the superbatch where a window begins."""


@record
class TrainingWindow:
    """The window, but for its last step.

    Attributes:
        steps: of the Train, >= 1.
    """

    steps: int


@record
class CheckingWindow:
    """The last step of the window, and the loss of the superbatch after it."""


@record
class ReadingLine:
    """The losses along that step.

    Attributes:
        rows: read so far at the three factors of the default, batches x 3; batch i in row i.
        attempts: widths of the Line that failed.
        forwards: read for this decision.
    """

    rows: tuple[tuple[float, ...], ...] = ()
    attempts: int = 0
    forwards: int = 0


@record
class CheckingPrediction:
    """The loss where the parabola wants to go.

    Attributes:
        read: the Line that the parabola was laid through.
        target: factor at which the prediction is checked.
        code: of the decision where it holds.
    """

    read: ReadingLine
    target: float
    code: DecisionCode


@record
class RewindingWindow:
    """Back to the last mark.

    Attributes:
        to_start: whether back to where the training began instead.
    """

    to_start: bool = False


@record
class DroppingStart:
    """Forget where the training began."""


@record
class Cruising:
    """Steps that no measurement follows.

    Attributes:
        steps: of the Train, >= 1.
    """

    steps: int


@record
class Annealing:
    """Straight to zero, over all that remains.

    Attributes:
        line: the way, and where on it the Train begins.
    """

    line: ToZero


@record
class MarkingWindow:
    """Remember this place.

    Attributes:
        decided: code of the decision on a Line that has just been taken; None where there was none.
        then: what goes on afterwards; None for what the training is up to next.
        anew: whether a fresh start comes next.
    """

    decided: DecisionCode | None = None
    then: TrainingWindow | Cruising | Annealing | None = None
    anew: bool = False


@record
class WindowsDone:
    """No step is left."""


Phase = (
    OpeningWindow
    | ReadingSuperbatch
    | MarkingWindow
    | TrainingWindow
    | CheckingWindow
    | ReadingLine
    | CheckingPrediction
    | RewindingWindow
    | DroppingStart
    | Cruising
    | Annealing
    | WindowsDone
)


# ------------------------------------------------- what outlives a phase


@record
class WindowLayout:
    """What is known when the flight begins.

    Attributes:
        seed_lr: natural units.
        window: steps between two decisions.
        superbatch: batches of a superbatch.
        superbatches: how many different ones there are; None for no end of them.
    """

    seed_lr: float
    window: int
    superbatch: int
    superbatches: int | None

    def next_superbatch(self, index: int) -> int:
        """Index of the superbatch after one: they take turns."""
        return index + 1 if self.superbatches is None else (index + 1) % self.superbatches


@record
class LossDrop:
    """How the loss of the superbatch fell over one window.

    Attributes:
        steps: length of the window, >= 1.
        fall: loss before it minus loss after it.
    """

    steps: int
    fall: float

    @property
    def rate(self) -> float:
        """Fall per step."""
        return self.fall / self.steps


@record
class SuperbatchLevel:
    """Losses of a superbatch where a window began.

    Attributes:
        losses: one per batch.
        step: kept steps taken then.
        index: which superbatch; always 0 where there is one for the whole training.
    """

    losses: tuple[float, ...] = ()
    step: int = 0
    index: int = 0

    @property
    def mean(self) -> float:
        """Loss of the superbatch."""
        return math.fsum(self.losses) / len(self.losses)

    @property
    def is_usable(self) -> bool:
        """Whether every loss is a number."""
        return all(map(is_usable, self.losses))

    def drop_to(self, after: "SuperbatchLevel") -> LossDrop:
        """How the loss fell from here to a later reading of the same superbatch."""
        return LossDrop(max(1, after.step - self.step), self.mean - after.mean)


@record
class LRChange:
    """A change of lr that is on trial for one window: what an undo goes back to."""

    lr: float
    drops: tuple[LossDrop, ...]


@record
class PresentLR:
    """The lr in force, and what it has done so far.

    Attributes:
        lr: natural units.
        drops: the windows since it began, oldest first.
        change: that it came by, while that is on trial; None where there is none.
    """

    lr: float
    drops: tuple[LossDrop, ...] = ()
    change: LRChange | None = None

    def times(self, factor: float) -> "PresentLR":
        """The lr after a decision, on trial until the next check."""
        return PresentLR(self.lr * factor, (), LRChange(self.lr, self.drops))

    def kept(self, drop: LossDrop) -> "PresentLR":
        """The same lr after one window more, no longer on trial."""
        return PresentLR(self.lr, (*self.drops, drop))


@record
class Origin:
    """What was known where the training began.

    Attributes:
        health: losses of the superbatch there.
        watch: over the losses of the loop.
    """

    health: Health
    watch: LossWatch


@record
class Restart:
    """A fresh start that is on trial: what to go on with if it comes to nothing.

    Attributes:
        otherwise: the lr then.
        failed_lr: that was too large, natural units.
        health: losses of the superbatch, as far as they are those of the last mark.
        watch: over those of the loop.
    """

    otherwise: PresentLR
    failed_lr: float
    health: Health
    watch: LossWatch


@record
class LRTunerTally:
    """What was decided, and at what cost.

    Attributes:
        lines: decisions taken on a Line.
        changes: of these, the ones that changed the lr.
        clipped: decisions that the published clip, or the trust region, limited.
        bounded: decisions that the bound on the change of lr limited, after the clip.
        undone: changes that were rolled back.
        lowered: decreases that were tried in explore.
        diverged: times the loss was no number.
        forwards: batches read.
    """

    lines: int = 0
    changes: int = 0
    clipped: int = 0
    bounded: int = 0
    undone: int = 0
    lowered: int = 0
    diverged: int = 0
    forwards: int = 0

    def plus(self, **more: int) -> "LRTunerTally":
        """With so many more of each that is named."""
        return replace(self, **{name: getattr(self, name) + count for name, count in more.items()})


@record
class LRTunerState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now.
        layout: windows and superbatches.
        progress: kept steps taken and left, as last told.
        present: the lr in force.
        level: where the present window began; None before the first.
        absolute: saturation threshold as a drop rate; None before the first crossing.
        marked: whether there is a mark to go back to.
        placed: whether that is another than the one where the training began.
        marked_at: kept steps taken when it was set last.
        origin: of the default, while the beginning is marked.
        restart: a fresh start of the default that is on trial.
        guard: what is known of losses that were lost. Published, no loss is too high, and no ceiling is looked at.
        watch: over the losses of the loop, between two measurements. Published, nobody watches.
        blind: whether the loop gives no losses.
        falls: windows of the default in which the loss certainly fell.
        trust: how far the default believes a parabola.
        tally: what was done so far.
    """

    phase: Phase
    layout: WindowLayout
    progress: Progress
    present: PresentLR
    level: SuperbatchLevel | None = None
    absolute: float | None = None
    marked: bool = False
    placed: bool = False
    marked_at: int = 0
    origin: Origin | None = None
    restart: Restart | None = None
    guard: Guard = Guard()
    watch: LossWatch = LossWatch()
    blind: bool = False
    falls: int = 0
    trust: TrustRegion = TrustRegion()
    tally: LRTunerTally = LRTunerTally()

    @property
    def total(self) -> int | None:
        """Steps of the whole training, as far as is known now."""
        return None if self.progress.remaining is None else self.progress.step + self.progress.remaining

    @property
    def at_end(self) -> bool:
        """Whether no step is left."""
        return self.progress.remaining == 0

    def charged(self, seen: LineLosses) -> "LRTunerState":
        """With what a Line has cost."""
        return replace(self, tally=self.tally.plus(forwards=forwards_of(seen)))


def forwards_of(seen: LineLosses) -> int:
    """What a Line has cost: a forward for each batch and factor."""
    return len(seen.losses) * len(seen.factors)


def wrong_observation(phase: Phase, observation: Observation) -> PolicyError:
    """The error of being told of something else than what the phase asks for."""
    if isinstance(phase, WindowsDone) and isinstance(observation, LineLosses):
        return PolicyError(f"LRTuner must not be told of anything after Done, got {type(observation).__name__}.")
    trains = isinstance(phase, OpeningWindow | TrainingWindow | Cruising | Annealing)
    return not_asked_for("LRTuner", observation, asked_for="Trained" if trains else "LineLosses")
