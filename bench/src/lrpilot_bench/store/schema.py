"""What a record of the benchmark is, and the few lists that both its runner and its reader go by; free of torch."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

from lrpilot.errors import SettingError


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

ORACLE_KINDS = ("linear", "cosine", "wsd")  # schedules whose sweeps make the oracle; the first of equals wins
REFERENCE_KINDS = ("constant", "fit_one_cycle")  # swept too, to judge the finders that are meant for them
FINDER_GROUP = "finder"  # methods that pick an lr and train nothing
HORIZON_KINDS = ("linear",)  # all that is swept with another budget than the task's
LR_FACTORS = (1 / 30, 1.0, 30.0)  # of the start-lr sweep; 1 is the plain run


def trained_nothing(record: Mapping[str, Any]) -> bool:
    """Whether a run that did not crash took no step: a failure of any method that is to train, whatever its loss."""
    return bool(record["kept_steps"] == 0 and record["status"] != "crashed")


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
        raise SettingError(f"The task {task!r} is trained with {', '.join(map(repr, known))}, got {kind!r}.")
    return known[kind]


def by_run(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Records by their run; of a run that was recorded twice the newest counts.

    Args:
        records: of this schema, oldest first.
    """
    return {str(record["run"]): record for record in records}
