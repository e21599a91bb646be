"""What LRTuner remembers between two calls: plain data."""

import math
from typing import Literal

from lrpilot.core.codec import record
from lrpilot.maths.line_fit import is_usable
from lrpilot.maths.trust_region import TrustRegion
from lrpilot.policies.guard import Blame, Health
from lrpilot.policies.lr_tuner.reading import LineReading
from lrpilot.policies.lr_tuner.rules import LossDrop

# What is asked for now, or being done:
#   open     a step at a new lr, before the superbatch is read for the first time
#   level    the loss of a superbatch where a window begins
#   mark     remember this place
#   train    the window, but for its last step
#   check    the last step of the window, and the loss of the superbatch after it
#   line     the losses along that step
#   predict  the loss where the parabola wants to go
#   rewind   back to the last mark
#   cruise   steps that no measurement follows
#   anneal   straight to zero
#   done     no step is left
Stage = Literal["open", "level", "mark", "train", "check", "line", "predict", "rewind", "cruise", "anneal", "done"]

# Why a Line was decided as it was:
#   minimiser   the lr goes to the minimum of the parabola
#   limited     the lr goes as far as the clip, the bound, or the trust region lets it
#   other_way   the line asks for a change that this phase does not accept, or for none
#   uncertain   not even the sign of the change is certain on the batches that may be read
#   unforeseen  the parabola did not foretell the loss where it wanted to go
DecisionCode = Literal["minimiser", "limited", "other_way", "uncertain", "unforeseen"]


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


@record
class LRChange:
    """A change of lr that is on trial for one window: what an undo goes back to."""

    lr: float
    drops: tuple[LossDrop, ...]


@record
class LRTunerTally:
    """What was decided, and at what cost.

    Attributes:
        lines: decisions taken on a Line.
        changes: of these, the ones that changed the lr.
        clipped: decisions that the published clip, or the trust region, limited.
        bounded: decisions that the bound on the change of lr limited, after the clip.
        undone: changes that were rolled back.
        diverged: times the loss was no number.
        forwards: batches read.
    """

    lines: int = 0
    changes: int = 0
    clipped: int = 0
    bounded: int = 0
    undone: int = 0
    diverged: int = 0
    forwards: int = 0


@record
class LRTunerState:
    """Where the flight stands.

    Attributes:
        stage: what is asked for now.
        lr: in force, natural units.
        start_lr: the seed lr.
        step: kept steps taken, as last told.
        remaining: kept steps left then; None for an open horizon.
        window: steps between two decisions.
        superbatch: batches of a superbatch.
        superbatches: how many different ones there are; None for no end of them.
        steps: of the Train asked for.
        health: losses of the superbatch while the training was sound; None before the first.
        level: where the present window began; None before the first.
        drops: the windows since this lr began, oldest first.
        absolute: saturation threshold as a drop rate; None before the first crossing.
        change: the change of lr on trial; None if there is none.
        marked: whether there is a mark to go back to.
        trust: how far a parabola is believed.
        ceiling: lr that increases stay below, since one beyond it failed.
        line: the Line being read.
        lost: losses in a row that were no number, without a sound window between them.
        blame: what is known of losses that were no number.
        why: code of the last decision on a Line.
        tally: what was done so far.
    """

    stage: Stage
    lr: float
    start_lr: float
    step: int
    remaining: int | None
    window: int
    superbatch: int
    superbatches: int | None
    steps: int = 1
    health: Health | None = None
    level: SuperbatchLevel | None = None
    drops: tuple[LossDrop, ...] = ()
    absolute: float | None = None
    change: LRChange | None = None
    marked: bool = False
    trust: TrustRegion = TrustRegion()
    ceiling: float = math.inf
    line: LineReading = LineReading()
    lost: int = 0
    blame: Blame = Blame()
    why: DecisionCode | None = None
    tally: LRTunerTally = LRTunerTally()

    @property
    def total(self) -> int | None:
        """Steps of the whole training, as far as is known now."""
        return None if self.remaining is None else self.step + self.remaining
