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
    # As in torch's own state_dict: what an optimizer keeps of no one parameter goes by its own key.
    state |= {key: kept for key, kept in optimizer.state.items() if not isinstance(key, Tensor)}
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {"state": state, "groups": groups}


def put_optimizer(optimizer: Optimizer, tree: dict[str, Any]) -> None:
    """Make this tree the state and the groups of an optimizer."""
    params: dict[Any, Any] = dict(enumerate(stepped_parameters(optimizer)))
    state = {params.get(key, key): kept for key, kept in tree["state"].items()}
    ours = {id(p) for p in params.values()}
    for key in [k for k in optimizer.state if k not in state and (id(k) in ours or not isinstance(k, Tensor))]:
        # Born in the Trial: a zeroed momentum buffer is not an absent one (dampening).
        del optimizer.state[key]
    optimizer.state.update(state)
    for group, saved in zip(optimizer.param_groups, tree["groups"], strict=True):
        for gone in [k for k in group if k not in saved and k != "params"]:
            del group[gone]
        group.update(saved)
