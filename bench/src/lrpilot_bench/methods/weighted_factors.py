"""Loss-weighted factors: the default, the paper's setting, and the variants that its experiments compare."""

from typing import Any

from lrpilot.policies.weighted_factors import WeightedFactors
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.lr_entry import lr_method
from lrpilot_bench.methods.method import Notes
from lrpilot_bench.session import Session

NUM_FACTORS = (3, 7)  # beside the default's 5
BATCHES = (1, 4, 16)  # scoring batches of a decision
DEFAULT_VERSION = "3"  # 1 took back places that it had called sound; 2 did not end at zero


def fly_weighted_factors(session: Session, **settings: Any) -> Notes:
    """Train with the default, or with some settings changed, from the session's lr."""
    fly_policy(session, WeightedFactors(**settings))
    return {}


def fly_paper(session: Session, *, true_epochs: bool = False, **settings: Any) -> Notes:
    """Train as published, from the session's lr.

    Args:
        session: what is trained.
        true_epochs: whether it decides once an epoch of the data; otherwise once in a hundredth of the training,
            which is an epoch of the paper's.
        **settings: others than the published ones.
    """
    window = {"window": len(session.splits.train) // session.task.batch_size} if true_epochs else {}
    fly_policy(session, WeightedFactors.paper(**window, **settings))
    return {}


_PAPER = "its paper: 5 factors, one scoring batch, 100 decisions, nothing undone"
_EPOCHS = {"true_epochs": True}
METHODS = (
    lr_method(
        "weighted_factors",
        "Weighted factors",
        fly_weighted_factors,
        "lrpilot's default: decides for half of the training, then straight to zero; start lr 0.1 or 1e-3",
        group="lrpilot",
        version=DEFAULT_VERSION,
    ),
    lr_method(
        "weighted_factors_paper",
        "Weighted factors, as published",
        fly_paper,
        f"{_PAPER}; start lr 0.1 (SGD) or 1e-3 (AdamW)",
        group="lrpilot",
    ),
    lr_method(
        "weighted_factors_epochs",
        "Weighted factors, as published",
        fly_paper,
        "its paper: 5 factors, one scoring batch, a decision an epoch",
        _EPOCHS,
    ),
    *(
        lr_method(
            f"weighted_factors_epochs_n{many}",
            f"Weighted factors, as published, {many} factors",
            fly_paper,
            f"its paper's ablation: {many} factors",
            {**_EPOCHS, "num_factors": many},
        )
        for many in NUM_FACTORS
    ),
    *(
        lr_method(
            f"weighted_factors_epochs_b{many}",
            f"Weighted factors, as published, {many} scoring batches",
            fly_paper,
            f"its paper's ablation: {many} scoring batches",
            {**_EPOCHS, "batches": many},
        )
        for many in BATCHES
        if many != 1  # published
    ),
    *(
        lr_method(
            f"weighted_factors_n{many}",
            f"Weighted factors, {many} factors",
            fly_weighted_factors,
            f"the default with {many} factors",
            {"num_factors": many},
            version=DEFAULT_VERSION,
        )
        for many in NUM_FACTORS
    ),
    *(
        lr_method(
            f"weighted_factors_b{many}",
            f"Weighted factors, {many} scoring batches",
            fly_weighted_factors,
            f"the default with {many} scoring batches",
            {"batches": many},
            version=DEFAULT_VERSION,
        )
        for many in BATCHES
    ),
)
