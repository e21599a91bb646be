"""The plan of the house, checked: who may import whom, what an import costs, and what no file may say."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import lrpilot

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "lrpilot"
MODULES = sorted(SOURCE.rglob("*.py"))

# Each part of the package, and the parts it may import besides itself.
CORE = {"errors", "core"}
RULES = CORE | {"policies"}
DRIVERS = RULES | {"training", "progress", "pilot"}
FACE = DRIVERS | {"find", "fitting", "budget", "checkpoint", "simulation", "plotting", "stage_plot"}
MAY_IMPORT = {
    "errors": set(),
    "core": CORE,
    "policies": CORE,
    "simulation": RULES,
    "plotting": RULES,
    "stage_plot": RULES | {"plotting"},
    "progress": CORE,
    "training": RULES,
    "pilot": DRIVERS,
    "find": DRIVERS,
    "budget": DRIVERS,
    "checkpoint": DRIVERS,
    "fitting": DRIVERS | {"budget", "checkpoint"},
    "integrations": FACE,
    "testing": FACE,
    "bench": FACE | {"integrations"},
    "cli": FACE | {"bench"},
}
# FoundLR.plot is a method of a result, and the picture is drawn elsewhere: the one import that goes up.
UPWARD = {("core/found.py", "plotting")}

FRAMEWORKS = {"accelerate", "lightning", "pytorch_lightning", "transformers", "ray", "tensorboard", "keras", "wandb"}
HEAVY = {"torch", "scipy", "sklearn", "matplotlib", "numpy", "rich", "typer"} | FRAMEWORKS


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: imports are written absolutely"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: Path) -> str:
    """The part of the package a file belongs to: "core", "pilot", ..."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=path.relative_to(SOURCE).as_posix()) for path in paths]


def loaded_by(*modules: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded more after importing these."""
    code = (
        "import sys, json; before = set(sys.modules)\n"
        + "".join(f"import {module}\n" for module in modules)
        + "print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_the_plan_names_every_part() -> None:
    assert {part_of(path) for path in MODULES} - {"__init__"} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", named([p for p in MODULES if p != SOURCE / "__init__.py"]))
def test_imports_go_one_way(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    allowed = MAY_IMPORT[part_of(path)] | {part_of(path)}
    allowed |= {part for file, part in UPWARD if file == name}
    inside = [i for i in imports(path) if i.split(".")[0] == "lrpilot" and i != "lrpilot.__version__"]
    assert {i.partition(".")[2].split(".")[0] for i in inside} <= allowed


@pytest.mark.parametrize(
    "path", named([p for p in MODULES if part_of(p) in ("errors", "core", "policies", "simulation")])
)
def test_the_deciding_half_is_free_of_torch(path: Path) -> None:
    assert not {i.split(".")[0] for i in imports(path)} & ({"torch"} | FRAMEWORKS)


@pytest.mark.parametrize("path", named([p for p in MODULES if part_of(p) != "bench"]))
def test_a_framework_is_imported_only_by_its_own_integration(path: Path) -> None:
    own = {path.stem} if part_of(path) == "integrations" else set()
    assert {i.split(".")[0] for i in imports(path)} & FRAMEWORKS <= own


@pytest.mark.parametrize("path", named(MODULES))
def test_a_module_is_one_room(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_import_lrpilot_loads_nothing() -> None:
    extra = loaded_by("lrpilot") - set(sys.stdlib_module_names)
    assert extra == {"lrpilot"}


def test_policies_and_simulation_run_without_torch() -> None:
    policies = [f"lrpilot.policies.{path.stem}" for path in (SOURCE / "policies").glob("[!_]*.py")]
    assert "lrpilot.policies.schedules.schedule" in policies
    assert not loaded_by("lrpilot.flight.simulation", *policies) & ({"torch"} | FRAMEWORKS)


def test_the_face_loads_no_pictures_no_frameworks_no_command_line() -> None:
    homes = sorted(set(lrpilot._HOMES.values()))
    assert not loaded_by(*homes) & (HEAVY - {"torch", "numpy"})


def test_every_public_name_resolves() -> None:
    for name in lrpilot.__all__:
        assert getattr(lrpilot, name).__doc__, name
    assert callable(lrpilot.fit) and callable(lrpilot.simulate), "not hidden by a submodule"


def test_the_three_lists_of_the_face_agree() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {a.name: n.module for n in checked.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert typed == lrpilot._HOMES
    assert set(lrpilot.__all__) == {*lrpilot._HOMES, "__version__"}
    assert dir(lrpilot) == sorted(lrpilot.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Pilto'"):
        lrpilot.Pilto  # noqa: B018


def test_no_module_hides_a_public_name() -> None:
    assert not {path.stem for path in SOURCE.iterdir()} & set(lrpilot.__all__)


def texts() -> Iterator[Path]:
    """Every text file of the project, wherever it is checked out."""
    folders = [ROOT / name for name in ("src", "tests", "examples", "docs", "bench", ".ci") if (ROOT / name).exists()]
    files = [p for p in ROOT.iterdir() if p.is_file()] + [p for folder in folders for p in folder.rglob("*")]
    yield from (p for p in files if p.is_file() and p.suffix not in (".png", ".pyc", ".svg", ".gz", ".pt"))


def test_no_file_names_a_machine_or_a_registry() -> None:
    home = re.compile(r"(^|[^\w.])/(home|root|Users|work|farm)/\w")
    host = re.compile(r"pypi\.org|pythonhosted\.|pytorch\.org/whl|npmjs\.|deb\.debian\.|index-url[= ]+http")
    said = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if home.search(line) or host.search(line):
                said.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert said == []
