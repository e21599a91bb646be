"""Peers come from their own packages: importing one, with the remedy where it is missing, and keeping it quiet."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

from lrpilot.errors import MissingDependencyError


def require(module: str, package: str) -> Any:
    """A peer's module.

    Args:
        module: dotted name to import.
        package: what to call it in ``pip install``.

    Raises:
        MissingDependencyError: it is not installed; the message says how to get it.
    """
    try:
        with quiet():
            return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"This method needs the package {package!r}, found none. Get it with 'pip install {package}', or all of "
            "them with 'pip install lrpilot-bench[peers]'."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """What a peer prints or warns of inside is dropped; for short calls, since it holds for the whole process."""
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.simplefilter("ignore")
        yield
