"""What an optimizer step uses and changes, put back: gradients, optimizer state and groups, stages of a GradScaler."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lrpilot.training.restore.tree import alias_tree
from lrpilot.training.torch_private import scaler_states


class Gradients:
    """The ``.grad`` of every parameter, by reference; by value too where it is a view into a bucket."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self._parameters = parameters
        self._grads = [p.grad for p in parameters]
        self._values = [g.detach().clone() if g is not None and _shares_storage(g) else None for g in self._grads]

    def restore(self) -> None:
        """Put them back."""
        with torch.no_grad():
            for parameter, grad, value in zip(self._parameters, self._grads, self._values, strict=True):
                # DistributedDataParallel's buckets are written by every backward pass, through the views that gradients
                # are: test_snapshot.py::test_gradients_that_are_views_into_a_bucket_go_back_by_value
                if grad is not None and value is not None:
                    grad.copy_(value)
                # The very object, or None again, for a loop may be accumulating into it:
                # test_continuation.py::test_a_probe_leaves_no_trace
                if parameter.grad is not grad:
                    parameter.grad = grad


def _shares_storage(grad: Tensor) -> bool:
    if grad.layout is not torch.strided:
        return False
    return bool(grad.untyped_storage().nbytes() > grad.numel() * grad.element_size())


def stepped_parameters(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of all its groups, in their order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def optimizer_tree(optimizer: Optimizer) -> dict[str, Any]:
    """State by the parameter's number, and groups without their parameters; all by reference."""
    params = enumerate(stepped_parameters(optimizer))
    kept: dict[Any, Any] = getattr(optimizer, "state", {})  # one that only hands on to others may have none
    state: dict[Any, Any] = {i: kept[p] for i, p in params if p in kept}
    # As in torch's own state_dict: what an optimizer keeps of no one parameter goes by its own key:
    # test_snapshot.py::test_optimizer_state_that_belongs_to_no_parameter
    state |= {key: value for key, value in kept.items() if not isinstance(key, Tensor)}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {"state": state, "groups": groups}


def put_optimizer(optimizer: Optimizer, tree: dict[str, Any]) -> None:
    """Make this tree the state and the groups of an optimizer."""
    params: dict[Any, Any] = dict(enumerate(stepped_parameters(optimizer)))
    state = {params.get(key, key): kept for key, kept in tree["state"].items()}
    live: dict[Any, Any] = getattr(optimizer, "state", {})
    ours = {id(p) for p in params.values()}
    # Born in a Trial: deleted, not zeroed, for the first step fills an absent momentum buffer without dampening:
    # test_snapshot.py::test_an_absent_momentum_buffer_is_absent_again. That of a parameter that is in no group (any
    # more) is no probe's doing: test_snapshot.py::test_state_of_a_parameter_taken_out_of_its_group_stays
    for key in [k for k in live if k not in state and (id(k) in ours or not isinstance(k, Tensor))]:
        del live[key]
    # State that a step has thrown away comes back:
    # test_step_state.py::test_state_that_a_step_threw_away_comes_back
    live.update(state)
    for group, saved in zip(optimizer.param_groups, tree["groups"], strict=True):
        # Some optimizers and schedulers note things in groups:
        # test_step_state.py::test_options_born_in_a_group_are_gone
        for born in [k for k in group if k not in saved and k != "params"]:
            del group[born]
        # The lr above all: test_continuation.py::test_a_probe_leaves_no_trace
        group.update(saved)


class ScalerStages:
    """How far a GradScaler has come with each optimizer: not in its state_dict, and left half way by an exception.

    A stage of the probe's own would make the loop's next ``scaler.step`` raise
    (test_snapshot.py::test_a_scaler_goes_back_wherever_a_probe_raised), and without the loop's own it would unscale
    gradients a second time (test_snapshot.py::test_gradients_that_the_loop_has_unscaled_stay_unscaled).
    """

    def __init__(self, scaler: torch.amp.GradScaler) -> None:
        self._scaler = scaler
        self._saved = alias_tree(dict(scaler_states(scaler))) if scaler.is_enabled() else {}

    def restore(self) -> None:
        """Put them back."""
        if self._scaler.is_enabled():
            scaler_states(self._scaler).clear()
            scaler_states(self._scaler).update(alias_tree(self._saved))
