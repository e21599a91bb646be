"""The search itself, as explicit state: which Trial is next, what has been seen, and what it comes to."""

import math
from dataclasses import replace
from itertools import pairwise

from lrpilot.core.actions import Trial, TrialLosses
from lrpilot.core.codec import record
from lrpilot.core.stop import Stop, StopReason
from lrpilot.policies.peak_search.pick import Pick, TrialError, pick
from lrpilot.policies.peak_search.prior import Prior
from lrpilot.policies.peak_search.trials import Probed, Way, best_of, breaks_suddenly, read
from lrpilot.policies.peak_search.walk import SPACING, bracketed, next_position

FEWEST_STEPS = 9  # of a Trial: its last third is three losses then; of fewer, any single one counts too much
# Times the range of losses in the best Trial that a losing one may climb above it: it is hopeless then.
ROOM = 2.0
# Batches whose loss is no number at any lr, after which the search is given up: there will be more of them.
MOST_SKIPPED = 4


@record
class PeakSearch:
    """One search for a peak lr, from the state now.

    Attributes:
        way: the way to train that a peak is wanted for.
        prior: what is expected, and where the walk begins.
        error: of Trials of this kind.
        steps: of a Trial.
        allowance: training steps' worth that all of them together may cost.
        min_lr: smallest lr tried, natural units.
        max_lr: largest.
        probed: the Trials flown so far.
        spent: what they have cost, in training steps.
        first: batch that Trials begin with, behind those whose loss is no number at any lr.
        skipped: how many of these there were.
        broke_at: losses, up to one that is no number, of the last Trial from that batch on; 0 for none.
        skipped_at: the same of the last Trial that had its batch left out; 0 for none.
    """

    way: Way
    prior: Prior
    error: TrialError
    steps: int
    allowance: float
    min_lr: float = 1e-8
    max_lr: float = 1e3
    probed: tuple[Probed, ...] = ()
    spent: float = 0.0
    first: int = 0
    skipped: int = 0
    broke_at: int = 0
    skipped_at: int = 0

    # ------------------------------------------------------------- the walk

    def next_trial(self) -> Trial | None:
        """The Trial to fly next; None where the peak is bracketed, or another Trial is not to be had any more."""
        at = self._next()
        return None if at is None else self.way.trial(self.lr_at(at), self.steps, self._hopeless(), first=self.first)

    def told(self, seen: TrialLosses) -> "PeakSearch":
        """With what was seen of the Trial asked for last."""
        at = self._next()
        assert at is not None, "only what was asked for is told of"
        spent = self.spent + seen.cost
        if self._batch_is_bad(seen):
            return replace(self._behind(len(seen.losses)), spent=spent)
        one = read(at, self.lr_at(at), seen)
        broke_at = len(seen.losses) if seen.stop is StopReason.NON_FINITE else 0
        return replace(self, probed=(*self.probed, one), spent=spent, broke_at=broke_at)

    def _batch_is_bad(self, seen: TrialLosses) -> bool:
        """Whether a batch, not the lr, is to blame for a loss that is no number.

        It is the first, no step was taken before; or nothing was wrong until then, or another lr broke on the same
        batch, but not after as many steps once more: so does what no such step survives. Never where a Trial has been
        through all of these batches.
        """
        if seen.stop is not StopReason.NON_FINITE or any(one.tail for one in self.probed):
            return False
        many = len(seen.losses)
        return many == 1 or (many != self.skipped_at and (breaks_suddenly(seen) or many == self.broke_at))

    def _behind(self, many: int) -> "PeakSearch":
        """With Trials that begin behind a bad batch, the last of so many; one that broke on it too has told nothing."""
        again = many == self.broke_at
        return replace(
            self,
            probed=self.probed[:-1] if again else self.probed,
            first=self.first + many,
            skipped=self.skipped + 1,
            broke_at=0,
            skipped_at=many,
        )

    @property
    def bracketed(self) -> bool:
        """Whether the best Trial stands between two that are worse."""
        return bracketed(self.probed)

    @property
    def best(self) -> Probed | None:
        """The best Trial so far."""
        return best_of(self.probed)

    @property
    def pick(self) -> Pick | None:
        """The peak that Trials and prior agree on; None before the first Trial that did not diverge."""
        return pick(self.probed, self.prior, self.error, from_scratch=self.way.rises)

    def loss_at(self, lr: float) -> float | None:
        """What a Trial at any lr would have come to, on a line in log lr between those flown.

        Args:
            lr: natural units.

        Returns:
            The mean of its last losses; inf from the smallest lr on that diverged, None outside of the lrs tried.
        """
        flown = sorted(self.probed, key=lambda one: one.lr)
        for below, above in pairwise(flown):
            if below.lr <= lr <= above.lr:
                part = math.log(lr / below.lr) / math.log(above.lr / below.lr)
                return below.score if part == 0 else (1 - part) * below.score + part * above.score
        return None

    # --------------------------------------------------------------- lattice

    def lr_at(self, position: int) -> float:
        """The lr at a position, natural units."""
        return float(self.prior.lr * 10.0 ** (SPACING * position))

    @property
    def ends(self) -> tuple[int, int]:
        """Lowest and highest position allowed."""
        low, high = (math.log10(lr / self.prior.lr) / SPACING for lr in (self.min_lr, self.max_lr))
        return math.ceil(low - 1e-9), math.floor(high + 1e-9)

    def _next(self) -> int | None:
        if self.spent + self.steps > self.allowance * (1 + 1e-9) or self.skipped >= MOST_SKIPPED:
            return None
        return next_position(self.probed, *self.ends, from_scratch=self.way.rises)

    def _hopeless(self) -> Stop:
        best = self.best
        if best is None or best.high <= best.low:
            return Stop()
        return Stop(abort_above=best.high + ROOM * (best.high - best.low))
