"""Every private name of torch that we use, in one place: where a new torch breaks something, look here first.

Each is here because torch has no public way to the same thing; the reason stands with it.
"""

import sys
from collections import OrderedDict
from types import MethodType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.loss import _Loss
from torch.optim import Optimizer

# The public BatchNorm1d, 2d, 3d and SyncBatchNorm have no public ancestor of their own.
BatchNorm = _BatchNorm
# Nor have the criterions, which are called with (output, target).
Criterion = _Loss


def buffers_of(module: nn.Module) -> dict[str, Tensor | None]:
    """The live buffers of one module. ``named_buffers`` leaves out those that are None, and writes none."""
    return module._buffers


def parameters_of(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """The live parameters of one module, as it holds them: wrappers override ``named_parameters``."""
    return module._parameters


def times_written(tensor: Tensor) -> int:
    """How often a tensor has been written in place: tells without a comparison (or a device sync) that it was."""
    return tensor._version


def scaler_states(scaler: torch.amp.GradScaler) -> dict[int, dict[str, Any]]:
    """How far a GradScaler has come with each optimizer, live. Its ``state_dict`` has the scale alone."""
    return scaler._per_optimizer_states


def has_stepped(scaler: torch.amp.GradScaler, optimizer: Optimizer) -> bool:
    """Whether a GradScaler stands between its ``step`` of an optimizer and its ``update``."""
    stage = scaler_states(scaler).get(id(optimizer), {}).get("stage")
    return getattr(stage, "name", "") == "STEPPED"


def make_hookable(optimizer: Optimizer) -> None:
    """Let hooks be registered on a wrapper that never called ``Optimizer.__init__``.

    On it alone, as torch's schedulers do it: hooking its class, as that call does, would break its other instances.
    """
    if "_optimizer_step_post_hooks" not in vars(optimizer):
        optimizer._optimizer_step_pre_hooks = OrderedDict()
        optimizer._optimizer_step_post_hooks = OrderedDict()
        step = type(optimizer).step
        if not hasattr(step, "hooked"):
            hooked = Optimizer.profile_hook_step(step)
            optimizer.step = MethodType(hooked, optimizer)  # type: ignore[method-assign]


def local_of(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor (a DTensor of FSDP), sharing its memory; any other tensor itself.

    What is done element by element is done on these: few calls for many tensors know DTensors.
    """
    if type(tensor) is Tensor or type(tensor) is nn.Parameter or not hasattr(tensor, "to_local"):
        return tensor
    local: Tensor = tensor.to_local()
    return local


def reshard(model: nn.Module) -> None:
    """Give up the gathered copies of sharded parameters that a forward pass leaves behind: the next pass gathers anew.

    Whoever writes into the shards must: FSDP2 keeps the outermost copies until a backward pass comes, and computes with
    those. (``FSDPModule`` is public; to ask for it only where torch has loaded it is ours.)
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")  # not loaded: nothing is sharded by it
    if fsdp is not None:
        for module in model.modules():
            if isinstance(module, fsdp.FSDPModule):
                module.reshard()


def is_first_fsdp(module: nn.Module) -> bool:
    """Whether a module is wrapped by the first FSDP, ``FullyShardedDataParallel``."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FullyShardedDataParallel)


def is_parallel(model: nn.Module) -> bool:
    """Whether torch itself keeps the ranks together that train this model: replicas, or shards of one."""
    return communicates_forward(model) or any(map(_is_replica, model.modules()))


def communicates_forward(model: nn.Module) -> bool:
    """Whether ranks wait for each other in every forward pass: weights, statistics or buffers are shared."""
    if any(local_of(p) is not p for p in model.parameters()):
        return True
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return any(
        isinstance(m, nn.SyncBatchNorm)
        or (_is_replica(m) and m.broadcast_buffers and any(True for _ in m.buffers()))
        or (fsdp is not None and isinstance(m, fsdp.FSDPModule))
        for m in model.modules()
    )


def _is_replica(module: nn.Module) -> TypeGuard[nn.parallel.DistributedDataParallel]:
    return isinstance(module, nn.parallel.DistributedDataParallel)


def copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy every source into its target by one call: a loop starts a kernel for each."""
    torch._foreach_copy_([local_of(t) for t in targets], [local_of(s) for s in sources])


def lerp_all(tensors: list[Tensor], ends: list[Tensor], weight: float) -> None:
    """Move every tensor by ``weight`` of the way to its end, in place, by one call."""
    torch._foreach_lerp_([local_of(t) for t in tensors], [local_of(e) for e in ends], weight)


def lerped_all(starts: list[Tensor], ends: list[Tensor], weight: float) -> list[Tensor]:
    """New tensors, by ``weight`` of the way from each start to its end, by one call; exact where they are equal."""
    return list(torch._foreach_lerp(starts, ends, weight))


def moved_all(tensors: list[Tensor], to: list[Tensor], since: list[Tensor]) -> None:
    """Add to every tensor the way between two others, in place, by two calls."""
    torch._foreach_add_(tensors, torch._foreach_sub(to, since))


def in_backward() -> bool:
    """Whether a backward pass is running: checkpointing computes forward passes anew in it."""
    return bool(torch._C._current_graph_task_id() != -1)
