"""Beam search over schedules: several trainings side by side, of which those with the lowest loss go on.

Source: Takase et al. 2018, "Effective Neural Network Training with Adaptive Learning Rate based on Training Loss"
(ALR). Each epoch, every one of M kept states trains with each of K factors of its lr; of the M·K states that come of
it, those M with the lowest training loss are kept.

What the source leaves open, and what was chosen:

* M = 2 and the factors ½, 1 and 2.
* An epoch is a window of steps, so that a training of any length has some.
* The training loss of a window is its mean over the window's own steps.
* A state whose loss is not finite is lost. Where all are, the kept ones go on at the smallest factor of their lr.

What "trains" means here. Every candidate is trained by kept steps from a Mark, and a survivor goes on from the very
weights that were judged. A Trial, which is always rewound, would have survivors trained a second time. So all
candidates count as steps of the training, and time moves forward only: a Rewind brings weights and optimizer state
back, while data order and random numbers move on. Each candidate sees the batches that come after those of the
candidate before; over whole epochs these are the same data. Your own loop's step count and logs show all of it.

Cost: of N steps only about N / (M·K) lie on the path to the weights that are kept in the end: six times the training
at the defaults. Memory: 2·M marks, of weights and optimizer state each.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, replace
from typing import Literal, assert_never

from lrpilot.core.actions import Action, Done, Mark, Moved, Observation, Rewind, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason, lr_from_to, not_asked_for
from lrpilot.core.settings import check_range, check_start, check_whole, is_positive, steps_of
from lrpilot.core.shape import constant
from lrpilot.errors import SettingError

# mark: remember the weights as they are; rewind: go to where the next Train begins; train: a window, or the rest.
Phase = Literal["mark", "rewind", "train", "done"]


@record
class Beam:
    """A state that is kept.

    Attributes:
        key: of its mark.
        lr: it was trained with, natural units.
        loss: mean training loss of the window that led to it; inf before the first.
    """

    key: str
    lr: float
    loss: float


@record
class BeamSearchState:
    """Where the flight stands.

    Attributes:
        phase: what is asked for now.
        window: kept steps of a candidate.
        remaining: kept steps left.
        beams: the states that this round starts from, best first.
        candidates: still to be trained: place of the beam, and lr.
        survivors: the best candidates of this round so far, best first.
        here: key of the mark that the weights are at, or that is to be set; None where they have moved on.
        ending: whether what is left is trained from the best state, without further candidates.
        path: (lr, loss) of the best state after each round.
    """

    phase: Phase
    window: int
    remaining: int
    beams: tuple[Beam, ...]
    candidates: tuple[tuple[int, float], ...] = ()
    survivors: tuple[Beam, ...] = ()
    here: str | None = None
    ending: bool = False
    path: tuple[tuple[float, float], ...] = ()


@record
class BeamSearch(Policy):
    """Trains every kept state with every factor of its lr, and keeps the best. A comparator; see the module.

    A round is begun only where enough steps are left for all of its candidates. What is left after the last one is
    trained from the best state at its lr, and ends in the best state again where it diverges.

    Attributes:
        states: M, how many states are kept, >= 1.
        factors: K factors of the lr, each > 0.
        window: steps of a candidate: an int (``len(loader)`` for the source's epochs), or a part of the training, a
            float in (0, 1). The default leaves about 17 rounds.
        min_lr: never less, natural units.
        max_lr: never more.

    Raises:
        SettingError: a setting is out of range; from ``init``, when the horizon is open: the training would end
            wherever it was stopped.
    """

    states: int = 2
    _: KW_ONLY
    factors: tuple[float, ...] = (0.5, 1.0, 2.0)
    window: int | float = 0.01
    min_lr: float = 1e-10
    max_lr: float = 1e4

    def __post_init__(self) -> None:
        check_whole("states", self.states, default=2)
        if self.states < 1:
            raise SettingError(f"states must be >= 1, got {self.states}. The default is 2.")
        given: object = self.factors
        if not isinstance(given, (tuple, list)):
            raise SettingError(f"factors must be a tuple of numbers, got {given!r}. Use (0.5, 1, 2).")
        object.__setattr__(self, "factors", tuple(self.factors))
        if not self.factors or not all(map(is_positive, self.factors)):
            raise SettingError(f"factors must be finite and > 0, at least one, got {self.factors}. Use (0.5, 1, 2).")
        if len(set(self.factors)) < len(self.factors):
            raise SettingError(f"factors must differ, got {self.factors}. A candidate trained twice tells the same.")
        if not isinstance(self.window, float):
            check_whole("window", self.window, default=100)
        if not (0 < self.window < 1 if isinstance(self.window, float) else self.window >= 1):
            raise SettingError(
                f"window must be an int >= 1 (steps) or a float in (0, 1) (a part of the training), got {self.window}. "
                "The default is 0.01."
            )
        check_range(self.min_lr, self.max_lr)

    @property
    def max_marks(self) -> int:  # type: ignore[override]  # depends on a setting
        """The states kept, and as many that may take their place."""
        return 2 * self.states

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "beam_search"

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> BeamSearchState:
        """The state of the beginning is the only one kept."""
        remaining = context.progress.remaining
        if remaining is None:
            raise SettingError(
                "BeamSearch must know its last step, so that it ends in its best state, got an open horizon "
                "(total_steps=None). Give total_steps."
            )
        check_start(context.lr, self.min_lr, self.max_lr)
        window = steps_of(self.window, remaining)
        first = Beam("state 0", context.lr, math.inf)
        return BeamSearchState("mark", window, remaining, beams=(first,), here=first.key)

    def ask(self, state: BeamSearchState) -> Action:
        """Candidate by candidate: to its mark, a window, and a mark of its own where it is among the best."""
        match state.phase:
            case "mark":
                return Mark(_key(state.here))
            case "rewind":
                return Rewind(state.beams[0 if state.ending else state.candidates[0][0]].key)
            case "train" if state.ending:
                return Train(constant(state.beams[0].lr), state.remaining)
            case "train":
                # Told even where the loop gives no losses: a held-out loss is read then.
                return Train(constant(state.candidates[0][1]), state.window, observe_every=state.window)
            case "done":
                return Done(state.path)
        assert_never(state.phase)

    def tell(self, state: BeamSearchState, observation: Observation) -> BeamSearchState:
        """Judge a candidate; begin the next, or the next round."""
        remaining = observation.progress.remaining
        state = replace(state, remaining=0 if remaining is None else remaining)
        match state.phase, observation:
            case "mark", Moved():
                return self._next(state) if state.candidates or state.survivors else self._begin_round(state)
            case "rewind", Moved(key=key):
                return self._go_to_mark(replace(state, here=key))
            case "train", Trained():
                return self._trained(state, observation) if observation.finished else state
        raise not_asked_for(self.name, observation)

    def explain(self, state: BeamSearchState, observation: Observation, after: BeamSearchState) -> Reason | None:
        """Which candidate won a round."""
        if len(after.path) > len(state.path):
            lr, loss = after.path[-1]
            return Reason("best", f"lr {lr:.3g} had the lowest mean loss of its round, {loss:.4g}")
        if after.beams[0].lr < state.beams[0].lr:
            change = lr_from_to(state.beams[0].lr, after.beams[0].lr)
            return Reason("all_diverged", f"{change}: no candidate had a finite loss", alarms=True)
        return None

    # ---------------------------------------------------------------- rounds

    def _begin_round(self, state: BeamSearchState) -> BeamSearchState:
        """All candidates of the kept states; the rest of the training where too few steps are left for them."""
        lrs = [[min(max(beam.lr * f, self.min_lr), self.max_lr) for f in self.factors] for beam in state.beams]
        candidates = tuple((at, lr) for at, own in enumerate(lrs) for lr in dict.fromkeys(own))
        if state.remaining < len(candidates) * state.window:
            return self._go_to_mark(replace(state, candidates=(), survivors=(), ending=True))
        return self._go_to_mark(replace(state, candidates=candidates, survivors=()))

    def _go_to_mark(self, state: BeamSearchState) -> BeamSearchState:
        """To where the next Train begins; no Rewind where the weights are there already."""
        key = state.beams[0 if state.ending else state.candidates[0][0]].key
        if state.here != key:
            return replace(state, phase="rewind")
        return replace(state, phase="train" if state.remaining > 0 else "done")

    def _trained(self, state: BeamSearchState, seen: Trained) -> BeamSearchState:
        state = replace(state, here=None)
        if state.ending:
            lost = seen.stop is not None
            if lost and state.remaining > 0:
                lowered = replace(state.beams[0], lr=max(self.min_lr, state.beams[0].lr * min(1.0, *self.factors)))
                state = replace(state, beams=(lowered, *state.beams[1:]))
            return replace(state, phase="rewind" if lost else "done")
        (_, lr), candidates = state.candidates[0], state.candidates[1:]
        loss = mean_loss(seen)
        state = replace(state, candidates=candidates)
        survivors = keep_best(state.survivors, Beam("", lr, loss), self.states)
        if survivors == state.survivors:
            return self._next(state)
        free = self._free_key(state, survivors)
        named = tuple(replace(beam, key=free) if beam.key == "" else beam for beam in survivors)
        return replace(state, survivors=named, phase="mark", here=free)

    def _next(self, state: BeamSearchState) -> BeamSearchState:
        """The next candidate, or the next round from the survivors."""
        if state.candidates and state.remaining >= state.window:
            return self._go_to_mark(state)
        if state.survivors:
            best = state.survivors[0]
            state = replace(state, beams=state.survivors, path=(*state.path, (best.lr, best.loss)))
        else:
            least = min(1.0, *self.factors)
            beams = tuple(replace(beam, lr=max(self.min_lr, beam.lr * least)) for beam in state.beams)
            state = replace(state, beams=beams)
        return self._begin_round(state)

    def _free_key(self, state: BeamSearchState, survivors: Sequence[Beam]) -> str:
        """A key that no kept state needs; the one of a survivor that has just been beaten is taken over."""
        taken = {beam.key for beam in (*state.beams, *survivors)}
        return next(f"state {i}" for i in range(self.max_marks) if f"state {i}" not in taken)


# ------------------------------------------------------------------- helpers


def keep_best(kept: Sequence[Beam], candidate: Beam, most: int) -> tuple[Beam, ...]:
    """At most ``most`` states with the lowest losses, best first; of equals the earlier one comes first.

    Args:
        kept: best first.
        candidate: one more; it is lost where its loss is not finite.
        most: how many to keep.
    """
    if not math.isfinite(candidate.loss):
        return tuple(kept)
    return tuple(sorted((*kept, candidate), key=lambda beam: beam.loss)[:most])


def mean_loss(seen: Trained) -> float:
    """Mean training loss of a window; the held-out loss where the loop gives none; inf where it diverged."""
    losses = seen.losses or (() if seen.held_out is None else (seen.held_out,))
    if seen.stop is not None or not losses:
        return math.inf
    mean = sum(loss / len(losses) for loss in losses)
    return mean if math.isfinite(mean) else math.inf


def _key(here: str | None) -> str:
    assert here is not None  # the phase "mark" begins with the key that is to be set
    return here
