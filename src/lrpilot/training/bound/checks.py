"""What must be true of model, optimizer and data before anything is measured."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from lrpilot.errors import (
    LossError,
    LRPilotError,
    ModelError,
    NonlinearStepError,
    OptimizerError,
    SettingError,
)
from lrpilot.training.torch_private import Criterion, is_first_fsdp

_NONLINEAR = ("ASGD", "Rprop", "Adafactor")
LINEAR_OPTIMIZERS = (
    "Use SGD, Adam(W), RMSprop or Adagrad, keep weights in float32, or choose a policy that measures with Trials."
)


def check_model(model: Any, optimizer: Optimizer) -> None:
    """The optimizer steps trainable parameters of this model.

    Raises:
        ModelError: it does not.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    scripted = next((type(m).__name__ for m in model.modules() if isinstance(m, torch.jit.ScriptModule)), None)
    if scripted is not None:
        raise ModelError(
            f"The model must be plain Python modules, got a {scripted} of torch.jit, whose modes and attributes can "
            "be neither seen nor put back. Pass the module that was scripted or traced, or use torch.compile."
        )
    if any(is_first_fsdp(module) for module in model.modules()):
        raise ModelError(
            "Parameters must stay where the optimizer finds them, got a model in FullyShardedDataParallel, which "
            "exchanges their memory in every pass so that nothing can be measured along a step or put back. "
            "Shard the model with torch.distributed.fsdp.fully_shard (FSDP2) instead."
        )
    if any(is_lazy(p) for p in model.parameters()):
        raise ModelError(
            "The model's parameters must be initialised, got lazy ones that have not seen a batch. "
            "Run one batch through the model before constructing Training."
        )
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    if not trainable:
        raise ModelError(
            f"The model needs trainable parameters, got {sum(1 for _ in model.parameters())} parameters and none "
            "requires grad. Unfreeze the ones to train."
        )
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not trainable & stepped:
        raise ModelError(
            "The optimizer must step parameters of this model, got none in common. "
            "Construct it from this model's parameters(), after moving the model to its device."
        )


def check_optimizer(optimizer: Optimizer) -> None:
    """The optimizer can step without a closure.

    Raises:
        OptimizerError: it cannot.
    """
    if getattr(optimizer, "_overlap_with_ddp", False):
        raise OptimizerError(
            f"The optimizer must change the weights in its step, got {type(optimizer).__name__} with "
            "overlap_with_ddp=True, which does so in the backward pass. Construct it without."
        )
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    needed = closure is not None and closure.default is inspect.Parameter.empty
    if needed or isinstance(optimizer, torch.optim.LBFGS):
        raise OptimizerError(
            f"The optimizer must step without a closure, but {type(optimizer).__name__}.step needs one: one of its "
            "steps evaluates the loss many times and lr is not its step size. Use SGD or an Adam variant."
        )


def require_one_call_steps(optimizer: Any) -> None:
    """``optimizer.step()`` after one backward pass is a whole step.

    Raises:
        OptimizerError: it is one of those with two steps (SAM), each after a backward pass of its own.
    """
    if callable(getattr(optimizer, "first_step", None)) and callable(getattr(optimizer, "second_step", None)):
        raise OptimizerError(
            f"Trials take a step by one backward pass and optimizer.step(), but {type(optimizer).__name__} steps by "
            "first_step() and second_step(), with a backward pass before each. Pass step_fn(batch) -> loss that does "
            "both, as your loop does."
        )


def require_lines_possible(optimizer: Optimizer) -> None:
    """The step of the optimizer is not one of those known not to be linear in lr.

    Raises:
        NonlinearStepError: it is. Of others a scratch check before the first Line tells.
    """
    known = next((cls.__name__ for cls in type(optimizer).__mro__ if cls.__name__ in _NONLINEAR), None)
    if known is not None:
        raise NonlinearStepError(
            f"A Line needs a step that is linear in lr, but half the lr does not give half the step of {known}. "
            f"{LINEAR_OPTIMIZERS}"
        )


def check_settings(*, seed: int, eval_batches: int | None) -> None:
    """Numbers given to a Training are in their range.

    Raises:
        SettingError: one is not.
    """
    if not isinstance(seed, int) or seed < 0:
        raise SettingError(f"seed must be an int >= 0, got {seed!r}. The default is 0.")
    if eval_batches is not None and eval_batches < 1:
        raise SettingError(f"eval_batches must be >= 1, got {eval_batches}. Use None for all of val_data.")


def with_scaler(state: Mapping[str, Any], scaler: torch.amp.GradScaler | None) -> dict[str, Any]:
    """Extra state with the scaler of the own step in it, so that it is saved and restored with the rest.

    Raises:
        SettingError: something else has its name.
    """
    if scaler is None or any(thing is scaler for thing in state.values()):
        return dict(state)
    if "scaler" in state:
        raise SettingError("scaler and state['scaler'] must be the same GradScaler, got two. Give it once, as scaler=.")
    return {"scaler": scaler, **state}


def check_extra_state(
    state: Mapping[str, Any], *, scaler: torch.amp.GradScaler | None = None, has_step_fn: bool
) -> None:
    """Extra state can be saved and restored.

    Args:
        state: by name.
        scaler: that the training's own step uses; None for none.
        has_step_fn: whether the user's own code takes the step.

    Raises:
        SettingError: an entry cannot, or a GradScaler comes without the step that uses it.
    """
    for name, thing in state.items():
        saves = hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")
        if not saves and not isinstance(thing, torch.Generator):
            raise SettingError(
                f"state[{name!r}] must have state_dict and load_state_dict (or be a torch.Generator), "
                f"got {type(thing).__name__}. Wrap it in an object with both."
            )
        if isinstance(thing, torch.amp.GradScaler) and thing is not scaler and not has_step_fn:
            raise SettingError(
                f"A GradScaler (state[{name!r}]) must be used by the step, got neither scaler= nor step_fn: Trials "
                "must scale, step and update as your loop does. Pass scaler=scaler, or a step_fn that does so."
            )


def check_loss(loss: Any, *, source: str, needs_grad: bool) -> Tensor:
    """A loss is a finite scalar tensor.

    Args:
        loss: what the user's function returned.
        source: how errors call that function.
        needs_grad: whether it must depend on the parameters.

    Raises:
        LossError: it is not.
    """
    if loss is None:
        raise LossError(f"{source} must return the loss, got None. Add `return loss`.")
    if isinstance(loss, (int, float)):
        loss = torch.tensor(float(loss))
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"{source} must return a scalar loss, got {got}. Take the mean over the batch.")
    if needs_grad and not loss.requires_grad:
        raise LossError(
            f"The loss of {source} must depend on the model's parameters, got one without a gradient. "
            "Remove .detach(), .item() or no_grad from its computation."
        )
    return loss.reshape(())


def missing_loss() -> LossError:
    """The error of a ``step_fn`` that returns nothing although it has taken a step."""
    return LossError("step_fn must return the loss, got None. Add `return loss`: only a batch that it skips has none.")


def require_loss_fn(loss_fn: Callable[..., Any] | None) -> None:
    """``loss_fn`` is callable or None.

    Raises:
        SettingError: it is not; a common slip is passing the criterion, which takes (output, target).
    """
    if loss_fn is not None and not callable(loss_fn):
        raise SettingError(f"loss_fn must be callable as loss_fn(model, batch), got {type(loss_fn).__name__}.")
    if isinstance(loss_fn, Criterion):
        raise SettingError(
            f"loss_fn is called as loss_fn(model, batch), got the criterion {type(loss_fn).__name__}, which takes "
            "(output, target). Use Training.from_criterion(model, optimizer, criterion, train_data, val_data)."
        )


def explain_missing_gradients(error: RuntimeError) -> LossError | None:
    """The error to raise in place of torch's own when a loss differentiates while gradients are off, or None."""
    if torch.is_grad_enabled() or "does not require grad" not in str(error):
        return None
    return LossError(
        f"A loss is evaluated with gradients off, but this loss_fn differentiates ({error}). "
        "Put the part that does so under `with torch.enable_grad():`."
    )


def explain_refused_gradients(error: RuntimeError, optimizer: Optimizer) -> OptimizerError | None:
    """The error to raise in place of torch's own when an optimizer refuses sparse gradients, or None."""
    if isinstance(error, LRPilotError) or "sparse" not in str(error):
        return None
    return OptimizerError(
        f"The optimizer must accept the model's gradients, but {type(optimizer).__name__} refuses sparse ones "
        f"({error}). Use SparseAdam or SGD, or build the embedding with sparse=False."
    )
