"""Methods that find an lr first and then fly a schedule with it, and the finders alone.

The search is paid for out of the training steps, so a long one leaves fewer of them; where it has spent them
all, nothing is trained and that is the result. The rows called "free" do not charge it and say so. A finder
alone (``pick_...``) trains nothing: its record is its pick.
"""

import math

from lrpilot.policies.schedules.schedule import Schedule
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.method import Method, Notes
from lrpilot_bench.methods.pickers import PICKERS, Picker
from lrpilot_bench.methods.schedules import WARMUP
from lrpilot_bench.session import Session


def fly_pick(session: Session, *, picker: str, kind: str, warmup: float = 0.0, free: bool = False) -> None:
    """Search, then train a fresh optimizer with a schedule at the picked lr on what is left of the budget.

    Args:
        session: what is trained.
        picker: name of the finder.
        kind: of the schedule.
        warmup: part of the steps left.
        free: whether the search is not paid for.

    Raises:
        NoPickError: the finder gives no lr.
    """
    pick = PICKERS[picker].pick(session)
    session.notes.update(pick.notes())
    lr = pick.require()
    if free:
        session.forgive(3.0 * math.ceil(session.compute / 3.0))  # whole steps, so that none is lost
    fly_policy(session, Schedule(kind, lr=lr, warmup=warmup), lr=lr)


def fly_nowhere(session: Session, *, picker: str) -> Notes:
    """Only search; the schedule that the pick is meant for, and the suggestions to tabulate, go on record too."""
    chosen = PICKERS[picker]
    return {**chosen.pick(session).notes(), "schedule": chosen.schedule, "rows": list(chosen.rows)}


def _own(name: str, title: str, picker: str, practice: str, **schedule: object) -> tuple[Method, Method]:
    """A method of lrpilot, and the same with its search free of charge."""
    settings, version = {"picker": picker, **schedule}, PICKERS[picker].version
    return (
        Method(name, title, fly_pick, practice, "lrpilot", settings, version),
        Method(
            f"{name}_free",
            f"{title}, search free",
            fly_pick,
            practice,
            "lrpilot",
            {**settings, "free": True},
            version,
            equal_compute=False,
        ),
    )


def _peer(name: str, title: str, picker: str, practice: str) -> Method:
    settings = {"picker": picker, "kind": "linear", "warmup": WARMUP}
    chosen = PICKERS[picker]
    return Method(name, title, fly_pick, practice, "peer", settings, chosen.version, packages=chosen.packages)


def _alone(name: str, picker: Picker) -> Method:
    return Method(
        f"pick_{name}",
        f"{picker.title} (pick only)",
        fly_nowhere,
        f"the finder at its defaults; its pick is meant for a {picker.schedule.replace('_', '-')} schedule",
        "finder",
        {"picker": name},
        picker.version,
        packages=picker.packages,
        equal_compute=False,
    )


METHODS = (
    *_own(
        "find_quick_linear",
        "find_lr + linear",
        "find_lr_quick",
        "lrpilot's README: find_lr at its default, 150 steps at most, then linear decay to zero with 5 % warmup",
        kind="linear",
        warmup=WARMUP,
    ),
    *_own(
        "find_decay_linear",
        "find_lr (thorough) + linear",
        "find_lr_decay",
        "lrpilot's docs: find_lr with effort=thorough, then linear decay to zero with 5 % warmup",
        kind="linear",
        warmup=WARMUP,
    ),
    *_own(
        "find_decay_quick_linear",
        "find_lr (thorough, num_steps=5) + linear",
        "find_lr_decay_quick",
        "lrpilot's docs: num_steps scales the thorough search, here to a quarter; then linear decay with 5 % warmup",
        kind="linear",
        warmup=WARMUP,
    )[:1],  # its cost is the point, so there is no row with the search free
    *_own(
        "find_constant",
        "find_lr (constant)",
        "find_lr_constant",
        "Learning Rate Optimization Through Step Sampling: the log-midpoint, held",
        kind="constant",
    ),
    _peer(
        "tlf_linear",
        "pytorch-lr-finder + linear",
        "torch_lr_finder",
        "its README: range test from 1e-7, steepest point, reset; then linear decay with 5 % warmup",
    ),
    _peer(
        "lightning_linear",
        "Lightning lr_find + linear",
        "lightning",
        "its documentation: Tuner.lr_find and its suggestion; then linear decay with 5 % warmup",
    ),
    *(_alone(name, picker) for name, picker in PICKERS.items()),
)
