"""Where a study finds the clone that it belongs to: records to read and write, pages, and examples to train."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[4]
RECORDS = ROOT / "bench" / "records"
DOCS = ROOT / "docs"


def load_example(name: str) -> ModuleType:
    """An example is a script, not an installed module: load it from its file."""
    spec = importlib.util.spec_from_file_location(f"{name}_example", ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
