"""The scripts of ``benchmarks/`` are imported by file name."""

import sys
from pathlib import Path

import pytest
import torch

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

if SCRIPTS.is_dir():
    sys.path.insert(0, str(SCRIPTS))
else:  # a source distribution carries no benchmarks
    collect_ignore_glob = ["*"]


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """600 made-up images whose brightness is their class, in place of the example's data."""
    from fashion_tasks import example

    from lrpilot.bench.splits import Split, Splits

    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 10, (600,), generator=generator)
    images = torch.randn(600, 1, 28, 28, generator=generator) + labels.reshape(-1, 1, 1, 1)
    part = Split(images, labels)
    monkeypatch.setattr(example, "data", lambda: Splits(part, part, part))
