"""LiveSubstrate: a live training as the driver sees it, every measurement without a trace; and how fast it trains."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Action, Continue, Evaluate, Line, Trial
from lrpilot.core.cost import Cost
from lrpilot.core.shape import constant
from lrpilot.errors import StateError
from lrpilot.flight.substrate import TrialEnd, TrialSeen, price
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.optimizers import ParamGroupLRs
from lrpilot.training.bound.state import SavedState
from lrpilot.training.distributed import is_distributed, mean_over_ranks, require_same_action
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.measure.evaluations import Evaluations
from lrpilot.training.measure.lines import Lines
from lrpilot.training.measure.meter import Meter
from lrpilot.training.measure.probe import Probe
from lrpilot.training.measure.proofs import Proofs
from lrpilot.training.measure.trials import TrialEnds, Trials


class LiveSubstrate:
    """Implements :class:`lrpilot.flight.substrate.Substrate` on a training.

    Attributes:
        lrs: of the training's optimizer.
        meter: what all measurements have cost.
        marks: saved states by key.
        ends: of Trials that may be continued.
        proofs: what has been proven of the training.
        reads_are_cheap: a loss can be read at every step, for there is no device to stall and no rank to ask.

    Args:
        training: what is flown.
    """

    def __init__(self, training: BoundTraining) -> None:
        self.training = training
        self.lrs = ParamGroupLRs(training.raw_optimizer)
        self.meter = Meter()
        self.marks: dict[str, SavedState] = {}
        self.ends = TrialEnds(training)
        self.reads_are_cheap = training.device.type == "cpu" and not is_distributed()
        self._probe = Probe(training, self.lrs, self.meter)
        self.proofs = Proofs(self._probe)
        self._evaluations = Evaluations(training, self.meter)
        self._trials = Trials(self._probe, self.proofs, self._evaluations, self.ends)
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
        return self.proofs.due_price(action) + price(
            action,
            evaluation=sum(held_out),
            evaluation_batch=held_out[0],
            reestimation=self._evaluations.reestimation_price,
        )

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
        self._lines.before_kept_step()

    def after_kept_step(self) -> None:
        """Called once after a kept optimizer step, and after :meth:`before_kept_step`."""
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

    def agree(self, action: Action) -> None:
        """Raise unless every rank takes this action."""
        require_same_action(action)

    # -------------------------------------------------------- measurements

    def trial(self, action: Trial) -> TrialSeen:
        """Fly a Trial and restore everything."""
        return self._trials.fly(action)

    def continue_trial(self, key: str) -> TrialEnd:
        """Go to the end of a Trial that was kept."""
        # test_trial_ends.py::test_ctrl_c_while_going_on_waits_until_all_of_it_is_there
        with self.meter.timed(), deferred_interrupt():
            end = self.ends.go_on(key)
            self.forget_snapshot()
        return end

    def drop_end(self, key: str) -> None:
        """Forget the end of a Trial."""
        self.ends.drop(key)

    def evaluate(self, action: Evaluate) -> float:
        """Mean held-out loss."""
        with self.meter.timed():
            return self._evaluations.judge(reestimate=action.reestimate)

    def arm_line(self) -> None:
        """Make the next kept step the step of a Line."""
        self._lines.arm()

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        """Losses along the step of the armed Line, batches x factors, in the mode the model trains in."""
        return self._lines.read(action)

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
        with self.meter.timed():
            self.marks[key].rewind(self.training)
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

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; no lr is written."""
        self.lrs.meet_new_groups()
        self.lrs.ratios = list(saved["ratios"])
        self.marks = {key: SavedState(kept) for key, kept in saved["marks"].items()}
        self._lines.resume(saved["line"])
        self.ends.load_state_dict(saved["ends"])
        self.proofs.training_works, self.proofs.step_is_linear = saved["proven"]


CALIBRATION_STEPS = 10
FASTEST = 1e-6  # seconds per step that a clock can tell from none


def seconds_per_step(training: BoundTraining) -> tuple[float, Cost]:
    """The pace of training, and what it cost to measure it; everything is put back."""
    substrate = LiveSubstrate(training)

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        substrate.trial(Trial(constant(substrate.lrs.reference), steps))
        return time.perf_counter() - start

    seconds(1)  # the first step of a process pays for warming up
    bracket = seconds(1)  # snapshot, restore, and one step
    pace = (seconds(1 + CALIBRATION_STEPS) - bracket) / CALIBRATION_STEPS
    return max(pace, FASTEST), substrate.cost
