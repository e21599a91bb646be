"""Every error lrpilot raises: one root, and leaves that also inherit the builtin a caller would catch.

A message says three things, in this order: the rule that was broken, the value that broke it, and the
remedy. Of an unknown name the remedy is the closest known one.
"""

import difflib
from collections.abc import Iterable


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


class UnseenStateError(LRPilotError, RuntimeError):
    """A step changes something that cannot be put back, for no snapshot sees it."""


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


MANY_NAMES = 20  # names that no message lists any more, where there is a command that does
MOST_OFFERED = 4  # names to suggest


def unknown_name(what: str, name: object, known: Iterable[str], *, listing: str | None = None) -> SettingError:
    """The error for a name that is not known, with the closest known ones as the remedy.

    Args:
        what: what the name stands for, as it starts the sentence ("A schedule kind").
        name: what was given.
        known: the names there are.
        listing: command that lists them, named in their place where they are many; None to list them always.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    close = closest(str(name), names)
    if listing is not None and len(names) > MANY_NAMES:
        choice, remedy = f"one of the {len(names)} that '{listing}' shows", "Choose one of those."
    else:
        choice, remedy = f"one of {', '.join(names)}", "Choose one of these."
    if close:
        remedy = f"Did you mean {' or '.join(map(repr, close))}?"
    return SettingError(f"{what} must be {choice}, got {name!r}. {remedy}")


def closest(name: str, known: Iterable[str]) -> list[str]:
    """What a name may have been meant for: what it is the beginning of, shortest first; else what looks most like it.

    Args:
        name: what was given.
        known: the names there are.
    """
    names = {other.lower(): other for other in sorted(known)}  # a class's own name is meant for its registered one
    longer = [other for other in names if name and other.startswith(name.lower())]
    close = sorted(longer, key=len)[:MOST_OFFERED] or difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return [names[other] for other in close]
