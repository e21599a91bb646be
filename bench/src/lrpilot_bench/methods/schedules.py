"""Hand-made schedules at their default lr: what somebody who has read a tutorial does.

The oracle's sweeps fly the same entries over a grid of lrs.
"""

from typing import Any

from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.policies.schedules.shapes import SCHEDULES
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.method import Method
from lrpilot_bench.session import Session

WARMUP = 0.05  # of the steps; with every kind but those that bring their own
DEFAULT_LRS = {"sgd": 0.1, "adamw": 1e-3}  # of the tutorials and of the papers; torch's default for AdamW
MORE_LRS = {"plain_sgd": 0.1, "adam": 1e-3}  # of the families that only experiments train with
OWN_WARMUP = ("one_cycle", "trapezoid")
UNWARMED = ("constant", "linear", "cosine", "step")


def fly_schedule(session: Session, *, kind: str, **options: Any) -> None:
    """Train with a schedule over all steps."""
    fly_policy(session, Schedule(kind, lr=session.lr, **options))


def _method(kind: str) -> Method:
    options = {} if kind in OWN_WARMUP else {"warmup": WARMUP}
    return Method(
        name=kind,
        title=f"{kind.replace('_', '-')}, default lr",
        fly=fly_schedule,
        practice="5 % warmup, lr 0.1 (SGD) or 1e-3 (AdamW)" if options else "its own warmup, lr 0.1 or 1e-3",
        group="schedule",
        settings={"kind": kind, **options},
        lrs=DEFAULT_LRS,
    )


def _unwarmed(kind: str) -> Method:
    lrs = {**DEFAULT_LRS, **MORE_LRS}
    return Method(
        name=f"{kind}_unwarmed",
        title=f"{kind}, no warmup",
        fly=fly_schedule,
        practice="a baseline of papers: its lr from the first step on",
        group="ablation",
        settings={"kind": kind},
        lrs=lrs,
        families=frozenset(lrs),
    )


METHODS = (*(_method(kind) for kind in SCHEDULES), *(_unwarmed(kind) for kind in UNWARMED))
