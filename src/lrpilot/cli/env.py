"""``lrpilot env``: what this machine has, for a bug report or a wrong guess."""

import os
import platform
from importlib import metadata
from typing import Any

from lrpilot.cli.options import Json
from lrpilot.cli.report import say, say_json, table

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib", "rich", "typer")
EXTRAS = ("lrpilot-bench", "accelerate", "lightning", "torch-lr-finder")


def env(*, json: Json = False) -> None:
    """Show versions, threads and devices."""
    from lrpilot import __version__

    facts = {
        "lrpilot": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: _installed(name) for name in (*PACKAGES, *EXTRAS)},
        "threads": _threads(),
        "devices": _devices(),
    }
    if json:
        say_json(facts)
    else:
        say(table(("what", "value"), _rows(facts), numbers=False))


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, value in facts.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        rows += [(f"{name} {key}".strip(), "-" if text is None else str(text)) for key, text in inner]
    return rows


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _threads() -> dict[str, Any]:
    import torch

    return {
        "cores": os.cpu_count(),
        "torch": torch.get_num_threads(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
    }


def _devices() -> dict[str, str]:
    import torch

    found = {"cpu": torch.backends.cpu.get_cpu_capability()}
    for i in range(torch.cuda.device_count()):
        found[f"cuda:{i}"] = torch.cuda.get_device_name(i)
    if torch.backends.mps.is_available():
        found["mps"] = "available"
    return found
