"""torch's ReduceLROnPlateau: the lr falls when the validation loss has stopped improving."""

import torch

from lrpilot_bench.methods.loops import fly_on_validation
from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.session import Session
from lrpilot_bench.store.curves import compact


def fly_plateau(session: Session, *, evaluations: int, eval_batches: int) -> Notes:
    """Train with the family's optimizer; see :func:`lrpilot_bench.methods.loops.fly_on_validation`."""
    optimizer = session.optimizer(session.lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    fly_on_validation(session, optimizer, scheduler, evaluations=evaluations, eval_batches=eval_batches)
    return {"final_lr": compact(optimizer.param_groups[0]["lr"])}


METHODS = (
    Method(
        name="plateau",
        title="ReduceLROnPlateau",
        fly=fly_plateau,
        practice="torch's defaults (factor 0.1, patience 10), told the validation loss of 16 batches 30 times a run",
        group="peer",
        settings={"evaluations": 30, "eval_batches": 16},
        lrs={"sgd": 0.1, "adamw": 1e-3},
    ),
)
