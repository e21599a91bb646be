"""Proofs, made once before something is measured: the training works, a step can be put back, it is linear in lr."""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lrpilot.core.actions import Action, Line, Trial
from lrpilot.errors import LossError, NonlinearStepError, StepError
from lrpilot.flight.substrate import STEP
from lrpilot.training.bound.batches import copy_batch
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.checks import LINEAR_OPTIMIZERS, require_lines_possible
from lrpilot.training.distributed import is_distributed, mean_over_ranks, together
from lrpilot.training.measure.probe import Probe
from lrpilot.training.measure.repeat import StepSeen, Suspects, refuse
from lrpilot.training.measure.soundness import BatchJudge
from lrpilot.training.restore.witness import checksum
from lrpilot.training.torch_private import copy_all, local_of

# Largest relative deviation from linearity in lr that float32 rounding explains.
LINEARITY_TOLERANCE = 1e-2
LINEARITY_STEPS = 4  # two brackets of two steps
PROOF_BATCHES = 2  # a step on each in either bracket
FILLING_SHARE = 1e-3  # of the lr, for the first step of each
# What is explained by kernels that add in no fixed order (on an accelerator, over ranks): of a loss, relative; and of a
# step, whose parts Adam gives the size of the lr also where a gradient is nothing but rounding.
LOSS_ROUNDING = 1e-4
STEP_ROUNDING = 0.1
ENDS = frozenset({0.0, 1.0})  # factors of a Line where the weights really were: no linearity is assumed there


class Proofs:
    """What has been proven of one training; a proof is made once, and saved with the flight.

    Attributes:
        training_works: one step has shown it.
        step_is_linear: in lr.

    Args:
        probe: takes the steps.
        judge: tells bad batches.
    """

    def __init__(self, probe: Probe, judge: BatchJudge) -> None:
        self.training_works = False
        self.step_is_linear = False
        self._probe = probe
        self._judge = judge

    def due_price(self, action: Action) -> float:
        """Forward-equivalents of the proofs that an action still needs."""
        if isinstance(action, Trial) and not self.training_works:
            return STEP if self._repeats else 2 * STEP
        if isinstance(action, Line) and not self.step_is_linear and not set(action.factors) <= ENDS:
            return LINEARITY_STEPS * STEP
        return 0.0

    @property
    def _repeats(self) -> bool:
        """Whether it has been proven, or is not to be, that a step which is put back can be taken again."""
        return self._probe.training.repeats or not self._probe.training.prove

    def require_training_works(self) -> None:
        """Prove on one batch, in a bracket, that the training works (see :meth:`lrpilot.Training.check`).

        Batches before it that give no number, where it does, are left out.
        """
        if self.training_works:
            return
        training = self._probe.training
        together(lambda: [training.probe_data.batch_size])
        while not self.training_works:
            batches = ProofBatches(training.probe_data.train.take())
            with self._probe.bracket(), self._probe.steps() as (take, counter):
                with self._noting_what_is_written():
                    loss = take(batches)
                steps = counter.steps
                batches.step_taken()
                sound = _is_sound(training, loss, steps)
                first = StepSeen.of(training, loss) if sound and not self._repeats else None
            if not sound and not self._judge.leaves_out(counter.index - 1):
                raise LossError(
                    f"The loss must be finite at the start, got {loss}. Check the data for non-finite values and the "
                    "model's initialisation."
                )
            if first is not None:
                self._require_repeat(first, batches.taken[0])
            self.training_works = sound

    @contextmanager
    def _noting_what_is_written(self) -> Iterator[None]:
        """Take note of frozen parameters that a step inside moves: a forward pass may do that, reading alone too."""
        training = self._probe.training
        trained = {id(p) for p in training.trainable_parameters}
        frozen: list[Tensor] = [] if self._repeats else [p for p in training.model.parameters() if id(p) not in trained]
        before = [checksum(p) for p in frozen]
        yield
        moved = [p for p, was in zip(frozen, before, strict=True) if checksum(p) != was]
        training.written = moved or training.written

    # ------------------------------------------------ a step can be put back

    def _require_repeat(self, first: StepSeen, batch: Any) -> None:
        """Prove that a step which has been put back is the same step again.

        Args:
            first: what it came to.
            batch: it was taken on.

        Raises:
            UnseenStateError: it is another one.
        """
        training = self._probe.training
        differences = first.differences(self._step_seen(batch))
        if any(together(lambda: [float(len(differences))])) and not self._is_rounding(batch):
            suspects = Suspects(training)
            self._step_seen(batch)
            raise refuse(differences or ["the step of another rank"], suspects.named())
        training.repeats = True

    def _step_seen(self, batch: Any) -> StepSeen:
        with self._probe.bracket(), self._probe.steps() as (take, _):
            return StepSeen.of(self._probe.training, take(iter([copy_batch(batch)])))

    def _is_rounding(self, batch: Any) -> bool:
        """Whether two steps differ by no more than kernels do that add in no fixed order."""
        if self._probe.training.device.type == "cpu" and not is_distributed():
            return False
        (one, step), (other, again) = self._step_taken(batch), self._step_taken(batch)
        scale = math.sqrt(_squares(step))
        off = math.sqrt(_squares(a - d for a, d in zip(again, step, strict=True)))
        near = abs(one - other) <= LOSS_ROUNDING * abs(one) and off <= STEP_ROUNDING * scale
        return not any(together(lambda: [float(not near)]))

    def _step_taken(self, batch: Any) -> tuple[float, list[Tensor]]:
        """The loss of a step, and the change of each parameter in double precision."""
        with self._probe.bracket(), self._probe.steps() as (take, _):
            with _copied_before_step(self._probe.training) as before:
                loss = take(iter([copy_batch(batch)]))
            return loss, _changes(self._probe.training, before)

    # ---------------------------------------------------- it is linear in lr

    def require_linear_step(self) -> None:
        """A Line means something only if the step is linear in lr: prove it once, in a bracket.

        A step that cannot be judged, for its gradients are all zero or no numbers, proves nothing: the proof waits for
        the next Line, and what this one reads is as good as the training is here.

        Raises:
            NonlinearStepError: it is not.
        """
        if self.step_is_linear:
            return
        optimizer = self._probe.training.raw_optimizer
        require_lines_possible(optimizer)
        deviation = self._nonlinearity()
        if deviation is None and any([self._judge.leaves_out(index) for index in range(PROOF_BATCHES)]):
            deviation = self._nonlinearity()
        # What is held while the Line is read is two copies of the parameters, and no more.
        self._probe.forget_snapshot()
        if deviation is None:
            return
        if not deviation <= LINEARITY_TOLERANCE:
            raise NonlinearStepError(
                "A Line needs a step that is linear in lr, but half the lr does not give half the step of "
                f"{type(optimizer).__name__} (relative deviation {deviation:.2g}). {LINEAR_OPTIMIZERS}"
            )
        self.step_is_linear = True

    def _nonlinearity(self) -> float | None:
        """Relative deviation of two half-lr steps' sum from one full step, after one step that fills the state.

        That one is taken in both, so whether it can be put back is seen on the way. None where the step cannot be
        judged.
        """
        batches = ProofBatches(self._probe.training.probe_data.train.take())
        with self._probe.bracket():
            filling, full = self._scratch_update(1.0, batches)
        with self._probe.bracket():
            again, half = self._scratch_update(0.5, ProofBatches(batches.taken))
        if filling is not None and again is not None:
            if any(together(lambda: [float(len(filling.differences(again)))])):
                self._require_repeat(self._step_seen(batches.taken[0]), batches.taken[0])
            self._probe.training.repeats = True
        if full is None or half is None:
            return None
        return _relative_nonlinearity(half, full, lr=self._probe.lrs.reference)

    def _scratch_update(self, factor: float, batches: "ProofBatches") -> tuple[StepSeen | None, list[Tensor] | None]:
        """What the first step came to, and the change of each parameter by the second one, at this factor of the lr.

        None for what is no number; and for a change of nothing, where all gradients are zero.
        """
        training, lrs = self._probe.training, self._probe.lrs
        with self._probe.steps() as (take, _):
            reference = lrs.reference
            # Buffers fill at any lr; one that is far too large would blow up the weights that the proof is made on.
            lrs.set(reference * FILLING_SHARE)
            with self._noting_what_is_written():
                loss = take(batches)
            batches.step_taken()
            seen = None if self._repeats or not math.isfinite(loss) else StepSeen.of(training, loss)
            lrs.set(reference * factor)
            with _copied_before_step(training) as before:
                take(batches)
            batches.step_taken()
        update = _changes(training, before)
        finite = all(bool(torch.isfinite(change).all()) for change in update)
        moves = before.has_gradient or any(bool(torch.any(change != 0)) for change in update)
        judged = together(lambda: [float(finite and moves)])[0] == 1.0
        return seen, update if judged else None


def _changes(training: BoundTraining, before: "_BeforeStep") -> list[Tensor]:
    """Change of each trainable parameter, as much of it as this rank has, in double precision."""
    pairs = zip(training.trainable_parameters, before.copies, strict=True)
    return [(local_of(p.detach()) - local_of(b)).double() for p, b in pairs]


class ProofBatches(Iterator[Any]):
    """Batches of a proof: the same for every step of it, also where the data is read again for every Trial.

    Attributes:
        taken: those that a step was taken on: ``step_fn`` may have skipped others.

    Args:
        batches: of the training data; each is handed out as a copy.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self.taken: list[Any] = []
        self._batches = iter(batches)
        self._last: Any = None

    def __next__(self) -> Any:
        self._last = next(self._batches)
        return copy_batch(self._last)

    def step_taken(self) -> None:
        """Note that a step was taken on the last one."""
        self.taken.append(self._last)


def _is_sound(training: BoundTraining, loss: float, steps: int) -> bool:
    """Whether the first step of a probe shows that the training works; not where its loss is no number.

    Args:
        training: after that step.
        loss: of it.
        steps: optimizer steps that it took.

    Raises:
        StepError: it took none.
        LossError: the loss depends on no trainable parameter.
    """
    if not math.isfinite(loss):
        return False
    if steps == 0 and not any(isinstance(s, torch.amp.GradScaler) for s in training.extra_state.values()):
        raise StepError(
            "step_fn must take exactly one optimizer step, got none. Call optimizer.step() in it, on the optimizer "
            'given to Training; if a GradScaler skipped the step, pass it as state={"scaler": scaler}.'
        )
    no_gradient = all(p.grad is None for p in training.trainable_parameters)
    if no_gradient and training.step_fn is None:
        raise LossError("The loss must depend on the trainable parameters, but none received a gradient.")
    return True


def _relative_nonlinearity(half: Sequence[Tensor], full: Sequence[Tensor], *, lr: float) -> float:
    """Relative deviation of twice a step at half the lr from one at the lr.

    Args:
        half: change of each parameter, in double precision.
        full: likewise, at ``lr``.
        lr: natural units; for errors.

    Raises:
        NonlinearStepError: the step moves nothing.
    """
    squares = [_squares(full), _squares(2 * h - d for h, d in zip(half, full, strict=True))]
    # Of all ranks, each of which may have another part of a parameter, or none:
    # test_distributed_kinds.py::test_every_kind_measures_what_one_process_does
    scale, off = map(math.sqrt, mean_over_ranks(squares))
    if scale == 0:
        raise NonlinearStepError(
            f"A Line needs a step that moves the weights, but a step at lr {lr:.3g} moved none. "
            "Check that the weights' precision shows so small a step."
        )
    return off / scale


def _squares(changes: Iterable[Tensor]) -> float:
    """The sum of the squares of all their entries."""
    return sum(float(change.square().sum()) for change in changes)


class _BeforeStep:
    """The trainable parameters right before an optimizer step.

    Attributes:
        copies: of them.
        has_gradient: whether any of their gradients is not zero.
    """

    def __init__(self, training: BoundTraining) -> None:
        self._training = training
        self.copies = [p.detach().clone() for p in training.trainable_parameters]
        self.has_gradient = False

    def copy_again(self, *_: Any) -> None:
        """As the optimizer's hook."""
        parameters = self._training.trainable_parameters
        copy_all(self.copies, [p.detach() for p in parameters])
        gradients = [local_of(p.grad) for p in parameters if p.grad is not None]
        self.has_gradient = any(bool(torch.any((g.coalesce().values() if g.is_sparse else g) != 0)) for g in gradients)


@contextmanager
def _copied_before_step(training: BoundTraining) -> Iterator[_BeforeStep]:
    """What there is right before the last optimizer step inside.

    Not before its forward pass, which may write into weights too (an embedding with a ``max_norm``).
    """
    before = _BeforeStep(training)
    handle = training.raw_optimizer.register_step_pre_hook(before.copy_again)
    try:
        yield before
    finally:
        handle.remove()
