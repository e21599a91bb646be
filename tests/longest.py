"""Prints the ten longest classes and functions of the house: a list to look at, and no limit.

python tests/longest.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("src/lrpilot", "bench/src/lrpilot_bench")
MANY = 10


def definitions(kind: type[ast.ClassDef] | type[ast.FunctionDef]) -> Iterator[tuple[int, str]]:
    """Lines and place of every class or function."""
    for path in (path for source in SOURCES for path in (ROOT / source).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kind):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                yield lines, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"


if __name__ == "__main__":
    for title, kind in (("classes", ast.ClassDef), ("functions", ast.FunctionDef)):
        print(f"the longest {title}, in lines:")
        for lines, place in sorted(definitions(kind), reverse=True)[:MANY]:
            print(f"{lines:6d}  {place}")
