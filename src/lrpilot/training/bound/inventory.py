"""The inventory of a training: everything that it changes, by reference."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from lrpilot.training.bound.bound_training import BoundTraining
from lrpilot.training.bound.optimizers import optimizer_layers
from lrpilot.training.restore.module_state import buffer_tree, put_buffers
from lrpilot.training.restore.step_state import optimizer_tree, put_optimizer, stepped_parameters
from lrpilot.training.restore.tree import write_tree
from lrpilot.training.torch_private import parameters_of


def live_tree(training: BoundTraining) -> dict[str, Any]:
    """Weights, buffers and optimizer state, extra modules and optimizers included, by reference, under plain names."""
    modules = named_modules(training)
    return {
        "parameters": all_parameters(training),
        "buffers": buffer_tree(modules),
        "optimizers": {name: optimizer_tree(optimizer) for name, optimizer in optimizers_of(training).items()},
    }


def write_live(training: BoundTraining, saved: dict[str, Any], identity: dict[str, Any] | None = None) -> None:
    """Put a clone of :func:`live_tree` back into the live objects."""
    written = write_tree(live_tree(training), saved, identity)
    put_buffers(named_modules(training), written["buffers"])
    for name, optimizer in optimizers_of(training).items():
        put_optimizer(optimizer, written["optimizers"][name])


def named_modules(training: BoundTraining) -> dict[str, nn.Module]:
    """Every module of the model and of modules among the extra state, by a unique name."""
    roots = {"model": training.model} | {
        f"state.{k}": v for k, v in training.extra_state.items() if isinstance(v, nn.Module)
    }
    return {f"{root}.{name}": m for root, module in roots.items() for name, m in module.named_modules()}


def all_parameters(training: BoundTraining) -> list[Tensor]:
    """Every parameter once: of the modules, then those only the optimizers know (a criterion's, say)."""
    modules = named_modules(training).values()
    # Frozen ones too, for a step may write them:
    # test_snapshot.py::test_gradients_of_parameters_that_the_optimizer_does_not_step
    candidates: list[Tensor] = [p for m in modules for p in parameters_of(m).values() if p is not None]
    for optimizer in optimizers_of(training).values():
        # A criterion's that nobody named, or another optimizer's: test_continuation.py::test_extra_state_goes_back
        candidates += stepped_parameters(optimizer)
    return list({id(p): p for p in candidates}.values())


def optimizers_of(training: BoundTraining) -> dict[str, Optimizer]:
    """The training's optimizer, wrappers with state of their own, and optimizers among the extra state, by name."""
    extras = {f"state.{k}": v for k, v in training.extra_state.items() if isinstance(v, Optimizer)}
    # A wrapper may keep state of its own (Lookahead's slow weights) beside that of the optimizer inside:
    # test_continuation.py::test_a_probe_leaves_no_trace
    known = {id(training.raw_optimizer.state)}
    wrappers = {
        f"wrapper.{i}": layer
        for i, layer in enumerate(optimizer_layers(training.optimizer)[:-1])
        if id(vars(layer).get("state", training.raw_optimizer.state)) not in known
    }
    return {"optimizer": training.raw_optimizer} | wrappers | extras


def clear_gradients(training: BoundTraining) -> None:
    """Forget the gradients of every parameter, as a probe must before its first step.

    Also of those that the optimizer does not step: backward would add to them in place
    (test_snapshot.py::test_gradients_of_parameters_that_the_optimizer_does_not_step).
    """
    for parameter in all_parameters(training):
        parameter.grad = None
