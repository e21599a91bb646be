"""What entries of our own policies have in common: they start from an lr, and train with any optimizer of a task."""

from collections.abc import Callable
from typing import Any

from lrpilot_bench.methods.method import Group, Method, Notes
from lrpilot_bench.methods.schedules import DEFAULT_LRS, MORE_LRS


def lr_method(
    name: str,
    title: str,
    fly: Callable[..., Notes | None],
    practice: str,
    settings: dict[str, Any] | None = None,
    *,
    group: Group = "ablation",
    version: str = "1",
) -> Method:
    """An entry; a setting ``free`` says that its probes are not paid for. Arguments are those of :class:`Method`."""
    settings = settings or {}
    lrs = {**DEFAULT_LRS, **MORE_LRS}
    return Method(
        name,
        title,
        fly,
        practice,
        group,
        settings,
        version,
        lrs=lrs,
        families=frozenset(lrs),
        equal_compute=not settings.get("free", False),
    )
