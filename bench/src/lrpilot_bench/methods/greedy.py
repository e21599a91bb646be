"""GreedyLR from transformers: up while the validation loss improves, down when it does not (Subramanian et al. 2025).

Its default floor of 1e-3 lies above most lrs of AdamW, where it could only rise; its own examples set the
floor far below the lr, and so does this entry.
"""

from lrpilot_bench.methods.loops import fly_on_validation
from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.methods.packages import require
from lrpilot_bench.session import Session
from lrpilot_bench.store.curves import compact


def fly_greedy(
    session: Session, *, evaluations: int, eval_batches: int, patience: int, factor: float, floor: float
) -> Notes:
    """Train with the family's optimizer.

    Args:
        session: what is trained.
        evaluations: validation losses of a run; see :func:`lrpilot_bench.methods.loops.fly_on_validation`.
        eval_batches: batches of each; as many as lrpilot's own evaluations have.
        patience: evaluations of one kind (better, not better) that it lets pass before it acts.
        factor: multiplies the lr on a plateau, divides it on progress.
        floor: lowest lr, as a fraction of the lr it starts from.
    """
    greedy = require("transformers.optimization", "transformers").GreedyLR
    optimizer = session.optimizer(session.lr)
    scheduler = greedy(optimizer, patience=patience, factor=factor, min_lr=session.lr * floor)
    fly_on_validation(session, optimizer, scheduler, evaluations=evaluations, eval_batches=eval_batches)
    return {"final_lr": compact(optimizer.param_groups[0]["lr"])}


METHODS = (
    Method(
        name="greedy",
        title="GreedyLR (transformers)",
        fly=fly_greedy,
        practice="its own examples: 20 evaluations (of 16 batches) a run, patience 2, factor 0.9, floor at lr / 500 "
        "(fine-tuning); lr 2e-4 with AdamW (training from scratch), 0.1 with SGD",
        group="peer",
        settings={"evaluations": 20, "eval_batches": 16, "patience": 2, "factor": 0.9, "floor": 0.002},
        lrs={"sgd": 0.1, "adamw": 2e-4},
        packages=("transformers",),
    ),
)
