"""Names that somebody typed and nobody knows: the closest known ones, and the error that offers them."""

import difflib
from collections.abc import Iterable

from lrpilot.errors import SettingError

MANY = 20  # names that no message lists any more, where there is a command that does
AT_MOST = 4  # names to suggest


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
    if listing is not None and len(names) > MANY:
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
    names = sorted(known)
    longer = [other for other in names if name and other.startswith(name)]
    return sorted(longer, key=len)[:AT_MOST] or difflib.get_close_matches(name, names, n=1, cutoff=0.5)
