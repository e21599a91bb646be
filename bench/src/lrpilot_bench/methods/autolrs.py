"""AutoLRS, default, as published, and with other scores; and beam search, the comparator."""

from typing import Any

from lrpilot.fitting import FitResult
from lrpilot.policies.autolrs import AutoLRS, LRStage
from lrpilot.policies.beam_search import BeamSearch
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.lr_entry import lr_method
from lrpilot_bench.methods.method import Notes
from lrpilot_bench.session import Session

# Of the training. The paper has 1,000 and 8,000 steps, in trainings of 70,000 and more; of a short one a window of a
# tenth of such a stage would be too few steps for any forecast.
TAU, MAX_TAU = 0.075, 0.3
WIDTH = 100.0  # max_lr / min_lr in the example of its authors' code, whose max_lr is the usual lr
PAPER_VERSION = "2"  # 1 read one held-out loss in a Trial, and took the forecast fall of the training loss off it
OWN_VERSION = "2"  # 1 took a held-out loss for five steps whatever it cost, and any loss that is no number for the lr's
ABLATED = ("raw", "annealed")  # scores; the default's is "average"


def fly_autolrs(session: Session, **settings: Any) -> Notes:
    """Train with the default, or with some settings changed, from the session's lr."""
    return stage_notes(fly_policy(session, AutoLRS(**settings)))


def fly_paper(session: Session, *, free: bool = False) -> Notes:
    """Train as published, in two decades that end at the session's lr."""
    policy = AutoLRS.paper(session.lr / WIDTH, session.lr, tau=TAU, max_tau=MAX_TAU)
    return stage_notes(fly_policy(session, policy, free=free))


def stage_notes(flown: FitResult | None) -> Notes:
    """What each stage was; no stages where the budget ended before the policy did, and from where the lr was held."""
    if flown is None:
        return {}
    if flown.pilot.result is None:
        return {"stages": [], "coasts_from": flown.coasts_from}
    stages: tuple[LRStage, ...] = flown.pilot.result
    return {"stages": [_stage_note(stage) for stage in stages]}


def _stage_note(stage: LRStage) -> dict[str, Any]:
    searches = (stage.scouts, stage.search)
    return {
        "begin": stage.begin,
        "steps": stage.steps,
        "lr": float(f"{stage.lr:.3g}"),
        "code": stage.code.name,
        "rewinds": stage.rewinds,
        "trials": sum(len(search.candidates) for search in searches if search is not None),
    }


def fly_beam_search(session: Session) -> Notes:
    """Train with the comparator, from the session's lr."""
    fly_policy(session, BeamSearch())
    return {}


_PAPER = (
    "its authors' code: 10 candidates a stage, stages of 7.5 to 30 % of the training; interval from a hundredth of "
    "0.1 (SGD) or 1e-3 (AdamW) up to it, as in their example"
)
METHODS = (
    lr_method(
        "autolrs",
        "AutoLRS",
        fly_autolrs,
        "lrpilot's default; start lr 0.1 (SGD) or 1e-3 (AdamW)",
        group="lrpilot",
        version=OWN_VERSION,
    ),
    lr_method("autolrs_paper", "AutoLRS, as published", fly_paper, _PAPER, group="lrpilot", version=PAPER_VERSION),
    lr_method(
        "autolrs_paper_free",
        "AutoLRS, as published, probes free",
        fly_paper,
        _PAPER,
        {"free": True},
        group="lrpilot",
        version=PAPER_VERSION,
    ),
    *(
        lr_method(
            f"autolrs_{score}",
            f"AutoLRS, {score} score",
            fly_autolrs,
            "the default, its Trials scored in another way; start lr 0.1 (SGD) or 1e-3 (AdamW)",
            {"score": score},
            version=OWN_VERSION,
        )
        for score in ABLATED
    ),
    lr_method(
        "beam_search",
        "Beam search (Takase et al.)",
        fly_beam_search,
        "its paper, on windows: 2 states, factors 1/2, 1 and 2; every candidate is trained; start lr 0.1 or 1e-3",
        group="peer",
    ),
)
