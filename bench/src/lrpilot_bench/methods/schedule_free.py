"""Schedule-free SGD and AdamW (Defazio et al. 2024), from their package: averaging in place of a schedule.

The weights to judge are an average of those trained. Where the model has batch normalisation, its running
statistics belong to the trained weights and are estimated anew for the average before it is judged, as the
package's README demands.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lrpilot.core.actions import Average
from lrpilot_bench.methods.averaging import lent, renew_statistics, statistics_batches
from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.methods.packages import require
from lrpilot_bench.methods.searched import SEARCH_VERSION, UNUSED_LR, search_peak
from lrpilot_bench.session import Session


def fly_searched(session: Session, *, mix: float, **settings: Any) -> Notes:
    """Search as Autopilot does, by averaged Trials of the same dynamics; train with what is left of the budget.

    Args:
        session: what is trained.
        mix: of the average, as the package has it (its momentum or beta1).
        **settings: of :func:`fly_schedule_free`.
    """
    found = search_peak(session, session.optimizer(UNUSED_LR), arm="averaged", average=Average(mix))
    fly_schedule_free(session, lr=found.lr, **settings)
    return found.notes


def fly_schedule_free(session: Session, *, warmup: float, norm_batches: int, lr: float | None = None) -> None:
    """Train with the family's schedule-free optimizer; the model ends as the average.

    Args:
        session: what is trained.
        lr: natural units; None for the session's.
        warmup: fraction of the steps that are left, in which the lr rises linearly.
        norm_batches: training batches that renew the running statistics; the last renewal is charged, those
            of the benchmark's own evaluations are free, as the evaluations are.
    """
    optimizer = _optimizer(session, session.lr if lr is None else lr, round(warmup * session.steps_left))
    batches = statistics_batches(session, norm_batches)
    reserved = math.ceil(batches / 3)  # steps
    session.evaluating = lambda: _averaged(session, optimizer, batches)
    optimizer.train()
    for batch in session.batches():
        if session.steps_left <= reserved:
            break
        loss = session.gradients(optimizer, batch)
        optimizer.step()
        session.tick(float(loss), optimizer.param_groups[0]["scheduled_lr"], samples=len(batch[0]))
    session.evaluating = nullcontext
    optimizer.eval()
    session.charge(renew_statistics(session, batches), forwards=1)


def _optimizer(session: Session, lr: float, warmup_steps: int) -> Any:
    package, family = require("schedulefree", "schedulefree"), session.family
    options = {"lr": lr, "weight_decay": family.weight_decay, "warmup_steps": warmup_steps}
    if family.kind == "sgd":
        return package.SGDScheduleFree(session.model.parameters(), momentum=family.momentum, **options)
    return package.AdamWScheduleFree(session.model.parameters(), **options)


def _averaged(session: Session, optimizer: Any, batches: int) -> AbstractContextManager[None]:
    """Inside, the model holds the average; after, all is as it was."""
    # The package's own way back (train()) interpolates, which rounds: evaluating would change the training.
    return lent(session, optimizer.eval, optimizer.train, batches)


METHODS = (
    Method(
        name="schedule_free",
        title="schedule-free",
        fly=fly_schedule_free,
        practice="its README: lr 1.0 (SGD) or 2.5e-3 (AdamW), warmup (5 %), judged in eval mode, statistics of batch "
        "normalisation renewed on 50 training batches",
        group="peer",
        settings={"warmup": 0.05, "norm_batches": 50},
        lrs={"sgd": 1.0, "adamw": 2.5e-3},
        packages=("schedulefree",),
    ),
    Method(
        name="schedule_free_searched",
        title="schedule-free, lr searched",
        fly=fly_searched,
        practice="its README's setting, but for the lr, which Autopilot's search finds by averaged trials (paid for)",
        group="peer",
        settings={"warmup": 0.05, "norm_batches": 50, "mix": 0.9},
        version=SEARCH_VERSION,
        packages=("schedulefree",),
    ),
)
