"""What a record of the benchmark is, and the few lists that both its runner and its reader go by; free of torch."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from lrpilot.errors import unknown_name


class _Kind(Protocol):
    @property
    def kind(self) -> str: ...


Family = TypeVar("Family", bound=_Kind)

SCHEMA = 1  # raised when a record's fields change their meaning
JOB_FIELDS = ("task", "method", "seed", "family", "lr", "horizon", "repeat")  # what a run can be planned from again
NO_RECORD = "not a record"  # how :func:`unfit` begins of what was never one
FIELDS = (
    *("run", *JOB_FIELDS, "lr_factor", "steps", "kept_steps", "status"),
    *("final", "curve", "compute", "seconds", "declared", "counted", "weights", "version", "settings"),
)

# How a run ended, as its record says under "status" ...
FINISHED = "finished"
DIVERGED = "diverged"  # a loss that is not finite, or a final one above the initial one
CRASHED = "crashed"
# ... and what a reader tells apart from these, see :func:`ending`.
NO_BETTER = "no better than untrained"  # diverged, with a finite loss
UNTRAINED = "spent before training"  # a search left no step to train with
NO_STEP = "took no step"  # although the budget was not spent

ORACLE_KINDS = ("linear", "cosine", "wsd")  # schedules whose sweeps make the oracle; the first of equals wins
REFERENCE_KINDS = ("constant", "fit_one_cycle")  # swept too, to judge the finders that are meant for them
FINDER_GROUP = "finder"  # methods that pick an lr and train nothing
AUTOPILOT = "autopilot"  # lrpilot's default; what changes one thing of it is named after it
AT_LR = "_at_lr"  # ends the names of rows that are flown at the lr of the oracle's winner
ABLATION_GROUP = "ablation"  # methods that belong to an experiment, and do not compete
LR_FACTORS = (1 / 30, 1.0, 30.0)  # of the start-lr sweep; 1 is the plain run


def ending(record: Mapping[str, Any], *, trains: bool) -> str:
    """How a run ended, in one of the six words above.

    Args:
        record: of the run.
        trains: whether its method is to train. One that is and did not has failed in a way of its own, whatever the
            loss of its untrained weights.
    """
    status = str(record["status"])
    if trains and record["kept_steps"] == 0 and status != CRASHED:
        return UNTRAINED if record["compute"] > 1.0 - 1.0 / record["steps"] else NO_STEP
    loss = record["final"]["val_loss"]
    return NO_BETTER if status == DIVERGED and loss is not None and math.isfinite(loss) else status


def unfit(record: Mapping[str, Any]) -> str | None:
    """Why something is no record of the benchmark, in a few words; None where it is one."""
    if record.get("schema") != SCHEMA:
        return f"{NO_RECORD} of schema {SCHEMA}"
    missing = [name for name in FIELDS if name not in record]
    return f"a record without {', '.join(missing)}" if missing else None


def family_of(task: str, families: Iterable[Family], kind: str | None) -> Family:
    """A task's optimizer family of that kind; its first where it is None.

    Raises:
        SettingError: the task has no such family.
    """
    known = {family.kind: family for family in families}
    if kind is None:
        kind = next(iter(known))
    if kind not in known:
        raise unknown_name(f"The optimizer family of the task {task!r}", kind, known)
    return known[kind]


def by_run(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Records by their run; of a run that was recorded twice the newest counts.

    Args:
        records: of this schema, oldest first.
    """
    return {str(record["run"]): record for record in records}
