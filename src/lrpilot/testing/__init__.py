"""Checks for third parties: a battery for policies, and a proof that a Training steps as your loop does."""

from typing import Any

from lrpilot.testing.bad_settings import check_refuses_bad_settings
from lrpilot.testing.conformance import CHECKS

__all__ = ["CHECKS", "check_refuses_bad_settings", "check_same_step"]


def __getattr__(name: str) -> Any:
    if name == "check_same_step":  # needs torch, which policies and their tests do without
        from lrpilot.testing.same_step import check_same_step

        return check_same_step
    raise AttributeError(f"module 'lrpilot.testing' has no attribute {name!r}")
