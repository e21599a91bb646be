"""The four configurations of the example task, shared by the scripts beside this one."""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
SEEDS = (0, 1, 2)  # initial weights and data order; equal seeds are paired across lrs and methods


def _load_example() -> ModuleType:
    """The example is a script, not an installed module: load it from its file."""
    path = HERE.parent / "examples" / "fashion_mnist.py"
    spec = importlib.util.spec_from_file_location("fashion_mnist_example", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


example = _load_example()


@dataclass(frozen=True)
class Config:
    """One configuration: the example's network with or without BatchNorm, and an optimizer's name."""

    batch_norm: bool
    optimizer: str
    title: str


CONFIGS: Mapping[str, Config] = {
    "bn-sgd": Config(True, "sgd", "BatchNorm, SGD with momentum"),
    "bn-adamw": Config(True, "adamw", "BatchNorm, AdamW"),
    "plain-sgd": Config(False, "sgd", "no normalisation, SGD with momentum"),
    "plain-adamw": Config(False, "adamw", "no normalisation, AdamW"),
}
