"""Chooses learning rates for PyTorch training, before it starts and while it runs.

Everything here is loaded when it is first used: ``import lrpilot`` costs nothing and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrpilot.budget import Budget
    from lrpilot.core.status import FindCode
    from lrpilot.errors import LRPilotError
    from lrpilot.find import apply_lr, find_lr
    from lrpilot.fitting import fit
    from lrpilot.flight.simulation import simulate
    from lrpilot.pilot import Pilot
    from lrpilot.policies.autolrs import AutoLRS
    from lrpilot.policies.lr_tuner import LRTuner
    from lrpilot.policies.schedules.schedule import Schedule
    from lrpilot.policies.weighted_factors import WeightedFactors
    from lrpilot.training import Training

__version__ = "0.1.0"

__all__ = [
    "AutoLRS",
    "Budget",
    "FindCode",
    "LRPilotError",
    "LRTuner",
    "Pilot",
    "Schedule",
    "Training",
    "WeightedFactors",
    "__version__",
    "apply_lr",
    "find_lr",
    "fit",
    "simulate",
]

# No module is named like something in here (fitting.py holds fit): importing a submodule binds its name on
# the package, and would hide the function.
_HOMES = {
    "AutoLRS": "lrpilot.policies.autolrs",
    "Budget": "lrpilot.budget",
    "FindCode": "lrpilot.core.status",
    "LRPilotError": "lrpilot.errors",
    "LRTuner": "lrpilot.policies.lr_tuner",
    "Pilot": "lrpilot.pilot",
    "Schedule": "lrpilot.policies.schedules.schedule",
    "Training": "lrpilot.training",
    "WeightedFactors": "lrpilot.policies.weighted_factors",
    "apply_lr": "lrpilot.find",
    "find_lr": "lrpilot.find",
    "fit": "lrpilot.fitting",
    "simulate": "lrpilot.flight.simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lrpilot' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
