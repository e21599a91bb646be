"""What somebody gets who leaves the lr alone: the defaults of frameworks, and the habit of papers.

Each brings its own optimizer to every task, whatever the task's family. The weight decay is the task's, as for
every other method, and gradients are not clipped (transformers' Trainer clips at 1): the lr is what is compared.
"""

import torch

from lrpilot_bench.methods.flying import fly_loop
from lrpilot_bench.methods.method import Method
from lrpilot_bench.session import Session

MOMENTUM = 0.9


def fly_adamw_constant(session: Session) -> None:
    """Train with AdamW at one lr."""
    fly_loop(session, _adamw(session))


def fly_adamw_linear(session: Session) -> None:
    """Train with AdamW, the lr falling linearly to zero, without warmup."""
    optimizer, steps = _adamw(session), session.steps
    fly_loop(session, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps))


def fly_sgd_step(session: Session, *, milestones: list[float], factor: float) -> None:
    """Train with SGD and momentum, the lr falling by a factor at each of a few milestones.

    Args:
        session: what is trained.
        milestones: in fractions of the steps.
        factor: that multiplies the lr at each.
    """
    optimizer = torch.optim.SGD(
        session.model.parameters(), lr=session.lr, momentum=MOMENTUM, weight_decay=session.family.weight_decay
    )
    at = [round(session.steps * milestone) for milestone in milestones]
    fly_loop(session, optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, at, gamma=factor))


def _adamw(session: Session) -> torch.optim.Optimizer:
    return torch.optim.AdamW(session.model.parameters(), lr=session.lr, weight_decay=session.family.weight_decay)


METHODS = (
    Method(
        name="adamw_constant",
        title="AdamW 1e-3",
        fly=fly_adamw_constant,
        practice="torch's default: AdamW at a constant lr of 1e-3",
        group="default",
        lrs={"sgd": 1e-3, "adamw": 1e-3},
    ),
    Method(
        name="adamw_linear_5e5",
        title="AdamW 5e-5, linear",
        fly=fly_adamw_linear,
        practice="the default of transformers' Trainer, but for its clipping: AdamW, lr 5e-5 falling linearly to zero",
        group="default",
        lrs={"sgd": 5e-5, "adamw": 5e-5},
    ),
    Method(
        name="sgd_step",
        title="SGD 0.1, steps",
        fly=fly_sgd_step,
        practice="the habit of papers (ResNet): SGD, momentum 0.9, lr 0.1, times 0.1 at 1/2 and 3/4 of the steps",
        group="default",
        settings={"milestones": [0.5, 0.75], "factor": 0.1},
        lrs={"sgd": 0.1, "adamw": 0.1},
    ),
)
