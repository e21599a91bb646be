"""Every error lrpilot raises: one root, and leaves that also inherit the builtin a caller would catch.

A message says three things, in this order: the rule that was broken, the value that broke it, and the
remedy.
"""


class LRPilotError(Exception):
    """Root of all errors raised by lrpilot."""


class SettingError(LRPilotError, ValueError):
    """An argument is outside its documented range."""


class ModelError(LRPilotError, ValueError):
    """Model and optimizer do not fit together (no trainable parameters, parameters of another model)."""


class OptimizerError(LRPilotError, TypeError):
    """The optimizer cannot be flown at all (it needs a closure, or its lr is not a positive number)."""


class NonlinearStepError(OptimizerError):
    """A Line was asked of an optimizer whose step is not linear in its learning rate."""


class LossError(LRPilotError, ValueError):
    """The loss is not a finite scalar that depends on the parameters."""


class DataError(LRPilotError, ValueError):
    """The data is empty, can be iterated only once, or cannot be read a second time undisturbed."""


class StepError(LRPilotError, RuntimeError):
    """A step was not exactly one optimizer step, or was announced at the wrong moment."""


class SchedulerConflictError(LRPilotError, RuntimeError):
    """Somebody else writes the learning rate that the pilot owns."""


class RanksDisagreeError(LRPilotError, RuntimeError):
    """Distributed ranks took different actions, or a probe failed on another rank."""


class StateError(LRPilotError, ValueError):
    """A saved state does not belong to this object, or is damaged."""


class PolicyError(LRPilotError, RuntimeError):
    """A policy broke its contract (an unknown mark, more marks than declared, an endless search)."""


class MissingDependencyError(LRPilotError, ImportError):
    """An optional package or data file is not installed."""
