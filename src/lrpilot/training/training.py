"""Training: what the user binds, and what can be asked of it before anything is flown."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lrpilot.core.actions import Evaluate
from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.sources import Data
from lrpilot.training.measure.substrate import LiveSubstrate


class Training(BoundTraining):
    """The one thing that is trained, measured and moved.

    Construction reads nothing and changes nothing: data is not iterated, no forward pass is made.

    Args:
        model: the module to train, on its device.
        optimizer: its optimizer; wrappers (Accelerate, Lightning) are looked through.
        loss_fn: ``loss_fn(model, batch)`` -> scalar tensor, the mean over the batch. None means
            ``model(**batch).loss``.
        train_data: re-iterable of batches (a list, a DataLoader), or a zero-argument callable
            returning an iterable. Your own loop's iteration of it is never touched.
        val_data: likewise. Without it held-out loss is read on reserved training batches that Trials
            skip, and results say so.
        step_fn: ``step_fn(batch)`` -> loss, exactly one optimizer step as your loop takes it (none if
            the scaler skips): for AMP, clipping, accumulation, several losses.
        state: further things that training changes, by name: scaler, EMA, scheduler; anything with
            ``state_dict`` and ``load_state_dict``, or a ``torch.Generator``. Restored with the rest.
        device: where batches go; None means the device of the first parameter.
        seed: decides the batches and the randomness of probes. The same seed, the same answer.
        eval_batches: most batches of an evaluation of held-out loss; None for all of ``val_data``.
        snapshot_device: where Trials keep their copy of the state; None means where the state lives.
        prove: once, before the first measurement, a step is taken, put back and taken again on the same batch. If it
            is another step then, something keeps state that is not put back, and an
            :class:`~lrpilot.errors.UnseenStateError` names it. It costs one training step. False leaves it out.

    Raises:
        ModelError: nothing trainable, or the optimizer steps another model.
        OptimizerError: the optimizer needs a closure, or has no positive lr.
        DataError: data that cannot be read a second time.
        SettingError: any other argument out of its range.
    """

    @classmethod
    def from_criterion(
        cls,
        model: nn.Module,
        optimizer: Any,
        criterion: Callable[[Any, Any], Tensor],
        train_data: Data,
        val_data: Data | None = None,
        **options: Any,
    ) -> "Training":
        """A training of ``criterion(model(inputs), targets)`` on batches of (inputs, targets).

        Args:
            model: as for :class:`Training`.
            optimizer: as for :class:`Training`.
            criterion: ``criterion(output, targets)`` -> scalar tensor. If it is a module with parameters or
                buffers of its own, they are restored with the rest.
            train_data: batches ``(inputs, targets)``.
            val_data: likewise.
            **options: the keyword arguments of :class:`Training`.
        """

        def loss_fn(model: nn.Module, batch: Any) -> Tensor:
            inputs, targets = batch
            return criterion(model(inputs), targets)

        if isinstance(criterion, nn.Module) and criterion.state_dict():
            options["state"] = {"criterion": criterion, **(options.get("state") or {})}
        return cls(model, optimizer, loss_fn, train_data, val_data, **options)

    def evaluate(self) -> float:
        """Held-out loss now, with the model in eval mode; nothing is changed.

        The mean over ``val_data`` (at most ``eval_batches`` of it), or over the reserved training batches.
        """
        return LiveSubstrate(self).evaluate(Evaluate())

    def check(self) -> None:
        """Prove on one batch that this training works, and put everything back.

        One step is taken in a bracket: the loss is a finite scalar that depends on the parameters, the
        step is one optimizer step, and the optimizer accepts the gradients. It is put back and taken again: it must be
        the same step.

        Raises:
            LossError: the loss is not what it must be.
            StepError: ``step_fn`` made another number of steps than one.
            OptimizerError: the optimizer refuses the gradients (sparse ones, say).
            UnseenStateError: the step changes what is not put back (unless ``prove=False``).
        """
        LiveSubstrate(self).check()
