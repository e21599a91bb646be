"""AutoLRS: its default, the published setting, and the variants that its experiments compare; and beam search."""

from typing import Any

from lrpilot.bench.methods.flying import fly_policy
from lrpilot.bench.methods.lr_entry import lr_method
from lrpilot.bench.methods.method import Notes
from lrpilot.bench.session import Session
from lrpilot.policies.autolrs import AutoLRS
from lrpilot.policies.beam_search import BeamSearch

SCORES = ("raw", "annealed", "average")
# Of the training: the paper's stages of 1,000 to 8,000 steps in one of 20,000, its shortest.
TAU, MAX_TAU = 1 / 20, 8 / 20
WIDTH = 100.0  # max_lr / min_lr in the example of its authors' code, whose max_lr is the usual lr


def fly_autolrs(session: Session, *, free: bool = False, **settings: Any) -> Notes:
    """Train with the default, or with some settings changed, from the session's lr."""
    fly_policy(session, AutoLRS(**settings), free=free)
    return {}


def fly_paper(session: Session, *, free: bool = False) -> Notes:
    """Train as published, in two decades that end at the session's lr."""
    policy = AutoLRS.paper(session.lr / WIDTH, session.lr, tau=TAU, max_tau=MAX_TAU)
    fly_policy(session, policy, free=free)
    return {}


def fly_beam_search(session: Session) -> Notes:
    """Train with the comparator, from the session's lr."""
    fly_policy(session, BeamSearch())
    return {}


_PAPER = (
    "its authors' code: 10 candidates a stage, stages of 1/20 to 8/20 of the training; interval from a hundredth of "
    "0.1 (SGD) or 1e-3 (AdamW) up to it, as in their example"
)
METHODS = (
    lr_method(
        "autolrs", "AutoLRS", fly_autolrs, "lrpilot's default; start lr 0.1 (SGD) or 1e-3 (AdamW)", group="lrpilot"
    ),
    lr_method("autolrs_paper", "AutoLRS, as published", fly_paper, _PAPER, group="lrpilot"),
    lr_method(
        "autolrs_paper_free",
        "AutoLRS, as published, probes free",
        fly_paper,
        _PAPER,
        {"free": True},
        group="lrpilot",
    ),
    lr_method(
        "beam_search",
        "Beam search (Takase et al.)",
        fly_beam_search,
        "its paper, on windows: 2 states, factors 1/2, 1 and 2; every candidate is trained; start lr 0.1 or 1e-3",
        group="lrpilot",
    ),
    *(
        lr_method(
            f"autolrs_{score}",
            f"AutoLRS, {score} score",
            fly_autolrs,
            f"the default, its Trials judged by the {score} score",
            {"score": score},
        )
        for score in SCORES
    ),
)
