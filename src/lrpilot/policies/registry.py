"""Policies by name, ours and those that other distributions install, each imported when asked for; and how one is made.

A name is a kind of schedule ("cosine"), a method (one line in ``METHODS``), or an entry point of another distribution,
which is from then on as good as one of ours::

    [project.entry-points."lrpilot.policies"]
    plateau = "plateau:Plateau"
"""

import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from typing import Any

from lrpilot.core.policy import Policy
from lrpilot.errors import LRPilotError, SettingError, unknown_name
from lrpilot.policies.schedules.shapes import SCHEDULES

# "module:attribute"; the attribute may be dotted, for a class's own presets ("module:Class.preset").
METHODS: dict[str, str] = {
    "annealed_search": "lrpilot.policies.finders.annealed_search:AnnealedSearch",
    "autopilot": "lrpilot.policies.autopilot:Autopilot",
    "autolrs": "lrpilot.policies.autolrs:AutoLRS",
    "autolrs_paper": "lrpilot.policies.autolrs:AutoLRS.paper",
    "beam_search": "lrpilot.policies.beam_search:BeamSearch",
    "lr_tuner": "lrpilot.policies.lr_tuner:LRTuner",
    "lr_tuner_paper": "lrpilot.policies.lr_tuner:LRTuner.paper",
    "paired_search": "lrpilot.policies.finders.paired_search:PairedSearch",
    "range_test": "lrpilot.policies.finders.range_test:RangeTest",
    "step_sampling": "lrpilot.policies.finders.step_sampling:StepSampling",
    "weighted_factors": "lrpilot.policies.weighted_factors:WeightedFactors",
    "weighted_factors_paper": "lrpilot.policies.weighted_factors:WeightedFactors.paper",
}
GROUP = "lrpilot.policies"  # entry points: a policy's class, or a function that returns a policy, by its name
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Recipe:
    """A policy that has yet to be made.

    Attributes:
        name: what errors call it: its registered name, or "module:Class".
        make: a policy's class, or a function that returns a policy.

    Raises:
        SettingError: ``make`` cannot be called, or takes what has no name.
    """

    name: str
    make: Callable[..., Policy]

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise SettingError(
                f"{self.name} must be a policy's class or a function that returns a policy, got "
                f"{type(self.make).__name__}. Name the class."
            )

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings it takes by name."""
        return tuple(name for name, one in self._parameters().items() if one.kind in _BY_NAME)

    def __call__(self, **settings: Any) -> Policy:
        """The policy with these settings.

        Raises:
            SettingError: a setting is unknown (the closest one is offered), missing or out of range, or what is made
                is no policy.
        """
        parameters, known = self._parameters(), self.settings
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        for setting in settings:
            if setting not in known and not takes_any:
                raise self._unknown(setting, known)
        missing = [name for name in known if parameters[name].default is inspect.Parameter.empty]
        if not set(missing) <= set(settings):
            left_out = ", ".join(name for name in missing if name not in settings)
            raise SettingError(f"{self.name} must be given its settings without a default, got no {left_out}. Set it.")
        made: object = self.make(**settings)
        if not isinstance(made, Policy):
            raise SettingError(
                f"{self.name} must make a policy, got {type(made).__name__}. "
                "Derive the class from lrpilot.policy.Policy, or return one that is."
            )
        return made

    def _unknown(self, setting: str, known: tuple[str, ...]) -> SettingError:
        if not known:
            return SettingError(f"{self.name} takes no settings, got {setting!r}. Leave it away.")
        return unknown_name(f"A setting of {self.name!r}", setting, known)

    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        try:
            return inspect.signature(self.make).parameters
        except (TypeError, ValueError) as error:  # some builtins have none
            raise SettingError(
                f"{self.name} must say what it takes, got {type(self.make).__name__} without a signature. "
                "Name a policy's class."
            ) from error


def policy_names() -> tuple[str, ...]:
    """Every name that :func:`get_policy` knows, sorted; nothing is imported for it."""
    return tuple(sorted({*own_names(), *_installed()}))


def own_names() -> tuple[str, ...]:
    """The names of lrpilot's own policies, sorted."""
    return tuple(sorted({*SCHEDULES, *METHODS}))


def get_policy(name: str, /, **settings: Any) -> Policy:
    """A policy by its name.

    Args:
        name: a kind of schedule, a method, or a policy of another distribution, see :func:`policy_names`.
        **settings: its settings, as its class takes them.

    Raises:
        SettingError: the name or a setting is unknown (the closest one is offered), or out of range; a policy of
            another distribution cannot be imported.
    """
    return recipe_of(name)(**settings)


def settings_of(name: str, /) -> tuple[str, ...]:
    """The settings that a policy takes by name.

    Raises:
        SettingError: the name is unknown, or the policy cannot be imported.
    """
    return recipe_of(name).settings


def recipe_of(name: str, /) -> Recipe:
    """How the policy of that name is made.

    Warns:
        UserWarning: another distribution installs a policy under a name of ours, which stays ours.

    Raises:
        SettingError: the name is unknown, or the policy cannot be imported.
    """
    others = _installed().get(name, ())
    if name not in own_names():
        if not others:
            raise unknown_name("A policy", name, policy_names())
        return Recipe(name, _load(name, others))
    if others:
        warnings.warn(
            f"The name {name!r} is lrpilot's own: the policy that {_makers(others)} installs under it is left alone. "
            f"Ask for that one as {others[0].value}.",
            stacklevel=2,
        )
    return Recipe(name, _own(name))


def _own(name: str) -> Callable[..., Policy]:
    if name in SCHEDULES:
        from lrpilot.policies.schedules.schedule import Schedule

        return partial(Schedule, name)
    module, _, attribute = METHODS[name].partition(":")
    made: Callable[..., Policy] = attrgetter(attribute)(import_module(module))
    return made


# ------------------------------------------------------- of other distributions


def _installed() -> Mapping[str, tuple[EntryPoint, ...]]:
    """The entry points of each name."""
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in entry_points(group=GROUP):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _load(name: str, entries: tuple[EntryPoint, ...]) -> Callable[..., Policy]:
    if len({entry.value for entry in entries}) > 1:
        raise SettingError(
            f"The policy {name!r} must come from one distribution, got {_makers(entries)}. "
            f"Ask for {' or '.join(entry.value for entry in entries)}."
        )
    try:
        made: Callable[..., Policy] = entries[0].load()
    except LRPilotError:
        raise
    except Exception as error:
        raise SettingError(
            f"The policy {name!r} of {_makers(entries)} must import cleanly, but {entries[0].value} raised "
            f"{type(error).__name__}: {error}. Mend that distribution, or uninstall it."
        ) from error
    return made


def _makers(entries: tuple[EntryPoint, ...]) -> str:
    """The distributions that install these."""
    return " and ".join(sorted({"another distribution" if e.dist is None else e.dist.name for e in entries}))
