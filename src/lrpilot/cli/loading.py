"""``module_or_file.py:name`` to what a user keeps there: a Training from its factory, a policy of their own."""

import difflib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from lrpilot.errors import LRPilotError, SettingError

if TYPE_CHECKING:
    from lrpilot.policies.registry import Recipe
    from lrpilot.training import Training

T = TypeVar("T")
_LRPILOT = Path(__file__).parents[1]
_DEBUG = "For the traceback run 'lrpilot --debug ...'."


@dataclass(frozen=True)
class Wanted:
    """What is looked for in a user's module, in the words of the errors.

    Attributes:
        noun: what it is.
        kind: what it is in Python, after the colon.
        file: a name for the file of an example.
        example: a name for one.
        fits: whether something that the module defines may be one, to be offered for a name that is not there.
    """

    noun: str
    kind: str
    file: str
    example: str
    fits: Callable[[Any], bool]


FACTORY = Wanted("factory", "function", "train.py", "make_training", inspect.isfunction)
POLICY = Wanted("policy", "Class", "plateau.py", "Plateau", lambda v: inspect.isfunction(v) or inspect.isclass(v))


def load_training(spec: str) -> "Training":
    """Call a user's factory.

    Args:
        spec: ``path/to/file.py:function`` or ``package.module:function``; the function takes no
            arguments and returns a Training.

    Raises:
        SettingError: anything is wrong with it; an LRPilotError of the factory itself passes through.
    """
    place, name = _split(spec, FACTORY)
    return _call(_require_factory(_find(_load(place, FACTORY), name, place, FACTORY), name), spec)


def load_recipe(policy: str) -> "Recipe":
    """How a policy is made: one that has a name, or a user's own.

    Args:
        policy: a name of :func:`lrpilot.policies.registry.policy_names`; ``path/to/file.py:Class`` or
            ``package.module:Class``, where the class may as well be a function that returns a policy.

    Raises:
        SettingError: anything is wrong with it.
    """
    from lrpilot.policies.registry import Recipe, recipe_of

    if not is_place(policy):
        return recipe_of(policy)
    place, name = _split(policy, POLICY)
    return Recipe(policy, _find(_load(place, POLICY), name, place, POLICY))


def is_place(policy: str) -> bool:
    """Whether a policy is given by where it stands and not by a name."""
    return ":" in policy or policy.endswith(".py")


def _split(spec: str, wanted: Wanted) -> tuple[str, str]:
    """The module or file, and the name in it."""
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise SettingError(
            f"A {wanted.noun} is written module_or_file.py:{wanted.kind}, got {spec!r}. "
            f"Write for example {(spec or wanted.file).rstrip(':')}:{wanted.example}."
        )
    return place, name


def _load(place: str, wanted: Wanted) -> ModuleType:
    return _load_file(Path(place), wanted) if place.endswith(".py") else _load_module(place, wanted)


def _load_file(path: Path, wanted: Wanted) -> ModuleType:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        close = _closest(path.name, [p.name for p in folder.glob("*.py")])
        raise SettingError(f"The {wanted.noun}'s file must exist, got {path}.{close}")
    path = path.resolve()
    names = path.stem, f"lrpilot_factory_{path.stem}"
    for loaded in (sys.modules.get(name) for name in names):
        if loaded is not None and getattr(loaded, "__file__", None) == str(path):
            return loaded  # a second run of it would define every class of it anew
    sys.path.insert(0, str(path.parent))  # as `python file.py` does, so that the file's neighbours import
    name = next((name for name in names if name not in sys.modules), names[-1])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and loader workers look it up
    try:
        guarded(lambda: spec.loader.exec_module(module), f"{path.name} must import cleanly")  # type: ignore[union-attr]
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str, wanted: Wanted) -> ModuleType:
    sys.path.insert(0, "")  # as `python -m` does
    try:
        module: ModuleType = guarded(lambda: importlib.import_module(name), f"{name} must import cleanly")
    except SettingError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{name}.".startswith(f"{cause.name}."):
            hint = f" For a file, write {name}.py:{wanted.kind}." if Path(f"{name}.py").is_file() else ""
            raise SettingError(
                f"The {wanted.noun}'s module must be importable from here, got {name!r}.{hint}"
            ) from cause
        raise
    return module


def _find(module: ModuleType, name: str, place: str, wanted: Wanted) -> Any:
    """What has that name in the module; a dotted one is an attribute of it, as a class's own preset."""
    try:
        found = attrgetter(name)(module)
    except AttributeError:
        found = None
    if found is None:
        own = [k for k, v in vars(module).items() if wanted.fits(v) and v.__module__ == module.__name__]
        raise SettingError(
            f"{place} must define the {wanted.noun}, got {name!r}, which it does not.{_closest(name, own)}"
        )
    return found


def _require_factory(factory: Any, name: str) -> Callable[[], Any]:
    if not callable(factory):
        raise SettingError(
            f"A factory is a function, got {name} = {type(factory).__name__}. Name the function that returns it."
        )
    needed = [
        p.name for p in _parameters(factory) if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        raise SettingError(
            f"A factory takes no arguments, got {name}({', '.join(needed)}). "
            "Give the arguments defaults, or write a function around it."
        )
    made: Callable[[], Any] = factory
    return made


def _parameters(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError):  # some builtins have no signature; calling them will tell
        return []


def _call(factory: Callable[[], Any], spec: str) -> "Training":
    from lrpilot.training import Training

    made = guarded(factory, f"{spec} must return a Training")
    if isinstance(made, Training):
        return made
    remedy = (
        "End it with a return statement."
        if made is None
        else "Wrap it: Training(model, optimizer, loss_fn, train_data)."
    )
    raise SettingError(f"{spec} must return a lrpilot.Training, got {type(made).__name__}. {remedy}")


def guarded(run: Callable[[], T], rule: str) -> T:
    """Run the user's code; what it raises becomes one line that says where.

    Args:
        run: calls it.
        rule: what must hold, as it starts the sentence ("task.py must import cleanly").

    Raises:
        SettingError: it raised; an LRPilotError passes through.
    """
    try:
        return run()
    except LRPilotError:
        raise
    except (Exception, SystemExit) as error:
        raise SettingError(f"{rule}, but it raised {type(error).__name__}: {error}{_where(error)}. {_DEBUG}") from error


def _where(error: BaseException) -> str:
    """The deepest line of the user's own code: the last frame outside of lrpilot and installed packages."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        installed = "site-packages" in file.parts or file.is_relative_to(sysconfig.get_path("stdlib"))
        if file.is_file() and not installed and not file.is_relative_to(_LRPILOT):
            place = f" ({file.name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place


def _closest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5) or sorted(names)[:5]
    return f" Did you mean {' or '.join(close)}?" if close else ""
