"""The schedule that people write by hand for the very task, at the lr of their tutorials."""

from lrpilot.policies.schedules.schedule import Schedule
from lrpilot_bench.methods.flying import fly_policy
from lrpilot_bench.methods.method import Method
from lrpilot_bench.methods.schedules import DEFAULT_LRS, OWN_WARMUP, WARMUP
from lrpilot_bench.session import Session

# "Attention Is All You Need" warms its base model up for 4,000 of 100,000 steps.
TRANSFORMER_WARMUP = 0.04


def warmup_of(kind: str) -> float:
    """The usual warmup of a kind of schedule, as a part of all steps; 0 for one that brings its own."""
    if kind in OWN_WARMUP:
        return 0.0
    return TRANSFORMER_WARMUP if kind == "inverse_sqrt" else WARMUP


def fly_handmade(session: Session) -> dict[str, str | float]:
    """Train with the task's own schedule; its kind and warmup go on record."""
    kind = session.task.handmade
    lr = session.task.handmade_lr or DEFAULT_LRS[session.family.kind]
    warmup = warmup_of(kind)
    fly_policy(session, Schedule(kind, lr=lr, warmup=warmup), lr=lr)
    return {"kind": kind, "warmup": warmup, "peak_lr": lr}


METHODS = (
    Method(
        name="handmade",
        title="the task's hand-made schedule",
        fly=fly_handmade,
        practice="the task's usual schedule and lr (else 0.1 for SGD, 1e-3 for AdamW), 5 % warmup (inverse sqrt: 4 %)",
        group="schedule",
    ),
)
