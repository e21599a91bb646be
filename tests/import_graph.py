"""Who imports whom, read from the files: every module of a package with what it imports, and a circle if there is one.

Imports inside functions and under TYPE_CHECKING count like all others.
"""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


def imports(path: Path) -> Iterator[str]:
    """Absolute names of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: imports are written absolutely"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph_of(source: Path) -> dict[str, set[str]]:
    """Modules of a package, each with those that it imports."""
    package = source.name
    names = {
        ".".join((package, *path.relative_to(source).with_suffix("").parts)): path for path in source.rglob("*.py")
    }
    modules = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        used = (i if i in modules else i.rpartition(".")[0] for i in imports(path))
        graph[name] = {module for module in used if module in modules and module != name}
    return graph


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Names along a circle of a graph, the first one again at the end; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []
