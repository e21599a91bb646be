"""What the default remembers between two calls. Plain data."""

import math
from dataclasses import replace
from typing import Literal

from lrpilot.core.actions import Progress, Trained
from lrpilot.core.codec import record
from lrpilot.maths.weighting import Candidates
from lrpilot.policies.guard import BLOCK, Guard, LossWatch, losses_of
from lrpilot.policies.to_zero import ToZero

# Of the last decisions, so many lrs tell from which the way to zero begins: one walks by a factor of two a window.
RECENT = 5
# Steps from one look at the losses of a Train to the next: two blocks; one after a bad batch.
LOOK = 2 * BLOCK
# Marks of a training, at least: a wreck takes back a tenth of it at most.
MARKS = 10

Phase = Literal["mark", "line", "shrink", "rewind", "train"]


@record
class WeightedFactorsState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now.
        lr: of the next Train, natural units; where the way to zero begins, once that is flown.
        window: kept steps from one decision to the next.
        to_train: of these, steps still to be trained before the next Line.
        progress: kept steps taken and left.
        guard: losses of a sound training, and the largest lr allowed at present.
        watch: over the losses of the loop, between two Lines.
        blind: whether the loop gives no losses.
        recent: lrs of the last decisions, since a wreck.
        to_zero: the way to zero, from where the present Train began; None before it.
        marked_at: kept steps taken when the mark was set.
        candidates: what has been read of a step that wrecked the weights; None otherwise.
        shrinks: Lines of smaller factors read of that step.
    """

    phase: Phase
    lr: float
    window: int
    to_train: int
    progress: Progress
    guard: Guard
    watch: LossWatch = LossWatch()
    blind: bool = False
    recent: tuple[float, ...] = ()
    to_zero: ToZero | None = None
    marked_at: int = 0
    candidates: Candidates | None = None
    shrinks: int = 0

    @property
    def remaining(self) -> int | None:
        """Kept steps left in all; None for an open horizon."""
        return self.progress.remaining

    @property
    def total(self) -> int | None:
        """Steps of the whole training, as far as is known now."""
        return None if self.progress.remaining is None else self.progress.step + self.progress.remaining

    @property
    def usual_lr(self) -> float:
        """Geometric mean of the lrs of the last decisions."""
        lrs = self.recent or (self.lr,)
        return math.exp(math.fsum(map(math.log, lrs)) / len(lrs))

    @property
    def mark_due(self) -> bool:
        """Whether the place is sound, and the last mark so old that another is worth its while."""
        due = LOOK * MARKS if self.total is None else max(LOOK, self.total // MARKS)
        age = self.progress.step - self.marked_at
        return age >= (BLOCK if self.watch.wary else due) and self.watch.may_mark

    def observe_every(self, steps: int) -> int | None:
        """Steps between two looks at a Train of so many; None where its end is soon enough, or nothing to see."""
        every = BLOCK if self.watch.wary else LOOK
        return every if steps > every and not self.blind else None

    def watched(self, seen: Trained) -> "WeightedFactorsState":
        """With what was seen of a Train. Its lr is that at which the way to zero begins: who bears that bears less."""
        losses = losses_of(seen)
        if not losses and seen.held_out is not None:
            return replace(self, blind=True)
        return replace(self, watch=self.watch.after(losses, self.lr))

    def passed(self, steps: int) -> "WeightedFactorsState":
        """After so many steps of a Train, with another to come."""
        return replace(self, to_train=self.to_train - steps).aligned()

    def aligned(self) -> "WeightedFactorsState":
        """The way to zero from here: over all steps that are left, which measurements may have made fewer."""
        line, left = self.to_zero, self.remaining
        if line is None or not left:
            return self
        steps = max(line.steps, left)
        return replace(self, to_zero=ToZero(self.lr, steps, steps - left), to_train=left)
