"""The plan of the house, checked: who may import whom, no circle, what an import costs, and what no file may say."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import lrpilot
from import_graph import circle_in, graph_of, imports
from lrpilot.core import actions

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "lrpilot"
MODULES = sorted(SOURCE.rglob("*.py"))

# Each part of the package, and the parts it may import besides itself.
WORDS = {"errors", "core"}
RULES = WORDS | {"maths", "pictures", "found"}
LOOP = WORDS | {"flight"}
DRIVERS = RULES | LOOP | {"policies", "training", "progress", "checkpoint", "driver", "report"}
FACE = DRIVERS | {"pilot", "find", "fitting"}
MAY_IMPORT = {
    "errors": set(),
    "core": WORDS,
    "maths": WORDS,
    "pictures": WORDS | {"maths"},
    "found": WORDS | {"maths", "pictures"},
    "policies": RULES,
    "policy": WORDS | {"found"},
    "flight": LOOP,
    "progress": set(),
    "training": LOOP,
    "checkpoint": LOOP | {"training"},
    "driver": LOOP | {"training", "report"},
    "report": WORDS | {"pictures"},
    "pilot": LOOP | {"policies", "training", "driver", "report"},
    "find": DRIVERS,
    "fitting": DRIVERS | {"pilot"},
    "integrations": FACE,
    "testing": FACE,
    "cli": FACE | {"testing"},
}

FRAMEWORKS = {"accelerate", "lightning", "pytorch_lightning", "transformers", "ray", "tensorboard", "keras", "wandb"}
HEAVY = {"torch", "scipy", "sklearn", "matplotlib", "numpy", "rich", "typer"} | FRAMEWORKS


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
    allowed = MAY_IMPORT[part_of(path)] | {part_of(path)}
    inside = [i for i in imports(path) if i.split(".")[0] == "lrpilot" and i != "lrpilot.__version__"]
    assert {i.partition(".")[2].split(".")[0] for i in inside} <= allowed


def test_no_circle() -> None:
    assert circle_in(graph_of(SOURCE)) == []


@pytest.mark.parametrize("way", ["", "if TYPE_CHECKING:\n    ", "def late():\n    "])
def test_a_planted_circle_is_found(tmp_path: Path, way: str) -> None:
    house = tmp_path / "house"
    (house / "upper").mkdir(parents=True)
    (house / "__init__.py").touch()
    (house / "upper" / "__init__.py").touch()
    (house / "lower.py").write_text(f"from typing import TYPE_CHECKING\n{way}from house.upper import room\n")
    (house / "upper" / "room.py").write_text("from house.lower import TYPE_CHECKING\n")
    assert sorted(set(circle_in(graph_of(house)))) == ["house.lower", "house.upper.room"]
    (house / "upper" / "room.py").write_text("")
    assert circle_in(graph_of(house)) == []


@pytest.mark.parametrize("path", named([p for p in MODULES if part_of(p) in (*RULES, "policies", "policy", "flight")]))
def test_the_deciding_half_is_free_of_torch(path: Path) -> None:
    assert not {i.split(".")[0] for i in imports(path)} & ({"torch"} | FRAMEWORKS)


@pytest.mark.parametrize("path", named(MODULES))
def test_a_framework_is_imported_only_by_its_own_integration(path: Path) -> None:
    own = {path.stem} if part_of(path) == "integrations" else set()
    assert {i.split(".")[0] for i in imports(path)} & FRAMEWORKS <= own


def test_import_lrpilot_loads_nothing() -> None:
    extra = loaded_by("lrpilot") - set(sys.stdlib_module_names)
    assert extra == {"lrpilot"}


def test_policies_and_simulation_run_without_torch() -> None:
    rooms = ("core", "maths", "pictures", "policies", "policy", "flight")
    torch_free = [name for name in graph_of(SOURCE) if name.split(".")[1:2] and name.split(".")[1] in rooms]
    assert "lrpilot.policies.schedules.schedule" in torch_free
    assert not loaded_by(*torch_free) & ({"torch"} | FRAMEWORKS)


def test_the_face_loads_no_pictures_no_frameworks_no_command_line() -> None:
    homes = sorted(set(lrpilot._HOMES.values()))
    assert not loaded_by(*homes) & (HEAVY - {"torch", "numpy"})


def test_a_method_of_ones_own_finds_what_it_needs() -> None:
    from lrpilot import policy

    spoken = {*get_args(actions.Action), *get_args(actions.Observation)}
    assert {word.__name__ for word in spoken} <= set(policy.__all__), "every action and every observation"
    assert sorted(set(policy.__all__)) == sorted(policy.__all__) and all(hasattr(policy, n) for n in policy.__all__)


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
    files = [p for p in ROOT.iterdir() if p.is_file() and p.name != ".git"] + [
        p for folder in folders for p in folder.rglob("*")
    ]
    left_out = (".png", ".pyc", ".svg", ".gz", ".pt")
    yield from (p for p in files if p.is_file() and p.name != ".git" and p.suffix not in left_out)


def test_no_file_names_a_machine_or_a_registry() -> None:
    home = re.compile(r"(^|[^\w.])/(home|root|Users|work|farm)/\w")
    host = re.compile(r"pypi\.org|pythonhosted\.|pytorch\.org/whl|npmjs\.|deb\.debian\.|index-url[= ]+http")
    said = []
    for path in texts():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if home.search(line) or host.search(line):
                said.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert said == []
