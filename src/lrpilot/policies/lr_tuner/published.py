"""LRTuner as published: the papers' algorithm from top to bottom.

With the step direction d, the lr η and a change ε of it, the loss after the step is (AutoLR, equations 1 and 2)

    L(θ − (η + ε)·d) = L(θ − η·d) − ε·dᵀg + ½·ε²·dᵀH·d + O(ε³) = k0 + k1·ε + k2·ε² + O(ε³)

1. Once a window the loss is read at 5 values of ε, on one superbatch; the parabola through them has its minimum at
   ε* = −k1 / (2·k2) (section 2).
2. The parabola holds for small ε: |ε|³ < r·L(θ) (equation 3).
3. *Explore* accepts increases only, *exploit* decreases only (section 2.1).
4. Exploit asks only where the lr is saturated: where the drop rate of the superbatch when this lr began ÷ the present
   one is above a threshold; at the first crossing the threshold becomes the drop rate of that moment (section 2.1).
5. A decision after which the drop rate fell is rolled back, weights and all (section 2.2).

What of 3 to 5 the default does as well is in :mod:`lrpilot.policies.lr_tuner.rules`.

What the papers leave open, and what was chosen:

* Positions of the 5 factors 1 + ε/η: 0.5, 0.75, 1, 1.25, 1.5. Where the parabola has no minimum: the best of them.
* The lr stays positive: no decision multiplies it by less than 0.1 or more than 3. The state's tally counts how
  often that bound decided, and not the clip.
* "The same superbatch for all the losses of an estimate": a drop rate reads one superbatch at both ends of its
  window, and the next window has the next superbatch. It never has more batches than an epoch.
* A drop rate that cannot be compared: while the loss has not fallen in any window at an lr, the second such window
  saturates it. The absolute threshold is never negative.
* A loss that is not finite: rewind, and undo the increase that led there, or halve the lr. Not where the lr cannot
  be the cause: the first loss after a mark or a rewind, a superbatch beside one that was sound at the same weights, and
  any such loss once it has been seen at a millionth of an lr that was lowered for it.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, replace
from typing import ClassVar, Literal, NamedTuple, final

from lrpilot.core.actions import Action, Done, Line, LineLosses, Mark, Observation, Rewind, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason
from lrpilot.core.settings import Rule, is_positive, or_none, require_each
from lrpilot.core.shape import constant
from lrpilot.errors import PolicyError, SettingError
from lrpilot.maths.line_fit import fit_line, usable_factors
from lrpilot.policies.lr_tuner import rules
from lrpilot.policies.lr_tuner.reasons import reason_for
from lrpilot.policies.lr_tuner.settings import PLACE, SHARED, first_state, paper_row, refuse_without_end, seed_lr
from lrpilot.policies.lr_tuner.state import (
    CheckingWindow,
    Cruising,
    LossDrop,
    LRTunerState,
    MarkingWindow,
    OpeningWindow,
    ReadingLine,
    ReadingSuperbatch,
    RewindingWindow,
    SuperbatchLevel,
    TrainingWindow,
    WindowsDone,
    wrong_observation,
)

_RULES = {
    **SHARED,
    "clip": Rule("finite and > 0", is_positive, "The papers use 1e-12 to 5e-3."),
    "epochs": Rule("finite and > 0", or_none(is_positive), "Leave it None where it is not known."),
}
# The papers give the number of factors (5) and no positions.
PAPER_FACTORS = (0.5, 0.75, 1.0, 1.25, 1.5)


# ------------------ the parabola along the step, and how far it holds (1, 2)


class Step(NamedTuple):
    """The factor of a published decision, and whether the clip and the bound moved it."""

    factor: float
    clipped: bool
    bounded: bool


def published_step(
    factors: Sequence[float], losses: Sequence[Sequence[float]], lr: float, clip: float, *, step_factor: float = 1.0
) -> Step:
    """The decision, before explore or exploit has its say.

    ε* is the minimum of the parabola through the losses; |ε| stays below the cube root of ``clip`` · L(θ); and
    1 + ε/lr stays within :data:`rules.BOUNDS`. Where the parabola does not open upwards the best sampled factor
    stands for its minimum. Factors at which a loss is not finite are left out, and nothing beyond the first such
    factor above 1 is believed.

    Args:
        factors: of the Line, 1 among them.
        losses: batches x factors.
        lr: η, natural units.
        clip: r of the published table.
        step_factor: σ; the lr aims at σ times the line's minimiser. Published: 1.

    Returns:
        Factor 1 where there is nothing to go by.
    """
    usable = usable_factors(factors, losses)
    if 1.0 not in usable:
        return Step(1.0, False, False)
    columns = [list(factors).index(s) for s in usable]
    rows = [[row[i] for i in columns] for row in losses]
    means = [math.fsum(row[i] for row in rows) / len(rows) for i in range(len(usable))]
    if len(usable) >= 3 and fit_line(usable, rows).flat:
        return Step(1.0, False, False)
    wanted = step_factor * _line_minimum(usable, rows, means)
    if any(s > 1 for s in factors if s not in usable):
        wanted = min(wanted, max(usable))
    return _limited(wanted, lr, clip, means[usable.index(1.0)])


def _line_minimum(factors: Sequence[float], rows: Sequence[Sequence[float]], means: Sequence[float]) -> float:
    """Equations 1 and 2: 1 + ε*/η, or the best sampled factor where the parabola has no minimum."""
    if len(factors) >= 3:
        minimiser = fit_line(factors, rows).minimiser
        if minimiser is not None:
            return minimiser
    return min(zip(means, factors, strict=True), key=lambda at: (at[0], abs(at[1] - 1.0)))[1]


def _limited(wanted: float, lr: float, clip: float, loss: float) -> Step:
    """Equation 3, and the bound."""
    reach = (clip * abs(loss)) ** (1 / 3) / lr
    near = min(max(wanted, 1.0 - reach), 1.0 + reach)
    factor = min(max(near, rules.BOUNDS[0]), rules.BOUNDS[1])
    return Step(factor, clipped=near != wanted, bounded=factor != near)


# ------------------------------------- the drop rate and the rollback (4, 5)


def last_rate(drops: Sequence[LossDrop]) -> float:
    """The present drop rate: that of the last window."""
    return rules.rate_over(drops[-1:])


def published_rollback(before: LossDrop, after: LossDrop) -> bool:
    """The drop rate fell after a decision."""
    return after.rate < before.rate


# ---------------------------------------------------------------- the method


@final
@record
class PublishedLRTuner(Policy):
    """Raises the lr in explore, and lowers it in steps afterwards, whenever it has served its purpose.

    ``LRTuner.paper(name)`` gives a row of the papers' table. Cost of a window with a superbatch of 100, in forwards:
    600 in explore, 200 in exploit, 600 where it decides.

    Attributes:
        explore: part of the training that accepts increases, in [0, 1]; 0 is the papers' "no explore".
        lr: seed lr, natural units; None for the lr the optimizer was built with.
        window: steps between two decisions: an int >= 2, or a part of the training in (0, 1).
        superbatch: batches on which losses are read.
        saturation: drop rate when an lr began ÷ drop rate now beyond which it is saturated, > 1.
        clip: r of |ε|³ < r·L(θ).
        step_factor: σ: the lr aims at σ times the minimiser of the line. Published: 1.
        explore_lr: "held" keeps the seed lr during explore, as in the papers' ablation.
        epochs: passes over the data in the whole training, where known; limits the superbatch to one.

    Raises:
        SettingError: a setting is out of range; from ``init``, when the horizon is open and a setting is a part of it.
    """

    max_marks: ClassVar[int] = 1
    needs_lines: ClassVar[bool] = True

    explore: float
    _: KW_ONLY
    window: int | float
    superbatch: int
    saturation: float
    clip: float
    lr: float | None = None
    step_factor: float = 1.0
    explore_lr: Literal["tuned", "held"] = "tuned"
    epochs: float | None = None

    @classmethod
    def row(cls, name: str, *, optimizer: str | None = None, epochs: float | None = None) -> "PublishedLRTuner":
        """A row of the papers' table of hyperparameters; see ``LRTuner.paper``.

        Raises:
            SettingError: the papers have no such row, or do not train it with this optimizer.
        """
        row = paper_row(name)
        epochs = row.epochs if epochs is None else epochs
        if not epochs > 0:
            raise SettingError(f"epochs must be > 0, got {epochs}. Leave it None for the papers' {row.epochs}.")
        return cls(
            row.explore / row.epochs,
            lr=seed_lr(name, optimizer),
            window=row.window if isinstance(row.window, int) else row.window / epochs,
            superbatch=100,
            saturation=row.saturation,
            clip=row.clip,
            epochs=epochs,
        )

    def __post_init__(self) -> None:
        require_each(self, _RULES)

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "lr_tuner_paper"

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> LRTunerState:
        """A step at the seed lr comes first."""
        refuse_without_end(context, explore=self.explore, window=self.window, linear=False)
        size, count = self._superbatches(context.progress.remaining)
        return first_state(context, lr=self.lr, window=self.window, superbatch=size, superbatches=count)

    def _superbatches(self, total: int | None) -> tuple[int, int | None]:
        """Batches of a superbatch, and how many of them take turns in an epoch (None: there is no end of them)."""
        if self.epochs is None or total is None:
            return self.superbatch, None
        epoch = max(1, round(total / self.epochs))
        size = min(self.superbatch, epoch)
        return size, epoch // size

    def ask(self, state: LRTunerState) -> Action:
        """Train, then read a Line along the last step of the window."""
        size = state.layout.superbatch
        first = size * (0 if state.level is None else state.level.index)
        match state.phase:
            case OpeningWindow():
                return Train(constant(state.present.lr), 1)
            case ReadingSuperbatch() | CheckingWindow():
                return Line((1.0,), size, first)
            case MarkingWindow():
                return Mark(PLACE)
            case TrainingWindow(steps) | Cruising(steps):
                return Train(constant(state.present.lr), steps)
            case ReadingLine():
                return Line(PAPER_FACTORS, size, first)
            case RewindingWindow():
                return Rewind(PLACE)
            case WindowsDone():
                return Done()
        raise PolicyError(
            f"{self.name} must be asked in a phase of its own, got {type(state.phase).__name__}. Begin with its init()."
        )

    def tell(self, state: LRTunerState, observation: Observation) -> LRTunerState:
        """Note what was seen and decide."""
        state = replace(state, progress=observation.progress)
        match state.phase, observation:
            case ((OpeningWindow() | TrainingWindow() | Cruising()), Trained()):
                return self._trained(state, observation)
            case ReadingSuperbatch(), LineLosses():
                return self._begun(state.charged(observation), observation)
            case MarkingWindow(), _:
                return self._train_on(replace(state, marked=True))
            case CheckingWindow(), LineLosses():
                return self._checked(state.charged(observation), observation)
            case ReadingLine(), LineLosses():
                return self._read(state.charged(observation), observation)
            case RewindingWindow(), _:
                return replace(state, phase=WindowsDone() if state.at_end else OpeningWindow())
        raise wrong_observation(state.phase, observation)

    def explain(self, state: LRTunerState, observation: Observation, after: LRTunerState) -> Reason | None:
        """From which lr to which, and why."""
        return reason_for(
            state,
            after,
            exploring=rules.is_exploring(self.explore, state),
            worse="the loss fell more slowly than before the change",
            rate=last_rate(after.present.drops) if after.present.drops else None,
        )

    # ------------------------------------------------------------- the window

    def _begun(self, state: LRTunerState, seen: LineLosses) -> LRTunerState:
        """A window begins here, at this loss of the superbatch."""
        before, losses = state.level, tuple(row[0] for row in seen.losses)
        level = SuperbatchLevel(losses, state.progress.step, 0 if before is None else before.index)
        if level.is_usable:
            return replace(state, phase=MarkingWindow(), level=level)
        if before is not None and before.step == level.step:
            # Another superbatch was sound at these very weights: leave this one out.
            level = replace(level, index=state.layout.next_superbatch(level.index))
            return rules.no_number(replace(state, level=level), suspect=False)
        return rules.no_number(replace(state, level=level), suspect=True)

    def _train_on(self, state: LRTunerState) -> LRTunerState:
        """The Train that comes next: a window, or what is left; nothing at the end."""
        remaining, window = state.progress.remaining, state.layout.window
        if remaining == 0:
            return replace(state, phase=WindowsDone())
        # A check after the last step would tell nobody anything.
        if remaining is not None and window >= remaining:
            return replace(state, phase=Cruising(remaining))
        return replace(state, phase=TrainingWindow(window - 1))

    def _trained(self, state: LRTunerState, seen: Trained) -> LRTunerState:
        """After a Train: read the loss, unless nothing is to be read."""
        if seen.stop is not None:
            return rules.no_number(state, suspect=not rules.is_of_sound_weights(state, seen))
        if state.at_end:
            return replace(state, phase=WindowsDone())
        match state.phase:
            case OpeningWindow():
                return replace(state, phase=ReadingSuperbatch())
            case TrainingWindow():
                return replace(state, phase=CheckingWindow())
        return self._train_on(state)

    # -------------------------------- the drop rate: saturation and rollback

    def _checked(self, state: LRTunerState, seen: LineLosses) -> LRTunerState:
        """A window is over: judge the change that began it, then see whether the lr is up for another."""
        old = state.level
        assert old is not None  # a window begins with it
        new = replace(old, losses=tuple(row[0] for row in seen.losses), step=state.progress.step)
        if not new.is_usable:
            return rules.no_number(state, suspect=True)
        drop, change = old.drop_to(new), state.present.change
        if change is not None and published_rollback(change.drops[-1], drop):
            return rules.undone(state)
        # The next window has the next superbatch, whose loss is read with the Line or by itself.
        level = SuperbatchLevel((), new.step, state.layout.next_superbatch(old.index))
        state = replace(state, present=state.present.kept(drop), level=level, guard=state.guard.calmed())
        wanted, state = self._wants_line(state)
        return replace(state, phase=ReadingLine() if wanted else ReadingSuperbatch())

    def _wants_line(self, state: LRTunerState) -> tuple[bool, LRTunerState]:
        """Explore asks after every window, exploit where the lr is saturated."""
        if rules.is_exploring(self.explore, state):
            return self.explore_lr == "tuned", state
        return rules.saturation(state, last_rate(state.present.drops), threshold=self.saturation)

    # ------------------------------------------- the parabola along the step

    def _read(self, state: LRTunerState, seen: LineLosses) -> LRTunerState:
        """Five factors on a whole superbatch, one decision. The losses at factor 1 begin the next window."""
        assert state.level is not None
        at_one = list(seen.factors).index(1.0)
        level = replace(state.level, losses=tuple(row[at_one] for row in seen.losses))
        state = replace(state, level=level)
        if not level.is_usable:
            return rules.no_number(state, suspect=True)
        lr = state.present.lr
        step = published_step(seen.factors, seen.losses, lr, self.clip, step_factor=self.step_factor)
        state = replace(state, tally=state.tally.plus(clipped=int(step.clipped), bounded=int(step.bounded)))
        code: Literal["limited", "minimiser"] = "limited" if step.clipped or step.bounded else "minimiser"
        return rules.decided(state, step.factor, code, rules.direction_of(self.explore, state))
