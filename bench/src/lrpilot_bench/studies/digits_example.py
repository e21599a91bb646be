"""The training of examples/autolrs.py by seed, shared by the scripts beside this one."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from lrpilot import Training
from lrpilot_bench.studies.checkout import load_example

example = load_example("autolrs")


def make_training(seed: int, lr: float, *, optimizer: str = "sgd") -> Training:
    """The digits and the example's net, with weights and data order of that seed.

    Args:
        seed: of everything random.
        lr: of the optimizer, natural units.
        optimizer: "sgd", with momentum 0.9, or "adamw".
    """
    train_set, val_set = example.load()
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    made: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    if optimizer == "sgd":
        made = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    loader = DataLoader(train_set, example.BATCH_SIZE, shuffle=True, drop_last=True)
    return Training(model, made, example.loss_fn, loader, DataLoader(val_set, len(val_set)), seed=seed)
