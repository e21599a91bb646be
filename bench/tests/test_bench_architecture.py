"""The plan of the benchmark, checked: which room may import which, no circle, and nothing from outside undeclared."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import lrpilot_bench
from import_graph import circle_in, graph_of, imports

SOURCE = Path(lrpilot_bench.__file__).parent
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")

# Each room, and the rooms that it may import besides itself. A record is made from left to right:
# data, tasks -> session -> methods -> protocol -> run; and read by analysis, report and studies.
GROUND = {"store", "data", "stats", "plugins", "counting"}  # import no other room
MAY_IMPORT = {
    **{ground: set[str]() for ground in GROUND},
    "tasks": {"store", "data", "plugins"},
    "session": {"store", "data", "counting", "tasks"},
    "methods": {"store", "data", "plugins", "tasks", "session"},
    "protocol": {"store", "tasks", "methods"},
    "run": {"store", "plugins", "tasks", "session", "methods", "protocol"},
    "analysis": {"store", "stats", "tasks", "methods", "protocol"},
    "report": {"store", "stats", "protocol", "analysis"},
    "studies": {*GROUND, "tasks", "session", "methods", "protocol", "run", "analysis"},
    "cli": {*GROUND, "tasks", "methods", "protocol", "run", "analysis", "report"},
}


def room_of(path: Path) -> str:
    """The room that a file belongs to: "store", "session", ..."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_the_plan_names_every_room() -> None:
    assert {room_of(path) for path in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_go_one_way(path: Path) -> None:
    inside = [i for i in imports(path) if i.split(".")[0] == "lrpilot_bench"]
    assert {i.split(".")[1] for i in inside} <= MAY_IMPORT[room_of(path)] | {room_of(path)}


def test_no_circle() -> None:
    assert circle_in(graph_of(SOURCE)) == []


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_every_room_says_what_belongs_there(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith('"""')


# ---------------------------------------------------------------------- what comes from outside

OPTIONAL = {"ray"}  # extras that the code itself imports, each only where it was asked for


def names(requirements: list[str]) -> list[str]:
    """Distributions of requirements, as an index writes them."""
    return [normal(re.split(r"[\[<>=!~; ]", each, maxsplit=1)[0]) for each in requirements]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_from_outside_is_declared_and_every_declared_one_is_imported() -> None:
    """What comes along with another distribution is not there for certain."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = names(project["dependencies"])
    assert len(declared) == len(set(declared)), "each once"
    imported = {i.split(".")[0] for path in MODULES for i in imports(path)}
    outside = imported - {"lrpilot_bench"} - sys.stdlib_module_names
    distributions = {"lrpilot": ["lrpilot"], **packages_distributions()}  # a clone need not be installed
    assert outside <= distributions.keys(), "no distribution installs it"
    needed = {normal(distributions[module][0]) for module in outside}
    assert needed - OPTIONAL == set(declared)
    for extra in OPTIONAL:
        assert extra in names(project["optional-dependencies"][extra])
