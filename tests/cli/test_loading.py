"""Factories: what loads, and what each mistake is told."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lrpilot.cli.loading import is_place, load_recipe, load_training
from lrpilot.errors import DataError, SettingError
from lrpilot.policies.schedules.schedule import Schedule
from lrpilot.training import Training
from strangers import PLATEAU

GOOD = """
import torch
from lrpilot import Training

def make_training():
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [torch.ones(4, 2)]
    return Training(model, optimizer, lambda model, x: model(x).square().mean(), batches)

def with_defaults(lr=0.1, *args, **kwargs):
    return make_training()

def needs(lr, batch):
    return make_training()

def forgets():
    make_training()

def gives_model():
    return torch.nn.Linear(1, 1)

def divides():
    return 1 / 0

def empty():
    from lrpilot.errors import DataError
    raise DataError("train_data must have a batch, got none. Add one.")

def quits():
    raise SystemExit(3)

number = 3
"""


@pytest.fixture
def factory_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my_factory.py"
    path.write_text(GOOD)
    yield path
    for name in {name for name in sys.modules if name.startswith("lrpilot_factory_")} | {
        "my_factory",
        "neighbour",
        "plateau",
    }:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "spec", ["my_factory.py:make_training", "./my_factory.py:with_defaults", "my_factory:make_training"]
)
def test_loads_from_files_and_modules(factory_file: Path, spec: str) -> None:
    assert isinstance(load_training(spec), Training)


def test_an_absolute_path_and_the_files_neighbours(factory_file: Path, tmp_path: Path) -> None:
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "neighbour.py").write_text("from my_factory import make_training\n")
    (sub / "my_factory.py").write_text(GOOD)
    assert isinstance(load_training(f"{sub / 'neighbour.py'}:make_training"), Training)


def test_a_file_named_like_a_loaded_module(factory_file: Path, tmp_path: Path) -> None:
    (tmp_path / "math.py").write_text(GOOD)
    before = sys.modules["math"]
    assert isinstance(load_training("math.py:make_training"), Training)
    assert sys.modules["math"] is before


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("my_factory.py", r"written module_or_file.py:function, got 'my_factory.py'.*my_factory.py:make_training"),
        ("my_factory.py:", "written module_or_file"),
        (":make_training", "written module_or_file"),
        ("", "written module_or_file"),
        ("my_factor.py:make_training", r"must exist, got my_factor.py. Did you mean my_factory.py\?"),
        ("nowhere/x.py:make_training", "must exist, got nowhere/x.py"),
        ("my_factory.xyz:f", "must be importable from here, got 'my_factory.xyz'"),
        ("no_such_module:f", "must be importable from here, got 'no_such_module'"),
        ("no.such.module:f", "must be importable from here, got 'no.such.module'"),
        ("my_factory.py:make_trainin", r"got 'make_trainin', which it does not. Did you mean make_training\?"),
        ("my_factory.py:number", r"A factory is a function, got number = int"),
        ("my_factory.py:needs", r"takes no arguments, got needs\(lr, batch\). Give"),
        ("my_factory.py:forgets", "must return a lrpilot.Training, got NoneType. End it with a return"),
        ("my_factory.py:gives_model", r"must return a lrpilot.Training, got Linear. Wrap it: Training\("),
        ("my_factory.py:divides", r"raised ZeroDivisionError: division by zero \(my_factory.py, line 24\).*--debug"),
        ("my_factory.py:quits", "raised SystemExit: 3"),
    ],
)
def test_every_mistake_is_told(factory_file: Path, spec: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        load_training(spec)


@pytest.mark.parametrize("text", ["def f(:\n", "import not_there\n", "1 / 0\n"])
def test_a_file_that_does_not_import(factory_file: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(
        SettingError, match=r"broken.py must import cleanly, but it raised \w+Error: .*broken.py, line 1"
    ):
        load_training("broken.py:f")
    assert "broken" not in sys.modules


def test_the_librarys_own_errors_pass_through(factory_file: Path) -> None:
    with pytest.raises(DataError, match=r"^train_data must have a batch, got none\. Add one\.$"):
        load_training("my_factory.py:empty")


# ---------------------------------------------------- policies of one's own


@pytest.fixture
def policy_file(factory_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "plateau.py"
    path.write_text(PLATEAU)
    return path


def test_a_policy_has_a_name_or_a_place() -> None:
    assert not is_place("cosine") and is_place("plateau:Plateau") and is_place("plateau.py")
    assert load_recipe("cosine")(lr=0.5) == Schedule("cosine", lr=0.5)


@pytest.mark.parametrize("place", ["plateau.py:Plateau", "./plateau.py:Plateau", "plateau:Plateau", "{here}:Plateau"])
def test_policies_from_files_and_modules(policy_file: Path, place: str) -> None:
    recipe = load_recipe(place.format(here=policy_file))
    assert recipe.settings == ("factor",)
    assert recipe(factor=0.25).name == "Plateau"


def test_a_preset_and_a_function(policy_file: Path) -> None:
    assert load_recipe("plateau.py:Plateau.slow")() == load_recipe("plateau.py:of_two")(first=1.8)


def test_a_file_is_loaded_once(policy_file: Path) -> None:
    assert load_recipe("plateau.py:Plateau").make is load_recipe(f"{policy_file}:Plateau").make
    (policy_file.parent / "sub").mkdir()
    (policy_file.parent / "sub" / "plateau.py").write_text(PLATEAU.replace("Plateau", "Other"))
    assert load_recipe("sub/plateau.py:Other").make is load_recipe("sub/plateau.py:Other").make, "beside its namesake"


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("plateau.py", r"A policy is written module_or_file.py:Class, got 'plateau.py'.*plateau.py:Plateau\."),
        ("platau.py:Plateau", r"The policy's file must exist, got platau.py. Did you mean plateau.py\?"),
        ("not_there:Plateau", "The policy's module must be importable from here, got 'not_there'"),
        (
            "plateau.py:Platau",
            r"plateau.py must define the policy, got 'Platau', which .* Did you mean Plateau",
        ),
        (
            "plateau.py:number",
            r"plateau.py:number must be a policy's class or a function that .*, got int",
        ),
        ("plateau.py:nothing", r"plateau.py:nothing must make a policy, got int"),
        ("plateau.py:of_two", r"must be given its settings without a default, got no first"),
    ],
)
def test_every_mistake_with_a_policy_is_told(policy_file: Path, place: str, says: str) -> None:
    with pytest.raises(SettingError, match=says):
        load_recipe(place)()
