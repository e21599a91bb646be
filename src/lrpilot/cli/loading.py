"""``module_or_file.py:function`` to the Training that the function returns."""

import difflib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from lrpilot.errors import LRPilotError, SettingError

if TYPE_CHECKING:
    from lrpilot.training import Training

T = TypeVar("T")
_LRPILOT = Path(__file__).parents[1]
_DEBUG = "For the traceback run 'lrpilot --debug ...'."


def load_training(spec: str) -> "Training":
    """Call a user's factory.

    Args:
        spec: ``path/to/file.py:function`` or ``package.module:function``; the function takes no
            arguments and returns a Training.

    Raises:
        SettingError: anything is wrong with it; an LRPilotError of the factory itself passes through.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise SettingError(
            f"A factory is written module_or_file.py:function, got {spec!r}. "
            f"Write for example {(spec or 'train.py').rstrip(':')}:make_training."
        )
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    return _call(_find(module, name, place), spec)


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        raise SettingError(
            f"The factory's file must exist, got {path}.{_closest(path.name, [p.name for p in folder.glob('*.py')])}"
        )
    path = path.resolve()
    sys.path.insert(0, str(path.parent))  # as `python file.py` does, so that the file's neighbours import
    name = path.stem if path.stem not in sys.modules else f"lrpilot_factory_{path.stem}"
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


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, "")  # as `python -m` does
    try:
        module: ModuleType = guarded(lambda: importlib.import_module(name), f"{name} must import cleanly")
    except SettingError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and f"{name}.".startswith(f"{cause.name}."):
            hint = f" For a file, write {name}.py:function." if Path(f"{name}.py").is_file() else ""
            raise SettingError(f"The factory's module must be importable from here, got {name!r}.{hint}") from cause
        raise
    return module


def _find(module: ModuleType, name: str, place: str) -> Callable[[], Any]:
    factory: Any = getattr(module, name, None)
    if factory is None:
        own = [k for k, v in vars(module).items() if inspect.isfunction(v) and v.__module__ == module.__name__]
        raise SettingError(f"{place} must define the factory, got {name!r}, which it does not.{_closest(name, own)}")
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
