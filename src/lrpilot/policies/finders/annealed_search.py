"""Annealed search: the peak lr of a schedule that ends at zero.

An lr judged by what it does in the next steps at constant lr comes out too small, because the decay that
makes the end of training good is never rewarded. In an annealed Trial the lr falls linearly to zero
inside the Trial, so that the loss is read where the noise has been annealed away. The best peak moves
with the length of the Trial, so several lengths are flown; all Trials start from the same state and see
the same batches.

Notation: positions are whole numbers of quarter decades from the middle of the range (or ``start_lr``).

Cost at the defaults: about 8 Trials of 20 steps, 5 of 50 and 5 of 100. Measured on conv nets: 950 to
1,200 training steps' worth, held-out losses included.
"""

import math
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

from lrpilot.core.actions import Action, Done, Evaluate, HeldOut, Observation, Trial
from lrpilot.core.codec import record
from lrpilot.core.found import FindCode, LengthPick
from lrpilot.core.policy import Context, Policy
from lrpilot.core.settings import check_num_steps, check_range, is_real
from lrpilot.core.shape import annealed
from lrpilot.core.stop import Stop
from lrpilot.core.trials import (
    Tried,
    expect_trial,
    gained_nothing,
    give_up,
    read_trial,
)
from lrpilot.errors import SettingError
from lrpilot.found import FoundLR
from lrpilot.maths.bracket import next_position, winner
from lrpilot.maths.curve import LRCurve
from lrpilot.maths.peak import SPACING, pick_peak, suggest_peak, wrecked_above

DECADE = 4  # positions
HALF_DECADE = 2


@record
class AnnealedSearchState:
    """Where the search stands.

    Attributes:
        start_loss: held-out loss of the state the Trials start from; None before it is read.
        rung: index of the Trial length being searched.
        stride: distance in positions between the lrs compared now.
        queue: positions to try next, in this order.
        tried: Trials of this length.
        picks: results of the shorter lengths.
    """

    start_loss: float | None
    rung: int
    stride: int
    queue: tuple[int, ...]
    tried: tuple[Tried, ...] = ()
    picks: tuple[LengthPick, ...] = ()


@record
class AnnealedSearch(Policy):
    """Finder of a peak lr for decay to zero: ends in ``Done`` with a :class:`~lrpilot.found.FoundLR`.

    The shortest length is searched from the middle of the range outwards in decades, then half and
    quarter decades around the winner; each longer one only around the pick before it. A pick is the
    minimum of a parabola through the losses near the winner. The suggestion is the pick of the longest
    length, lowered where the picks certainly fall with length, and kept at a distance below a cliff.

    Attributes:
        min_lr: smallest peak tried, natural units.
        max_lr: largest peak tried.
        num_steps: steps of the shortest Trials.
        stretch: lengths of the Trials as multiples of ``num_steps``, ascending.
        start_lr: where the search begins; the middle of the range in log lr when None.
    """

    trains: ClassVar[bool] = False

    min_lr: float = 1e-7
    max_lr: float = 10.0
    num_steps: int = 20
    stretch: tuple[float, ...] = (1.0, 2.5, 5.0)
    start_lr: float | None = None

    def __post_init__(self) -> None:
        check_range(self.min_lr, self.max_lr)
        check_num_steps(self.num_steps)
        object.__setattr__(self, "stretch", tuple(self.stretch))
        lengths = self.lengths if all(map(is_real, self.stretch)) else ()
        if not lengths or lengths[0] < 1 or any(b <= a for a, b in pairwise(lengths)):
            raise SettingError(f"stretch must give ascending lengths >= 1, got {self.stretch}. Try (1, 2.5, 5).")
        inside = self.start_lr is None or (is_real(self.start_lr) and self.min_lr <= self.start_lr <= self.max_lr)
        if not inside:
            raise SettingError(
                f"start_lr must lie in [{self.min_lr}, {self.max_lr}], got {self.start_lr!r}. "
                "Widen the range, or leave it None for the middle."
            )

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "annealed_search"

    @property
    def lengths(self) -> tuple[int, ...]:
        """Steps of the Trials, shortest first."""
        return tuple(round(self.num_steps * factor) for factor in self.stretch)

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> AnnealedSearchState:
        """Nothing known; the optimizer's own lr is not looked at."""
        return AnnealedSearchState(start_loss=None, rung=0, stride=DECADE, queue=(0,))

    def ask(self, state: AnnealedSearchState) -> Action:
        """The start loss, then Trial by Trial, then the result."""
        if state.start_loss is None:
            return Evaluate(reestimate=True)
        if not state.queue or not math.isfinite(state.start_loss):
            return Done(self._result(state))
        steps = self.lengths[state.rung]
        # From a decade below, where next to nothing is learned, nothing can be said of what is hopeless.
        stop = give_up(state.tried) if state.stride < DECADE else Stop()
        return Trial(annealed(self._lr(state.queue[0]), steps), steps, evaluate="end", stop=stop)

    def tell(self, state: AnnealedSearchState, observation: Observation) -> AnnealedSearchState:
        """Note a loss and decide on the next lr or length."""
        if isinstance(observation, HeldOut):
            return replace(state, start_loss=observation.loss)
        tried = (*state.tried, read_trial(self._lr(state.queue[0]), expect_trial(observation, self.name)))
        state = replace(state, tried=tried, queue=state.queue[1:])
        if state.queue:
            return state
        at, stride = next_position(self._by_position(state), state.stride, *self._ends())
        if at is not None:
            return replace(state, queue=(at,), stride=stride)
        return self._finish_length(state)

    # --------------------------------------------------------------- lattice

    @property
    def _origin(self) -> float:
        if self.start_lr is not None:
            return math.log10(self.start_lr)
        return 0.5 * (math.log10(self.min_lr) + math.log10(self.max_lr))

    def _lr(self, position: int) -> float:
        return min(max(float(10.0 ** (self._origin + SPACING * position)), self.min_lr), self.max_lr)

    def _position(self, lr: float) -> int:
        low, high = self._ends()
        return min(max(round((math.log10(lr) - self._origin) / SPACING), low), high)

    def _ends(self) -> tuple[int, int]:
        """Lowest and highest position in the range."""
        low = (math.log10(self.min_lr) - self._origin) / SPACING
        high = (math.log10(self.max_lr) - self._origin) / SPACING
        return math.ceil(low - 1e-9), math.floor(high + 1e-9)

    def _by_position(self, state: AnnealedSearchState) -> dict[int, float]:
        """Loss at each position tried at this length, inf where it counts as diverged.

        A Trial that ends worse than a shorter one of the same search did, by most of the reduction, has
        wrecked the model. Its loss may still be the lowest of three where the centre diverged.
        """
        limit = math.inf
        if state.picks:
            limit = wrecked_above(min(state.picks[-1].losses), _start(state))
        return {self._position(one.lr): one.loss if one.loss <= limit else math.inf for one in state.tried}

    # --------------------------------------------------------------- lengths

    def _finish_length(self, state: AnnealedSearchState) -> AnnealedSearchState:
        """The lrs of this length are bracketed: note the pick and go on to the next length."""
        code = _curve(state).code
        if not state.picks and not code.has_lr:
            return self._look_closer(state, code)
        picks = state.picks
        if any(map(math.isfinite, self._by_position(state).values())):
            pick = pick_peak(self.lengths[state.rung], state.tried, _start(state))
            picks = picks if pick is None else (*picks, pick)
        return self._next_length(replace(state, picks=picks), HALF_DECADE, self._position(picks[-1].lr))

    def _look_closer(self, state: AnnealedSearchState, code: FindCode) -> AnnealedSearchState:
        """The losses look like scatter: try every lr near the winner, then every decade, then longer Trials."""
        low, high = self._ends()
        values = self._by_position(state)
        best = winner(values)
        near = [at for at in range(low, high + 1) if abs(at - best) <= DECADE]
        decades = [at for at in range(low, high + 1) if at % DECADE == 0]
        for wanted in (near, decades):
            queue = tuple(at for at in wanted if at not in values)
            if queue and code is not FindCode.ALL_DIVERGED:
                return replace(state, queue=queue, stride=DECADE)
        return state if code is FindCode.ALL_DIVERGED else self._next_length(state, DECADE, 0)

    def _next_length(self, state: AnnealedSearchState, stride: int, around: int) -> AnnealedSearchState:
        if state.rung + 1 == len(self.lengths):
            return state
        return replace(state, rung=state.rung + 1, stride=stride, queue=(around,), tried=())

    # ---------------------------------------------------------------- result

    def _result(self, state: AnnealedSearchState) -> FoundLR:
        names = ("annealed", *(f"annealed_{steps}" for steps in self.lengths))
        curve = _curve(state)
        empty = FoundLR(
            lr=None,
            target="decay",
            method=self.name,
            code=curve.code,
            window=None,
            interval=None,
            suggestions=dict.fromkeys(names),
            lrs=tuple(10.0**x for x in curve.log_lrs),
            losses=curve.losses,
            start_loss=state.start_loss,
        )
        if not state.picks:
            return empty
        found = self._with_lr(empty, state.picks, curve.start_loss)
        if gained_nothing(state.tried, curve.start_loss):
            # The evidence stays; what it suggests does not.
            return replace(found, lr=None, code=FindCode.WITHIN_NOISE, interval=None, suggestions=empty.suggestions)
        return found

    def _with_lr(self, found: FoundLR, picks: tuple[LengthPick, ...], start_loss: float) -> FoundLR:
        lr, interval = suggest_peak(picks, start_loss, min_lr=self.min_lr)
        longest = picks[-1]
        low, high = self._ends()
        at = self._position(min(zip(longest.losses, longest.lrs, strict=True))[1])
        code = {low: FindCode.AT_LOWER_EDGE, high: FindCode.AT_UPPER_EDGE}.get(at, FindCode.OK)
        return replace(
            found,
            lr=lr,
            code=code,
            window=(min(interval[0], *(p.interval[0] for p in picks)), max(p.interval[1] for p in picks)),
            interval=interval,
            suggestions=found.suggestions | {"annealed": lr} | {f"annealed_{p.num_steps}": p.lr for p in picks},
            lrs=longest.lrs,
            losses=longest.losses,
            lengths=picks,
        )


def _start(state: AnnealedSearchState) -> float:
    return math.nan if state.start_loss is None else state.start_loss


def _curve(state: AnnealedSearchState) -> LRCurve:
    return LRCurve.from_trials([one.lr for one in state.tried], [one.loss for one in state.tried], _start(state))
