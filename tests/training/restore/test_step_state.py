"""The state and the groups of an optimizer go back, in the corners that torch's own optimizers do not reach."""

import torch

from lrpilot.training.restore.step_state import optimizer_tree, put_optimizer
from lrpilot.training.restore.tree import alias_tree


def stepped() -> tuple[torch.Tensor, torch.optim.SGD]:
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    return weight, optimizer


def test_state_that_a_step_threw_away_comes_back() -> None:
    weight, optimizer = stepped()
    buffer, tree = optimizer.state[weight]["momentum_buffer"], alias_tree(optimizer_tree(optimizer))
    optimizer.state.clear()
    put_optimizer(optimizer, tree)
    assert optimizer.state[weight]["momentum_buffer"] is buffer


def test_options_born_in_a_group_are_gone() -> None:
    weight, optimizer = stepped()
    tree, options = alias_tree(optimizer_tree(optimizer)), dict(optimizer.param_groups[0])
    optimizer.param_groups[0] |= {"noted": 3, "lr": 0.5}
    put_optimizer(optimizer, tree)
    assert optimizer.param_groups[0] == options and optimizer.param_groups[0]["params"][0] is weight
