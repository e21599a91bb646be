"""LiveSubstrate: a live training as the driver sees it, every measurement without a trace; and how fast it trains."""

import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Action, Average, Continue, Evaluate, Line, Trial
from lrpilot.core.codec import decode, encode
from lrpilot.core.cost import Cost
from lrpilot.core.policy import Facts
from lrpilot.core.shape import constant
from lrpilot.errors import PolicyError, StateError
from lrpilot.flight.horizon import NORM_BATCHES
from lrpilot.flight.substrate import TrialEnd, TrialSeen, price
from lrpilot.training.bound.average import FlownAverage, require_average_fits
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.facts import averages, facts_of
from lrpilot.training.bound.optimizers import ParamGroupLRs
from lrpilot.training.bound.state import SavedState
from lrpilot.training.distributed import is_distributed, mean_over_ranks, require_same_action
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.measure.evaluations import Evaluations, put_statistics
from lrpilot.training.measure.forwards import ForwardTrace
from lrpilot.training.measure.lines import Lines
from lrpilot.training.measure.meter import Meter
from lrpilot.training.measure.probe import Probe
from lrpilot.training.measure.proofs import Proofs
from lrpilot.training.measure.soundness import BatchJudge, is_sound
from lrpilot.training.measure.trials import TrialEnds, Trials
from lrpilot.training.restore.rng import kept_rng
from lrpilot.training.restore.tree import clone_tree


class LiveSubstrate:
    """Implements :class:`lrpilot.flight.substrate.Substrate` on a training.

    Attributes:
        lrs: of the training's optimizer.
        meter: what all measurements have cost.
        marks: saved states by key.
        rewinds: how often the weights have gone back to one.
        ends: of Trials that may be continued.
        proofs: what has been proven of the training.
        norm_batches: batches over which BatchNorm statistics are estimated where an average is left in the model.
        reads_are_cheap: a loss can be read at every step, for there is no device to stall and no rank to ask.

    Args:
        training: what is flown.
    """

    def __init__(self, training: BoundTraining) -> None:
        self.training = training
        self.lrs = ParamGroupLRs(training.raw_optimizer)
        self.meter = Meter()
        self.marks: dict[str, SavedState] = {}
        self.rewinds = 0
        self.ends = TrialEnds(training)
        self.norm_batches = NORM_BATCHES
        self._wish: Average | None = None  # an average that begins with the next kept step
        self._landing_price: float | None = None
        self.reads_are_cheap = training.device.type == "cpu" and not is_distributed()
        self._probe = Probe(training, self.lrs, self.meter)
        judge = BatchJudge(self._probe)
        self.proofs = Proofs(self._probe, judge)
        self._evaluations = Evaluations(training, self.meter, judge)
        self._trials = Trials(self._probe, judge, self.proofs, self._evaluations, self.ends)
        self._lines = Lines(training, self.meter, self.proofs)

    # ------------------------------------------------------------ the bill

    @property
    def cost(self) -> Cost:
        """Work and time of all measurements so far."""
        return self.meter.cost

    @cost.setter
    def cost(self, cost: Cost) -> None:
        self.meter.cost = cost

    def price(self, action: Action) -> float:
        """Forward-equivalents that an action will cost beyond kept steps, proofs that are still due included."""
        if isinstance(action, Continue):
            return self.ends.extra_price(action.key)
        reads = isinstance(action, Trial) and (action.evaluate != "no" or action.read_every is not None)
        held_out = self._evaluations.shares() if reads or isinstance(action, Evaluate) else [0.0]
        if isinstance(action, Evaluate) and self.training.average is not None:
            action = Evaluate(reestimate=True)
        return self.proofs.due_price(action) + price(
            action,
            evaluation=sum(held_out),
            evaluation_batch=held_out[0],
            reestimation=self._evaluations.reestimation_price(),
        )

    @property
    def landing_price(self) -> float:
        """Forward-equivalents that leaving the average in the model would cost now; 0 where none is flown."""
        if self.average is None:
            return 0.0
        if self._landing_price is None:  # asked at every step of a budget, and every layer is looked at
            self._landing_price = self._evaluations.reestimation_price(self.norm_batches)
        return self._landing_price

    # ------------------------------------------------------ averaged flight

    def facts(self) -> Facts:
        """What can be seen of the training; no batch is drawn and no forward pass made."""
        return facts_of(self.training)

    @property
    def average(self) -> Average | None:
        """How the next kept step is averaged; None where no average is flown."""
        flown = self.training.average
        return self._wish if flown is None else flown.settings

    def fly(self, average: Average | None) -> None:
        """Average the kept steps from now on, or land where they have been averaged until now (None).

        An average begins right before its first step: until then a loop may load other weights.

        Raises:
            PolicyError: averaged flight is not possible here.
        """
        self._require_possible(average)
        self.take_command()
        self._wish, self._landing_price = average, None
        if self.training.average is not None:
            with deferred_interrupt():
                self.forget_snapshot()
                if average is None:
                    self.training.land()
                else:
                    self.training.fly_averaged(average)

    def take_command(self) -> None:
        """Be the one whose kept steps are averaged: pilots of before may still watch the optimizer.

        test_average.py::test_a_step_is_averaged_once_whoever_else_watches_the_optimizer
        """
        self.training.commander = weakref.ref(self)

    @property
    def commands(self) -> bool:
        """Whether the kept steps are this one's: no later pilot has taken them over."""
        return self.training.commander is not None and self.training.commander() is self

    def _require_possible(self, average: Average | None) -> None:
        """Raise where a policy asks for an average that there cannot be.

        Raises:
            PolicyError: it does.
        """
        if average is not None and not averages(self.training):
            raise PolicyError(
                "An averaged flight needs an optimizer whose momentum can be set to 0 and is the same in all param "
                f"groups, and which keeps no average of its own, got {type(self.training.optimizer).__name__}. Ask for "
                "Train(average=...) or Trial(average=...) only where Context.facts.averages says so."
            )

    @contextmanager
    def averaged(self, *, charged: bool = True) -> Iterator[None]:
        """Inside, the model holds the average under BatchNorm statistics of its own; after, all that it held before.

        Args:
            charged: whether the passes that these statistics take are counted.
        """
        training, before = self.training, self.meter.cost
        if training.average is None:
            yield
            return
        with self.meter.timed():
            statistics = self._evaluations.statistics(self.norm_batches)
        if not charged:
            self.meter.cost = before
        with kept_rng(), training.judged():
            trace = ForwardTrace(training.model, training.extra_modules, training.written)
            try:
                put_statistics(statistics)
                yield
            finally:
                trace.undo()

    def land(self) -> None:
        """Leave the average in the model, under BatchNorm statistics of its own; the momentum is the user's again."""
        with self.meter.timed():
            flown = self.training.average is not None
            statistics = self._evaluations.statistics(self.norm_batches) if flown else []
            with deferred_interrupt():
                self.forget_snapshot()
                self.training.land()
                put_statistics(statistics)
                self._wish = None

    # ---------------------------------------------------------------- proofs

    def check(self) -> None:
        """Prove on one batch, in a bracket, that the training works (see :meth:`lrpilot.Training.check`)."""
        self.proofs.require_training_works()

    # ---------------------------------------------------------- kept steps

    def forget_snapshot(self) -> None:
        """The state has moved on: the next measurement takes a new snapshot."""
        self._probe.forget_snapshot()

    def before_kept_step(self) -> None:
        """Called right before a kept optimizer step."""
        # test_probe.py::test_a_measurement_goes_back_to_where_the_training_is_now, and so after a move below
        self.forget_snapshot()
        if self.commands and self.training.average is not None:
            self.training.average.meet_parameters()
        elif self.commands and self._wish is not None:
            self.training.fly_averaged(self._wish)
        self._lines.before_kept_step()

    def after_kept_step(self) -> None:
        """Called once after a kept optimizer step, and after :meth:`before_kept_step`."""
        if self.commands and self.training.average is not None:
            self.training.average.step_taken(self.lrs.reference)
        self._lines.after_kept_step()

    def read(self, losses: Sequence[Any]) -> list[float]:
        """Losses as numbers with at most one device sync, averaged over ranks with one all-reduce."""
        if self.reads_are_cheap:
            return [float(loss) for loss in losses]
        if losses and all(isinstance(loss, Tensor) for loss in losses):
            values = torch.stack([loss.detach().to(torch.float64).reshape(()) for loss in losses]).tolist()
        else:
            values = [float(loss) for loss in losses]
        return mean_over_ranks(values)

    def is_sound(self, *, by_a_batch: bool = False) -> bool:
        """Whether weights, buffers and optimizer state are numbers, by one device sync.

        Args:
            by_a_batch: and whether a batch of the probes gives a number at them; its passes are counted.
        """
        if not is_sound(self.training):
            return False
        with self.meter.timed():
            return not by_a_batch or self._lines.gives_number()

    def agree(self, action: Action) -> None:
        """Raise unless every rank takes this action."""
        require_same_action(action)

    # -------------------------------------------------------- measurements

    def trial(self, action: Trial) -> TrialSeen | None:
        """Fly a Trial and restore everything.

        Returns:
            What was seen; None where a batch was left out that gives no number at sound weights: it is to be flown
            again.

        Raises:
            PolicyError: it is to be averaged, and averaged flight is not possible here.
        """
        self._require_possible(action.average)
        return self._trials.fly(action)

    def continue_trial(self, key: str) -> TrialEnd:
        """Go to the end of a Trial that was kept."""
        # test_trial_ends.py::test_ctrl_c_while_going_on_waits_until_all_of_it_is_there
        with self.meter.timed(), deferred_interrupt():
            end = self.ends.go_on(key)
            self._wish = None
            self.forget_snapshot()
        return end

    def drop_end(self, key: str) -> None:
        """Forget the end of a Trial."""
        self.ends.drop(key)

    def evaluate(self, action: Evaluate) -> float:
        """Mean held-out loss; of the average under statistics of its own, where one is flown."""
        with self.meter.timed():
            return self._evaluations.at_rest(reestimate=action.reestimate or self.training.average is not None)

    def arm_line(self) -> None:
        """Make the next kept step the step of a Line."""
        self._lines.arm()

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        """Losses along the step of the armed Line, batches x factors, in the mode the model trains in."""
        return self._lines.read(action)

    def line_shares(self, action: Line) -> tuple[float, ...]:
        """Of the samples of all batches of a Line that has been read, those of each; empty where all have as many."""
        return self._lines.shares(action)

    def release_line(self) -> None:
        """Forget the endpoints of the last Line."""
        self._lines.release()

    # ---------------------------------------------------------------- marks

    def mark(self, key: str) -> None:
        """Remember weights and optimizer state."""
        with self.meter.timed():
            self.marks[key] = SavedState.take(self.training, self.training.snapshot_device)

    def rewind(self, key: str) -> None:
        """Go back to a mark."""
        self.rewinds += 1
        with self.meter.timed():
            self.marks[key].rewind(self.training)
        self._wish = None
        self.forget_snapshot()

    def drop(self, key: str) -> None:
        """Forget a mark."""
        del self.marks[key]

    # ---------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """What it holds and has proven, as ``torch.load(weights_only=True)`` accepts it; its cost is the flight's."""
        self.lrs.meet_new_groups()
        return {
            "proven": [self.proofs.training_works, self.proofs.step_is_linear],
            "ratios": list(self.lrs.ratios),
            "line": self._lines.before,
            "marks": {key: mark.saved for key, mark in self.marks.items()},
            "ends": self.ends.state_dict(),
            "average": None if self.training.average is None else clone_tree(self.training.average.tree()),
            "wish": encode(self._wish),
            "left_out": [[*of.places, of.known] for of in (self.training.left_out, self.training.left_out_held)],
        }

    def require_fits(self, saved: dict[str, Any]) -> None:
        """Raise unless a saved state is one of this training; nothing is written.

        Raises:
            StateError: it has other param groups, or its marks, ends or Line other tensors.
        """
        self.lrs.meet_new_groups()
        if len(saved["ratios"]) != len(self.lrs.ratios):
            raise StateError(
                f"A pilot state must be resumed on as many param groups as it was saved on, saved were "
                f"{len(saved['ratios'])}, got {len(self.lrs.ratios)}."
            )
        for kept in [*saved["marks"].values(), *(end["state"] for end in saved["ends"]["held"].values())]:
            SavedState(kept).require_fits(self.training)
        shapes = [p.shape for p in self.training.trainable_parameters]
        if saved["line"] is not None and [p.shape for p in saved["line"]] != shapes:
            raise StateError("A pilot state must be resumed on the model it was saved on, got other parameter shapes.")
        require_average_fits(self.training.raw_optimizer, saved["average"])

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; no lr is written."""
        self.lrs.meet_new_groups()
        self.lrs.ratios = list(saved["ratios"])
        self.marks = {key: SavedState(kept) for key, kept in saved["marks"].items()}
        self._lines.resume(saved["line"])
        self.ends.load_state_dict(saved["ends"])
        self.proofs.training_works, self.proofs.step_is_linear = saved["proven"]
        average = saved["average"]
        optimizer = self.training.raw_optimizer
        self.training.average = None if average is None else FlownAverage.from_tree(optimizer, clone_tree(average))
        self._wish = decode(saved["wish"])
        for of, (*places, known) in zip(
            (self.training.left_out, self.training.left_out_held), saved["left_out"], strict=True
        ):
            of.places, of.known = places, known
        self.forget_snapshot()


CALIBRATION_STEPS = 10
FASTEST = 1e-6  # seconds per step that a clock can tell from none


def seconds_per_step(training: BoundTraining) -> tuple[float, Cost]:
    """The pace of training, and what it cost to measure it; everything is put back."""
    substrate = LiveSubstrate(training)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        while substrate.trial(Trial(constant(substrate.lrs.reference), steps)) is None:
            start = time.perf_counter()
        return time.perf_counter() - start

    seconds(1)  # the first step of a process pays for warming up
    bracket = seconds(1)  # snapshot, restore, and one step
    pace = (seconds(1 + CALIBRATION_STEPS) - bracket) / CALIBRATION_STEPS
    return max(pace, FASTEST), substrate.cost
