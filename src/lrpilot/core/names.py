"""Looking things up by a name that somebody typed."""

import difflib
from collections.abc import Iterable

from lrpilot.errors import SettingError


def unknown_name(what: str, name: object, known: Iterable[str]) -> SettingError:
    """The error for a name that is not known, with the closest known one as the remedy.

    Args:
        what: what the name stands for, as it starts the sentence ("A schedule kind").
        name: what was given.
        known: the names there are.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    remedy = f"Did you mean {close[0]!r}?" if close else "Choose one of these."
    return SettingError(f"{what} must be one of {', '.join(names)}, got {name!r}. {remedy}")
