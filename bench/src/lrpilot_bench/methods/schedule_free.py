"""Schedule-free SGD and AdamW (Defazio et al. 2024), from their package: averaging in place of a schedule.

The weights to judge are an average of those trained. Where the model has batch normalisation, its running
statistics belong to the trained weights and are estimated anew for the average before it is judged, as the
package's README demands.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from lrpilot_bench.methods.averaging import lent, renew_statistics, statistics_batches
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.packages import require
from lrpilot_bench.session import Session


def fly_schedule_free(session: Session, *, warmup: float, norm_batches: int) -> None:
    """Train with the family's schedule-free optimizer; the model ends as the average.

    Args:
        session: what is trained.
        warmup: fraction of the steps in which the lr rises linearly.
        norm_batches: training batches that renew the running statistics; the last renewal is charged, those
            of the benchmark's own evaluations are free, as the evaluations are.
    """
    optimizer = _optimizer(session, round(warmup * session.steps))
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


def _optimizer(session: Session, warmup_steps: int) -> Any:
    package, family = require("schedulefree", "schedulefree"), session.family
    options = {"lr": session.lr, "weight_decay": family.weight_decay, "warmup_steps": warmup_steps}
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
)
