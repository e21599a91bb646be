"""The training substrate: the only place that touches a live model."""

from lrpilot.training.training import Training

__all__ = ["Training"]
