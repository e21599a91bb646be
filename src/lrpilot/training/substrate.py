"""LiveSubstrate: a live training as the driver sees it. Every measurement leaves no trace."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Action, Continue, Evaluate, Line, Trial
from lrpilot.core.cost import Cost
from lrpilot.core.stop import StopState, check_stop
from lrpilot.errors import NonlinearStepError, StateError, StepError
from lrpilot.flight.price import price
from lrpilot.flight.substrate import TrialEnd, TrialSeen
from lrpilot.training.checks import (
    LINEAR_OPTIMIZERS,
    explain_refused_gradients,
    relative_nonlinearity,
    require_lines_possible,
    require_sound,
)
from lrpilot.training.data import copy_batch, count_samples
from lrpilot.training.distributed import is_distributed, mean_over_ranks, require_same_action, together
from lrpilot.training.evaluation import live_batch_norms, mean_loss, pure_forward, pure_forwards, reestimate_batch_norm
from lrpilot.training.interrupts import deferred_interrupt
from lrpilot.training.line import LineEndpoints
from lrpilot.training.meter import Meter
from lrpilot.training.param_groups import ParamGroupLRs
from lrpilot.training.rng import kept_rng, seed_rng
from lrpilot.training.snapshot import Mark, Snapshot, clear_gradients
from lrpilot.training.training import Training
from lrpilot.training.trial import RunningAverage, StepCounter, copied_before_step, counted_steps
from lrpilot.training.trial_ends import TrialEnds

# Batches over which BatchNorm statistics are re-estimated before a Trial is judged.
BATCH_NORM_BATCHES = 16
# Largest relative deviation from linearity in lr that float32 rounding explains.
LINEARITY_TOLERANCE = 1e-2
LINE_CHECK_STEPS = 4  # two brackets of two steps
FILLING_SHARE = 1e-3  # of the lr, for the first step of each
STEP = 3.0  # forward-equivalents of a training step
ENDS = frozenset({0.0, 1.0})  # factors of a Line at which no linearity is assumed


class LiveSubstrate:
    """Implements :class:`lrpilot.flight.flight.Substrate` on a :class:`Training`.

    Args:
        training: what is flown.
    """

    def __init__(self, training: Training) -> None:
        self.training = training
        self.lrs = ParamGroupLRs(training.raw_optimizer)
        self.meter = Meter()
        self.marks: dict[str, Mark] = {}
        self.ends = TrialEnds(training)
        # A loss can be read at every step where there is no device to stall and no rank to ask.
        self.reads_are_cheap = training.device.type == "cpu" and not is_distributed()
        self._snapshot: Snapshot | None = None
        self._endpoints: LineEndpoints | None = None
        self._armed = False
        self._line_checked = False
        self._checked = False

    @property
    def proven(self) -> list[bool]:
        """Whether the training and the linearity of its step have been proven; part of a checkpoint."""
        return [self._checked, self._line_checked]

    @proven.setter
    def proven(self, proven: Sequence[bool]) -> None:
        self._checked, self._line_checked = proven

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
        proofs = 0.0
        if isinstance(action, Trial) and not self._checked:
            proofs = STEP
        if isinstance(action, Line) and not self._line_checked and not set(action.factors) <= ENDS:
            proofs = LINE_CHECK_STEPS * STEP
        reads = isinstance(action, Trial) and (action.evaluate != "no" or action.read_every is not None)
        held_out = [0.0]
        if reads or isinstance(action, Evaluate):
            with self.training.as_probe(), kept_rng():
                held_out = self.training.probe_data.held_out_shares
        reestimation = float(BATCH_NORM_BATCHES) if live_batch_norms(self.training.model) else 0.0
        return proofs + price(action, evaluation=sum(held_out), evaluation_batch=held_out[0], reestimation=reestimation)

    # ------------------------------------------------------------- brackets

    @contextmanager
    def _bracket(self) -> Iterator[None]:
        """Everything inside is undone, whatever happens.

        The snapshot is kept until the next kept step: further Trials of a search start from the same state.
        """
        if self._snapshot is None:
            self._snapshot = Snapshot(self.training, self.training.snapshot_device)
        reference = self.lrs.reference
        with self.training.as_probe():
            try:
                with self.meter.timed():
                    yield
            finally:
                with deferred_interrupt():
                    self._snapshot.restore()
                    self.lrs.rebind(reference)

    def forget_snapshot(self) -> None:
        """The state has moved on: the next bracket takes a new snapshot."""
        self._snapshot = None

    def _prepare_trial(self, first: int = 0) -> None:
        training = self.training
        if not training.model.training:
            # Handed over in eval mode (transformers' from_pretrained does): a loop would call train() first.
            training.model.train()
        clear_gradients(training)
        seed_rng(training.seed + first)
        self.meter.training_batch_size(training.probe_data.batch_size)

    # --------------------------------------------------------------- trials

    def check(self) -> None:
        """Prove on one batch, in a bracket, that the training works (see :meth:`Training.check`)."""
        if self._checked:
            return
        together(lambda: [self.training.probe_data.batch_size])
        with self._bracket(), counted_steps(self.training) as counter:
            self._prepare_trial()
            loss = self._one_step(self.training.probe_data.train.take(1), counter)
            require_sound(self.training, loss, counter.steps)
        self._checked = True

    def _one_step(self, batches: Iterator[Any], counter: StepCounter) -> float:
        """One training step of a probe on the next batch, shared over ranks; the loss as a number."""
        counter.steps = counter.skipped = 0

        def step() -> list[float]:
            batch = next(batches)
            samples = count_samples(batch)
            try:
                # A loop may call pilot.step() where gradients are off (a callback under no_grad).
                with torch.enable_grad():
                    loss = float(self.training.step(batch))
            except RuntimeError as error:
                refused = explain_refused_gradients(error, self.training.raw_optimizer)
                if refused is None:
                    raise
                raise refused from error
            self.meter.add(samples, forwards=1, backwards=1)
            counter.require_at_most_one()
            self.lrs.check_unchanged()
            return [loss]

        return together(step)[0]

    def trial(self, action: Trial) -> TrialSeen:
        """Fly a Trial and restore everything."""
        self.check()
        self.meter.count(trials=1)
        with self._bracket():
            average = RunningAverage(self.training.trainable_parameters) if action.evaluate == "average" else None
            seen, end = self._fly(action, average)
            if seen.stop is None and action.keep is not None:
                self.ends.hold(action.keep, end, action.first + action.steps)
            if seen.stop is not None or action.evaluate == "no":
                return seen
            if average is not None:
                average.apply()
            return seen._replace(held_out=self._judge(reestimate=True))

    def _fly(self, action: Trial, average: RunningAverage | None) -> tuple[TrialSeen, TrialEnd]:
        """What was seen but for the judgement, and the end; of a GradScaler's skipped steps that has nothing."""
        began, first = time.perf_counter(), self.ends.passed + action.first
        self._prepare_trial(first)
        losses: list[float] = []
        readings: list[float] = []
        taken: list[int] = []
        cost, rules, stop = Cost(), StopState(), None
        batches = self.training.probe_data.train.take(action.steps, first=first)
        with counted_steps(self.training) as counter:
            for i in range(action.steps):
                self.lrs.set(action.shape(i))
                before = self.cost
                losses.append(self._one_step(batches, counter))
                self.meter.count(trial_steps=1)
                if counter.steps > counter.skipped:
                    taken.append(i)
                    cost += self.cost - before
                rules, stop = check_stop(action.stop, rules, losses[-1])
                if stop is not None:
                    break
                if action.read_every is not None and (i + 1) % action.read_every == 0:
                    # A measurement of its own: no part of what becomes of the Trial where it is continued.
                    paused = time.perf_counter()
                    readings.append(self._judge(reestimate=False, batches=1))
                    began += time.perf_counter() - paused
                if average is not None and i >= action.steps // 2:
                    average.add()
        cost += Cost(seconds=time.perf_counter() - began)
        lrs = tuple(float(action.shape(i)) for i in taken)
        seen = TrialSeen(tuple(losses), None, stop, tuple(readings))
        return seen, TrialEnd(lrs, tuple(losses[i] for i in taken), cost)

    def continue_trial(self, key: str) -> TrialEnd:
        """Go to the end of a Trial that was kept."""
        with self.meter.timed(), deferred_interrupt():
            end = self.ends.go_on(key)
            self.forget_snapshot()
        return end

    def drop_end(self, key: str) -> None:
        """Forget the end of a Trial."""
        self.ends.drop(key)

    # ----------------------------------------------------------- evaluation

    def evaluate(self, action: Evaluate) -> float:
        """Mean held-out loss."""
        with self.meter.timed():
            return self._judge(reestimate=action.reestimate)

    def _judge(self, *, reestimate: bool, batches: int | None = None) -> float:
        self.meter.count(evaluations=1)
        return together(lambda: [self._held_out_loss(reestimate=reestimate, batches=batches)])[0]

    def _held_out_loss(self, *, reestimate: bool, batches: int | None) -> float:
        """This rank's mean held-out loss, on the first ``batches`` (None: all of them)."""
        training = self.training
        self.meter.training_batch_size(training.probe_data.batch_size)
        with training.as_probe(), pure_forward(training.model, training.seed, training.extra_modules):
            if reestimate:
                self._reestimate()
            training.model.eval()
            held_out = map(training.move, training.probe_data.held_out(batches))
            loss, samples = mean_loss(held_out, training.loss, count_samples)
        for count in samples:
            self.meter.add(count, forwards=1)
        return loss

    def _reestimate(self) -> None:
        if not self.training.model.training:
            self.training.model.train()
        if not live_batch_norms(self.training.model):
            return
        batches = [self.training.move(batch) for batch in self.training.probe_data.train.take(BATCH_NORM_BATCHES)]
        samples = [count_samples(batch) for batch in batches]
        reestimate_batch_norm(self.training.model, batches, self.training.loss)
        for count in samples:
            self.meter.add(count, forwards=1)

    # ---------------------------------------------------------------- lines

    def arm_line(self) -> None:
        """The next kept step is the step of a Line: the pre-hook copies the parameters before it."""
        self._armed = True
        self._endpoints = None

    def before_kept_step(self) -> None:
        """Called right before a kept optimizer step."""
        self.forget_snapshot()
        if self._armed:
            self._endpoints = LineEndpoints(self.training.trainable_parameters)

    def after_kept_step(self) -> None:
        """Called once after a kept optimizer step."""
        self.forget_snapshot()
        if self._armed and self._endpoints is not None:
            self._endpoints.step_taken()
            self._armed = False

    def line(self, action: Line) -> tuple[tuple[float, ...], ...]:
        """Losses along the step of the armed Line, batches x factors, in the mode the model trains in."""
        endpoints = self._endpoints
        if endpoints is None:
            raise StepError("A Line is read after a step, but none was taken since it was armed.")
        if not set(action.factors) <= ENDS:  # where the weights really were, whatever the optimizer
            self._require_linear_step()
        self.meter.count(lines=1)
        width = len(action.factors)

        def read() -> list[float]:
            batches = list(self.training.probe_data.train.take(action.batches, first=action.first))
            table = endpoints.read(action.factors, lambda: self._pure_losses(batches, action.first))
            return [loss for row in table for loss in row]

        with self.meter.timed():
            losses = together(read, width * action.batches)
        return tuple(tuple(losses[i : i + width]) for i in range(0, len(losses), width))

    def _pure_losses(self, batches: Sequence[Any], first: int) -> list[float]:
        """One loss per batch, the first of index ``first``; a batch has the same dropout masks in every call."""
        losses = []
        with pure_forwards(self.training.model, self.training.extra_modules) as begin:
            for i, batch in enumerate(batches, start=first):
                own = self.training.move(copy_batch(batch))
                begin(self.training.seed + i)
                losses.append(self.training.loss(own).detach())
                self.meter.add(count_samples(batch), forwards=1)
        return [float(x) for x in torch.stack(losses).tolist()]

    def release_line(self) -> None:
        """Forget the endpoints of the last Line."""
        self._endpoints = None
        self._armed = False

    def line_state(self) -> list[Tensor] | None:
        """The parameters before the step of a Line that is due, for a checkpoint; None if there is none."""
        return None if self._endpoints is None or self._armed else self._endpoints.before

    def load_line_state(self, before: Sequence[Tensor] | None) -> None:
        """Go on with a Line whose step was taken before the checkpoint; the parameters after it are the live ones."""
        if before is not None:
            self._endpoints = LineEndpoints(self.training.trainable_parameters, before)
            self._armed = False

    def _require_linear_step(self) -> None:
        """A Line means something only if the step is linear in lr: prove it once, in a bracket."""
        if self._line_checked:
            return
        require_lines_possible(self.training.raw_optimizer)
        name = type(self.training.raw_optimizer).__name__
        deviation = self._nonlinearity()
        self.forget_snapshot()  # what is held while the Line is read is two copies of the parameters, and no more
        if not deviation <= LINEARITY_TOLERANCE:
            raise NonlinearStepError(
                f"A Line needs a step that is linear in lr, but half the lr does not give half the step of {name} "
                f"(relative deviation {deviation:.2g}). {LINEAR_OPTIMIZERS}"
            )
        self._line_checked = True

    def _nonlinearity(self) -> float:
        """Relative deviation of two half-lr steps' sum from one full step, after one step that fills the state."""
        with self._bracket():
            full = self._scratch_update(1.0)
        with self._bracket():
            half = self._scratch_update(0.5)
        return relative_nonlinearity(half, full, lr=self.lrs.reference)

    def _scratch_update(self, factor: float) -> list[Tensor]:
        training = self.training
        self._prepare_trial()
        batches = training.probe_data.train.take(2)
        reference = self.lrs.reference
        with counted_steps(training) as counter:
            # Buffers fill at any lr; one that is far too large would blow up the weights that the proof is made on.
            self.lrs.set(reference * FILLING_SHARE)
            self._one_step(batches, counter)
            self.lrs.set(reference * factor)
            with copied_before_step(training) as before:
                self._one_step(batches, counter)
        return [(p.detach() - b).double() for p, b in zip(training.trainable_parameters, before, strict=True)]

    # ---------------------------------------------------------------- marks

    def mark(self, key: str) -> None:
        """Remember weights and optimizer state."""
        with self.meter.timed():
            self.marks[key] = Mark.take(self.training, self.training.snapshot_device)

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
            "proven": self.proven,
            "ratios": list(self.lrs.ratios),
            "line": self.line_state(),
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
            Mark(kept).require_fits(self.training)
        shapes = [p.shape for p in self.training.trainable_parameters]
        if saved["line"] is not None and [p.shape for p in saved["line"]] != shapes:
            raise StateError("A pilot state must be resumed on the model it was saved on, got other parameter shapes.")

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; no lr is written."""
        self.lrs.meet_new_groups()
        self.lrs.ratios = list(saved["ratios"])
        self.marks = {key: Mark(kept) for key, kept in saved["marks"].items()}
        self.load_line_state(saved["line"])
        self.ends.load_state_dict(saved["ends"])
        self.proven = list(saved["proven"])

    # --------------------------------------------------------------- sharing

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
