"""GeN, the generalized Newton's method (Bu & Xu 2025), from its package gen-optim.

Every few steps a parabola through the losses at -1, 0 and 1 steps, on another batch, says which lr is best;
the lr moves a tenth of the way there. On such a step the package steps the optimizer once to see the
direction and the user's loop steps it again: moments are updated twice with one gradient, as published.
"""

import torch

from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.methods.packages import quiet, require
from lrpilot_bench.session import Session
from lrpilot_bench.store.curves import compact

POINTS = 3  # forward passes of a parabola


def fly_gen(session: Session, *, lazy: int) -> Notes:
    """Train with the family's optimizer, its lr set by GeN.

    Args:
        session: what is trained.
        lazy: steps from one update of the lr to the next.
    """
    lr_parabola = require("GeN", "gen-optim").lr_parabola
    optimizer, probes = session.optimizer(session.lr), session.probe_batches()
    for batch in session.batches():
        left = session.steps_left
        if left == 0:
            break
        loss = session.gradients(optimizer, batch)
        if (session.kept_steps + 1) % lazy == 0 and left > 1:  # the last step could not pay for it
            # Dropout of the training keeps its draws.
            with torch.random.fork_rng(), quiet():
                lr_parabola(
                    session.model,
                    optimizer,
                    session.task.criterion,
                    tr_iter=probes,
                    device=session.device,
                    task="image_cls",  # any task of (inputs, targets)
                    scale=1.0 - session.compute / session.budget,
                    lr_factor=[-1, 0, 1],  # its own list: it reorders the one it is given
                )
            session.charge(session.task.batch_size, forwards=POINTS)
        lr = float(optimizer.param_groups[0]["lr"])
        optimizer.step()
        session.tick(float(loss), lr, samples=len(batch[0]))
    return {"final_lr": compact(float(optimizer.param_groups[0]["lr"]))}


METHODS = (
    Method(
        name="gen",
        title="GeN",
        fly=fly_gen,
        practice="its README: lr from 1e-4, updated every 4 steps, scaled by 1 - t/T",
        group="peer",
        settings={"lazy": 4},
        lrs={"sgd": 1e-4, "adamw": 1e-4},
        packages=("GeN", "scipy", "sklearn"),
    ),
)
