"""An optimizer as it is handed over: the torch optimizer inside wrappers, and the lrs of its groups as one number."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrpilot.errors import OptimizerError, SchedulerConflictError, SettingError
from lrpilot.training.restore.walk import Surroundings, held_by


def unwrap_optimizer(optimizer: Any) -> Optimizer:
    """The torch optimizer inside wrappers such as AcceleratedOptimizer or LightningOptimizer.

    Raises:
        OptimizerError: there is none.
    """
    inner = optimizer_layers(optimizer)[-1]
    if not isinstance(inner, Optimizer):
        raise OptimizerError(
            f"The optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}. "
            "Pass the optimizer that your training loop steps."
        )
    return inner


def optimizer_layers(optimizer: Any) -> list[Any]:
    """An optimizer and the ones it wraps, outermost first; not the parts of one that steps more than its part does."""
    layers = [optimizer]
    for _ in range(8):  # wrappers of wrappers exist, endless ones do not
        inside = getattr(layers[-1], "__dict__", {})
        wrapped = inside.get("optimizer", inside.get("_optimizer"))
        if not isinstance(wrapped, Optimizer) or not _parameter_ids(layers[-1]) <= _parameter_ids(wrapped):
            break
        layers.append(wrapped)
    return layers


def _parameter_ids(optimizer: Any) -> set[int]:
    groups = getattr(optimizer, "param_groups", None)
    return {id(p) for group in groups for p in group["params"]} if isinstance(groups, list) else set()


def optimizers_inside(optimizer: Optimizer, model: nn.Module) -> list[Optimizer]:
    """Optimizers that another one steps parameters of its own with: the base of SAM, the two of a pair.

    Args:
        optimizer: searched through its attributes.
        model: what it steps.
    """
    own = _parameter_ids(optimizer)
    held = held_by(optimizer, Surroundings(roots=[model, optimizer]))
    return [thing for _, thing in held if isinstance(thing, Optimizer) and own & _parameter_ids(thing)]


def is_sharded(optimizer: Optimizer) -> bool:
    """Whether each rank steps a share of the parameters by an optimizer inside (ZeroRedundancyOptimizer)."""
    return any(cls.__name__ == "ZeroRedundancyOptimizer" for cls in type(optimizer).__mro__)


def arithmetic_of(optimizer: Optimizer) -> Optimizer:
    """The optimizer whose arithmetic a step is: of ZeroRedundancyOptimizer the one that it has for its own share."""
    share = getattr(optimizer, "optim", None)
    return share if isinstance(share, Optimizer) else optimizer


def was_skipped(optimizer: Optimizer) -> bool:
    """Whether a fused optimizer skipped its update inside the kernel (a GradScaler found inf)."""
    found_inf = getattr(optimizer, "found_inf", None)
    return isinstance(found_inf, Tensor) and bool(torch.count_nonzero(found_inf))


def maximizes(optimizer: Optimizer) -> bool:
    """Whether an optimizer steps up: so its ``maximize=True`` says.

    Raises:
        OptimizerError: some groups go up and others down, which no single loss can tell the success of.
    """
    ways = {bool(group.get("maximize", False)) for group in optimizer.param_groups}
    if len(ways) > 1:
        raise OptimizerError(
            "All param groups must minimize the loss or all maximize it, got groups with maximize=True and with False. "
            "Tune each side with an optimizer and a Training of its own."
        )
    return ways == {True}


class ParamGroupLRs:
    """Reads and writes the lrs of all groups through one reference lr.

    The reference lr is the largest group lr at the time of binding; every group keeps its ratio to it,
    and a group at 0 stays at 0. Groups added later keep the ratio they have when first seen.

    Attributes:
        reference: the lr last set (natural units).
        ratios: group lr ÷ reference lr, one per group.

    Raises:
        OptimizerError: an lr is NaN, infinite or negative, or all are 0.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        lrs = self._lrs()
        if not lrs or not all(math.isfinite(lr) and lr >= 0 for lr in lrs) or max(lrs) == 0:
            raise OptimizerError(
                f"Group learning rates must be finite, >= 0 and not all 0, got {lrs}. "
                "Construct the optimizer with a positive lr (its value need not be a good one)."
            )
        self.reference = max(lrs)
        self.ratios = [lr / self.reference for lr in lrs]
        self._written = list(lrs)

    def _lrs(self) -> list[float]:
        return [float(group["lr"]) for group in self._optimizer.param_groups]

    def set(self, lr: float, *, share: float = 1.0) -> None:
        """Set the reference lr; tensor lrs are written in place.

        Args:
            lr: the reference lr, natural units.
            share: every group gets this share of what it is due, and the reference stays ``lr``.

        Raises:
            SettingError: ``lr`` is not a finite positive number.
        """
        if not (math.isfinite(lr) and lr > 0):
            raise SettingError(f"A learning rate must be finite and > 0, got {lr}.")
        lr = float(lr)  # of NumPy's kind it could not be read back with weights_only
        self.meet_new_groups()
        for i, (group, ratio) in enumerate(zip(self._optimizer.param_groups, self.ratios, strict=True)):
            value = group["lr"]
            if isinstance(value, Tensor):
                value.fill_(lr * ratio * share)
                self._written[i] = float(value) if value.device.type == "cpu" else math.nan
            else:
                group["lr"] = self._written[i] = lr * ratio * share
        self.reference = lr

    def meet_new_groups(self) -> None:
        """Take note of groups added since, at the ratio their lr has to the reference now."""
        for group in self._optimizer.param_groups[len(self.ratios) :]:
            lr = float(group["lr"])
            self.ratios.append(lr / self.reference)
            self._written.append(lr)

    def check_unchanged(self) -> None:
        """Verify that nobody else wrote an lr since :meth:`set`.

        Raises:
            SchedulerConflictError: somebody did.
        """
        for group, written in zip(self._optimizer.param_groups, self._written, strict=False):
            lr = group["lr"]
            # NaN marks an lr held on an accelerator: comparing it would stall the device at every step.
            if written == written and lr != written:
                raise SchedulerConflictError(
                    f"Only the pilot may write the learning rate while it flies, got lr {float(lr):.6g} where it had "
                    f"written {written:.6g}. Remove the other scheduler (also from step_fn), or whatever sets the lr."
                )

    def rebind(self, reference: float) -> None:
        """Take the group lrs as they are now for one's own writing (a restore has put them there)."""
        self._written = self._lrs()[: len(self.ratios)]
        self.reference = reference

    def copies(self) -> list[float | Tensor]:
        """The group lrs; tensors are cloned."""
        lrs = [group["lr"] for group in self._optimizer.param_groups]
        return [lr.clone() if isinstance(lr, Tensor) else lr for lr in lrs]

    def set_momentum(self, value: float) -> None:
        """Write SGD's momentum or Adam's beta1 in every group that uses one; its own value is noted in the group.

        As ``initial_lr`` is by torch's schedulers: so it is in the optimizer's saved state too.
        """
        for group in self._optimizer.param_groups:
            given = momentum_as_given(group)
            if given or ("betas" in group and given is not None):
                group.setdefault(GIVEN_MOMENTUM, given)
                _write_momentum(group, value)


# Key of a param group under which a momentum is noted before another is written.
GIVEN_MOMENTUM = "initial_momentum"


def momentum_as_given(group: dict[str, Any]) -> float | None:
    """SGD's momentum or Adam's beta1 of a group as its owner has set it; None where there is none to be set."""
    if GIVEN_MOMENTUM in group:
        return float(group[GIVEN_MOMENTUM])
    momentum = group["momentum"] if "momentum" in group else (group.get("betas") or (None,))[0]
    return float(momentum) if isinstance(momentum, (int, float)) else None


def put_back_momentum(optimizer: Optimizer) -> None:
    """Write the momentum of every group as its owner has set it, where another has been written."""
    for group in optimizer.param_groups:
        if GIVEN_MOMENTUM in group:
            given = group.pop(GIVEN_MOMENTUM)
            if given and group.get("momentum") == 0:
                _clear_momentum_buffers(optimizer, group)
            _write_momentum(group, given)


def _write_momentum(group: dict[str, Any], value: float) -> None:
    if "momentum" in group:
        group["momentum"] = value
    else:
        group["betas"] = (value, *group["betas"][1:])


def _clear_momentum_buffers(optimizer: Optimizer, group: dict[str, Any]) -> None:
    """Forget directions of before: torch leaves buffers as they were while the momentum is 0."""
    optimizer = arithmetic_of(optimizer)
    plain_sgd = isinstance(optimizer, torch.optim.SGD)
    for state in (optimizer.state[p] for p in group["params"] if p in optimizer.state):
        if plain_sgd:
            state.pop("momentum_buffer", None)  # the next step makes one of its gradient
        elif isinstance(optimizer, torch.optim.RMSprop):
            state["momentum_buffer"] = torch.zeros_like(state["square_avg"])


def has_own_average(optimizer: Any) -> bool:
    """Whether an optimizer is to be told of training and judging, as those are which average the weights themselves."""
    return callable(getattr(optimizer, "train", None)) and callable(getattr(optimizer, "eval", None))


def apply_lr(optimizer: Optimizer, lr: float | None) -> None:
    """Write a found lr into an optimizer, and into ``initial_lr`` for schedulers built on it later.

    The largest group gets ``lr``; the others keep their ratio to it.

    Args:
        optimizer: a torch optimizer (wrapped ones are unwrapped).
        lr: the reference lr, natural units, finite and > 0.

    Raises:
        SettingError: ``lr`` is None, non-finite or not positive. Nothing is written then.
    """
    if lr is None:
        raise SettingError(
            "apply_lr needs a learning rate, got None: the search had no reliable suggestion. "
            "Look at found.status for the remedy."
        )
    inner = unwrap_optimizer(optimizer)
    ParamGroupLRs(inner).set(float(lr))
    with torch.no_grad():
        for group in inner.param_groups:
            value = group["lr"]
            group["initial_lr"] = value.clone() if isinstance(value, Tensor) else value
