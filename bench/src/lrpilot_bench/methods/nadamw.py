"""NadamW at one fixed point: what AlgoPerf (Dahl et al. 2023) lets self-tuning methods compete with.

Its point was found by a search over all of AlgoPerf's workloads (``prize_qualification_baselines/self_tuning`` in
mlcommons/algorithmic-efficiency, the same in its PyTorch and JAX files). It is taken whole, with its weight decay in
place of the task's; dropout and loss belong to the task.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import nn

from lrpilot_bench.methods.flying import fly_loop
from lrpilot_bench.methods.method import Method
from lrpilot_bench.session import Session

# torch lets the momentum grow to beta1 by 1 - 0.96^(step * decay) / 2, AlgoPerf has it there from the first step on.
# What differs then is the momentum's bias correction, which torch takes one step ahead.
AT_ONCE = 1e4


def fly_nadamw(session: Session, *, betas: list[float], weight_decay: float, warmup: float) -> None:
    """Train with NadamW, whatever the family: a linear warmup, then a cosine to zero.

    Args:
        session: what is trained.
        betas: of the optimizer.
        weight_decay: decoupled.
        warmup: fraction of the steps.
    """
    optimizer = nadamw(session.model.parameters(), session.lr, betas=betas, weight_decay=weight_decay)
    rising = int(warmup * session.steps)
    falling = max(1, session.steps - rising)

    def factor(step: int) -> float:
        if step < rising:
            return step / rising
        return 0.5 * (1.0 + math.cos(math.pi * (step - rising) / falling))

    fly_loop(session, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor))


def nadamw(
    parameters: Iterable[nn.Parameter], lr: float, *, betas: Sequence[float], weight_decay: float
) -> torch.optim.Optimizer:
    """NAdam with decoupled weight decay and a momentum that does not change."""
    return torch.optim.NAdam(
        parameters,
        lr=lr,
        betas=(betas[0], betas[1]),
        weight_decay=weight_decay,
        momentum_decay=AT_ONCE,
        decoupled_weight_decay=True,
    )


POINT_LR = 0.0017486387539278373

METHODS = (
    Method(
        name="nadamw_fixed",
        title="NadamW, AlgoPerf's point",
        fly=fly_nadamw,
        practice="AlgoPerf's self-tuning baseline: lr 0.00175, betas 0.933 and 0.9955, decoupled weight decay 0.081, "
        "2 % warmup, cosine to zero",
        group="peer",
        settings={
            "betas": [1.0 - 0.06733926164, 0.9955159689799007],
            "weight_decay": 0.08121616522670176,
            "warmup": 0.02,
        },
        lrs={"sgd": POINT_LR, "adamw": POINT_LR},
    ),
)
