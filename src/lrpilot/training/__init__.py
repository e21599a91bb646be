"""The training substrate: the only place that touches a live model."""

from lrpilot.training.bound.bound_training import Training

__all__ = ["Training"]
