"""Methods by name. A method joins by an entry in its file's ``METHODS``, a file by its name here."""

from functools import cache
from importlib import import_module

from lrpilot.bench.methods.method import Method
from lrpilot.core.names import unknown_name

# In the order of the tables.
FILES = ("schedules",)


@cache
def methods() -> dict[str, Method]:
    """Every method, by name."""
    found: dict[str, Method] = {}
    for file in FILES:
        for method in import_module(f"lrpilot.bench.methods.{file}").METHODS:
            assert method.name not in found, f"two methods are called {method.name!r}"
            found[method.name] = method
    return found


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        SettingError: there is none; the closest names are offered.
    """
    if name not in methods():
        raise unknown_name("A benchmark method", name, sorted(methods()))
    return methods()[name]
