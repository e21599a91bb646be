"""How a policy is made from settings given by name: a class or a function, and what it takes."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lrpilot.core.policy import Policy
from lrpilot.errors import SettingError, unknown_name

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
