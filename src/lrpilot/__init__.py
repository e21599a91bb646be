"""Chooses learning rates for PyTorch training, before it starts and while it runs.

Everything here is loaded when it is first used: ``import lrpilot`` costs nothing and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lrpilot.core.found import FindCode
    from lrpilot.core.history import History
    from lrpilot.errors import LRPilotError
    from lrpilot.find import apply_lr, find_lr
    from lrpilot.fitting import FitResult, fit
    from lrpilot.flight.horizon import Budget
    from lrpilot.flight.simulation import SimulationResult, simulate
    from lrpilot.found import FoundLR
    from lrpilot.pilot import Pilot
    from lrpilot.policies.autolrs import AutoLRS
    from lrpilot.policies.autopilot import Autopilot
    from lrpilot.policies.lr_tuner import LRTuner
    from lrpilot.policies.schedules.schedule import Schedule
    from lrpilot.policies.weighted_factors import WeightedFactors
    from lrpilot.report import FlightReport
    from lrpilot.training import Training

__version__ = "0.1.0"

__all__ = [
    "AutoLRS",
    "Autopilot",
    "Budget",
    "FindCode",
    "FitResult",
    "FlightReport",
    "FoundLR",
    "History",
    "LRPilotError",
    "LRTuner",
    "Pilot",
    "Schedule",
    "SimulationResult",
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
    "Autopilot": "lrpilot.policies.autopilot",
    "Budget": "lrpilot.flight.horizon",
    "FindCode": "lrpilot.core.found",
    "FitResult": "lrpilot.fitting",
    "FlightReport": "lrpilot.report",
    "FoundLR": "lrpilot.found",
    "History": "lrpilot.core.history",
    "LRPilotError": "lrpilot.errors",
    "LRTuner": "lrpilot.policies.lr_tuner",
    "Pilot": "lrpilot.pilot",
    "Schedule": "lrpilot.policies.schedules.schedule",
    "SimulationResult": "lrpilot.flight.simulation",
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
