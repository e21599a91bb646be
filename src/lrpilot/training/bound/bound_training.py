"""Training: a model, its optimizer, its loss and its data, bound together so that they can be measured."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot.errors import DataError, LossError, StepError
from lrpilot.training.bound.checks import (
    check_extra_state,
    check_loss,
    check_model,
    check_optimizer,
    check_settings,
    explain_missing_gradients,
    require_loss_fn,
)
from lrpilot.training.bound.param_groups import ParamGroupLRs, unwrap_optimizer
from lrpilot.training.bound.probe_data import ProbeData, to_device
from lrpilot.training.bound.sources import BatchSource, Data

LossFn = Callable[[nn.Module, Any], Tensor]
StepFn = Callable[[Any], Tensor]


class Training:
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

    Raises:
        ModelError: nothing trainable, or the optimizer steps another model.
        OptimizerError: the optimizer needs a closure, or has no positive lr.
        DataError: data that cannot be read a second time.
        SettingError: any other argument out of its range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Any,
        loss_fn: LossFn | None,
        train_data: Data,
        val_data: Data | None = None,
        *,
        step_fn: StepFn | None = None,
        state: Mapping[str, Any] | None = None,
        device: torch.device | str | None = None,
        seed: int = 0,
        eval_batches: int | None = 16,
        snapshot_device: torch.device | str | None = None,
    ) -> None:
        self.raw_optimizer = unwrap_optimizer(optimizer)
        check_optimizer(self.raw_optimizer)
        check_model(model, self.raw_optimizer)
        require_loss_fn(loss_fn)
        self.extra_state = dict(state or {})
        check_extra_state(self.extra_state, has_step_fn=step_fn is not None)
        check_settings(seed=seed, eval_batches=eval_batches)
        ParamGroupLRs(self.raw_optimizer)  # refuses NaN, negative and all-zero lrs
        if train_data is None:
            raise DataError("train_data must be an iterable of batches, got None.")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.step_fn = step_fn
        self.seed = seed
        self.eval_batches = eval_batches
        self.probing = False
        self.device = torch.device(device) if device is not None else next(model.parameters()).device
        self.snapshot_device = torch.device(snapshot_device) if snapshot_device is not None else None
        self.train_source = BatchSource(train_data, seed=seed, name="train_data")
        self.val_source = None if val_data is None else BatchSource(val_data, seed=seed, name="val_data")

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

    @property
    def extra_modules(self) -> list[nn.Module]:
        """Modules among the extra state: an EMA, a criterion with buffers."""
        return [thing for thing in self.extra_state.values() if isinstance(thing, nn.Module)]

    @property
    def trainable_parameters(self) -> list[Tensor]:
        """The parameters that the optimizer steps and that require grad, each once."""
        stepped = [p for group in self.raw_optimizer.param_groups for p in group["params"] if p.requires_grad]
        return list({id(p): p for p in stepped}.values())

    @cached_property
    def probe_data(self) -> ProbeData:
        """The fixed batches that probes read; the first access reads a few of them."""
        return ProbeData(self.train_source, self.val_source, eval_batches=self.eval_batches, seed=self.seed)

    @contextmanager
    def as_probe(self) -> Iterator[None]:
        """Optimizer steps inside belong to a probe: a pilot that flies this training does not count them."""
        before, self.probing = self.probing, True
        try:
            yield
        finally:
            self.probing = before

    def move(self, batch: Any) -> Any:
        """The batch on the training's device."""
        return to_device(batch, self.device)

    def loss(self, batch: Any) -> Tensor:
        """Loss of one batch (on its device) with the model as it is.

        Raises:
            LossError: it is not a scalar.
        """
        if self.loss_fn is not None:
            try:
                return check_loss(self.loss_fn(self.model, batch), source="loss_fn", needs_grad=False)
            except RuntimeError as error:
                explained = explain_missing_gradients(error)
                if explained is None:
                    raise
                raise explained from error
        if not isinstance(batch, Mapping):
            raise LossError(
                f"loss_fn=None means model(**batch).loss, which needs dict batches, got {type(batch).__name__}. "
                "Pass loss_fn(model, batch) -> loss."
            )
        output = self.model(**batch)
        loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
        return check_loss(loss, source="model(**batch).loss", needs_grad=False)

    def step(self, batch: Any) -> Tensor:
        """Exactly one optimizer step on one batch, as Trials and ``fit`` take it.

        Args:
            batch: a batch as the data yields it, on any device.

        Returns:
            The detached scalar training loss.
        """
        batch = self.move(batch)
        if self.step_fn is not None:
            return check_loss(self.step_fn(batch), source="step_fn", needs_grad=False).detach()
        self.optimizer.zero_grad(set_to_none=True)
        loss = check_loss(self.loss(batch), source="loss_fn", needs_grad=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def evaluate(self) -> float:
        """Held-out loss now, with the model in eval mode; nothing is changed.

        The mean over ``val_data`` (at most ``eval_batches`` of it), or over the reserved training batches.
        """
        from lrpilot.core.actions import Evaluate
        from lrpilot.training.measure.substrate import LiveSubstrate

        return LiveSubstrate(self).evaluate(Evaluate())

    def check(self) -> None:
        """Prove on one batch that this training works, and put everything back.

        One step is taken in a bracket: the loss is a finite scalar that depends on the parameters, the
        step is one optimizer step, and the optimizer accepts the gradients.

        Raises:
            LossError: the loss is not what it must be.
            StepError: ``step_fn`` made another number of steps than one.
            OptimizerError: the optimizer refuses the gradients (sparse ones, say).
        """
        from lrpilot.training.measure.substrate import LiveSubstrate

        LiveSubstrate(self).check()

    def require_scaler_idle(self) -> None:
        """Raise if a GradScaler stands between its ``step`` and its ``update``.

        Raises:
            StepError: it does.
        """
        for name, thing in self.extra_state.items():
            if isinstance(thing, torch.amp.GradScaler) and thing.is_enabled():
                stage = thing._per_optimizer_states.get(id(self.raw_optimizer), {}).get("stage")
                if stage is not None and getattr(stage, "name", "") == "STEPPED":
                    raise StepError(
                        f"pilot.step() must come after scaler.update(), but state[{name!r}] has stepped and not yet "
                        "updated. Move pilot.step(loss) below scaler.update()."
                    )
