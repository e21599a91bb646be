"""Methods by name. A method joins by an entry in its file's ``METHODS``, a file by its name here."""

from lrpilot_bench.methods.method import Method
from lrpilot_bench.plugins import collected, named

# In the order of the tables.
FILES = (
    "schedules",
    "defaults",
    "schedule_free",
    "nadamw",
    "distance",
    "gen",
    "greedy",
    "plateau",
    "polling",
    "handmade",
    "autopilot",
    "lr_tuner",
    "weighted_factors",
    "autolrs",
    "finders",
    "one_cycle",
    "autowu",
    "readouts",
)


def methods() -> dict[str, Method]:
    """Every method, by name."""
    return collected((f"lrpilot_bench.methods.{file}" for file in FILES), "METHODS")


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        SettingError: there is none; the closest names are offered.
    """
    return named(methods(), "A benchmark method", name, listing="lrpilot bench list methods")
