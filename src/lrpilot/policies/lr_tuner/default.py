"""LRTuner, first published as AutoLR: the lr that a parabola along the optimizer's own step asks for.

Sources: "AutoLR: A Method for Automatic Tuning of Learning Rate" and "LRTuner: A Learning Rate Tuner for Deep Neural
Networks" (Iyer et al.). After every window of steps the loss is read at several factors of the step just taken, on
the same batches; the minimum of the parabola through them is the lr wanted. *Explore* accepts increases only.
*Exploit* accepts decreases only, and asks only when the present lr is saturated: when the loss of a superbatch falls
much more slowly than when this lr began. A change after which the loss falls more slowly is rolled back, weights and
all.

What the papers leave open, and what was chosen:

* Positions of the 5 factors: 0.5, 0.75, 1, 1.25, 1.5. Where the parabola has no minimum: the best of them.
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

from dataclasses import KW_ONLY, replace
from typing import ClassVar, Literal, TypeVar

from lrpilot.core.actions import Action, Done, Line, LineLosses, Mark, Observation, Rewind, Train, Trained
from lrpilot.core.codec import record
from lrpilot.core.policy import Context, Policy, not_asked_for
from lrpilot.core.reason import Reason
from lrpilot.core.shape import constant, ramp
from lrpilot.errors import PolicyError, SettingError
from lrpilot.policies.lr_tuner import moves
from lrpilot.policies.lr_tuner.paper import paper_row, seed_lr
from lrpilot.policies.lr_tuner.plan import check_settings, explore_end, go_on, open_flight
from lrpilot.policies.lr_tuner.reading import next_block, three_factors
from lrpilot.policies.lr_tuner.reasons import explain
from lrpilot.policies.lr_tuner.rules import PAPER_FACTORS
from lrpilot.policies.lr_tuner.state import LRTunerState

PLACE = "window"
# The default's first two steps are taken at this part of the seed lr, to have a place to go back to from one that is
# far too large. A Mark before the first step would do as well, but for a user's own loop, which has begun by then.
FIRST_SHARE = 1e-3
Seen = TypeVar("Seen")


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
    | rewind, undo or halve lr | the loss is no number | also where much of the gain is lost (``core.health``) |

    An increase needs a certain sign. A decrease at saturation follows the estimate where no more batches can be had. An
    lr that failed is not reached again, only half way in
    log lr. Two steps at a thousandth of the seed lr come first, to have sound weights to go back to.

    Cost of a published window, in forwards: 600 in explore, 200 in exploit, 600 where it decides. Default: 4, and 6
    to 60 more where it decides. In a training of 1,000 steps explore has room for eight decisions (four where exploit
    has a half of it), each of which triples the lr at most: a seed lr far more than fiftyfold too small stays so.

    Attributes:
        explore: part of the training that accepts increases, in [0, 1]; 0 is the papers' "no explore".
        lr: seed lr, natural units; None for the lr the optimizer was built with.
        window: steps between two decisions: an int >= 2, or a part of the training in (0, 1).
        superbatch: batches on which drop rates are read.
        max_batches: most batches of a decision; the published setting reads a superbatch.
        saturation: drop rate when an lr began ÷ drop rate now beyond which it is saturated, > 1.
        clip: r of the published |ε|³ < r·L(θ), which also selects the other published rules; None for the default.
        step_factor: σ: the lr aims at σ times the minimiser of the line. 1 is the minimiser, which is known to be
            timid.
        overhead: largest part of the training's own compute that measurements may cost; None for no limit.
        confidence: of the default's interval of the minimiser, and of its rollback.
        explore_lr: "held" keeps the seed lr during explore.
        exploit: what follows explore: "linear", straight to zero, or "saturation".
        epochs: passes over the data in the whole training, where known; limits the published superbatch to one.

    Raises:
        SettingError: a setting is out of range; from ``init``, when the horizon is open and a setting is a part of it.
    """

    max_marks: ClassVar[int] = 1
    needs_lines: ClassVar[bool] = True

    explore: float = 0.25
    _: KW_ONLY
    lr: float | None = None
    window: int | float = 0.02
    superbatch: int = 4
    max_batches: int = 16
    saturation: float = 10.0
    clip: float | None = None
    step_factor: float = 1.0
    overhead: float | None = 0.03
    confidence: float = 0.9
    explore_lr: Literal["tuned", "held"] = "tuned"
    exploit: Literal["linear", "saturation"] = "linear"
    epochs: float | None = None

    @classmethod
    def paper(
        cls, name: str = "fashion-mnist", *, optimizer: str | None = None, epochs: float | None = None
    ) -> "LRTuner":
        """A published setting: a row of the papers' table of hyperparameters.

        Args:
            name: "mnist", "fashion-mnist", "cifar10", "imagenet", "iwslt" or "squad".
            optimizer: "momentum", "sgd" or "adam", which decides the seed lr; None for the row's own.
            epochs: of your training, for windows in epochs and for the size of a superbatch; None for the row's.

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
            overhead=None,
            exploit="saturation",
            epochs=epochs,
        )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def published(self) -> bool:
        """Whether the published rules hold."""
        return self.clip is not None

    @property
    def name(self) -> str:
        """Name in histories and reports."""
        return "lr_tuner_paper" if self.published else "lr_tuner"

    # ------------------------------------------------------------ the policy

    def init(self, context: Context) -> LRTunerState:
        """A step at the seed lr comes first."""
        return open_flight(self, context)

    def ask(self, state: LRTunerState) -> Action:
        """Train, then read a Line along the last step of the window."""
        match state.stage:
            case "open" if state.health is None and not self.published:
                return Train(constant(FIRST_SHARE * state.lr), state.steps)
            case "open" | "train" | "cruise":
                return Train(constant(state.lr), state.steps)
            case "anneal":
                return self._anneal(state)
            case "mark":
                return Mark(PLACE)
            case "rewind":
                return Rewind(PLACE)
            case "done":
                return Done()
            case _:
                return self._line(state)

    def _line(self, state: LRTunerState) -> Line:
        superbatch = state.superbatch * (0 if state.level is None else state.level.index)
        if state.stage in ("level", "check"):
            return Line((1.0,), state.superbatch, superbatch)
        if self.published:
            return Line(PAPER_FACTORS, state.superbatch, superbatch)
        if state.stage == "predict" and state.line.target is not None:
            return Line((state.line.target,), len(state.line.rows))
        low, middle, high = three_factors(state.trust.radius)
        block = next_block(len(state.line.rows), state.superbatch)
        return Line((low, high) if block.outer else (low, middle, high), block.size, block.first)

    def _anneal(self, state: LRTunerState) -> Train:
        """The rest of the straight line from the lr at the end of explore to zero."""
        remaining, total = state.remaining, state.total
        if remaining is None or total is None:
            raise PolicyError("A decay to zero must know its last step, got an open horizon. Give total_steps.")
        span = max(remaining, total - explore_end(self, state))
        return Train(ramp(state.lr * remaining / span, 0.0, remaining), remaining)

    def tell(self, state: LRTunerState, observation: Observation) -> LRTunerState:
        """Note what was seen and decide."""
        progress = observation.progress
        state = replace(state, step=progress.step, remaining=progress.remaining)
        match state.stage:
            case "mark":
                return go_on(self, replace(state, marked=True))
            case "rewind":
                return replace(state, stage="open" if state.remaining != 0 else "done")
            case "open" | "train" | "cruise" | "anneal":
                return moves.trained(self, state, _expect(observation, Trained))
        seen = _expect(observation, LineLosses)
        state = moves.charged(state, seen)
        match state.stage:
            case "level":
                return moves.levelled(self, state, seen)
            case "check":
                return moves.checked(self, state, seen)
            case "predict":
                return moves.predicted(self, state, seen)
            case "line" if self.published:
                return moves.read_published(self, state, seen)
            case "line":
                return moves.read_block(self, state, seen)
        raise PolicyError(f"LRTuner must not be told of anything after Done, got {type(observation).__name__}.")

    def explain(self, state: LRTunerState, observation: Observation, after: LRTunerState) -> Reason | None:
        """From which lr to which, and why."""
        return explain(self, state, after)


def _expect(observation: Observation, kind: type[Seen]) -> Seen:
    if not isinstance(observation, kind):
        raise not_asked_for("LRTuner", observation, asked_for=kind.__name__)
    return observation
