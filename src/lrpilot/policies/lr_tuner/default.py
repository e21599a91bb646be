"""LRTuner's default: the papers' questions for a small part of the cost, and a straight way to zero after explore.

The course of a window is the papers' (:mod:`lrpilot.policies.lr_tuner.published`, which also says what they leave
open); what is asked in it, and how much of it is read, is not.
"""

import math
from dataclasses import KW_ONLY, replace
from typing import ClassVar, Literal, assert_never, final

from lrpilot.core.actions import (
    Action,
    Done,
    Drop,
    Line,
    LineLosses,
    Mark,
    Observation,
    Progress,
    Rewind,
    Train,
    Trained,
)
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, Reason
from lrpilot.core.settings import Rule, among, is_between, is_positive, is_whole, or_none, require_each
from lrpilot.core.shape import Shape, constant
from lrpilot.errors import PolicyError, SettingError, StateError
from lrpilot.maths.line_fit import fit_line, is_good_enough, is_usable
from lrpilot.policies.guard import NOISE_ROOM, Verdict, half_way
from lrpilot.policies.lr_tuner import in_flight, price, restart, rules
from lrpilot.policies.lr_tuner.published import PublishedLRTuner
from lrpilot.policies.lr_tuner.reading import (
    FIRST_COST,
    MAX_ATTEMPTS,
    certain_rollback,
    certainly_fell,
    full_rows,
    later_rate,
    next_block,
    region,
    three_factors,
    weigh,
)
from lrpilot.policies.lr_tuner.reasons import reason_for
from lrpilot.policies.lr_tuner.settings import PLACE, SHARED, START, first_state, refuse_without_end
from lrpilot.policies.lr_tuner.state import (
    Annealing,
    CheckingPrediction,
    CheckingWindow,
    Cruising,
    DecisionCode,
    DroppingStart,
    LossDrop,
    LRChange,
    LRTunerState,
    MarkingWindow,
    OpeningWindow,
    Phase,
    PresentLR,
    ReadingLine,
    ReadingSuperbatch,
    RewindingWindow,
    SuperbatchLevel,
    TrainingWindow,
    WindowsDone,
    forwards_of,
    wrong_observation,
)
from lrpilot.policies.to_zero import ToZero

# The first two steps are taken at this part of the seed lr, to have a place to go back to from one that is far too
# large. A Mark before the first step would do as well, but for a user's own loop, which has begun by then.
FIRST_SHARE = 1e-3
# So many losses in a row that are no number, before a sound one is known, and nothing can be measured.
MOST_BEFORE_SOUND = 3
# Windows in which the loss certainly fell, after which an lr is not suspected any more to be far too large.
CERTAIN_FALLS = 2
# Scatters of single losses that must have been gained by then. At good lrs all but one of seven benchmarks have gained
# 7 to 200, and the one, a fine-tuning, 1; transformers and networks with BatchNorm at 30 times a good lr, 5 at most.
SIGNAL = 6.0
# Less room than this below an lr that failed is not worth a Line.
ROOM = 1.05
_RULES = {
    **SHARED,
    "max_batches": Rule("an int >= 2", lambda value: is_whole(value, 2), "The default is 16."),
    "overhead": Rule("finite and > 0", or_none(is_positive), "Leave it None for no limit."),
    "confidence": Rule("in (0, 1)", lambda value: is_between(value, 0, 1), "The default is 0.9."),
    "exploit": Rule("'linear' or 'saturation'", among("linear", "saturation"), "The default is 'linear'."),
}


@final
@record
class LRTuner(Policy):
    """Raises the lr for the first part of the training, and takes it straight to zero afterwards.

    The published setting lowers it afterwards in steps, whenever it has served its purpose, and so does
    ``exploit="saturation"``. The default needs no threshold from its user, and spends at most ``overhead`` of the
    training's own compute:

    | | published | default |
    |---|---|---|
    | exploit | decreases at saturation | straight to zero over all that remains |
    | Line | 5 factors, 100 batches | 3 factors; 2, 4, 8, ... batches until sign and size of the step are certain |
    | check | none | a 4th factor, at the lr wanted: the parabola must have foretold the loss there |
    | limit of a change | ε³ < r·L, r by hand | a trust region: wider after good predictions, narrower after bad ones |
    | superbatch | another one for every window | the same 4 batches throughout: their noise is common to all losses |
    | saturation | drop rate of the last window | drop rate of the later half of the windows at this lr |
    | rollback | the drop rate fell | the loss certainly rose, and faster than it had fallen |
    | rewind, undo or halve lr | the loss is no number | also where much of the gain is lost (``policies.guard``) |

    An increase needs a certain sign. A decrease at saturation follows the estimate where no more batches can be had.
    An lr that failed is not reached again, only half way in log lr. Two steps at a thousandth of the seed lr come
    first, to have sound weights to go back to.

    Cost of a window, in forwards: 4, and 6 to 60 more where it decides. In a training of 1,000 steps explore has room
    for eight decisions (four where exploit has a half of it), each of which triples the lr at most: a seed lr far more
    than fiftyfold too small stays so.

    Attributes:
        explore: part of the training that accepts increases, in [0, 1]; 0 is the papers' "no explore".
        lr: seed lr, natural units; None for the lr the optimizer was built with.
        window: steps between two decisions: an int >= 2, or a part of the training in (0, 1).
        superbatch: batches on which drop rates are read.
        max_batches: most batches of a decision.
        saturation: drop rate when an lr began ÷ drop rate now beyond which it is saturated, > 1.
        step_factor: σ: the lr aims at σ times the minimiser of the line. 1 is the minimiser, which is known to be
            timid.
        overhead: largest part of the training's own compute that measurements may cost; None for no limit.
        confidence: of the interval of the minimiser, and of the rollback.
        explore_lr: "held" keeps the seed lr during explore.
        exploit: what follows explore: "linear", straight to zero, or "saturation".

    Raises:
        SettingError: a setting is out of range; from ``init``, when the horizon is open and a setting is a part of it.
    """

    max_marks: ClassVar[int] = 2
    needs_lines: ClassVar[bool] = True

    explore: float = 0.25
    _: KW_ONLY
    lr: float | None = None
    window: int | float = 0.02
    superbatch: int = 4
    max_batches: int = 16
    saturation: float = 10.0
    step_factor: float = 1.0
    overhead: float | None = 0.03
    confidence: float = 0.9
    explore_lr: Literal["tuned", "held"] = "tuned"
    exploit: Literal["linear", "saturation"] = "linear"

    @classmethod
    def paper(
        cls, name: str = "fashion-mnist", *, optimizer: str | None = None, epochs: float | None = None
    ) -> PublishedLRTuner:
        """A published setting: a row of the papers' table of hyperparameters.

        Args:
            name: "mnist", "fashion-mnist", "cifar10", "imagenet", "iwslt" or "squad".
            optimizer: "momentum", "sgd" or "adam", which decides the seed lr; None for the row's own.
            epochs: of your training, for windows in epochs and for the size of a superbatch; None for the row's.

        Raises:
            SettingError: the papers have no such row, or do not train it with this optimizer.
        """
        return PublishedLRTuner.row(name, optimizer=optimizer, epochs=epochs)

    def __post_init__(self) -> None:
        require_each(self, _RULES)
        if self.max_batches < self.superbatch:
            raise SettingError(
                f"max_batches must be at least the superbatch, got {self.max_batches} and {self.superbatch}. Raise it."
            )

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "lr_tuner"

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> LRTunerState:
        """A step at next to no lr comes first."""
        refuse_without_end(context, explore=self.explore, window=self.window, linear=self.exploit == "linear")
        return first_state(context, lr=self.lr, window=self.window, superbatch=self.superbatch, superbatches=1)

    def ask(self, state: LRTunerState) -> Action:
        """Train, then read a Line along the last step of the window."""
        lr = state.present.lr
        match state.phase:
            case OpeningWindow() as opening:
                return Train(self._shape(state, opening), 1)
            case ReadingSuperbatch() | CheckingWindow():
                return Line((1.0,), self.superbatch)
            case MarkingWindow():
                return Mark(PLACE if state.marked else START)
            case TrainingWindow(steps) | Cruising(steps):
                return Train(constant(lr), steps, in_flight.observe_every(state, steps))
            case ReadingLine(rows):
                low, middle, high = three_factors(state.trust.radius)
                block = next_block(len(rows), self.superbatch)
                return Line((low, high) if block.outer else (low, middle, high), block.size, block.first)
            case CheckingPrediction(read, target):
                return Line((target,), len(read.rows))
            case RewindingWindow(to_start):
                return Rewind(START if to_start or not state.placed else PLACE)
            case DroppingStart():
                return Drop(START)
            case Annealing(line):
                return Train(line.shape, line.left, in_flight.observe_every(state, line.left))
            case WindowsDone():
                return Done()
        assert_never(state.phase)

    def tell(self, state: LRTunerState, observation: Observation) -> LRTunerState:
        """Note what was seen and decide."""
        after = self._told(replace(state, progress=observation.progress), observation)
        ends = after.restart is not None and after.phase == RewindingWindow()
        return restart.failed(after) if ends else after

    def _told(self, state: LRTunerState, observation: Observation) -> LRTunerState:
        match state.phase, observation:
            case (OpeningWindow() | TrainingWindow() | Cruising() | Annealing()) as phase, Trained():
                return self._trained(state, phase, observation)
            case ReadingSuperbatch(), LineLosses():
                return self._begun(state.charged(observation), observation)
            case MarkingWindow(_, then, anew), _:
                return self._marked(state, then, anew=anew)
            case CheckingWindow(), LineLosses():
                return self._checked(state.charged(observation), observation)
            case ReadingLine() as line, LineLosses():
                return self._read(state.charged(observation), line, observation)
            case CheckingPrediction() as check, LineLosses():
                return self._predicted(state.charged(observation), check, observation)
            case RewindingWindow(to_start), _:
                return self._went_back(restart.at_start(state) if to_start else state)
            case DroppingStart(), _:
                return self._train_on(replace(state, origin=None))
        raise wrong_observation(state.phase, observation)

    def replan(self, state: LRTunerState, progress: Progress) -> LRTunerState:
        """While it explores under both horizons, its window is trained to the end; what follows goes by the new.

        ``exploit="saturation"`` lays nothing out that depends on the horizon, but for the last steps.
        """
        after = replace(state, progress=progress)
        if self.exploit == "linear":
            ends, end = in_flight.window_end(state), rules.explore_end(self.explore, after.total)
            if not rules.is_exploring(self.explore, state) or max(ends, progress.step + 1) > end:
                raise StateError("LRTuner has begun its way to zero, or would have begun it under the new horizon.")
        if in_flight.is_last(state):
            raise StateError("LRTuner has begun steps that no measurement follows.")
        return after

    def explain(self, state: LRTunerState, observation: Observation, after: LRTunerState) -> Reason | None:
        """From which lr to which, and why."""
        saturates = self.exploit == "saturation" and after.present.drops
        return reason_for(
            state,
            after,
            exploring=rules.is_exploring(self.explore, state),
            worse="the loss rose",
            rate=later_rate(after.present.drops) if saturates else None,
        )

    # ------------------------------------------------------------- the window

    def _begun(self, state: LRTunerState, seen: LineLosses) -> LRTunerState:
        """A window begins here, at this loss of the superbatch."""
        level = SuperbatchLevel(tuple(row[0] for row in seen.losses), state.progress.step)
        state = replace(state, level=level)
        if not level.is_usable:
            return self._begun_without_loss(state)
        if state.guard.is_wreck(level.mean):
            return self._read_wreck(state)
        if state.restart is not None:
            # It has still to earn its mark. Till then it goes back to the beginning, and to what was known there.
            return self._train_on(state)
        guard = state.guard.opened(level.losses).after_sound(level.losses)
        return replace(state, phase=MarkingWindow(), guard=guard, watch=state.watch.opened(level.losses))

    def _begun_without_loss(self, state: LRTunerState) -> LRTunerState:
        """The loss of the superbatch is no number: whose fault is it?"""
        if state.guard.health is not None:
            return self._lost(state)
        # The first steps are all but none: what is no number after them was none before.
        state = rules.no_number(state, suspect=False)
        if state.progress.remaining and state.guard.lost >= MOST_BEFORE_SOUND:
            return replace(state, phase=Cruising(state.progress.remaining))
        return state

    def _lost(self, state: LRTunerState) -> LRTunerState:
        """The weights are no numbers, although no loss of the loop was none: the step of a Line, which has none."""
        return self._taken_back(replace(state, watch=state.watch.lost(state.present.lr)))

    def _read_wreck(self, state: LRTunerState) -> LRTunerState:
        """The superbatch says that the training is lost."""
        return self._taken_back(replace(state, watch=state.watch.wrecked(state.present.lr)))

    def _taken_back(self, state: LRTunerState) -> LRTunerState:
        """The watch says that the weights are lost: back to a mark, and to a lower lr where the lr did it."""
        if state.watch.verdict is Verdict.SPOILED:
            state = replace(state, guard=state.guard.lost_again(), tally=state.tally.plus(diverged=1))
            return rules.rewound(state, PresentLR(state.present.lr, state.present.drops))
        return rules.no_number(state, suspect=True) if state.watch.bad else self._wrecked(state)

    def _wrecked(self, state: LRTunerState) -> LRTunerState:
        """The lr is too large: back, and to a half of it; to less where it may rise again, or was lowered before."""
        may_rise = self._room(state) > 0
        taken_back = rules.diverged(state, rules.LOWER if may_rise or state.watch.falls > 1 else rules.HALVE)
        if not restart.is_possible(state, self._room(state)):
            return taken_back
        lower = taken_back.present
        return restart.begun(replace(taken_back, present=state.present), lower.lr, lower)

    def _stalled(self, state: LRTunerState) -> LRTunerState:
        """The loss does not fall as it must in the beginning: back, and a much lower lr on trial."""
        lower = rules.lowered(state.present)
        state = replace(state, tally=state.tally.plus(lowered=1))
        if restart.is_possible(state, self._room(state)):
            return restart.begun(state, lower.lr, PresentLR(state.present.lr, state.present.drops))
        return rules.rewound(state, lower)

    def _room(self, state: LRTunerState) -> float:
        """Steps left of explore after a rewind, a superbatch and another window."""
        left = rules.explore_end(self.explore, state.total) - state.progress.step
        later = replace(state, tally=state.tally.plus(forwards=self.superbatch))
        return left - 2 - self._steps_to_check(later)

    def _train_on(self, state: LRTunerState) -> LRTunerState:
        """The Train that comes next: a window, steps that no check follows, the way to zero, or nothing."""
        if not rules.is_exploring(self.explore, state):
            state = state if state.restart is None else restart.adopted(state)
            if state.origin is not None and state.placed:
                return replace(state, phase=DroppingStart())
        step, remaining = state.progress.step, state.progress.remaining
        if remaining == 0:
            return replace(state, phase=WindowsDone())
        end, window = rules.explore_end(self.explore, state.total), self._steps_to_check(state)
        if self.exploit == "linear":
            if step >= end:
                return replace(state, phase=self._to_zero(state))
            if window >= end - step:
                return replace(state, phase=Cruising(end - step))
        # A check after the last step would tell nobody anything.
        if remaining is not None and window >= remaining:
            return replace(state, phase=Cruising(remaining))
        return replace(state, phase=TrainingWindow(int(window) - 1))

    def _to_zero(self, state: LRTunerState) -> Annealing:
        """The rest of the straight line from the lr at the end of explore to zero."""
        remaining, total = state.progress.remaining, state.total
        if remaining is None or total is None:
            raise PolicyError("A decay to zero must know its last step, got an open horizon. Give total_steps.")
        span = max(remaining, total - rules.explore_end(self.explore, total))
        return Annealing(ToZero(state.present.lr * remaining / span, remaining))

    def _marked(self, state: LRTunerState, then: Phase | None, *, anew: bool) -> LRTunerState:
        """This place can be gone back to."""
        first, watch = not state.marked, state.watch.marked()
        state = replace(state, marked=True, placed=not first, marked_at=state.progress.step, watch=watch)
        state = restart.with_origin(state) if first else state
        if anew:
            return self._stalled(state)
        return self._train_on(state) if then is None else replace(state, phase=then)

    def _went_back(self, state: LRTunerState) -> LRTunerState:
        """At the last mark again. No window is measured on the way to zero, and so none is opened."""
        state = replace(state, watch=state.watch.rewound())
        if state.at_end or (self.exploit == "linear" and not rules.is_exploring(self.explore, state)):
            return self._train_on(state)
        return replace(state, phase=OpeningWindow())

    # ------------------------------------------------------ after a Train

    def _trained(self, state: LRTunerState, phase: in_flight.TrainPhase, seen: Trained) -> LRTunerState:
        """After a Train, or a look in the middle of it."""
        if state.guard.health is None and seen.stop is not None:  # nothing is known that it could be judged by
            return rules.no_number(state, suspect=not rules.is_of_sound_weights(state, seen))
        state = in_flight.watched(state, seen)
        match state.watch.verdict:
            case Verdict.FINE if not seen.finished:
                return in_flight.looked_at(state, seen, phase)
            case Verdict.SPOILED | Verdict.DYING:
                return self._taken_back(state)
            case Verdict.BAD_BATCH:
                state = replace(state, guard=state.guard.lost_again())
            case Verdict.CLEARED:
                state = in_flight.cleared(state)
                return self._train_on(state)
        return self._after_train(state, phase, seen)

    def _shape(self, state: LRTunerState, phase: in_flight.TrainPhase) -> Shape:
        """Of the Train of a phase."""
        if isinstance(phase, Annealing):
            return phase.line.shape
        opens = isinstance(phase, OpeningWindow) and state.guard.health is None
        return constant(FIRST_SHARE * state.present.lr if opens else state.present.lr)

    def _after_train(self, state: LRTunerState, phase: in_flight.TrainPhase, seen: Trained) -> LRTunerState:
        """Read the loss, or go on where nothing is to be read, or with what a loss that is no number has cut off."""
        if in_flight.ends_lost(state):  # no step is left that could tell
            return rules.rewound(state, state.present)
        if state.at_end:
            return replace(state, phase=WindowsDone())
        if isinstance(phase, OpeningWindow):
            affordable = state.tally.forwards + self.superbatch <= self._allowance(state)
            return replace(state, phase=ReadingSuperbatch()) if affordable else self._train_on(state)
        rest = in_flight.rest_of(phase, seen.steps)
        return self._train_on(state) if rest is None else replace(state, phase=rest)

    # -------------------------------- the drop rate: saturation and rollback

    def _checked(self, state: LRTunerState, seen: LineLosses) -> LRTunerState:
        """A window is over: judge the change that began it, then see whether the lr is up for another."""
        old = state.level
        assert old is not None  # a window begins with it
        new = SuperbatchLevel(tuple(row[0] for row in seen.losses), state.progress.step)
        if not new.is_usable:
            return self._lost(state)
        if state.guard.is_wreck(new.mean):
            return self._read_wreck(state)
        if state.restart is not None:
            if not restart.has_caught_up(state, new.mean):
                return restart.failed(state)
            state = restart.adopted(state)
        drop, change = old.drop_to(new), state.present.change
        fell = certainly_fell(old.losses, new.losses, confidence=self.confidence)
        if change is not None and self._fails(state, change, drop, old, new, fell=fell):
            return rules.undone(state)
        if change is not None and rules.is_lowered(self.explore, state):
            state = replace(state, guard=state.guard.capped(half_way(state.present.lr, change.lr)))
        state = replace(state, present=state.present.kept(drop), level=new, falls=state.falls + fell)
        if not fell and self._stalls(state):
            return self._stalled(state)
        state = replace(state, guard=state.guard.after_sound(new.losses).calmed())
        if self._drowns(state):
            return replace(state, phase=MarkingWindow(anew=True))
        wanted, state = self._wants_line(state)
        return replace(state, phase=ReadingLine() if wanted else MarkingWindow())

    def _fails(
        self,
        state: LRTunerState,
        change: LRChange,
        drop: LossDrop,
        old: SuperbatchLevel,
        new: SuperbatchLevel,
        *,
        fell: bool,
    ) -> bool:
        """Whether a change is not confirmed by the window after it."""
        if rules.is_lowered(self.explore, state):
            return not fell
        return certain_rollback(change.drops[-1], drop, old.losses, new.losses, confidence=self.confidence)

    def _stalls(self, state: LRTunerState) -> bool:
        """Whether the loss, which has not certainly fallen in a window, must have: in the beginning, out of scatter."""
        if self.explore_lr != "tuned" or self._room(state) <= 0 or state.falls >= CERTAIN_FALLS:
            return False
        return state.tally.lowered <= state.falls and not state.watch.scatter < _gain(state) / SIGNAL

    def _drowns(self, state: LRTunerState) -> bool:
        """Whether what was gained is hardly more than single losses scatter by, and little of it was gained just now.

        Where it is less than that nobody can tell: so it is in a fine-tuning at a good lr.
        """
        drops, scatter, gain = state.present.drops, state.watch.scatter, _gain(state)
        if len(drops) < CERTAIN_FALLS or state.tally.changes or 2 * drops[-1].fall > gain:
            return False
        possible = self.explore_lr == "tuned" and restart.is_possible(state, self._room(state))
        return possible and NOISE_ROOM * scatter <= gain < SIGNAL * scatter

    def _wants_line(self, state: LRTunerState) -> tuple[bool, LRTunerState]:
        """Explore asks where there is room for a larger lr, exploit where this one is saturated; if it can be paid."""
        affordable = self._can_afford(state, ReadingLine(), FIRST_COST)
        if rules.is_exploring(self.explore, state):
            has_room = state.guard.ceiling > ROOM * state.present.lr
            return self.explore_lr == "tuned" and has_room and affordable, state
        if self.exploit == "linear":
            return False, state
        saturated, state = rules.saturation(state, later_rate(state.present.drops), threshold=self.saturation)
        return saturated and affordable, state

    # ------------------------------------------- the parabola along the step

    def _read(self, state: LRTunerState, line: ReadingLine, seen: LineLosses) -> LRTunerState:
        """Three factors on a few batches more: hold, read more, or check the prediction where the lr would go."""
        assert state.level is not None  # its losses are those at factor 1
        rows = full_rows(seen.losses, state.level.losses, next_block(len(line.rows), self.superbatch))
        line = replace(line, rows=(*line.rows, *rows), forwards=line.forwards + forwards_of(seen))
        if not all(is_usable(loss) for row in line.rows for loss in row):
            return self._narrower(state, line)
        direction = rules.direction_of(self.explore, state)
        verdict = weigh(
            line.rows,
            three_factors(state.trust.radius),
            region(state.trust.radius, state.guard.ceiling / state.present.lr),
            direction,
            step_factor=self.step_factor,
            confidence=self.confidence,
        )
        if verdict.kind == "more" and self._may_read_more(state, line):
            return replace(state, phase=line)
        if verdict.factor == 1.0 or not self._can_afford(state, line, len(line.rows)):
            return rules.decided(state, 1.0, "uncertain" if verdict.kind == "more" else "other_way", direction)
        if verdict.limited:
            bounded = verdict.factor in rules.BOUNDS
            state = replace(state, tally=state.tally.plus(clipped=int(not bounded), bounded=int(bounded)))
        code: DecisionCode = "limited" if verdict.limited else "minimiser"
        return replace(state, phase=CheckingPrediction(line, verdict.factor, code))

    def _predicted(self, state: LRTunerState, check: CheckingPrediction, seen: LineLosses) -> LRTunerState:
        """The loss at the factor wanted: go there if the parabola had foretold it, look closer if not."""
        line = replace(check.read, forwards=check.read.forwards + forwards_of(seen))
        change = math.fsum(at[0] - row[1] for at, row in zip(seen.losses, line.rows, strict=True)) / len(line.rows)
        error = fit_line(three_factors(state.trust.radius), line.rows).prediction_error(check.target, change)
        if not is_good_enough(error):
            return self._narrower(state, line)
        state = replace(state, trust=state.trust.after(error, check.target))
        return rules.decided(state, check.target, check.code, rules.direction_of(self.explore, state))

    def _narrower(self, state: LRTunerState, line: ReadingLine) -> LRTunerState:
        """The parabola does not hold this far from the factor 1: read a narrower Line, or hold the lr."""
        state = replace(state, trust=state.trust.shrunk())
        again = ReadingLine(attempts=line.attempts + 1, forwards=line.forwards)
        if again.attempts >= MAX_ATTEMPTS or not self._can_afford(state, again, FIRST_COST):
            return rules.decided(state, 1.0, "unforeseen", rules.direction_of(self.explore, state))
        return replace(state, phase=again)

    # ------------------------------------------------------- what it may cost

    def _allowance(self, state: LRTunerState) -> float:
        """Forwards that the training may spend in all."""
        return price.allowance(self.overhead, state.total)

    def _can_afford(self, state: LRTunerState, line: ReadingLine, forwards: int) -> bool:
        """Whether so many forwards more fit into what the training may spend in all, and on one decision."""
        whole = self._allowance(state)
        return price.can_afford(whole, state.tally.forwards + forwards, line.forwards + forwards)

    def _may_read_more(self, state: LRTunerState, line: ReadingLine) -> bool:
        block = next_block(len(line.rows), self.superbatch)
        # The block, and the check of the prediction on all batches.
        cost = (2 if block.outer else 3) * block.size + len(line.rows) + block.size
        return block.first + block.size <= self.max_batches and self._can_afford(state, line, cost)

    def _steps_to_check(self, state: LRTunerState) -> float:
        """Steps to the next check: a window, or more until its cost is earned."""
        window = state.layout.window
        if self.overhead is None:
            return window
        total, end = state.total, rules.explore_end(self.explore, state.total)
        overhead = price.overhead_left(self.overhead, total)
        if self.exploit == "linear" and total is not None and end > 0:
            overhead, total, end = overhead * total / end, end, 0  # nothing is measured after explore
        spent = state.tally.forwards + self.superbatch
        due = price.affordable_step(spent, overhead=overhead, total=total, explore_end=end)
        return max(window, math.ceil(due - state.progress.step) if due < math.inf else math.inf)


def _gain(state: LRTunerState) -> float:
    """What the training has gained on the superbatch."""
    health, level = state.guard.health, state.level
    assert health is not None and level is not None  # known before the first window
    return health.start - min(health.lowest, level.mean)
