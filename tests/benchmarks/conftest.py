"""The scripts of ``benchmarks/`` import one another by file name, and so do their tests."""

import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "benchmarks"

if SCRIPTS.is_dir():
    sys.path.insert(0, str(SCRIPTS))
else:  # a source distribution carries no benchmarks
    collect_ignore_glob = ["*"]
