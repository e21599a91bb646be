"""LRTuner (AutoLR): its default, the papers' row, and the variants that its experiments compare."""

from dataclasses import replace
from typing import Any

from lrpilot.policies.lr_tuner import LRTuner, PublishedLRTuner
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.lr_entry import lr_method
from lrpilot_bench.methods.method import Notes
from lrpilot_bench.session import Session

ROW = "fashion-mnist"  # of the papers' table; one row for all tasks, as for every other method
HELD = (0.0, 0.1, 0.25, 0.5)  # explore fractions of the papers' ablation, the lr held during explore
STEP_FACTORS = (1.5, 2.0)  # beyond the default's 1
DEFAULT_VERSION = "4"  # 1 waited for saturation; 2 read every rewind of a dead training; 3 saw nothing between windows


def fly_lr_tuner(session: Session, *, free: bool = False, **settings: Any) -> Notes:
    """Train with the default, or with some settings changed; the seed lr is the session's."""
    return _fly(session, LRTuner(**settings), free=free)


def fly_paper(session: Session, *, free: bool = False, true_epochs: bool = False, **changes: Any) -> Notes:
    """Train as published.

    Args:
        session: what is trained; its lr is the seed lr.
        free: whether probes are not paid for, as in the papers.
        true_epochs: whether the papers' epochs are those of the data; otherwise the training counts as the row's
            own number of epochs, so that windows and superbatches keep their share of it.
        **changes: settings other than the row's.
    """
    epochs = session.steps * session.task.batch_size / len(session.splits.train) if true_epochs else None
    return _fly(session, replace(LRTuner.paper(ROW, epochs=epochs), **changes), free=free)


def _fly(session: Session, policy: LRTuner | PublishedLRTuner, *, free: bool) -> Notes:
    fly_policy(session, replace(policy, lr=session.lr), free=free)
    return {}


_PAPER = f"the papers' {ROW} row: explore 20 %, saturation 100, clip 1e-3, superbatch 100; seed lr 0.1 or 1e-3"
METHODS = (
    lr_method(
        "lr_tuner",
        "LRTuner",
        fly_lr_tuner,
        "lrpilot's default: explore, then straight to zero; seed lr 0.1 or 1e-3",
        group="lrpilot",
        version=DEFAULT_VERSION,
    ),
    lr_method(
        "lr_tuner_saturation",
        "LRTuner, saturating",
        fly_lr_tuner,
        "the default, but decreases wait for saturation; seed lr 0.1 or 1e-3",
        {"exploit": "saturation"},
        group="lrpilot",
        version=DEFAULT_VERSION,
    ),
    lr_method("lr_tuner_paper", "LRTuner, as published", fly_paper, _PAPER, group="lrpilot"),
    lr_method(
        "lr_tuner_paper_free",
        "LRTuner, as published, probes free",
        fly_paper,
        _PAPER,
        {"free": True},
        group="lrpilot",
    ),
    lr_method(
        "lr_tuner_epochs",
        "LRTuner, as published",
        fly_paper,
        f"{_PAPER}, windows of half an epoch of the data, probes free",
        {"free": True, "true_epochs": True},
    ),
    *(
        lr_method(
            f"lr_tuner_held_{round(100 * explore)}",
            f"LRTuner, as published, lr held for {explore:.0%}",
            fly_paper,
            "the papers' ablation: the seed lr held during explore, then exploit; probes free",
            {"free": True, "true_epochs": True, "explore": explore, "explore_lr": "held"},
        )
        for explore in HELD
    ),
    *(
        lr_method(
            f"lr_tuner_factor_{step_factor:g}",
            f"LRTuner, {step_factor:g} times the minimiser",
            fly_lr_tuner,
            "the default, aiming beyond the minimum of the line",
            {"step_factor": step_factor},
            version=DEFAULT_VERSION,
        )
        for step_factor in STEP_FACTORS
    ),
)
