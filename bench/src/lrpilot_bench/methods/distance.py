"""Optimizers that estimate their lr from the distance to the start: Prodigy and D-Adaptation, from their packages.

Both multiply the estimate by the optimizer's own lr, which stays at 1 unless a schedule moves it.

Of the options that the packages document, two choices were made after a look at digits (seeds 0 and 1), to
give the peers their due: Prodigy's two switches, which its README recommends from users' reports on diffusion
models and leaves off by default, took the annealed validation loss from 0.32 and 0.24 to 0.20 and 0.20; and
D-Adaptation ended above its initial loss with either family until its growth was limited to 2 % a step, which
its docstrings offer for unstable training. That limit costs a short run dearly: a factor of 1e4 takes 465 steps.

A search in front of Prodigy cannot be one for its own multiplier: a short Trial ends before the estimate has grown from
1e-6, and would ask for as large a one as may be. What a search can spare it is that growth: the lr that is found for
AdamW, whose step Prodigy takes, is the estimate that it begins with (it may only grow from there).
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.methods.packages import quiet, require
from lrpilot_bench.methods.searched import SEARCH_VERSION, UNUSED_LR, search_peak
from lrpilot_bench.session import Session
from lrpilot_bench.store.curves import compact

GroupLR = Callable[[Mapping[str, Any]], float]


def fly_prodigy_searched(session: Session, **settings: bool) -> Notes:
    """Train with Prodigy from the lr that Autopilot's search finds for AdamW, whatever the family.

    Args:
        session: what is trained.
        **settings: of :func:`fly_prodigy`.
    """
    decay = session.family.weight_decay
    adamw = torch.optim.AdamW(session.model.parameters(), lr=UNUSED_LR, weight_decay=decay)
    found = search_peak(session, adamw, arm="ordinary")
    return {**found.notes, **fly_prodigy(session, first=found.lr, **settings)}


def fly_prodigy(session: Session, *, cosine: bool, first: float | None = None, **options: bool) -> Notes:
    """Train with Prodigy (Mishchenko & Defazio 2023), whatever the family.

    Args:
        session: what is trained.
        cosine: anneal over all steps; constant otherwise.
        first: estimate that it begins with (``d0``); None for the package's, 1e-6.
        options: of the optimizer.
    """
    prodigy, decay = require("prodigyopt", "prodigyopt").Prodigy, session.family.weight_decay
    begun = {} if first is None else {"d0": first}
    with quiet():
        optimizer = prodigy(session.model.parameters(), lr=1.0, weight_decay=decay, **options, **begun)
    return _fly(session, optimizer, _adam_lr, cosine=cosine)


def fly_dadapt(session: Session, *, growth_rate: float) -> Notes:
    """Train with D-Adaptation (Defazio & Mishchenko 2023), the family's variant, annealed over all steps.

    Args:
        session: what is trained.
        growth_rate: most that the estimate may grow by in a step, as a factor.
    """
    package, family = require("dadaptation", "dadaptation"), session.family
    parameters = session.model.parameters()
    options = {"lr": 1.0, "weight_decay": family.weight_decay, "growth_rate": growth_rate}
    if family.kind == "sgd":
        optimizer = package.DAdaptSGD(parameters, momentum=family.momentum, **options)
        return _fly(session, optimizer, _sgd_lr, cosine=True)
    with quiet():
        optimizer = package.DAdaptAdam(parameters, decouple=True, **options)
    return _fly(session, optimizer, _adam_lr, cosine=True)


def _adam_lr(group: Mapping[str, Any]) -> float:
    lr: float = group["d"] * group["lr"]
    return lr


def _sgd_lr(group: Mapping[str, Any]) -> float:
    """The lr at which torch's SGD with the same momentum would take the step.

    D-Adaptation divides by the first gradient's norm, and its momentum averages steps where torch's sums them.
    """
    lr: float = (1.0 - group["momentum"]) * group["d"] * group["lr"] / group["g0_norm"]
    return lr


def _fly(session: Session, optimizer: torch.optim.Optimizer, lr_of: GroupLR, *, cosine: bool) -> Notes:
    scheduler = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, session.steps_left)) if cosine else None
    )
    group = optimizer.param_groups[0]
    for batch in session.batches():
        if session.steps_left == 0:
            break
        loss = session.gradients(optimizer, batch)
        optimizer.step()
        # With the estimate after the step, one step ahead of what it used.
        session.tick(float(loss), lr_of(group), samples=len(batch[0]))
        if scheduler is not None:
            scheduler.step()
    return {"distance": compact(float(group["d"]))}


def _prodigy(name: str, title: str, practice: str, *, cosine: bool) -> Method:
    return Method(
        name=name,
        title=title,
        fly=fly_prodigy,
        practice=practice,
        group="peer",
        settings={"cosine": cosine, "safeguard_warmup": True, "use_bias_correction": True},
        packages=("prodigyopt",),
    )


METHODS = (
    _prodigy(
        "prodigy",
        "Prodigy",
        "its README: lr 1, no schedule; safeguard_warmup and use_bias_correction on, as it says for diffusion",
        cosine=False,
    ),
    _prodigy(
        "prodigy_cosine",
        "Prodigy, cosine",
        "its README: lr 1, cosine over all steps; both switches on, as it says for diffusion models",
        cosine=True,
    ),
    Method(
        name="prodigy_searched",
        title="Prodigy, cosine, start searched",
        fly=fly_prodigy_searched,
        practice="its README: lr 1, cosine, both switches on; but it begins with the estimate (d0) that Autopilot's "
        "search finds as an lr of AdamW (paid for)",
        group="peer",
        settings={"cosine": True, "safeguard_warmup": True, "use_bias_correction": True},
        version=SEARCH_VERSION,
        packages=("prodigyopt",),
    ),
    Method(
        name="dadapt",
        title="D-Adaptation, cosine",
        fly=fly_dadapt,
        practice="its README: lr 1, the schedule one would use anyway (cosine), decoupled weight decay; growth_rate "
        "1.02 as documented for unstable training",
        group="peer",
        settings={"growth_rate": 1.02},
        packages=("dadaptation",),
    ),
)
