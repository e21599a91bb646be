"""BoundTraining: a model, its optimizer, its loss, its step and its data, bound together and checked."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from lrpilot.core.actions import Average
from lrpilot.errors import DataError, LossError, StepError
from lrpilot.training.bound.average import FlownAverage
from lrpilot.training.bound.batches import is_group, to_device
from lrpilot.training.bound.checks import (
    check_extra_state,
    check_loss,
    check_model,
    check_optimizer,
    check_settings,
    explain_missing_gradients,
    require_loss_fn,
    require_one_call_steps,
    with_scaler,
)
from lrpilot.training.bound.groups import MicroBatches, grouped
from lrpilot.training.bound.optimizers import ParamGroupLRs, maximizes, put_back_momentum, unwrap_optimizer
from lrpilot.training.bound.own_step import OwnStep, added
from lrpilot.training.bound.probe_data import LeftOut, ProbeData
from lrpilot.training.bound.sources import BatchSource, Data
from lrpilot.training.distributed import all_or_none, are_replicas, average_gradients, is_distributed
from lrpilot.training.restore.rng import get_rng, set_rng
from lrpilot.training.torch_private import communicates_forward, has_stepped, is_parallel, reshard

LossFn = Callable[[nn.Module, Any], Tensor]
StepFn = Callable[[Any], Tensor | None]


class BoundTraining:
    """All that a measurement needs of a training. Users construct :class:`lrpilot.Training`, which says the arguments.

    Attributes:
        model: the module that is trained.
        optimizer: as the user handed it over, wrappers and all: what a step calls.
        raw_optimizer: the torch optimizer inside it: what has the param groups and the state.
        loss_fn: ``loss_fn(model, batch)`` -> scalar tensor, or None for ``model(**batch).loss``.
        step_fn: the user's own step, or None.
        own_step: the step that is taken without one.
        maximizes: whether the optimizer maximizes what ``loss_fn`` returns.
        extra_state: further things that training changes, by name.
        train_source: opens the training data anew.
        val_source: opens the validation data anew; None without.
        device: where batches go.
        seed: decides the batches and the randomness of probes.
        eval_batches: most batches of an evaluation; None for all of them.
        snapshot_device: where copies of the state are kept; None for where each lives.
        prove: whether a step is to be proven to be put back, once, before anything is measured.
        repeats: whether it has been.
        written: frozen parameters that the steps of that proof moved all the same (a momentum encoder's).
        probing: whether an optimizer step that is taken now belongs to a probe.
        average: what is flown beside the parameters in an averaged flight; None in any other.
        probe_steps_seen: what the first steps of a probe were made of, for a comparison with those of the loop.
        commander: whose kept steps are averaged, where any are; the last pilot's.
        left_out: training batches of probes that weigh nothing, for they give no number at sound weights.
        left_out_held: held-out batches likewise.
    """

    average: FlownAverage | None = None
    probe_steps_seen: tuple[Any, ...] = ()
    commander: weakref.ref[Any] | None = None
    _splits: bool | None = None  # whether loss_fn takes the parts of a step_fn's groups, once that is known

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
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        autocast: torch.dtype | None = None,
        scaler: torch.amp.GradScaler | None = None,
        device: torch.device | str | None = None,
        seed: int = 0,
        eval_batches: int | None = 16,
        snapshot_device: torch.device | str | None = None,
        prove: bool = True,
    ) -> None:
        self.raw_optimizer = unwrap_optimizer(optimizer)
        check_optimizer(self.raw_optimizer)
        check_model(model, self.raw_optimizer)
        require_loss_fn(loss_fn)
        self.own_step = OwnStep(
            accumulate=accumulate, clip_norm=clip_norm, clip_value=clip_value, autocast=autocast, scaler=scaler
        )
        if step_fn is not None:
            self.own_step.refuse_beside_step_fn()
        self.extra_state = with_scaler(state or {}, scaler)
        check_extra_state(self.extra_state, scaler=scaler, has_step_fn=step_fn is not None)
        check_settings(seed=seed, eval_batches=eval_batches)
        ParamGroupLRs(self.raw_optimizer)  # refuses NaN, negative and all-zero lrs
        self.maximizes = maximizes(self.raw_optimizer)
        if train_data is None:
            raise DataError("train_data must be an iterable of batches, got None.")
        self.model = model
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.step_fn = step_fn
        self.seed = seed
        self.eval_batches = eval_batches
        self.prove = prove
        self.probing = self.repeats = False
        self.written: list[Tensor] = []
        self.left_out, self.left_out_held = LeftOut(), LeftOut()
        self.device = torch.device(device) if device is not None else next(model.parameters()).device
        self.snapshot_device = torch.device(snapshot_device) if snapshot_device is not None else None
        self.train_source = BatchSource(train_data, seed=seed, name="train_data", accumulate=accumulate)
        self.val_source = None if val_data is None else BatchSource(val_data, seed=seed, name="val_data")

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
        return ProbeData(
            self.train_source,
            self.val_source,
            eval_batches=self.eval_batches,
            seed=self.seed,
            left_out=self.left_out,
            left_out_held=self.left_out_held,
        )

    @contextmanager
    def as_probe(self) -> Iterator[None]:
        """Optimizer steps inside belong to a probe: a pilot that flies this training does not count them.

        test_pilot.py::test_probes_of_others_do_not_count_as_steps
        """
        before, self.probing = self.probing, True
        try:
            yield
        finally:
            self.probing = before

    def fly_averaged(self, settings: Average) -> None:
        """Average the steps from now on: begin with the parameters as they are, or carry on."""
        self.reshard()
        if self.average is None:
            self.average = FlownAverage(self.raw_optimizer, settings)
        else:
            self.average.carry_on(settings)

    def land(self) -> None:
        """Make the average the parameters, where one is flown; the momentum is the user's own again."""
        if self.average is not None:
            self.reshard()
            self.average.land()
            self.average = None
        put_back_momentum(self.raw_optimizer)

    def judged(self) -> AbstractContextManager[None]:
        """Inside, the parameters are those to judge: the average, where one is flown."""
        if self.average is None:
            return nullcontext()
        self.reshard()
        return self.average.shown()

    def reshard(self) -> None:
        """Whoever reads or writes the parameters must find the shards of FSDP in their place, and no gathered copies.

        Else the next forward pass would compute with copies of before:
        test_distributed_kinds.py::test_a_pass_of_ones_own_before_a_measurement_does_not_keep_it_from_the_shards
        """
        reshard(self.model)

    def move(self, batch: Any) -> Any:
        """The batch on the training's device."""
        return to_device(batch, self.device)

    def grouped(self, batches: Iterable[Any]) -> Iterable[Any]:
        """What :meth:`step` takes, one by one: groups of ``accumulate`` micro-batches, or the batches themselves.

        Args:
            batches: as your data yields them: your own loader. The last group of a pass may be smaller.

        Example:
            >>> for group in training.grouped(loader):  # doctest: +SKIP
            ...     pilot.step(training.step(group))
        """
        return batches if self.own_step.accumulate == 1 else grouped(batches, self.own_step.accumulate)

    def loss(self, batch: Any) -> Tensor:
        """Loss of one batch (on its device) with the model as it is; of a group, the mean over its micro-batches.

        Raises:
            LossError: it is not a scalar.
        """
        with all_or_none() if self.probing and self.forwards_meet else nullcontext():
            return self._loss(batch)

    def _loss(self, batch: Any) -> Tensor:
        if isinstance(batch, MicroBatches):
            return self._mean_loss(batch)
        if self.step_fn is None or not is_group(batch):
            return self._loss_of(batch)
        if self._splits is None:
            return self._loss_of_first_group(batch)
        return self._mean_loss(batch) if self._splits else self._loss_of(batch)

    def _mean_loss(self, group: Any) -> Tensor:
        return added([self._loss_of(batch) / len(group) for batch in group])

    def _loss_of_first_group(self, group: Any) -> Tensor:
        """Loss of a group that the user has put together for ``step_fn``: does ``loss_fn`` take it, or its parts?"""
        before = get_rng()
        try:
            loss = self._loss_of(group)
        except Exception as error:
            set_rng(before)
            try:
                loss = self._mean_loss(group)
            except Exception:
                raise error from None
            self._splits = True
            return loss
        self._splits = False
        return loss

    def _loss_of(self, batch: Any) -> Tensor:
        with self.own_step.precision(self.device):
            if self.loss_fn is not None:
                return self._loss_by_function(self.loss_fn, batch)
            if not isinstance(batch, Mapping):
                raise LossError(
                    f"loss_fn=None means model(**batch).loss, which needs dict batches, got {type(batch).__name__}. "
                    "Pass loss_fn(model, batch) -> loss."
                )
            output = self.model(**batch)
            loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
            return check_loss(loss, source="model(**batch).loss", needs_grad=False)

    def _loss_by_function(self, loss_fn: LossFn, batch: Any) -> Tensor:
        try:
            return check_loss(loss_fn(self.model, batch), source="loss_fn", needs_grad=False)
        except RuntimeError as error:
            explained = explain_missing_gradients(error)
            if explained is None:
                raise
            raise explained from error

    def step(self, batch: Any) -> Tensor | None:
        """Exactly one optimizer step on one batch, as Trials and ``fit`` take it.

        Args:
            batch: a batch as the data yields it, on any device; with ``accumulate`` a group of micro-batches, as
                :meth:`grouped` makes them.

        Returns:
            The detached scalar training loss: of a group, the mean over its micro-batches. None where ``step_fn``
            returned None: it has skipped the batch.

        Raises:
            StepError: a single batch where a step takes a group.
        """
        if self.step_fn is not None:
            loss = self.step_fn(self.move(batch))
            return None if loss is None else check_loss(loss, source="step_fn", needs_grad=False).detach()
        require_one_call_steps(self.optimizer)
        losses = [partial(self._loss_to_train, each) for each in self.own_step.group(batch)]
        return self.own_step.take(self.model, self.optimizer, losses, self._average_gradients)

    def _loss_to_train(self, batch: Any) -> Tensor:
        # A loss that fails on one rank is told of before the others wait for that one in their backward pass:
        # test_distributed.py::test_a_failure_on_one_rank_stops_both_with_everything_put_back
        with all_or_none() if self.probing else nullcontext():
            return check_loss(self.loss(self.move(batch)), source="loss_fn", needs_grad=True)

    def _average_gradients(self) -> None:
        if self.averages_gradients:
            average_gradients(self.trainable_parameters)

    def to_minimize(self, loss: float) -> float:
        """A loss as decisions are made on it, the lower the better: minus the objective where that is maximized."""
        return -loss if self.maximizes else loss

    @cached_property
    def averages_gradients(self) -> bool:
        """Whether a step averages the gradients of the ranks itself: they train replicas, and no wrapper is in sight.

        So it is with the module inside a DistributedDataParallel, which the loop calls from outside. What has been
        averaged already is not changed by it. Looks at the weights when it is first asked, on all ranks at once.
        """
        return is_distributed() and not is_parallel(self.model) and are_replicas(self.trainable_parameters)

    @cached_property
    def forwards_meet(self) -> bool:
        """Whether ranks wait for each other in every forward pass."""
        return is_distributed() and communicates_forward(self.model)

    def require_scaler_idle(self) -> None:
        """Raise if a GradScaler stands between its ``step`` and its ``update``.

        Raises:
            StepError: it does.
        """
        for name, thing in self.extra_state.items():
            if (
                isinstance(thing, torch.amp.GradScaler)
                and thing.is_enabled()
                and has_stepped(thing, self.raw_optimizer)
            ):
                raise StepError(
                    f"pilot.step() must come after scaler.update(), but state[{name!r}] has stepped and not yet "
                    "updated. Move pilot.step(loss) below scaler.update()."
                )
