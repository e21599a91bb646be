"""Distributions of somebody else, as they are found once installed: a module, and what it registers."""

from pathlib import Path

PLATEAU = """
from lrpilot.policy import Done, Policy, Rule, Train, constant, is_between, record, require_each

RULES = {"factor": Rule("in (0, 1)", lambda value: is_between(value, 0, 1), "The default is 0.5.")}

@record
class Plateau(Policy):
    factor: float = 0.5

    def __post_init__(self):
        require_each(self, RULES)

    @classmethod
    def slow(cls):
        return cls(0.9)

    def init(self, context):
        return {"lr": context.lr, "left": context.progress.remaining}

    def ask(self, state):
        return Train(constant(state["lr"]), min(10, state["left"])) if state["left"] else Done()

    def tell(self, state, seen):
        return {"lr": state["lr"] * self.factor, "left": seen.progress.remaining}

@record
class Measuring(Policy):
    trains = False

    def init(self, context):
        return 0

    def ask(self, state):
        return Done(3)

    def tell(self, state, seen):
        return state

@record
class Failing(Plateau):
    def tell(self, state, seen):
        return 1 / 0

def of_two(first, *, second=2.0, **others):
    return Plateau(first / second)

def nothing():
    return 3

class Clumsy:
    def __init__(self):
        raise KeyError("no such place")

number = 3
"""


def install(folder: Path, name: str, modules: dict[str, str], entry_points: dict[str, dict[str, str]]) -> None:
    """Lay a distribution into a folder of ``sys.path``.

    Args:
        folder: where it goes.
        name: of the distribution.
        modules: text of each module by name.
        entry_points: by group, and by name: what each points at.
    """
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    groups = [
        f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in names.items()) for group, names in entry_points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
