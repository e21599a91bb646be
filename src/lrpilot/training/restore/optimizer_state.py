"""The state and the param groups of an optimizer, as a tree under plain names, and put back from one."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer


def stepped_parameters(optimizer: Optimizer) -> list[Tensor]:
    """The parameters of all its groups, in their order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def optimizer_tree(optimizer: Optimizer) -> dict[str, Any]:
    """State by the parameter's number, and groups without their parameters; all by reference."""
    params = enumerate(stepped_parameters(optimizer))
    state: dict[Any, Any] = {i: optimizer.state[p] for i, p in params if p in optimizer.state}
    # As in torch's own state_dict: what an optimizer keeps of no one parameter goes by its own key:
    # test_snapshot.py::test_optimizer_state_that_belongs_to_no_parameter
    state |= {key: kept for key, kept in optimizer.state.items() if not isinstance(key, Tensor)}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {"state": state, "groups": groups}


def put_optimizer(optimizer: Optimizer, tree: dict[str, Any]) -> None:
    """Make this tree the state and the groups of an optimizer."""
    params: dict[Any, Any] = dict(enumerate(stepped_parameters(optimizer)))
    state = {params.get(key, key): kept for key, kept in tree["state"].items()}
    ours = {id(p) for p in params.values()}
    # Born in a Trial: deleted, not zeroed, for the first step fills an absent momentum buffer without dampening:
    # test_snapshot.py::test_an_absent_momentum_buffer_is_absent_again. That of a parameter that is in no group (any
    # more) is no probe's doing: test_snapshot.py::test_state_of_a_parameter_taken_out_of_its_group_stays
    for key in [k for k in optimizer.state if k not in state and (id(k) in ours or not isinstance(k, Tensor))]:
        del optimizer.state[key]
    # State that a step has thrown away comes back:
    # test_optimizer_state.py::test_state_that_a_step_threw_away_comes_back
    optimizer.state.update(state)
    for group, saved in zip(optimizer.param_groups, tree["groups"], strict=True):
        # Some optimizers and schedulers note things in groups:
        # test_optimizer_state.py::test_options_born_in_a_group_are_gone
        for born in [k for k in group if k not in saved and k != "params"]:
            del group[born]
        # The lr above all: test_continuation.py::test_a_probe_leaves_no_trace
        group.update(saved)
